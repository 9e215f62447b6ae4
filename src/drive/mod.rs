//! The only code that moves bytes of a sync: sockets, files, the peer's control channel, one test run.
//!
//! ```text
//!  client                                                          server
//!  run_sync ─── control connection: options, clock, heartbeats ─── Server
//!     │                                 log and capture at the end    │
//!   pump ────── data connection: the sync, nothing else ─────────── pump
//!     ├ sync::Session (sans-IO) · files::Disk                         ├ …
//!     └ recorder: each read, write, stretch of work; TCP_INFO         └ …
//! ```
//!
//! Threads and polled sockets, no async runtime: the time at which a read returned is then the time at
//! which the kernel woke this thread, and nothing else.

mod ahead;
pub mod alive;
mod behind;
pub mod clock;
mod confine;
pub mod connect;
pub mod control;
mod digest;
pub mod engine;
pub mod error;
pub mod files;
pub mod gate;
mod job;
pub mod journal;
mod listing;
pub mod options;
pub mod pace;
mod part;
mod promise;
mod prune;
pub mod pump;
pub mod random;
pub mod record;
pub mod recorder;
pub mod rules;
pub mod run;
pub mod sandbox;
pub mod scratch;
pub mod seal;
pub mod sealed;
pub mod secret;
pub mod serve;
pub mod share;
mod squeeze;
pub mod talk;
pub mod tap;
pub mod tcp_info;
mod temp;
pub mod tree;
pub mod wire;

pub use engine::Item;
pub use error::DriveError;
pub use options::{Busy, Mode, SyncOptions};
pub use record::{CaptureState, RunEnd, RunRecord};
pub use recorder::LiveRun;
pub use run::{Observer, Progress, run_sync};
pub use secret::Secret;
pub use serve::{ServeOptions, Server};
pub use share::Share;
