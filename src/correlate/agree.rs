//! One packet, two taps: what the sender's tap knows of it settles what the receiver's could not tell.
//!
//! Behind a loss the receiver's tap sees a repair and may take it for the original; the sender's tap saw both
//! copies leave. Why something was sent again shows only where the ACKs arrive that called for it.

use super::align::{Flow, World};
use crate::model::tcp::{Cause, SegmentClass, SegmentRecord, Spurious};
use crate::model::{Dir, FrameNo, Ns, Ts};
use crate::tcp::Connection;
use std::collections::HashMap;

/// Time stamps of two taps may contradict the shortest time on the path by this much.
const SLACK: Ns = Ns::from_micros(500);

/// Corrects the receivers' taps. Before this each tap speaks for itself.
pub fn settle(w: &mut World) {
    for f in &mut w.flows {
        for dir in Dir::BOTH {
            settle_way(f, dir);
        }
    }
}

fn settle_way(f: &mut Flow, dir: Dir) {
    let (Some(from), Some(to)) = (f.sender_tap(dir), f.receiver_tap(dir)) else { return };
    if from.input == to.input {
        return;
    }
    let here = by_key(&from.conn, dir);
    let transit = f.transit[dir].unwrap_or(Ns::ZERO);
    let records: HashMap<FrameNo, &SegmentRecord> =
        from.conn.segments.iter().filter(|r| r.dir == dir).map(|r| (r.frame, r)).collect();
    let mut known: HashMap<FrameNo, SegmentRecord> = HashMap::new();
    for p in &to.conn.packets[dir] {
        // Copies may be equal to the bit: the last one that can have been here in time.
        let Some(copies) = here.get(&p.key) else { continue };
        let in_time = copies.partition_point(|c| c.0 + transit <= p.ts + SLACK);
        let sent = in_time.checked_sub(1).and_then(|i| records.get(&copies[i].1));
        known.extend(sent.map(|s| (p.frame, **s)));
    }
    let input = to.input;
    let Some(to) = f.taps.iter_mut().find(|t| t.input == input) else { return };
    for r in to.conn.segments.iter_mut().filter(|r| r.dir == dir) {
        if let Some(sent) = known.get(&r.frame) {
            take_over(r, sent);
        }
    }
}

/// When and in which frames each packet is in a capture, in order of time.
fn by_key(c: &Connection, dir: Dir) -> HashMap<u64, Vec<(Ts, FrameNo)>> {
    let mut out: HashMap<u64, Vec<(Ts, FrameNo)>> = HashMap::new();
    for p in &c.packets[dir] {
        out.entry(p.key).or_default().push((p.ts, p.frame));
    }
    out.values_mut().for_each(|v| v.sort_unstable());
    out
}

fn take_over(r: &mut SegmentRecord, sent: &SegmentRecord) {
    use SegmentClass::{New, Reordered, Retransmission, Undecided};
    match (sent.class, r.class) {
        (Retransmission, New | Reordered | Undecided | Retransmission) => {
            r.class = Retransmission;
            if sent.cause.is_some_and(|c| c != Cause::Unknown) {
                r.cause = sent.cause;
            }
            r.cause = r.cause.or(Some(Cause::Unknown));
            r.resend = sent.resend.or(r.resend);
            r.spurious = r.spurious.or(sent.spurious.map(|s| Spurious { frame: None, ..s }));
        }
        // It had not been sent before, so it can only have been overtaken.
        (New, Retransmission) => {
            (r.class, r.cause, r.resend, r.spurious) = (Reordered, None, None, None);
        }
        (New, Undecided) => r.class = New,
        _ => {}
    }
}
