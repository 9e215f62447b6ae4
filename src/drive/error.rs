//! What can keep a run from leaving a record, grouped by who can mend it.
//! What goes wrong in the middle of a run is no error but a [`super::RunEnd`]: the record is the point.

use std::net::SocketAddr;

/// Why there is no run to report about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// This host: a folder, a file, a socket.
    #[error("{what}: {message}")]
    Local {
        /// What was being done, with its name.
        what: String,
        /// The system's words.
        message: String,
    },
    /// Nobody answers there.
    #[error(
        "cannot reach {server}: {message}\n  start the peer there with: syncscope serve --listen {server} FOLDER"
    )]
    Connect {
        /// Where.
        server: SocketAddr,
        /// The system's words.
        message: String,
    },
    /// The peer is there and says no.
    #[error("{server} refuses: {message}")]
    Refused {
        /// Who.
        server: SocketAddr,
        /// In its words.
        message: String,
    },
    /// The peer does not speak this protocol.
    #[error("{peer} is not a syncscope of this version: {message}")]
    Protocol {
        /// Who.
        peer: SocketAddr,
        /// What was wrong.
        message: String,
    },
    /// The connection broke before the run began.
    #[error("connection to {peer}: {message}")]
    Network {
        /// Who.
        peer: SocketAddr,
        /// What happened.
        message: String,
    },
    /// Told to stop before there was anything to record.
    #[error("interrupted before the run began")]
    Interrupted,
}

impl DriveError {
    /// A fault of this host.
    pub fn local(what: impl Into<String>, e: impl std::fmt::Display) -> DriveError {
        DriveError::Local { what: what.into(), message: e.to_string() }
    }
}
