//! Bytes that the link dropped, beside those that the report calls lost.

use super::Score;
use super::wire::{Packet, Wire};
use crate::model::tcp::{Loss, LossWhere, SegmentClass, SegmentRecord};
use crate::model::{Dir, RelSeq, StreamRange};
use crate::tcp::ranges::RangeSet;

/// From where the losses are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The sender's tap alone.
    Sender,
    /// The receiver's tap alone.
    Receiver,
    /// Both.
    Both,
}

impl From {
    /// Where such a loss must be said to have happened.
    fn place(self) -> LossWhere {
        match self {
            From::Sender => LossWhere::Downstream,
            From::Receiver => LossWhere::Upstream,
            From::Both => LossWhere::Network,
        }
    }
}

/// Payload whose first copy did not arrive.
fn dropped(packets: &[Packet]) -> RangeSet {
    let mut out = RangeSet::default();
    for p in packets.iter().filter(|p| p.copy == 1 && p.lost()) {
        out.insert(payload(p));
    }
    out
}

fn payload(p: &Packet) -> StreamRange {
    let start = p.range.start.plus(i64::from(p.syn));
    StreamRange::new(start, start.plus(i64::from(p.len)))
}

/// How far one tap can know: what was acknowledged at the sender's, what arrived (beyond it nothing shows
/// a gap) at the receiver's.
fn horizon(wire: &Wire, dir: Dir, from: From) -> RelSeq {
    let answers = wire.packets[dir.flip()].iter().filter(|p| !p.lost() && !p.rst);
    let acked = answers.filter_map(|p| p.ack).max();
    let arrived = wire.packets[dir].iter().filter(|p| !p.lost()).map(|p| p.range.end).max();
    match from {
        From::Sender => acked.unwrap_or(RelSeq(0)),
        From::Receiver if !wire.was_reset() => arrived.unwrap_or(RelSeq(0)),
        From::Receiver => acked.unwrap_or(RelSeq(0)),
        // What a reset cut off was not lost.
        From::Both if wire.was_reset() => acked.unwrap_or(RelSeq(0)),
        From::Both => RelSeq(i64::MAX),
    }
}

/// Counts one way. `at`: from where, for messages. `records`: what the report says of the segments at this tap. Bytes of those that it leaves
/// undecided are not asked for: behind the loss, that word says all that can be known of it.
pub fn score(
    s: &mut Score,
    at: &str,
    wire: &Wire,
    dir: Dir,
    from: From,
    losses: &[&Loss],
    records: &[&SegmentRecord],
) {
    let data = wire.packets[dir].iter().filter(|p| p.len > 0).map(|p| payload(p).end).max();
    let data = data.unwrap_or(RelSeq(0));
    let known = StreamRange::new(RelSeq(1), horizon(wire, dir, from).min(data));
    let mut truth = dropped(&wire.packets[dir]);
    if from == From::Receiver {
        let claimed = |r: StreamRange| losses.iter().any(|l| l.range.overlaps(r));
        let open = records.iter().filter(|r| r.class == SegmentClass::Undecided).map(|r| r.range());
        open.filter(|r| !claimed(*r)).for_each(|r| truth.remove(r));
    }
    let mut said = RangeSet::default();
    for l in losses {
        if l.location == from.place() {
            if let Some(r) = l.range.intersect(known) {
                said.insert(r);
            }
        } else if let Some(r) = truth.within(l.range).first() {
            s.misplaced += 1;
            s.note(format!("{at} {dir}: the network dropped {r}, the report says: {}", l.location));
        }
    }
    let bytes = |ranges: &[StreamRange]| ranges.iter().map(|r| r.len()).sum::<u64>();
    let claimed = said.within(known);
    let right: u64 = claimed.iter().map(|r| bytes(&truth.within(*r))).sum();
    s.losses.truth += bytes(&truth.within(known));
    s.losses.said += bytes(&claimed);
    s.losses.right += right;
    for r in truth.within(known) {
        for missed in said.gaps(r) {
            s.note(format!("{at} {dir}: the link dropped {missed}, the report does not say so"));
        }
    }
    for r in claimed {
        for invented in truth.gaps(r) {
            s.note(format!("{at} {dir}: the link did not drop {invented}, the report says so"));
        }
    }
}
