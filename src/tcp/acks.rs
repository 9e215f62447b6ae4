//! The receiver's word on one direction: what it acknowledged and allowed, when it moved, and the
//! holes that its SACKs leave.

use super::AckPoint;
use super::classify::Half;
use super::ranges::any_overlap;
use super::score::Score;
use crate::flow::{Packet, Trace, Twin};
use crate::model::tcp::{Filler, Hole, SegmentClass, SegmentRecord};
use crate::model::{ByByte, Dir, Ns, RelSeq, StreamRange, Ts};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// One direction's acknowledgments.
#[derive(Debug, Default)]
pub struct Word {
    /// Whenever ACK or window changed.
    pub points: Vec<AckPoint>,
    /// Gaps that SACKs left and the data itself did not show.
    pub holes: Vec<Hole>,
    /// The scoreboard at the end.
    pub score: Score,
    /// Packets that are duplicate ACKs.
    pub dup_acks: Vec<usize>,
    /// Packets that closed the window.
    pub zero_windows: Vec<usize>,
    /// Bytes acknowledged that the capture never showed, each interval once.
    pub unseen: Vec<StreamRange>,
}

/// Reads the packets of `dir`'s receiver. `rtt`: the lowest round trip from the tap to it.
pub fn listen(trace: &Trace, half: &Half, dir: Dir, rtt: Option<Ns>) -> Word {
    let told = trace.told(dir);
    let mut w = Word { points: Vec::with_capacity(told.len() / 2), ..Word::default() };
    // By first number; disjoint, since each begins where all before it ended.
    let mut open: BTreeMap<RelSeq, Hole> = BTreeMap::new();
    let fillers = OnceCell::new();
    let mut closed = false;
    let mut nxt = RelSeq(0);
    for (packets, run) in trace.pieces(told.len()) {
        if let Some(r) = run {
            // Whoever sends says nothing new to the other side.
            if r.sender != dir {
                continue;
            }
            if open.is_empty() && w.score.can_pass(r) {
                let acks = told[packets].iter().filter(|p| p.dir != dir);
                let point =
                    |p: &Packet| Some(AckPoint { ts: p.ts, frame: p.frame, ack: p.ack?, window: p.window });
                w.points.extend(acks.filter_map(point));
                w.score.pass(r, &told[r.last_ack]);
                closed = false;
                nxt = nxt.max(r.data.end);
                continue;
            }
        }
        for i in packets {
            let p = &told[i];
            if matches!(p.twin, Twin::Capture(_)) {
                continue;
            }
            if p.dir == dir {
                nxt = nxt.max(p.range().end);
                continue;
            }
            let Some(ack) = p.ack else { continue };
            let known = w.score.highest();
            let mut touched: Vec<RelSeq> = Vec::new();
            if !open.is_empty() {
                touched.extend(open.range(..ack).map(|(&k, _)| k));
                for b in p.sacks() {
                    // What was SACKed before fills no gap, and above it all there is none.
                    let top = known.map_or(b.end, |k| b.end.min(k));
                    if w.score.sacked.covers(StreamRange::new(b.start, top)) {
                        continue;
                    }
                    touched.extend(open.range(..b.start).next_back().map(|(&k, _)| k));
                    touched.extend(open.range(b.start..b.end.max(b.start)).map(|(&k, _)| k));
                }
                touched.sort_unstable();
                touched.dedup();
            }
            for key in &touched {
                // An ACK beyond a hole takes away the SACKs that were counted above it.
                if let Some(hole) = open.get_mut(key).filter(|h| h.range.end < ack) {
                    hole.queued_behind = hole.queued_behind.max(w.score.sacked_above(hole.range.end));
                }
            }
            let news = w.score.take(p, nxt);
            if news.duplicate {
                w.dup_acks.push(i);
            }
            if !p.flags.syn() && !p.flags.rst() {
                if p.raw_window == 0 && !closed {
                    w.zero_windows.push(i);
                }
                closed = p.raw_window == 0;
            }
            let una = w.score.una.unwrap_or(ack);
            if !p.flags.rst() && w.points.last().is_none_or(|l| l.ack != una || l.window != p.window) {
                w.points.push(AckPoint { ts: p.ts, frame: p.frame, ack: una, window: p.window });
            }
            if !news.is_progress() || (open.is_empty() && w.score.sacked.is_empty()) {
                continue;
            }
            for key in touched {
                let Some(hole) = open.get_mut(&key) else { continue };
                if !w.score.has(hole.range) {
                    continue;
                }
                hole.queued_behind = hole.queued_behind.max(w.score.sacked_above(hole.range.end));
                let filler =
                    fillers.get_or_init(|| Fillers::of(half)).find(half, hole.range, hole.birth, p.ts);
                hole.death = Some(p.ts);
                hole.filler_frame = filler.map(|r| r.frame);
                hole.filler = Some(match filler.map(|r| r.class) {
                    Some(SegmentClass::Retransmission) => Filler::Retransmission,
                    Some(_) => Filler::Undecided,
                    // Nothing was sent again: the original came late.
                    None => Filler::Reordered,
                });
                w.holes.push(*hole);
                open.remove(&key);
            }
            // Below what was known before, every gap has its hole already.
            let top = w.score.highest().unwrap_or(una);
            let fresh = StreamRange::new(known.unwrap_or(una).max(una), top);
            for range in w.score.sacked.gaps(fresh) {
                let hole = Hole {
                    input: 0,
                    flow: trace.known.flow,
                    dir,
                    range,
                    birth: p.ts,
                    birth_frame: p.frame,
                    death: None,
                    filler_frame: None,
                    filler: None,
                    queued_behind: w.score.sacked_above(range.end),
                    waited: None,
                };
                open.insert(range.start, hole);
            }
        }
    }
    let (mut above, mut upto) = (0, RelSeq(i64::MAX));
    for hole in open.values_mut().rev() {
        let between = w.score.sacked.within(StreamRange::new(hole.range.end, upto));
        above += between.iter().map(|r| r.len()).sum::<u64>();
        upto = hole.range.end;
        hole.queued_behind = hole.queued_behind.max(above);
    }
    w.holes.extend(open.into_values());
    // Each begins where all before it ended.
    let shown: Vec<StreamRange> = half.holes.iter().map(|d| d.range).collect();
    w.holes.retain(|h| !any_overlap(&shown, h.range));
    w.holes.sort_by_key(|h| (h.birth, h.range.start));

    // What a repair fills below the first new bytes was sent before the capture began.
    let first = half.records.iter().find(|r| r.class == SegmentClass::New).map(|r| r.range().start);
    if let (Some(first), Some(una)) = (first, w.score.una) {
        let first = sent_before(trace, dir, rtt).map_or(first, |edge| first.max(edge).min(una));
        w.unseen = half.coverage.gaps(StreamRange::new(first, una));
        // A FIN or SYN number alone is not worth a loss, a probe's byte neither.
        w.unseen.retain(|r| r.len() > 1);
    }
    w
}

/// One past the highest number that was sent before a capture that begins in mid-stream: what an ACK tells within the
/// first round trip from the tap to the receiver, whose SACKs may come before the bytes below them.
fn sent_before(trace: &Trace, dir: Dir, rtt: Option<Ns>) -> Option<RelSeq> {
    let begun = trace.packets.first().filter(|_| !trace.known.syn[dir])?.ts;
    let until = begun + rtt.unwrap_or_default();
    let mut acks = trace.packets.iter().filter(|p| p.dir != dir && p.ack.is_some());
    let first = acks.next();
    let soon = first.into_iter().chain(acks.take_while(|p| p.ts <= until));
    soon.flat_map(|p| p.sacks().iter().map(|s| s.end).chain(p.ack)).max()
}

/// So many records are looked through one by one; for longer holes they are sorted by their bytes.
const FEW: usize = 256;

/// Which record filled a hole?
struct Fillers {
    by_byte: OnceCell<ByByte>,
    /// The earliest time of each record and all behind it, and the latest of it and all before.
    earliest: Vec<Ts>,
    latest: Vec<Ts>,
}

impl Fillers {
    fn of(half: &Half) -> Fillers {
        let mut latest: Vec<Ts> = half.records.iter().map(|r| r.ts).collect();
        let mut earliest = latest.clone();
        for i in 1..latest.len() {
            latest[i] = latest[i].max(latest[i - 1]);
        }
        for i in (1..earliest.len()).rev() {
            earliest[i - 1] = earliest[i - 1].min(earliest[i]);
        }
        Fillers { by_byte: OnceCell::new(), earliest, latest }
    }

    /// The newest record up to `until` that carried a part of `hole` since `birth`.
    fn find<'a>(&self, half: &'a Half, hole: StreamRange, birth: Ts, until: Ts) -> Option<&'a SegmentRecord> {
        let upto = self.earliest.partition_point(|&t| t <= until);
        let from = self.latest.partition_point(|&t| t < birth).min(upto);
        let real = |r: &&SegmentRecord| r.ts >= birth && r.class != SegmentClass::CaptureDuplicate;
        if upto - from <= FEW {
            let near = half.records[from..upto].iter().filter(|r| r.range().overlaps(hole));
            return near.filter(real).max_by_key(|r| r.frame);
        }
        let by_byte = self.by_byte.get_or_init(|| ByByte::new(half.records.iter().map(SegmentRecord::range)));
        let carried = by_byte.overlapping(hole).filter(|i| *i < upto).map(|i| &half.records[i]);
        carried.filter(real).max_by_key(|r| r.frame)
    }
}
