//! Where the capture was taken, judged from round trips, TTLs, checksums and packet sizes.

use super::trace::Trace;
use crate::model::tcp::{Tap, TapPosition};
use crate::model::{Dir, Ns, PerDir};

/// Initial TTLs of the systems in use; a packet that still has one has crossed no router.
const INITIAL_TTLS: [u8; 4] = [32, 64, 128, 255];
/// A host answers its own tap within this; a wire and a peer's stack take longer.
pub const OWN_HOST: Ns = Ns::from_micros(300);

/// Lowest round trips: between the tap and the server (`c2s` data), and the tap and the client.
pub fn locate(trace: &Trace, rtt_min: PerDir<Option<Ns>>) -> Tap {
    let (to_server, to_client) = (rtt_min.c2s, rtt_min.s2c);
    let mut tap = Tap { rtt_client: to_client, rtt_server: to_server, ..Tap::default() };

    let fresh = |d: Dir| {
        let mut ttls = trace.packets.iter().filter(|p| p.dir == d).map(|p| p.ttl).peekable();
        ttls.peek().is_some() && ttls.all(|t| INITIAL_TTLS.contains(&t))
    };
    let mut sums: PerDir<(i32, i32)> = PerDir::default();
    // Where none is wrong, they tell nothing.
    let doubted = if trace.wrong_sums { &trace.packets[..] } else { &[] };
    for p in doubted {
        let (n, bad) = &mut sums[p.dir];
        *n += i32::from(p.checksum_ok.is_some());
        *bad += i32::from(p.checksum_ok == Some(false));
    }
    let bad_sums = |d: Dir| (sums[d].0 >= 3).then_some(sums[d].1 * 2 > sums[d].0);
    // Both directions must have packets that can be checked: a snap length hides the sums of data.
    match (bad_sums(Dir::C2s), bad_sums(Dir::S2c)) {
        (Some(true), Some(false)) => {
            tap.position = TapPosition::ClientHost;
            tap.confidence = 0.95;
            tap.because = "the client's checksums are not yet filled in (offload)".to_owned();
            return tap;
        }
        (Some(false), Some(true)) => {
            tap.position = TapPosition::ServerHost;
            tap.confidence = 0.95;
            tap.because = "the server's checksums are not yet filled in (offload)".to_owned();
            return tap;
        }
        _ => {}
    }
    let (Some(s), Some(c)) = (to_server, to_client) else {
        tap.because = "no round trip was seen on both sides of the tap".to_owned();
        return tap;
    };
    let total = (s + c).max(Ns(1));
    let share = c.0 as f64 / total.0 as f64;
    let split = format!("round trips {c} to the client, {s} to the server");
    let (position, confidence, why) = match share {
        x if x < 0.1 && c < OWN_HOST && fresh(Dir::C2s) => (TapPosition::ClientHost, 0.9, "fresh TTL, "),
        x if x > 0.9 && s < OWN_HOST && fresh(Dir::S2c) => (TapPosition::ServerHost, 0.9, "fresh TTL, "),
        x if x < 0.1 => (TapPosition::NearClient, 0.8, ""),
        x if x > 0.9 => (TapPosition::NearServer, 0.8, ""),
        _ if total < OWN_HOST => (TapPosition::Unknown, 0.0, "too fast to tell: "),
        _ => (TapPosition::Middle, 0.6, ""),
    };
    tap.position = position;
    tap.confidence = confidence;
    tap.because = format!("{why}{split}");
    tap
}
