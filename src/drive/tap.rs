//! Which interface a run's packets pass, what to filter for, and the capture there.

use super::record::CaptureState;
use crate::capture::live::{Expected, LiveCapture, LiveOptions};
use crate::model::{AppLog, AppOp, Side};
use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// How long the end of a capture is waited for where there is no time.
const HURRIED: Duration = Duration::from_millis(300);

/// The interface that packets between these two addresses of a connection pass on this host;
/// `local` is this host's. Both ends here: they pass over loopback, whatever the address says.
pub fn device_for(local: IpAddr, peer: IpAddr) -> Option<String> {
    let mut addresses = Vec::new();
    for entry in getifaddrs().ok()? {
        let Some(address) = entry.address else { continue };
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (None, Some(v6)) => IpAddr::V6(v6.ip()),
            (None, None) => continue,
        };
        addresses.push((ip, entry.interface_name));
    }
    pick(local, peer, &addresses)
}

fn pick(local: IpAddr, peer: IpAddr, addresses: &[(IpAddr, String)]) -> Option<String> {
    let (local, peer) = (local.to_canonical(), peer.to_canonical());
    let owner = |ip: IpAddr| addresses.iter().find(|a| a.0.to_canonical() == ip).map(|a| a.1.clone());
    let loopback = || {
        addresses
            .iter()
            .find(|a| a.0.is_loopback())
            .map_or_else(|| Some("lo".to_owned()), |a| Some(a.1.clone()))
    };
    if local.is_loopback() || peer.is_loopback() || owner(peer).is_some() {
        return loopback();
    }
    owner(local)
}

/// One connection, and the ICMP errors that may be about it.
pub fn filter(client: SocketAddr, server: SocketAddr) -> String {
    let icmp = match server.ip().to_canonical() {
        IpAddr::V4(_) => "(icmp and (icmp[0] == 3 or icmp[0] == 11))",
        IpAddr::V6(_) => "(icmp6 and (ip6[40] == 1 or ip6[40] == 2 or ip6[40] == 3))",
    };
    format!(
        "(tcp and host {} and host {} and port {} and port {}) or {icmp}",
        client.ip().to_canonical(),
        server.ip().to_canonical(),
        client.port(),
        server.port(),
    )
}

/// A capture that runs.
#[derive(Debug)]
pub struct Tap {
    capture: LiveCapture,
}

impl Tap {
    /// Starts one in the calling thread's network namespace, at the end that `side` names. In words
    /// why not, else.
    pub fn start(
        side: Side,
        device: Option<String>,
        (local, peer): (IpAddr, IpAddr),
        filter: String,
        snaplen: u32,
        path: &Path,
    ) -> Result<Tap, String> {
        let device = device.or_else(|| device_for(local, peer));
        let options = LiveOptions { device, filter, snaplen, side: Some(side), ..LiveOptions::new(path) };
        LiveCapture::start(options).map(|capture| Tap { capture }).map_err(|e| e.to_string())
    }

    /// Stops it once it holds what this end is known to have sent and received. `hurry`: somebody waits for the end,
    /// or the peer is gone; then what has not come yet is not waited for.
    pub fn stop(self, log: Option<&AppLog>, hurry: bool) -> CaptureState {
        let expected = log.map(expected).unwrap_or_default();
        let capture = if hurry { self.capture.within(HURRIED) } else { self.capture };
        match capture.stop(&expected) {
            Ok(s) => CaptureState {
                device: s.device,
                frames: s.frames,
                dropped: s.dropped,
                complete: s.complete && s.dropped == 0,
                missing: s.missing.iter().map(ToString::to_string).collect(),
                problem: None,
            },
            Err(e) => CaptureState { problem: Some(e.to_string()), ..CaptureState::default() },
        }
    }
}

/// What must have passed the tap at this end: what was read, and what the peer acknowledged. The
/// kernel's count of acknowledged bytes holds the SYN and, in the end, the FIN (RFC 4898).
fn expected(log: &AppLog) -> Vec<Expected> {
    let total = |op| log.events.iter().filter(|e| e.op == op).map(|e| u64::from(e.len)).sum::<u64>();
    let (read, written) = (total(AppOp::Read), total(AppOp::Write));
    let acked = log.samples.last().map_or(0, |s| s.bytes_acked);
    let bytes = acked.saturating_sub(1).min(written);
    let eof = log.events.iter().any(|e| e.op == AppOp::Read && e.len == 0);
    vec![
        Expected { src: log.local, dst: log.peer, bytes, acked: bytes, fin: acked >= written + 2 },
        Expected { src: log.peer, dst: log.local, bytes: read, acked: 0, fin: eof },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_found_by_address() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let have = [
            (ip("127.0.0.1"), "lo".to_owned()),
            (ip("10.1.0.1"), "eth0".to_owned()),
            (ip("fd00::1"), "eth1".to_owned()),
        ];
        assert_eq!(pick(ip("10.1.0.1"), ip("10.2.0.9"), &have), Some("eth0".to_owned()));
        assert_eq!(
            pick(ip("::ffff:10.1.0.1"), ip("::ffff:10.2.0.9"), &have),
            Some("eth0".to_owned()),
            "mapped"
        );
        assert_eq!(pick(ip("fd00::1"), ip("fd00::2"), &have), Some("eth1".to_owned()));
        assert_eq!(pick(ip("10.1.0.1"), ip("10.1.0.1"), &have), Some("lo".to_owned()), "to itself");
        assert_eq!(pick(ip("127.0.0.1"), ip("127.0.0.1"), &have), Some("lo".to_owned()));
        assert_eq!(pick(ip("192.0.2.1"), ip("10.2.0.9"), &have), None);
        assert_eq!(device_for(ip("127.0.0.1"), ip("127.0.0.1")), Some("lo".to_owned()));
    }

    #[test]
    fn the_filter_names_both_ends() {
        let f = filter("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:8730".parse().unwrap());
        assert!(f.starts_with(
            "(tcp and host 10.0.0.1 and host 10.0.0.2 and port 40000 and port 8730) or (icmp and"
        ));
        assert!(filter("[fd00::1]:1".parse().unwrap(), "[fd00::2]:2".parse().unwrap()).contains("icmp6"));
    }
}
