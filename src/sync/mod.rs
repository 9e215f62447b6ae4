//! The delta engine, sans-IO: rsync's algorithm and the protocol around it.
//!
//! A [`Session`] is one end. It touches no socket, no file and no clock: whoever drives it carries
//! bytes between two sessions and executes what they ask of the file system.
//!
//! ```text
//!          client (push)                                server
//!   Enter, List ◄─┐                                  ┌─► Enter, Stat, Sums, OpenTemp,
//!   OpenSource    │ poll_request                     │   Write, Copy, Hash, Commit
//!   ReadSource    │ handle_reply        poll_request │
//!              ┌──┴──────┐  poll_output  ┌───────────┴┐
//!              │ Session │ ────────────► │  Session   │   list, literals, copies, hash
//!              │ sender  │ ◄──────────── │  receiver  │   requests, signatures, results
//!              └─────────┘  handle_input └────────────┘
//! ```
//! A pull is the same with the two ends swapped.
//!
//! # How to drive one
//!
//! ```text
//! loop {
//!     if let Some(r) = s.poll_request()    { let id = r.id; s.handle_reply(id, disk.execute(r))?; }
//!     while let Some(e) = s.poll_event()   { … }
//!     if !s.poll_output(MAX).is_empty()    { n = write(…); s.consume_output(n); }   // where writable
//!     if s.wants_input() && readable       { n = read(…); if n == 0 { s.handle_eof()? } else { s.handle_input(&buf[..n])? } }
//!     if s.is_done()                       { break }
//! }
//! ```
//! - **Always read when the session wants input, even while the output is blocked**: that is what
//!   keeps the two ends from waiting for each other. The session holds its memory by not wanting
//!   input and by not asking for work when its output queue is full.
//! - At most one request is out at a time; each is at most 256 KiB of work. After output was
//!   consumed there may be a request where there was none.
//! - After an `Err` the session is over, but `poll_output` may still hold the farewell that tells
//!   the peer why: try to write it before closing.
//! - One file's trouble (vanished, forbidden, disk full) is an event and a count, never an `Err`. A
//!   file whose BLAKE3 hash is wrong in the end is never renamed: it is sent once more with BLAKE3 for
//!   its blocks, too, and then whole.
//! - After a connection was cut, [`Session::poll_remains`] is what is left to do with what had arrived. The
//!   file that was being rebuilt then stays as a part ([`FsOp::FindPart`]), and the next session goes on behind it.
//! - `is_done` says that nothing is left to read or write; close then.

pub mod delta;
mod error;
pub mod explain;
mod filter;
pub mod fs;
pub mod index;
mod last;
mod limits;
#[cfg(test)]
mod noise;
mod output;
mod pack;
mod patch;
mod receiver;
pub mod rolling;
mod sender;
mod session;
pub mod signature;
pub mod wire;
mod wish;

pub use error::{PeerFault, SyncError};
pub use fs::{Entry, FsError, FsErrorKind, FsOp, FsReply, FsRequest, Gone, Kind, Meta, Mtime, Pick};
pub use limits::Limits;
pub use session::{Config, Mode, Session, SessionEvent, Stats, safe_path, safe_target};
pub use wish::{Change, Compress, Flags};

/// Version of the wire format; both ends must have the same.
pub const PROTOCOL: u16 = 4;
