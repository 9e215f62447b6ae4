//! Waits that the sender's tap alone could not name: the tap at the other end saw when the bytes came and when they
//! were answered.

use super::align::Flow;
use super::stream::Stream;
use crate::model::tcp::{Owner, Stall, StallCause};
use crate::model::{Dir, Ns, Span, Ts};

/// Calls those a delay spike of which the path had half or more, and says which way.
pub fn settle(f: &mut Flow, dir: Dir) {
    let (Some(from), Some(to)) = (f.sender_tap(dir), f.receiver_tap(dir)) else { return };
    let (Some(there), Some(back)) = (f.transit[dir], f.transit[dir.flip()]) else { return };
    let open = |s: &Stall| s.dir == dir && s.cause == StallCause::Unknown && s.detail.range.is_some();
    if from.input == to.input || !from.conn.stalls.iter().any(open) {
        return;
    }
    let (here, far) = (Stream::new(from, dir), Stream::new(to, dir));
    let late = |s: &Stall| -> Option<(Ns, Ns)> {
        let byte = s.detail.range?.start;
        let wait = Span::new(s.start, s.end?);
        let within = |from: Ts, to: Ts| Span::new(from, to).intersect(wait).map_or(Ns::ZERO, Span::len);
        let (sent, came) = (here.copies_of(byte).first()?.ts, far.contiguous(byte)?.ts);
        let answered = far.acked(byte)?.ts;
        Some((within(sent + there, came), within(answered + back, wait.end)))
    };
    let found: Vec<_> = from
        .conn
        .stalls
        .iter()
        .enumerate()
        .filter(|(_, s)| open(s))
        .filter_map(|(i, s)| Some((i, late(s)?, s.end?.since(s.start))))
        .filter(|(_, (data, ack), wait)| (*data + *ack).scaled(2, 1) >= *wait)
        .collect();
    let input = from.input;
    let Some(t) = f.taps.iter_mut().find(|t| t.input == input) else { return };
    for (i, (data, ack), _) in found {
        let Some(s) = t.conn.stalls.get_mut(i) else { continue };
        (s.owner, s.cause, s.confidence) = (Owner::Network, StallCause::DelaySpike, 0.9);
        s.detail.path = Some(if data > ack { "data" } else { "ack" }.to_owned());
        s.detail.needs = None;
    }
}
