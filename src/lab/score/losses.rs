//! Bytes that the link dropped, beside those that the report calls lost.

use super::Score;
use super::tally::Found;
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

/// Bytes that a capture does not have because it missed every packet with them.
struct Gaps {
    /// The network had nothing to do with it.
    capture: RangeSet,
    /// It had: nobody can tell whose loss it was.
    either: RangeSet,
}

fn gaps(wire: &Wire, dir: Dir, from: From) -> Gaps {
    let packets = &wire.packets[dir];
    let taps: &[bool] = match from {
        From::Sender => &[true],
        From::Receiver => &[false],
        From::Both => &[true, false],
    };
    let mut dropped = RangeSet::default();
    for p in packets.iter().filter(|p| p.lost()) {
        dropped.insert(payload(p));
    }
    let mut out = Gaps { capture: RangeSet::default(), either: RangeSet::default() };
    // Its resend came first: that the original came as well nothing but that report says, or itself at the receiver's.
    if let [sender] = *taps {
        let came = |r: StreamRange| {
            let mut here = packets.iter().filter(|p| p.copy == 1 && p.range.overlaps(r));
            !sender && here.any(|p| p.captured(false).is_some())
        };
        let reports = wire.packets[dir.flip()].iter().filter(|p| p.missed(!sender));
        for r in reports.filter_map(Packet::dsack).filter(|r| !came(*r)) {
            out.either.insert(r);
        }
    }
    for &at_sender in taps {
        let mut seen = RangeSet::default();
        // What came before the capture began is nothing that it lost. A resend tells nothing of that, save of a SYN.
        let begins = |p: &&Packet| (p.copy == 1 || p.syn) && p.captured(at_sender).is_some();
        let begin = packets.iter().find(begins);
        if let Some(p) = begin {
            seen.insert(StreamRange::new(RelSeq(0), p.range.start));
        }
        for p in packets.iter().filter(|p| p.captured(at_sender).is_some()) {
            seen.insert(payload(p));
        }
        for p in packets.iter().filter(|p| p.missed(at_sender)) {
            for r in dropped.within(payload(p)) {
                out.either.insert(r);
            }
            for unseen in seen.gaps(payload(p)) {
                for r in dropped.gaps(unseen) {
                    out.capture.insert(r);
                }
            }
        }
    }
    out
}

/// What the report says.
pub struct Said<'a> {
    /// Of the bytes of one way.
    pub losses: &'a [&'a Loss],
    /// Of the segments at one tap.
    pub records: &'a [&'a SegmentRecord],
    /// What to add to its sequence numbers.
    pub shift: i64,
}

/// Counts one way. `at`: from where, for messages. Bytes of segments that the report leaves undecided are not
/// asked for: behind the loss, that word says all that can be known of it.
pub fn score(s: &mut Score, at: &str, wire: &Wire, dir: Dir, from: From, report: &Said<'_>) {
    let here = |r: StreamRange| StreamRange::new(r.start.plus(report.shift), r.end.plus(report.shift));
    let packets = &wire.packets[dir];
    let data = packets.iter().filter(|p| p.len > 0).map(|p| payload(p).end).max();
    let data = data.unwrap_or(RelSeq(0));
    let gaps = gaps(wire, dir, from);
    let known = StreamRange::new(RelSeq(1), horizon(wire, dir, from).min(data));
    let known = gaps.either.gaps(known);
    let mut truth = dropped(packets);
    if from == From::Receiver {
        let claimed = |r: StreamRange| report.losses.iter().any(|l| l.range.overlaps(r));
        let open = report.records.iter().filter(|r| r.class == SegmentClass::Undecided).map(|r| r.range());
        open.filter(|r| !claimed(*r)).for_each(|r| truth.remove(here(r)));
    }
    let mut said = RangeSet::default();
    let mut missed = RangeSet::default();
    for l in report.losses {
        for r in known.iter().filter_map(|k| k.intersect(here(l.range))) {
            if l.location == from.place() {
                said.insert(r);
            } else if let Some(r) = truth.within(r).first() {
                s.misplaced += 1;
                s.note(format!("{at} {dir}: the network dropped {r}, the report says: {}", l.location));
            } else if l.location == LossWhere::Capture {
                missed.insert(r);
            }
        }
    }
    let all = |set: &RangeSet| known.iter().flat_map(|k| set.within(*k)).collect::<Vec<_>>();
    s.losses.merge(found(&truth, &all(&truth), &all(&said)));
    s.gaps.merge(found(&gaps.capture, &all(&gaps.capture), &all(&missed)));
    let mut compare = |who: &str, did: &str, truth: &RangeSet, said: &RangeSet| {
        for r in all(truth).into_iter().flat_map(|r| said.gaps(r)) {
            s.note(format!("{at} {dir}: {who} {did} {r}, the report does not say so"));
        }
        for r in all(said).into_iter().flat_map(|r| truth.gaps(r)) {
            s.note(format!("{at} {dir}: the report says that {who} {did} {r}, and it did not"));
        }
    };
    compare("the link", "dropped", &truth, &said);
    compare("the capture", "missed", &gaps.capture, &missed);
}

fn found(truth: &RangeSet, wanted: &[StreamRange], claimed: &[StreamRange]) -> Found {
    let bytes = |ranges: &[StreamRange]| ranges.iter().map(|r| r.len()).sum::<u64>();
    let right = claimed.iter().map(|r| bytes(&truth.within(*r))).sum();
    Found { truth: bytes(wanted), said: bytes(claimed), right }
}
