//! What two taps know together about lost bytes: sent at the one, never at the other.

use super::align::{Flow, World};
use super::stream::Stream;
use crate::model::tcp::{Loss, LossWhere};
use crate::model::{Dir, FrameNo, StreamRange};
use crate::tcp::PacketMark;
use std::collections::HashMap;

/// All losses, each told once, with the place that both taps agree on.
pub fn losses(w: &World) -> Vec<Loss> {
    let mut out = Vec::new();
    for f in &w.flows {
        for dir in Dir::BOTH {
            of_direction(f, dir, &mut out);
        }
    }
    out
}

fn of_direction(f: &Flow, dir: Dir, out: &mut Vec<Loss>) {
    let (Some(from), Some(to)) = (f.sender_tap(dir), f.receiver_tap(dir)) else {
        out.extend(f.taps.iter().flat_map(|t| &t.conn.losses).filter(|l| l.dir == dir));
        return;
    };
    let sent = Stream::new(from, dir);
    let seen = Stream::new(to, dir);
    let marks = &from.conn.packets[dir];
    // without time stamps, copies of one segment are the same packet: count them
    let (left, arrived) = (counts(marks), counts(&to.conn.packets[dir]));
    let key_of = |frame: FrameNo| {
        marks.binary_search_by_key(&frame, |p| p.frame).ok().and_then(|i| marks.get(i)).map(|p| p.key)
    };
    let missed = Ranges::new(to.conn.losses.iter().filter(|l| l.dir == dir));
    let mut told: Vec<Loss> = Vec::new();
    for l in from.conn.losses.iter().filter(|l| l.dir == dir) {
        let mut l = *l;
        let reached = match l.sent_frame.and_then(key_of).filter(|_| !arrived.is_empty()) {
            Some(key) => arrived.get(&key).unwrap_or(&0) >= left.get(&key).unwrap_or(&1),
            None => seen.copies_of(l.range.start).len() >= sent.copies_of(l.range.start).len(),
        };
        // It came by at the receiver, whose own tap misses nothing: only its ACK was lost.
        if reached && !missed.any(l.range) {
            continue;
        }
        if matches!(l.location, LossWhere::Downstream | LossWhere::Network) {
            l.location = if reached { LossWhere::ReceivingHost } else { LossWhere::Network };
        }
        told.push(l);
    }
    let known = Ranges::new(told.iter());
    for l in to.conn.losses.iter().filter(|l| l.dir == dir && !known.any(l.range)) {
        let mut l = *l;
        let copies = sent.copies_of(l.range.start);
        if l.location == LossWhere::Upstream
            && let Some(first) = copies.first()
        {
            l.location = LossWhere::Network;
            l.sent = l.sent.or(Some(first.ts));
        }
        told.push(l);
    }
    told.sort_by_key(|l| (l.sent.or(l.repaired), l.range));
    out.extend(told);
    for t in f.taps.iter().filter(|t| t.input != from.input && t.input != to.input) {
        out.extend(t.conn.losses.iter().filter(|l| l.dir == dir));
    }
}

fn counts(marks: &[PacketMark]) -> HashMap<u64, u32> {
    let mut out = HashMap::with_capacity(marks.len());
    for m in marks {
        *out.entry(m.key).or_default() += 1;
    }
    out
}

/// Byte ranges of losses, for “is any of them here?”.
struct Ranges {
    sorted: Vec<StreamRange>,
    longest: i64,
}

impl Ranges {
    fn new<'a>(losses: impl Iterator<Item = &'a Loss>) -> Ranges {
        let mut sorted: Vec<StreamRange> = losses.map(|l| l.range).collect();
        sorted.sort_unstable();
        let longest = sorted.iter().map(|r| i64::try_from(r.len()).unwrap_or(i64::MAX)).max().unwrap_or(0);
        Ranges { sorted, longest }
    }

    fn any(&self, r: StreamRange) -> bool {
        let upto = self.sorted.partition_point(|s| s.start < r.end);
        let near = self.sorted[..upto].iter().rev().take_while(|s| s.start.plus(self.longest) > r.start);
        near.into_iter().any(|s| s.overlaps(r))
    }
}
