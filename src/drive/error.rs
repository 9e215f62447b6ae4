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
    /// Nobody could be reached there, by a client with a secret or without.
    pub fn unreachable(server: SocketAddr, secret: bool, e: &io::Error) -> DriveError {
        let (ip, port) = (server.ip(), server.port());
        let (means, remedy) = match e.kind() {
            ErrorKind::ConnectionRefused => {
                ("the host is there, and nobody listens on that port", start(server, secret))
            }
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
            _ => ("the connection could not be opened", start(server, secret)),
        };
        DriveError::Connect { server, message: format!("{e}: {means}"), remedy }
    }

    /// A fault of this host.
    pub fn local(what: impl Into<String>, e: impl std::fmt::Display) -> DriveError {
        DriveError::Local { what: what.into(), message: e.to_string() }
    }
}

/// How a server is started that such a client can talk to: beyond loopback none goes without a secret.
fn start(server: SocketAddr, secret: bool) -> String {
    let serve = format!("start the peer there with: syncscope serve --listen {server}");
    match (secret, server.ip().to_canonical().is_loopback()) {
        (false, true) => format!("{serve} FOLDER"),
        (true, _) => format!("{serve} --secret-file FILE FOLDER (the same secret as here)"),
        (false, false) => format!(
            "{serve} --secret-file secret FOLDER\n  make the secret with: (umask 077; syncscope generate secret > secret); \
             this side needs it, too: syncscope sync --secret-file secret"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_not_to_reach_a_host_has_its_cause_and_its_remedy() {
        let server: SocketAddr = "192.0.2.7:8730".parse().unwrap();
        for (errno, cause, remedy) in [
            (
                libc::ECONNREFUSED,
                "nobody listens",
                "syncscope serve --listen 192.0.2.7:8730 --secret-file secret FOLDER",
            ),
            (libc::EHOSTUNREACH, "a firewall", "ping 192.0.2.7"),
            (libc::ENETUNREACH, "no way there", "ip route get 192.0.2.7"),
            (libc::ETIMEDOUT, "drops it in silence", "tcpdump -ni any 'tcp port 8730'"),
            (libc::EACCES, "a firewall of this host", "nft list ruleset"),
        ] {
            let said =
                DriveError::unreachable(server, false, &io::Error::from_raw_os_error(errno)).to_string();
            assert!(said.contains(cause) && said.contains(remedy), "{said}");
        }
    }
    /// The server that was to be started would have refused to, for want of a secret.
    #[test]
    fn the_command_that_starts_a_server_is_one_that_starts() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        for (at, secret, all) in [
            ("127.0.0.1:8730", false, &["serve --listen 127.0.0.1:8730 FOLDER"][..]),
            ("[::1]:8730", false, &["serve --listen [::1]:8730 FOLDER"]),
            ("127.0.0.1:8730", true, &["--secret-file FILE FOLDER"]),
            ("10.0.0.2:8730", true, &["--secret-file FILE FOLDER"]),
            (
                "10.0.0.2:8730",
                false,
                &["--secret-file secret FOLDER", "generate secret", "syncscope sync --secret-file secret"],
            ),
        ] {
            let said = DriveError::unreachable(at.parse().unwrap(), secret, &refused).to_string();
            assert!(all.iter().all(|words| said.contains(words)), "{said}");
        }
    }
}
