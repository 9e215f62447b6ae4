//! One direction of one connection at one tap, indexed by byte: when was byte `x` sent, when did it
//! become readable, when was it acknowledged, when did the window let it go.

use super::align::TapView;
use crate::model::tcp::{Hole, Loss, SegmentClass, SegmentRecord};
use crate::model::{ByByte, Dir, FrameNo, RelSeq, Ts};
use crate::tcp::AckPoint;
use std::collections::BTreeMap;

/// Something at a moment, with the frame that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub ts: Ts,
    /// Which frame.
    pub frame: FrameNo,
}

/// The index.
pub struct Stream<'a> {
    /// Where it was seen.
    pub tap: &'a TapView,
    dir: Dir,
    /// Every byte below `.0` was at the tap (or acknowledged past it) from then on; rising.
    frontier: Vec<(RelSeq, Event)>,
    /// Acknowledged below `.0`; rising.
    acked: Vec<(RelSeq, Event)>,
    /// Order of sending: time of each copy, rising.
    sent: Vec<&'a SegmentRecord>,
    /// Places in `sent`.
    by_byte: ByByte,
}

impl<'a> Stream<'a> {
    /// Indexes one direction.
    pub fn new(tap: &'a TapView, dir: Dir) -> Stream<'a> {
        let mut sent: Vec<&SegmentRecord> =
            tap.conn.segments.iter().filter(|s| s.dir == dir && carries(s) && s.class.is_copy()).collect();
        sent.sort_by_key(|s| (s.ts, s.frame));
        let mut acked: Vec<(RelSeq, Event)> = Vec::new();
        for a in &tap.conn.acks[dir] {
            let event = Event { ts: a.ts, frame: a.frame };
            if acked.last().is_none_or(|l| a.ack > l.0) {
                acked.push((a.ack, event));
            }
        }
        let frontier = frontier(&sent, &acked);
        let by_byte = ByByte::new(sent.iter().map(|s| s.range()));
        Stream { tap, dir, frontier, acked, sent, by_byte }
    }

    /// Every copy of byte `x` that passed the tap, in order of time.
    pub fn copies_of(&self, x: RelSeq) -> Vec<&'a SegmentRecord> {
        let mut found: Vec<usize> = self.by_byte.over(x).collect();
        found.sort_unstable();
        found.into_iter().map(|i| self.sent[i]).collect()
    }

    /// When byte `x` and all before it had arrived.
    pub fn contiguous(&self, x: RelSeq) -> Option<Event> {
        self.frontier.get(self.frontier.partition_point(|f| f.0 <= x)).map(|f| f.1)
    }

    /// First byte that had not arrived at `at`.
    pub fn frontier_at(&self, at: Ts) -> Option<RelSeq> {
        self.frontier[..self.frontier.partition_point(|f| f.1.ts <= at)].last().map(|f| f.0)
    }

    /// When byte `x` was first acknowledged.
    pub fn acked(&self, x: RelSeq) -> Option<Event> {
        self.acked.get(self.acked.partition_point(|a| a.0 <= x)).map(|a| a.1)
    }

    /// When the window came to reach `end` and still did at `at`, and whether it had been closed
    /// just before. None where that was before `since`, or always so.
    pub fn window_reached(&self, end: RelSeq, at: Ts, since: Ts) -> Option<(Event, bool)> {
        let acks = &self.tap.conn.acks[self.dir];
        let before = &acks[..acks.partition_point(|a| a.ts <= at)];
        let reaches =
            |a: &AckPoint| a.window.is_none_or(|w| a.ack.plus(i64::try_from(w).unwrap_or(i64::MAX)) >= end);
        let mut opened: Option<&AckPoint> = None;
        for a in before.iter().rev() {
            if !reaches(a) {
                return opened.map(|o| (Event { ts: o.ts, frame: o.frame }, a.window == Some(0)));
            }
            if a.ts < since {
                return None;
            }
            opened = Some(a);
        }
        None
    }

    /// The last copy of anything that was sent before `at`.
    pub fn sent_before(&self, at: Ts) -> Option<&'a SegmentRecord> {
        self.sent[..self.sent.partition_point(|s| s.ts < at)].last().copied()
    }

    /// True when everything sent before `at` had been acknowledged by then.
    pub fn all_acked(&self, at: Ts) -> bool {
        let Some(top) = self.sent[..self.sent.partition_point(|s| s.ts < at)]
            .iter()
            .rev()
            .take(64)
            .map(|s| s.range().end)
            .max()
        else {
            return true;
        };
        self.acked[..self.acked.partition_point(|a| a.1.ts < at)].last().is_some_and(|a| a.0 >= top)
    }

    /// The last acknowledgement before `at`.
    pub fn ack_before(&self, at: Ts) -> Option<Event> {
        let acks = &self.tap.conn.acks[self.dir];
        acks[..acks.partition_point(|a| a.ts < at)].last().map(|a| Event { ts: a.ts, frame: a.frame })
    }

    /// The loss of byte `x`, as this tap knows it.
    pub fn loss(&self, x: RelSeq) -> Option<&'a Loss> {
        self.tap.conn.losses.iter().find(|l| l.dir == self.dir && l.range.start <= x && x < l.range.end)
    }

    /// True for a data segment that carried bytes again.
    pub fn was_resent(&self, frame: FrameNo) -> bool {
        self.sent.iter().any(|s| s.frame == frame && s.class == SegmentClass::Retransmission)
    }

    /// The hole that byte `x` was missing from.
    pub fn hole(&self, x: RelSeq) -> Option<&'a Hole> {
        self.tap.conn.holes.iter().find(|h| h.dir == self.dir && h.range.start <= x && x < h.range.end)
    }
}

/// Bytes, or the end of the stream, for which a reader waits as it does for a byte.
fn carries(s: &SegmentRecord) -> bool {
    s.len > 0 || s.fin
}

/// Sweeps data and acknowledgements in order of time; ACKs heal what the capture missed.
fn frontier(sent: &[&SegmentRecord], acked: &[(RelSeq, Event)]) -> Vec<(RelSeq, Event)> {
    let mut out: Vec<(RelSeq, Event)> = Vec::new();
    let mut waiting: BTreeMap<RelSeq, RelSeq> = BTreeMap::new();
    let first = sent.iter().map(|s| s.seq).min().unwrap_or(RelSeq(1));
    let mut upto = first.min(acked.first().map_or(first, |a| a.0));
    let mut acks = acked.iter().peekable();
    let mut data = sent.iter().peekable();
    loop {
        let next_data = data.peek().map(|s| s.ts);
        let next_ack = acks.peek().map(|a| a.1.ts);
        let (reached, event) = match (next_data, next_ack) {
            (None, None) => return out,
            (Some(d), a) if a.is_none_or(|a| d <= a) => {
                let Some(s) = data.next() else { return out };
                let end = s.range().end;
                if s.seq > upto {
                    let e = waiting.entry(s.seq).or_insert(end);
                    *e = (*e).max(end);
                    continue;
                }
                (end, Event { ts: s.ts, frame: s.frame })
            }
            _ => match acks.next() {
                Some(a) => *a,
                None => return out,
            },
        };
        let mut reached = reached;
        while let Some(e) = waiting.first_entry() {
            if *e.key() > reached {
                break;
            }
            reached = reached.max(e.remove());
        }
        if reached > upto {
            upto = reached;
            out.push((upto, event));
        }
    }
}
