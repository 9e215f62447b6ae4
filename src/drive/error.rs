//! What can keep a run from leaving a record, grouped by who can mend it.
//! What goes wrong in the middle of a run is no error but a [`super::RunEnd`]: the record is the point.

use std::io::{self, ErrorKind};
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
    #[error("cannot reach {server}: {message}\n  {remedy}")]
    Connect {
        /// Where.
        server: SocketAddr,
        /// The system's words, and what they mean.
        message: String,
        /// What to do about it.
        remedy: String,
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
    /// Nobody could be reached there.
    pub fn unreachable(server: SocketAddr, e: &io::Error) -> DriveError {
        let (ip, port) = (server.ip(), server.port());
        let (means, remedy) = match e.kind() {
            ErrorKind::ConnectionRefused => (
                "the host is there, and nobody listens on that port",
                format!("start the peer there with: syncscope serve --listen {server} FOLDER"),
            ),
            ErrorKind::HostUnreachable => (
                "the host is off or not in its network, or a firewall there or on the way turns TCP away",
                format!(
                    "see whether it answers (ping {ip}), and let the port in on that host: nft insert rule inet filter \
                     input tcp dport {port} accept"
                ),
            ),
            ErrorKind::NetworkUnreachable => {
                ("this host knows no way there", format!("see which it would take: ip route get {ip}"))
            }
            ErrorKind::TimedOut => (
                "a firewall drops it in silence, or the host is off",
                format!(
                    "see on that host whether the SYN arrives: tcpdump -ni any 'tcp port {port}'; let the port in there"
                ),
            ),
            ErrorKind::PermissionDenied => {
                ("a firewall of this host forbids it", "see its rules: nft list ruleset".to_owned())
            }
            _ => (
                "the connection could not be opened",
                format!("start the peer there with: syncscope serve --listen {server} FOLDER"),
            ),
        };
        DriveError::Connect { server, message: format!("{e}: {means}"), remedy }
    }

    /// A fault of this host.
    pub fn local(what: impl Into<String>, e: impl std::fmt::Display) -> DriveError {
        DriveError::Local { what: what.into(), message: e.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_not_to_reach_a_host_has_its_cause_and_its_remedy() {
        let server: SocketAddr = "192.0.2.7:8730".parse().unwrap();
        for (errno, cause, remedy) in [
            (libc::ECONNREFUSED, "nobody listens", "syncscope serve --listen 192.0.2.7:8730"),
            (libc::EHOSTUNREACH, "a firewall", "ping 192.0.2.7"),
            (libc::ENETUNREACH, "no way there", "ip route get 192.0.2.7"),
            (libc::ETIMEDOUT, "drops it in silence", "tcpdump -ni any 'tcp port 8730'"),
            (libc::EACCES, "a firewall of this host", "nft list ruleset"),
        ] {
            let said = DriveError::unreachable(server, &io::Error::from_raw_os_error(errno)).to_string();
            assert!(said.contains(cause) && said.contains(remedy), "{said}");
        }
    }
}
