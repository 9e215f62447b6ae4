//! What can end a session, by who has to mend it. A single file's trouble is not here: it fails
//! alone, with its reason in [`super::SessionEvent::Failed`].

use super::fs::FsError;

/// Why a session ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// What the other end sent can't be right. Both ends' versions agree, so it is a bug or malice.
    #[error("the peer broke the sync protocol: {0}")]
    Peer(#[from] PeerFault),
    /// The other end is no syncscope at all.
    #[error("the peer is not a syncscope: it began with {found:?}; check the address and the port")]
    NotSyncscope {
        /// Its first bytes, cut.
        found: String,
    },
    /// The other end is another syncscope.
    #[error(
        "the peer speaks sync protocol {theirs}, this side {ours}; install the same syncscope version on both"
    )]
    Version {
        /// Our version.
        ours: u16,
        /// The peer's.
        theirs: u16,
    },
    /// The other end gave up and said why.
    #[error("the peer gave up: {0}")]
    PeerAborted(String),
    /// The connection ended before the sync.
    #[error("the peer closed the connection during {during}, before the sync was complete")]
    Closed {
        /// What was going on.
        during: &'static str,
    },
    /// This side's tree can't be used.
    #[error("cannot use {path:?}: {error}")]
    Root {
        /// As given.
        path: String,
        /// The system's words.
        error: FsError,
    },
    /// Whoever drives the session broke its contract: a bug of ours.
    #[error("internal error in the sync: {0}; please report it")]
    Bug(&'static str),
}

impl SyncError {
    /// The tree at this path can't be used; empty: all that is served.
    pub(super) fn root(path: &str, error: FsError) -> SyncError {
        SyncError::Root { path: if path.is_empty() { "." } else { path }.to_owned(), error }
    }
}

/// How the peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A frame type that doesn't exist.
    #[error("unknown frame type {0}")]
    UnknownFrame(u8),
    /// A frame longer than its type allows.
    #[error("a {frame} frame of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Which frame.
        frame: &'static str,
        /// Its announced length.
        len: u64,
        /// What its type allows.
        max: u64,
    },
    /// A frame that ends before its fields do, or after.
    #[error("a {0} frame whose length does not fit its content")]
    Malformed(&'static str),
    /// A field outside of its range.
    #[error("{field} is {value}, must be {range}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What it held.
        value: u64,
        /// What it may hold.
        range: &'static str,
    },
    /// A frame that this side does not expect now.
    #[error("an unexpected {frame} frame during {during}")]
    Unexpected {
        /// Which frame.
        frame: &'static str,
        /// What was going on.
        during: &'static str,
    },
    /// A name that leads out of the tree or can't exist.
    #[error("it names a file {0:?}, which is not a path below the root")]
    Path(String),
    /// More than this side is ready to hold.
    #[error("more {0} than this side accepts")]
    TooMany(&'static str),
}
