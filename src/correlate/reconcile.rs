//! What two taps know together about lost bytes: sent at the one, never at the other.

use super::align::{Flow, World};
use super::compare::Way;
use super::stream::Stream;
use crate::model::tcp::{Loss, LossWhere};
use crate::model::{ByByte, Dir, FlowId, FrameNo, StreamRange};
use crate::report::LossProof;
use std::collections::HashMap;

/// All losses, each told once, with the place that both taps agree on.
pub fn losses(w: &World, ways: &[Way]) -> Vec<Loss> {
    let mut out = Vec::new();
    let ways: HashMap<(FlowId, Dir), &Way> = ways.iter().map(|x| ((x.flow, x.dir), x)).collect();
    for f in &w.flows {
        for dir in Dir::BOTH {
            match ways.get(&(f.id, dir)) {
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
        // the receiver had the bytes: a copy was lost, and nothing missed
        .filter(|l| l.proof != LossProof::NotSeen)
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
    let missed = ByByte::new(to.conn.losses.iter().filter(|l| l.dir == dir).map(|l| l.range));
    let unseen = ByByte::new(way.missing.iter().filter(|m| m.input == from.input).map(|m| m.range));
    let frames: HashMap<FrameNo, Vec<StreamRange>> = way.losses.iter().fold(HashMap::new(), |mut all, l| {
        all.entry(l.frame.frame).or_default().push(l.range);
        all
    });
    for l in from.conn.losses.iter().filter(|l| l.dir == dir) {
        let mut l = *l;
        if matches!(l.location, LossWhere::Downstream | LossWhere::Network) {
            let between = l.sent_frame.and_then(|f| frames.get(&f)).into_iter().flatten();
            let crossed = unseen.overlapping(l.range).next().is_none();
            // It came by at the receiver, whose own tap misses nothing: only its ACK was lost.
            if between.into_iter().any(|r| r.overlaps(l.range))
                || crossed && missed.overlapping(l.range).next().is_none()
            {
                continue;
            }
            l.location = if crossed { LossWhere::ReceivingHost } else { l.location };
        }
        told.push(l);
    }
    let known = ByByte::new(told.iter().map(|l| l.range));
    let sent = Stream::new(from, dir);
    for l in to.conn.losses.iter().filter(|l| l.dir == dir && known.overlapping(l.range).next().is_none()) {
        // What the first tap has and the network did not lose, the second capture missed.
        if l.location != LossWhere::Upstream || sent.copies_of(l.range.start).is_empty() {
            told.push(*l);
        }
    }
    told.sort_by_key(|l| (l.sent.or(l.repaired), l.range));
    out.extend(told);
}
