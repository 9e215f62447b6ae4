//! The receiver's word on one direction: what it acknowledged and allowed, when it moved, and the
//! holes that its SACKs leave.

use super::AckPoint;
use super::classify::Half;
use super::ranges::RangeSet;
use super::score::Score;
use crate::flow::{Trace, Twin};
use crate::model::tcp::{Filler, Hole, SegmentClass};
use crate::model::{Dir, RelSeq, StreamRange};

/// One direction's acknowledgments.
#[derive(Debug, Default)]
pub struct Word {
    /// Whenever ACK or window changed.
    pub points: Vec<AckPoint>,
    /// Gaps that SACKs left and the data itself did not show.
    pub holes: Vec<Hole>,
    /// The scoreboard at the end.
    pub score: Score,
    /// Duplicate ACKs.
    pub dup_acks: u64,
    /// Times that the window closed.
    pub zero_windows: u64,
    /// Bytes acknowledged that the capture never showed, each interval once.
    pub unseen: Vec<StreamRange>,
}

struct Open {
    hole: Hole,
    left: Vec<StreamRange>,
}

/// Reads the packets of `dir`'s receiver.
pub fn listen(trace: &Trace, half: &Half, dir: Dir) -> Word {
    let mut w = Word::default();
    let mut open: Vec<Open> = Vec::new();
    let mut closed = false;
    let mut nxt = RelSeq(0);
    for p in &trace.packets {
        if matches!(p.twin, Twin::Capture(_)) {
            continue;
        }
        if p.dir == dir {
            nxt = nxt.max(p.range().end);
            continue;
        }
        let Some(ack) = p.ack else { continue };
        let news = w.score.take(p, nxt);
        w.dup_acks += u64::from(news.duplicate);
        if !p.flags.syn() && !p.flags.rst() {
            w.zero_windows += u64::from(p.raw_window == 0 && !closed);
            closed = p.raw_window == 0;
        }
        let una = w.score.una.unwrap_or(ack);
        if !p.flags.rst() && w.points.last().is_none_or(|l| l.ack != una || l.window != p.window) {
            w.points.push(AckPoint { ts: p.ts, frame: p.frame, ack: una, window: p.window });
        }
        if !news.is_progress() || (open.is_empty() && w.score.sacked.is_empty()) {
            continue;
        }
        let top = w.score.highest().unwrap_or(una);
        let gaps = w.score.sacked.gaps(StreamRange::new(una, top));
        open.retain_mut(|o| {
            o.left = gaps.iter().filter_map(|g| g.intersect(o.hole.range)).collect();
            o.hole.queued_behind = o.hole.queued_behind.max(w.score.sacked_above(o.hole.range.end));
            if !o.left.is_empty() {
                return true;
            }
            let filler = half
                .records
                .iter()
                .rev()
                .skip_while(|r| r.ts > p.ts)
                .find(|r| r.range().overlaps(o.hole.range) && r.ts >= o.hole.birth);
            o.hole.death = Some(p.ts);
            o.hole.filler_frame = filler.map(|r| r.frame);
            o.hole.filler = Some(match filler.map(|r| r.class) {
                Some(SegmentClass::Retransmission) => Filler::Retransmission,
                Some(_) => Filler::Undecided,
                // Nothing was sent again: the original came late.
                None => Filler::Reordered,
            });
            w.holes.push(o.hole);
            false
        });
        for g in gaps {
            let mut fresh = RangeSet::default();
            fresh.insert(g);
            for o in &open {
                fresh.remove(o.hole.range);
            }
            for range in fresh.within(g) {
                open.push(Open {
                    hole: Hole {
                        input: 0,
                        flow: trace.flow,
                        dir,
                        range,
                        birth: p.ts,
                        birth_frame: p.frame,
                        death: None,
                        filler_frame: None,
                        filler: None,
                        queued_behind: w.score.sacked_above(range.end),
                        waited: None,
                    },
                    left: vec![range],
                });
            }
        }
    }
    w.holes.extend(open.into_iter().map(|o| o.hole));
    w.holes.retain(|h| !half.holes.iter().any(|d| d.range.overlaps(h.range)));
    w.holes.sort_by_key(|h| (h.birth, h.range.start));

    let first = half.coverage.iter().next().map(|(r, _)| r.start);
    if let (Some(first), Some(una)) = (first, w.score.una) {
        w.unseen = half.coverage.gaps(StreamRange::new(first, una));
        // A FIN or SYN number alone is not worth a loss, a probe's byte neither.
        w.unseen.retain(|r| r.len() > 1);
    }
    w
}
