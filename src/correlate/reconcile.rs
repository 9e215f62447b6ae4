//! What two taps know together about lost bytes: sent at the one, never at the other.

use super::align::{Flow, World};
use super::compare::Way;
use super::stream::Stream;
use crate::model::tcp::{Loss, LossWhere};
use crate::model::{Dir, StreamRange};
use crate::report::CrossingLoss;

/// All losses, each told once, with the place that both taps agree on.
pub fn losses(w: &World, ways: &[Way]) -> Vec<Loss> {
    let mut out = Vec::new();
    for f in &w.flows {
        for dir in Dir::BOTH {
            match ways.iter().find(|x| x.flow == f.id && x.dir == dir) {
                Some(way) => of_two(f, way, &mut out),
                None => out.extend(f.taps.iter().flat_map(|t| &t.conn.losses).filter(|l| l.dir == dir)),
            }
        }
    }
    out
}

/// Between two taps, what crossed tells. Before the first and behind the second each tap has its own word.
fn of_two(f: &Flow, way: &Way, out: &mut Vec<Loss>) {
    let dir = way.dir;
    let (Some(from), Some(to)) = (f.sender_tap(dir), f.receiver_tap(dir)) else { return };
    let mut told: Vec<Loss> = way
        .losses
        .iter()
        .map(|l| Loss {
            input: from.input,
            flow: f.id,
            dir,
            range: l.range,
            sent: Some(l.sent),
            sent_frame: Some(l.frame.frame),
            repaired: l.repaired,
            repair_frame: l.repair_frame,
            location: LossWhere::Network,
        })
        .collect();
    let missed = Ranges::new(to.conn.losses.iter().filter(|l| l.dir == dir));
    let crossed = |l: &Loss| !way.missing.iter().any(|m| m.input == from.input && m.range.overlaps(l.range));
    for l in from.conn.losses.iter().filter(|l| l.dir == dir) {
        let mut l = *l;
        if matches!(l.location, LossWhere::Downstream | LossWhere::Network) {
            let here = |n: &&CrossingLoss| Some(n.frame.frame) == l.sent_frame && n.range.overlaps(l.range);
            // It came by at the receiver, whose own tap misses nothing: only its ACK was lost.
            if way.losses.iter().any(|n| here(&n)) || crossed(&l) && !missed.any(l.range) {
                continue;
            }
            l.location = if crossed(&l) { LossWhere::ReceivingHost } else { l.location };
        }
        told.push(l);
    }
    let known = Ranges::new(told.iter());
    let sent = Stream::new(from, dir);
    for l in to.conn.losses.iter().filter(|l| l.dir == dir && !known.any(l.range)) {
        // What the first tap has and the network did not lose, the second capture missed.
        if l.location != LossWhere::Upstream || sent.copies_of(l.range.start).is_empty() {
            told.push(*l);
        }
    }
    told.sort_by_key(|l| (l.sent.or(l.repaired), l.range));
    out.extend(told);
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
