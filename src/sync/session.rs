//! One end of a sync: bytes, replies and requests in and out.

use super::error::SyncError;
use super::fs::{FsReply, FsRequest};
use crate::model::Phase;

/// Which way the files go, as the client says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the server to the client.
    Pull,
    /// From the client to the server.
    Push,
}

/// What the user may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Block size (`-B`), 64 B to 128 KiB; none: from each file's size. The receiver's choice counts.
    pub block_size: Option<u32>,
    /// Random seed of the strong block hash. The receiver's counts; the peer learns it.
    pub seed: u64,
    /// Send files whole, without a search for matches.
    pub whole_file: bool,
}

impl Config {
    /// Defaults with this random seed.
    pub fn new(seed: u64) -> Config {
        Config { block_size: None, seed, whole_file: false }
    }
}

/// What happened, for progress and results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The list is complete.
    Listed {
        /// Regular files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Data of this file begins to flow.
    Started {
        /// Index into [`Session::file_names`].
        file: u32,
    },
    /// This file is in place.
    Done {
        /// Index into [`Session::file_names`].
        file: u32,
    },
    /// This file did not verify and is sent again, whole.
    Redo {
        /// Index into [`Session::file_names`].
        file: u32,
    },
    /// This one failed; the others go on.
    Failed {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// All is done; some files may have failed.
    Finished(Stats),
}

/// Counts of a session; both ends have the same ones in the end, but for the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Regular files looked at.
    pub files: u64,
    /// Files and symlinks changed or made.
    pub changed: u64,
    /// Entries that failed or were skipped with a reason.
    pub failed: u64,
    /// Files sent again because they did not verify.
    pub redone: u64,
    /// Bytes of the source's regular files.
    pub bytes: u64,
    /// Bytes taken from a basis.
    pub matched: u64,
    /// Bytes sent as literals.
    pub literal: u64,
    /// Bytes handed to the peer.
    pub wire_out: u64,
    /// Bytes taken from the peer.
    pub wire_in: u64,
}

/// One end of a sync. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    names: Vec<String>,
    stats: Stats,
}

impl Session {
    /// The end that connects: pulls from or pushes to `remote_path`, which is relative to what the
    /// server exports; empty: all of it.
    pub fn client(_mode: Mode, _remote_path: &str, _config: Config) -> Session {
        Session { names: Vec::new(), stats: Stats::default() }
    }

    /// The end that listens.
    pub fn server(_config: Config) -> Session {
        Session { names: Vec::new(), stats: Stats::default() }
    }

    /// Takes what was read from the peer.
    pub fn handle_input(&mut self, _bytes: &[u8]) -> Result<(), SyncError> {
        Ok(())
    }

    /// The peer closed its end.
    pub fn handle_eof(&mut self) -> Result<(), SyncError> {
        Ok(())
    }

    /// False while there is more to do than should be held in memory.
    pub fn wants_input(&self) -> bool {
        true
    }

    /// The next piece of work for the file system; none while one is out.
    pub fn poll_request(&mut self) -> Option<FsRequest> {
        None
    }

    /// Takes the answer to the request with this id.
    pub fn handle_reply(&mut self, _id: u64, _reply: FsReply) -> Result<(), SyncError> {
        Ok(())
    }

    /// At most `max` bytes for the peer; empty: nothing to write now.
    pub fn poll_output(&mut self, _max: usize) -> &[u8] {
        &[]
    }

    /// The first `n` bytes of [`Session::poll_output`] are written.
    pub fn consume_output(&mut self, _n: usize) {}

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        None
    }

    /// What the last bytes moved, either way, were about: phase, file index, block.
    pub fn phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        (Phase::Handshake, None, None)
    }

    /// What the next bytes to be read are about, or are waited for.
    pub fn input_phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        self.phase()
    }

    /// What the next bytes to be written are about.
    pub fn output_phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        self.phase()
    }

    /// True when nothing is left to read, write or do.
    pub fn is_done(&self) -> bool {
        false
    }

    /// Paths of the list so far; indices of events and phases point into it.
    pub fn file_names(&self) -> &[String] {
        &self.names
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
