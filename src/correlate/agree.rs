//! One packet, two taps: what the sender's tap knows of it settles what the receiver's could not tell.
//!
//! Behind a loss the receiver's tap sees a repair and may take it for the original; the sender's tap saw both
//! copies leave. Why something was sent again shows only where the ACKs arrive that called for it.

use super::align::{Flow, World};
use super::crossing::odd;
use crate::model::tcp::{Cause, SegmentClass, SegmentRecord, Spurious};
use crate::model::{Dir, FrameNo, Ns, Ts};
use crate::tcp::Connection;
use std::collections::{HashMap, HashSet};

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
    // What left there, and whether an earlier packet here was that one, too.
    let mut known: HashMap<FrameNo, (SegmentRecord, bool)> = HashMap::new();
    for (key, came) in by_key(&to.conn, dir) {
        let Some(copies) = here.get(&key) else { continue };
        let pairs = one_to_one(copies, &came, transit).unwrap_or_else(|| in_time(copies, &came, transit));
        let mut met = HashSet::new();
        let pairs = pairs.into_iter().map(|(at, sent)| (at, sent, !met.insert(sent)));
        known.extend(pairs.filter_map(|(at, sent, again)| Some((at, (**records.get(&sent)?, again)))));
    }
    let input = to.input;
    let Some(to) = f.taps.iter_mut().find(|t| t.input == input) else { return };
    for r in to.conn.segments.iter_mut().filter(|r| r.dir == dir) {
        match known.get(&r.frame) {
            Some((_, true)) if r.class == SegmentClass::Undecided => r.class = SegmentClass::NetworkDuplicate,
            Some((sent, _)) => take_over(r, sent),
            None => {}
        }
    }
}

type Seen = (Ts, FrameNo);

/// Copies may be equal to the bit. As many came as left: those that took the usual time are the same packets, and the
/// others kept their order. None where that is impossible. Frames of the receiver's tap, and of the sender's.
fn one_to_one(copies: &[Seen], came: &[Seen], transit: Ns) -> Option<Vec<(FrameNo, FrameNo)>> {
    if copies.len() != came.len() {
        return None;
    }
    let odd = odd(transit);
    let mut left: Vec<Seen> = copies.to_vec();
    let (mut pairs, mut late) = (Vec::new(), Vec::new());
    for a in came {
        let usual = |c: &Seen| (a.0.since(c.0) - transit).0.saturating_abs() < odd.0;
        match left.iter().position(usual) {
            Some(i) => pairs.push((a.1, left.remove(i).1)),
            None => late.push(*a),
        }
    }
    let possible = late.iter().zip(&left).all(|(a, c)| c.0 + transit <= a.0 + SLACK);
    pairs.extend(late.iter().zip(&left).map(|(a, c)| (a.1, c.1)));
    possible.then_some(pairs)
}

/// The last copy that can have been here in time.
fn in_time(copies: &[Seen], came: &[Seen], transit: Ns) -> Vec<(FrameNo, FrameNo)> {
    let last = |a: &Seen| copies.partition_point(|c| c.0 + transit <= a.0 + SLACK).checked_sub(1);
    came.iter().filter_map(|a| Some((a.1, copies[last(a)?].1))).collect()
}

/// When and in which frames each packet is in a capture, in order of time.
fn by_key(c: &Connection, dir: Dir) -> HashMap<u64, Vec<Seen>> {
    let mut out: HashMap<u64, Vec<Seen>> = HashMap::new();
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
