//! What a run is asked to do.

use super::secret::Secret;
use crate::model::{Ns, Side};
use crate::sync::Flags;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Which way the files go, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From the server to the client.
    Pull,
    /// From the client to the server.
    Push,
}

impl From<Mode> for crate::sync::Mode {
    fn from(m: Mode) -> crate::sync::Mode {
        match m {
            Mode::Pull => crate::sync::Mode::Pull,
            Mode::Push => crate::sync::Mode::Push,
        }
    }
}

/// A pause injected by a test: from `at` on, this side does not touch its socket for `lasts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// Who pauses.
    pub side: Side,
    /// Since the start of the data connection on that side.
    pub at: Ns,
    /// For how long.
    pub lasts: Ns,
}

/// One run, as the client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// Where the peer listens.
    pub server: SocketAddr,
    /// What this end and the server know; none: neither shows who it is, and all is sent plainly.
    pub secret: Option<Secret>,
    /// Whose secret it is, where the server knows users; else empty.
    pub user: String,
    /// With a secret, send the data plainly none the less: faster, and open to whoever is on the path.
    pub plain_data: bool,
    /// Which way.
    pub mode: Mode,
    /// Path below the server's root; empty: the root itself.
    pub remote_path: String,
    /// The folder here.
    pub local: PathBuf,
    /// Folder for the run record; made if missing.
    pub record: PathBuf,
    /// Block size of the delta engine; none: chosen by file size.
    pub block: Option<u32>,
    /// What is synced, and how.
    pub flags: Flags,
    /// What is left out, in the syntax of `.gitignore`.
    pub rules: Vec<String>,
    /// Hand each change to the observer at the end.
    pub itemize: bool,
    /// Seed of the strong hash; none: random.
    pub seed: Option<u64>,
    /// Bytes per second that each side may write; none: no limit.
    pub bwlimit: Option<u64>,
    /// Pauses, for both sides.
    pub busy: Vec<Busy>,
    /// Times in which a side's pacing lets nothing through, while it goes on reading: what was written
    /// before can drain, so that a test can hit the tail of it.
    pub hold: Vec<Busy>,
    /// Give up after this long without a sign of life from the peer.
    pub timeout: Duration,
    /// Capture packets on both sides.
    pub capture: bool,
    /// Interface to capture on here; none: found by the address.
    pub device: Option<String>,
    /// Bytes kept of each packet, at least 128.
    pub snaplen: u32,
    /// Fetch the server's log and capture over the control connection afterwards. Not wanted where
    /// the caller has the server's folder at hand ([`super::serve::ServeOptions::keep`]).
    pub fetch: bool,
}

impl SyncOptions {
    /// Defaults for everything else: capture on, 160 bytes of each packet, 30 s time-out.
    pub fn new(
        server: SocketAddr,
        mode: Mode,
        remote_path: impl Into<String>,
        local: impl Into<PathBuf>,
        record: impl Into<PathBuf>,
    ) -> SyncOptions {
        SyncOptions {
            server,
            secret: None,
            user: String::new(),
            plain_data: false,
            mode,
            remote_path: remote_path.into(),
            local: local.into(),
            record: record.into(),
            block: None,
            flags: Flags::default(),
            rules: Vec::new(),
            itemize: false,
            seed: None,
            bwlimit: None,
            busy: Vec::new(),
            hold: Vec::new(),
            timeout: Duration::from_secs(30),
            capture: true,
            device: None,
            snaplen: 160,
            fetch: true,
        }
    }
}
