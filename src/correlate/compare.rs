//! The same traffic at two taps: what the network lost between them, what one capture missed, how long it all took.
//!
//! A copy that passed one tap and not the other was lost, unless the other capture cannot have it (it had not begun,
//! or it had ended) or the receiver proves that it arrived: by an ACK before any other copy came by, or by saying that
//! the next copy was one too many.

use super::align::{Flow, Laid, TapView, World, sender};
use super::clock::STAMPS;
use super::crossing::{Copy, Crossing};
use crate::model::{ByByte, Dir, FlowId, Ns, PerDir, RelSeq, Span, StreamRange, Ts};
use crate::report::{
    Comparison, CrossingLoss, CrossingStats, Delay, Ends, Evidence, LossProof, Missing, MissingWhy,
    PairedFlow, UnpairedFlow,
};
use crate::tcp::quantile;
use std::collections::HashMap;

/// Jitter that a path may have without having shown it yet.
const EDGE: Ns = Ns::from_millis(5);

/// One direction of one connection, judged.
pub struct Way {
    /// Which connection.
    pub flow: FlowId,
    /// Which way.
    pub dir: Dir,
    /// The copies that the network lost.
    pub losses: Vec<CrossingLoss>,
    /// What only one tap has.
    pub missing: Vec<Missing>,
    stats: CrossingStats,
}

/// Judges every direction of every connection that two captures have.
pub fn ways(w: &World) -> Vec<Way> {
    let Some(laid) = &w.laid else { return Vec::new() };
    let both = w.flows.iter().flat_map(|f| Dir::BOTH.map(|d| (f, d)));
    both.filter_map(|(f, dir)| way(f, dir, laid)).collect()
}

fn way(f: &Flow, dir: Dir, laid: &Laid) -> Option<Way> {
    let [a, b] = f.taps.as_slice() else { return None };
    let (from, to) = if b.side == Some(sender(dir)) { (b, a) } else { (a, b) };
    let crossing = Crossing::new(&from.conn, &to.conn, dir);
    let judge = Judge::new(f.id, dir, from, to, laid, &crossing);
    Some(judge.all())
}

struct Judge<'a> {
    flow: FlowId,
    dir: Dir,
    from: &'a TapView,
    to: &'a TapView,
    /// When each capture ran.
    from_span: Span,
    to_span: Span,
    crossing: &'a Crossing,
    /// Shortest way seen, and longest with a margin.
    fast: Ns,
    slow: Ns,
    timed: bool,
    /// What the receiver acknowledged, rising, as each tap has it.
    acked: [Vec<(RelSeq, Ts)>; 2],
    strangers: ByByte,
    /// The last sign of life of the receiver at the sender's tap.
    heard: Option<Ts>,
}

/// What became of a copy that the other tap did not see.
enum Verdict {
    Lost { proof: LossProof, repair: Option<usize>, arrived: Option<Ts> },
    Missing(MissingWhy),
}

impl<'a> Judge<'a> {
    fn new(
        flow: FlowId,
        dir: Dir,
        from: &'a TapView,
        to: &'a TapView,
        laid: &Laid,
        crossing: &'a Crossing,
    ) -> Judge<'a> {
        let span = |t: &TapView| laid.spans.get(usize::from(t.input)).copied().unwrap_or(t.conn.span);
        let arrivals = crossing.copies.iter().flat_map(|c| c.arrived.iter().map(|a| a.1.since(c.ts)));
        let fast = crossing.delays.iter().copied().min().unwrap_or_default();
        let slow = arrivals.chain(crossing.delays.iter().copied()).max().unwrap_or_default();
        // where one capture ends, what was seen to take that long may as well take a little longer
        let slow = slow + (slow - fast).max(EDGE);
        let own = acked(to, dir);
        // a reset that only the sender's tap has, while the other ran, was sent by nobody behind that one, and
        // acknowledges what a box swallowed; any other answer the second capture may have missed
        let ran = span(to);
        let resets: Vec<Ts> = from.conn.packets[dir.flip()].iter().filter(|p| p.rst).map(|p| p.ts).collect();
        let within = |ts: Ts| ts - slow >= ran.start && ts <= ran.end;
        let forged = |ts: Ts| !own.is_empty() && within(ts) && resets.contains(&ts);
        let mut others = acked(from, dir);
        others.retain(|a| !forged(a.1));
        Judge {
            flow,
            dir,
            from,
            to,
            from_span: span(from),
            to_span: span(to),
            crossing,
            fast,
            slow,
            timed: laid.clock.is_some(),
            acked: [others, own],
            heard: from.conn.packets[dir.flip()].iter().map(|p| p.ts).max(),
            strangers: ByByte::new(crossing.strangers.iter().map(|s| s.range)),
        }
    }

    fn all(&self) -> Way {
        let mut stats = CrossingStats { delay: self.delay(), ..CrossingStats::default() };
        let (mut losses, mut missing) = (Vec::new(), Gatherer::default());
        // Where other copies begin or end, so that each piece has one fate.
        let crossing = self.crossing;
        let others = |i, r| crossing.cut(r, crossing.overlapping(r).filter(move |&j| j != i));
        for (i, copy) in self.crossing.copies.iter().enumerate() {
            let mut comparable = true;
            let lost = copy.lost();
            let mut counted = false;
            for piece in lost.into_iter().flat_map(|r| others(i, r)) {
                match self.verdict(i, copy, piece) {
                    Verdict::Lost { proof, repair, arrived } => {
                        stats.lost += u64::from(!std::mem::replace(&mut counted, true));
                        stats.bytes_lost += self.payload(copy, piece);
                        self.lose(&mut losses, i, piece, proof, repair, arrived);
                    }
                    Verdict::Missing(why) => {
                        comparable &= why == MissingWhy::CaptureDrop;
                        let bytes = self.payload(copy, piece);
                        let m = self.missing(self.from, why, copy.ts, copy.frame, piece, bytes);
                        missing.add(m);
                    }
                }
            }
            if comparable {
                stats.sent += 1;
                stats.bytes += u64::from(copy.len);
            }
        }
        for s in &self.crossing.strangers {
            let why = if s.ts - self.slow < self.from_span.start {
                MissingWhy::BeforeStart
            } else if s.ts - self.fast > self.from_span.end {
                MissingWhy::AfterEnd
            } else {
                MissingWhy::CaptureDrop
            };
            missing.add(self.missing(self.to, why, s.ts, s.frame, s.range, u64::from(s.len)));
        }
        self.acks(&mut stats);
        Way { flow: self.flow, dir: self.dir, losses, missing: missing.all, stats }
    }

    fn verdict(&self, i: usize, copy: &Copy, piece: StreamRange) -> Verdict {
        let x = piece.start;
        let mut others: Vec<usize> =
            self.crossing.overlapping(StreamRange::new(x, x.plus(1))).filter(|&j| j != i).collect();
        others.sort_unstable();
        let came = |j: usize| {
            let c = &self.crossing.copies[j];
            c.arrived.iter().find(|(r, _)| r.start <= x && x < r.end).map(|a| (j, a.1))
        };
        let had = others.iter().filter(|&&j| j < i).any(|&j| came(j).is_some());
        let later = || others.iter().copied().filter(|&j| j > i);
        // a copy that the first capture missed repairs as well
        let unseen = self.strangers.over(x).filter_map(|i| self.crossing.strangers.get(i));
        let unseen = unseen.map(|s| (None, s.ts)).filter(|s| s.1 > copy.ts + self.fast);
        let next = later().filter_map(came).map(|(j, ts)| (Some(j), ts)).chain(unseen).min_by_key(|n| n.1);
        let acked = self.acked.iter().filter_map(|a| a.get(a.partition_point(|a| a.0 < piece.end)));
        let acked = acked.map(|a| a.1).min();
        let lost = |proof, next: Option<(Option<usize>, Ts)>| Verdict::Lost {
            proof,
            repair: next.and_then(|n| n.0),
            arrived: next.map(|n| n.1),
        };
        let needless = || later().next().is_some_and(|j| self.crossing.copies[j].twice);
        let answered = |n: &(Option<usize>, Ts)| acked.is_some_and(|ack| ack < n.1);
        // only this brought the bytes, although the copy may have passed while the other capture did not run
        let repair = || next.filter(|n| !had && !needless() && !answered(n));
        if copy.ts + self.fast < self.to_span.start {
            return match repair() {
                Some(n) => lost(LossProof::Repaired, Some(n)),
                None => Verdict::Missing(MissingWhy::BeforeStart),
            };
        }
        if copy.ts + self.slow > self.to_span.end {
            if let Some(n) = repair() {
                return lost(LossProof::Repaired, Some(n));
            }
            // its silence alone proves nothing; that of the receiver does, given time
            let waited = self.from_span.end.since(copy.ts) > Ns::from_secs(1) + self.slow + self.slow;
            let dead = self.heard.is_none_or(|h| h < copy.ts + self.fast);
            return match (waited, acked) {
                (true, None) if !had => lost(LossProof::Unanswered, None),
                (true, _) if dead => lost(LossProof::NotSeen, None),
                _ => Verdict::Missing(MissingWhy::AfterEnd),
            };
        }
        if had {
            return lost(LossProof::NotSeen, None);
        }
        if needless() {
            return Verdict::Missing(MissingWhy::CaptureDrop);
        }
        match (acked, next) {
            (Some(ack), next) if next.is_none_or(|n| ack < n.1) => {
                // something arrived by then that the other capture missed: the last copy that could
                let could = |j: &usize| self.crossing.copies[*j].ts + self.fast <= ack;
                match later().rfind(could) {
                    None => Verdict::Missing(MissingWhy::CaptureDrop),
                    Some(j) => Verdict::Lost { proof: LossProof::Repaired, repair: Some(j), arrived: None },
                }
            }
            (_, Some(n)) => lost(LossProof::Repaired, Some(n)),
            (_, None) => lost(LossProof::Unanswered, None),
        }
    }

    fn payload(&self, copy: &Copy, piece: StreamRange) -> u64 {
        let start = copy.range.start.plus(
            (copy.range.len().saturating_sub(u64::from(copy.len)) > 0 && copy.range.start == RelSeq(0))
                as i64,
        );
        let data = StreamRange::new(start, start.plus(i64::from(copy.len)));
        data.intersect(piece).map_or(0, StreamRange::len)
    }

    fn lose(
        &self,
        out: &mut Vec<CrossingLoss>,
        i: usize,
        range: StreamRange,
        proof: LossProof,
        repair: Option<usize>,
        arrived: Option<Ts>,
    ) {
        let copies = &self.crossing.copies;
        let repair = repair.and_then(|j| copies.get(j));
        let frame = Evidence { input: self.from.input, frame: copies[i].frame };
        let (repaired, repair_frame) = (repair.map(|c| c.ts), repair.map(|c| c.frame));
        if let Some(l) = out.last_mut()
            && (l.frame, l.range.end, l.proof) == (frame, range.start, proof)
            && (l.repair_frame, l.arrived) == (repair_frame, arrived)
        {
            l.range.end = range.end;
            return;
        }
        let first = StreamRange::new(range.start, range.start.plus(1));
        let before = self.crossing.overlapping(first).filter(|&j| j < i).count();
        out.push(CrossingLoss {
            flow: self.flow,
            dir: self.dir,
            range,
            sent: copies[i].ts,
            frame,
            copies_before: u32::try_from(before).unwrap_or(u32::MAX),
            repaired,
            repair_frame,
            arrived,
            proof,
        });
    }

    fn missing(
        &self,
        tap: &TapView,
        why: MissingWhy,
        ts: Ts,
        frame: crate::model::FrameNo,
        range: StreamRange,
        bytes: u64,
    ) -> Missing {
        Missing {
            input: tap.input,
            flow: self.flow,
            dir: self.dir,
            why,
            segments: 1,
            bytes,
            range,
            span: Span::new(ts, ts),
            first_frame: frame,
            last_frame: frame,
        }
    }

    fn delay(&self) -> Option<Delay> {
        let mut all = self.crossing.delays.clone();
        all.sort_unstable();
        let (min, max) = (*all.first()?, *all.last()?);
        self.timed.then_some(Delay {
            samples: all.len() as u64,
            min,
            median: quantile(&all, 0.5)?,
            p99: quantile(&all, 0.99)?,
            max,
        })
    }

    fn acks(&self, stats: &mut CrossingStats) {
        let here = |ts: Ts| ts + self.fast >= self.to_span.start && ts + self.slow <= self.to_span.end;
        let all = || self.crossing.acks.iter().filter(|a| here(a.0));
        let (sent, missing) = (all().count() as u64, all().filter(|a| !a.1).count() as u64);
        // where hardly any is found, something rewrites them: that is no loss
        if missing * 2 <= sent {
            (stats.acks, stats.acks_missing) = (sent, missing);
        }
    }
}

fn acked(tap: &TapView, dir: Dir) -> Vec<(RelSeq, Ts)> {
    let mut out: Vec<(RelSeq, Ts)> = Vec::new();
    for a in &tap.conn.acks[dir] {
        if out.last().is_none_or(|l| a.ack > l.0) {
            out.push((a.ack, a.ts));
        }
    }
    out
}

/// Joins what lies together.
#[derive(Default)]
struct Gatherer {
    all: Vec<Missing>,
    /// The newest entry of each capture and reason.
    last: HashMap<(u16, MissingWhy), usize>,
}

impl Gatherer {
    fn add(&mut self, m: Missing) {
        let key = (m.input, m.why);
        let joined = self.last.get(&key).and_then(|&i| self.all.get_mut(i)).filter(|o| {
            m.why != MissingWhy::CaptureDrop || o.range.end >= m.range.start && m.range.end >= o.range.start
        });
        let Some(o) = joined else {
            self.last.insert(key, self.all.len());
            self.all.push(m);
            return;
        };
        o.segments += u64::from(o.last_frame != m.last_frame);
        o.bytes += m.bytes;
        o.range = StreamRange::new(o.range.start.min(m.range.start), o.range.end.max(m.range.end));
        o.span = Span { start: o.span.start.min(m.span.start), end: o.span.end.max(m.span.end) };
        o.first_frame = o.first_frame.min(m.first_frame);
        o.last_frame = o.last_frame.max(m.last_frame);
    }
}

/// The report's section; none where there are not two captures.
pub fn comparison(w: &World, ways: &[Way]) -> Option<Comparison> {
    let laid = w.laid.as_ref()?;
    let mut losses: Vec<CrossingLoss> = ways.iter().flat_map(|x| &x.losses).copied().collect();
    losses.sort_by_key(|l| (l.sent, l.flow, l.range));
    let mut missing: Vec<Missing> = ways.iter().flat_map(|x| &x.missing).cloned().collect();
    missing.sort_by_key(|m| (m.span.start, m.flow, m.range));
    let [a, b] = laid.spans;
    let mut out = Comparison {
        // nothing is nearer to anybody where the way from tap to tap is shorter than stamps err
        a_near: laid.near.filter(|_| laid.clock.as_ref().is_none_or(|c| c.round_trip > STAMPS)),
        overlap: a.intersect(b),
        clock: laid.clock.clone(),
        losses,
        missing,
        ..Comparison::default()
    };
    let stats: HashMap<(FlowId, Dir), &CrossingStats> =
        ways.iter().map(|x| ((x.flow, x.dir), &x.stats)).collect();
    for f in &w.flows {
        match f.taps.as_slice() {
            [a, b] => {
                let stats = |d: Dir| stats.get(&(f.id, d)).copied().cloned().unwrap_or_default();
                let (by, shift) = f.same.unwrap_or((crate::report::PairedBy::Addresses, PerDir::default()));
                out.paired.push(PairedFlow {
                    flow: f.id,
                    a: Ends { client: a.conn.client, server: a.conn.server },
                    b: Ends { client: b.conn.client, server: b.conn.server },
                    by,
                    shift,
                    dirs: PerDir { c2s: stats(Dir::C2s), s2c: stats(Dir::S2c) },
                });
            }
            [one] => {
                let other = laid.spans[usize::from(one.input == 0)];
                out.unpaired.push(UnpairedFlow {
                    input: one.input,
                    flow: f.id,
                    client: one.conn.client,
                    server: one.conn.server,
                    span: one.conn.span,
                    packets: Dir::BOTH.iter().map(|&d| one.conn.packets[d].len() as u64).sum(),
                    outside: one.conn.span.end < other.start || one.conn.span.start > other.end,
                });
            }
            _ => {}
        }
    }
    Some(out)
}
