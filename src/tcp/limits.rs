//! What set the pace: the time of one direction, split by what its sender waited for.
//!
//! A transfer may be slow without ever standing still. As on the sender's own chronograph (`busy`,
//! `rwnd_limited`, `sndbuf_limited` of TCP_INFO), every moment from the first byte to the last
//! acknowledgment belongs to one limit, here from packets alone and so only at a tap near the sender:
//!
//! ```text
//! less than one segment fits into the window     → receive window
//! bytes are being repaired                       → recovery
//! nothing in flight, or a short segment was last → application (its queue was empty)
//! the next bytes leave when an ACK comes         → clocked: path rate, send buffer, congestion window
//! they leave of their own accord                 → application, or unknown where a pacer may have done it
//! ```

use super::RttSample;
use super::classify::Half;
use super::score::Score;
use crate::flow::{Packet, Run, Trace, Twin};
use crate::model::tcp::{Limits, SegmentClass};
use crate::model::{Dir, Ns, RelSeq, Ts};
use std::ops::Range;

/// Fewer round trips than this show no habit.
const HABIT: usize = 8;
/// A queue adds at least this much.
const QUEUE: Ns = Ns::from_millis(5);
/// What an ACK lets TCP send follows it within this.
const AT_ONCE: Ns = Ns::from_micros(300);
/// What an application writes that an ACK woke follows it within this.
const WOKEN: Ns = Ns::from_millis(2);
/// No pacer waits longer between bursts of several segments.
const PACED: Ns = Ns::from_millis(2);
/// Segments this close belong to one burst.
const TOGETHER: Ns = Ns::from_micros(200);
/// Numbers and times beyond this are lies: a TiB in flight, a quarter of an hour between ACKs.
const FAR: i64 = 1 << 40;
/// Round trips with the same bytes in flight, to call that a buffer.
const LEVEL: usize = 12;

/// One round trip: until what was in flight at its start is acknowledged.
#[derive(Debug, Default)]
struct Round {
    /// Time that ended with bytes that an ACK let go.
    clocked: Ns,
    /// Time that ended with bytes that came a moment after an ACK.
    woken: Ns,
    /// Time that ended with bytes that a pacer may have let go.
    paced: Ns,
    /// Time that ended with bytes that nobody let go.
    unprompted: Ns,
    /// Most bytes in flight.
    peak: i64,
    /// Its steps in [`Walk::steps`]: where they begin.
    steps: usize,
    /// When it began.
    start: Ts,
    /// Its fastest round trip.
    rtt: Option<Ns>,
    /// Bytes were repaired in it.
    repaired: bool,
}

struct Walk {
    mss: i64,
    score: Score,
    nxt: RelSeq,
    edge: Option<RelSeq>,
    recovery: RelSeq,
    short: bool,
    last_ack: Option<Ts>,
    /// The newest burst of new bytes: its last segment, its size.
    burst: (Option<Ts>, i64),
    /// The largest burst of this round trip, and of the one before.
    largest: i64,
    before: i64,
    round_end: RelSeq,
    rounds: Vec<Round>,
    now: Round,
    /// From one ACK to the next: the time, and how much of it a byte took.
    steps: Vec<(i64, i64)>,
    sums: Limits,
}

/// Splits the time of `dir` in which the packets `own` came. `rtt`: its round trips, `sender`: the lowest one from the tap to the sender. None
/// away from the sender, or where too little was sent.
pub fn split(
    trace: &Trace,
    own: &Range<usize>,
    half: &Half,
    dir: Dir,
    rtt: &[RttSample],
    sender: Option<Ns>,
) -> Option<Limits> {
    let lowest = rtt.iter().map(|s| s.rtt).min()?;
    if sender?.scaled(4, 1) > lowest {
        return None;
    }
    let sender = sender.unwrap_or_default();
    let (at_once, woken) = (AT_ONCE + sender, WOKEN + sender);
    let mut w = Walk {
        mss: i64::from(trace.segment_size(dir).max(1)),
        score: Score::default(),
        nxt: RelSeq(0),
        edge: None,
        recovery: RelSeq(0),
        short: false,
        last_ack: None,
        burst: (None, 0),
        largest: 0,
        before: 0,
        round_end: RelSeq(0),
        rounds: Vec::new(),
        now: Round::default(),
        steps: Vec::new(),
        sums: Limits::default(),
    };
    let last_byte = half.last_byte()?;
    let mut next_record = 0;
    let mut before: Option<Ts> = None;
    // Time since the last new bytes whose owner the next ones tell.
    let mut waiting = Ns::ZERO;
    'packets: for (packets, run) in trace.pieces(trace.packets.len()) {
        if let Some((r, t)) = run.zip(before).filter(|(r, _)| r.sender == dir)
            && w.can_pass(r)
            && r.acked < last_byte
            && half.are_plain(half.records_of(&packets))
        {
            let here = &trace.packets[packets.clone()];
            let ours = own.start.max(packets.start)..own.end.min(packets.end);
            let ours = ours.start.saturating_sub(packets.start)..ours.end.saturating_sub(packets.start);
            waiting = w.pass(here, ours, dir, t, waiting, (at_once, woken));
            before = here.last().map(|p| p.ts);
            continue;
        }
        for i in packets {
            let p = &trace.packets[i];
            while half.packets.get(next_record).is_some_and(|&k| k < i) {
                next_record += 1;
            }
            let record =
                half.packets.get(next_record).filter(|&&k| k == i).map(|_| &half.records[next_record]);
            if matches!(p.twin, Twin::Capture(_)) {
                continue;
            }
            if let Some(t) = before {
                let step = if own.contains(&i) { p.ts.since(t).max(Ns::ZERO) } else { Ns::ZERO };
                match w.limit() {
                    Some(sum) => *sum += step,
                    None => waiting += step,
                }
                before = Some(p.ts);
            }
            if p.dir == dir {
                let r = p.range();
                let again =
                    record.is_some_and(|r| r.class == SegmentClass::Retransmission && r.spurious.is_none());
                if again {
                    w.recovery = w.recovery.max(w.nxt);
                    w.now.repaired = true;
                }
                if p.len > 0 && r.end > w.nxt {
                    if before.is_none() {
                        before = Some(p.ts);
                        w.now.start = p.ts;
                    }
                    *w.prompted(p.ts, at_once, woken) += std::mem::take(&mut waiting);
                    w.sent(i64::from(p.len), p.ts);
                }
                w.nxt = w.nxt.max(r.end);
                let una = w.score.una.unwrap_or(w.nxt);
                w.now.peak = w.now.peak.max(w.nxt.0.saturating_sub(una.0).min(FAR));
            } else if let Some(ack) = p.ack {
                let una = w.score.una.unwrap_or(ack);
                w.score.take(p, w.nxt);
                if let Some(win) = p.window.and_then(|n| i64::try_from(n).ok()) {
                    w.edge = w.edge.max(Some(ack.plus(win)));
                }
                if ack > una {
                    w.advanced(ack.0.saturating_sub(una.0).min(FAR), p.ts);
                }
                if ack >= last_byte {
                    break 'packets;
                }
            }
        }
    }
    w.now.unprompted += waiting;
    let last = std::mem::take(&mut w.now);
    w.rounds.push(last);
    let mut sums = w.sums;
    if w.rounds.len() < HABIT {
        return None;
    }
    let mut samples = rtt.iter().peekable();
    for i in 0..w.rounds.len() {
        let end = w.rounds.get(i + 1).map(|n| n.start);
        while let Some(s) = samples.next_if(|s| end.is_none_or(|e| s.ts <= e)) {
            let round = &mut w.rounds[i];
            round.rtt = Some(round.rtt.map_or(s.rtt, |r| r.min(s.rtt)));
        }
    }
    judge(&w, lowest, &mut sums);
    Some(sums)
}

impl Walk {
    /// Whose time it is now; none: the next bytes will tell.
    fn limit(&mut self) -> Option<&mut Ns> {
        let una = self.score.una.unwrap_or(RelSeq(0));
        let fits = self.edge.is_none_or(|e| e.0.saturating_sub(self.nxt.0) >= self.mss);
        if una < self.recovery || !self.score.sacked.is_empty() {
            Some(&mut self.sums.recovery)
        } else if !fits {
            Some(&mut self.sums.receive_window)
        } else if self.nxt <= una || self.short {
            Some(&mut self.sums.application)
        } else {
            None
        }
    }

    /// Nothing in this run is repeated, nor SACKed.
    fn can_pass(&self, run: &Run) -> bool {
        self.score.can_pass(run) && self.nxt == run.data.start
    }

    /// Takes the packets of a run: `ours` of them count, `before` is the time of the packet before. What is waiting then.
    fn pass(
        &mut self,
        run: &[Packet],
        ours: Range<usize>,
        dir: Dir,
        mut before: Ts,
        mut waiting: Ns,
        (at_once, woken): (Ns, Ns),
    ) -> Ns {
        for (i, p) in run.iter().enumerate() {
            if ours.contains(&i) {
                let step = p.ts.since(before).max(Ns::ZERO);
                match self.limit() {
                    Some(sum) => *sum += step,
                    None => waiting += step,
                }
            }
            before = p.ts;
            if p.dir == dir {
                *self.prompted(p.ts, at_once, woken) += std::mem::take(&mut waiting);
                self.sent(i64::from(p.len), p.ts);
                self.nxt = p.range().end;
                let una = self.score.una.unwrap_or(self.nxt);
                self.now.peak = self.now.peak.max(self.nxt.0.saturating_sub(una.0).min(FAR));
            } else if let Some(ack) = p.ack {
                let una = self.score.una.replace(ack).unwrap_or(ack);
                if let Some(win) = p.window.and_then(|n| i64::try_from(n).ok()) {
                    self.edge = self.edge.max(Some(ack.plus(win)));
                }
                self.advanced(ack.0.saturating_sub(una.0).min(FAR), p.ts);
            }
        }
        waiting
    }

    /// Where the time goes that ends with new bytes.
    fn prompted(&mut self, at: Ts, at_once: Ns, woken: Ns) -> &mut Ns {
        let paced = self.may_be_paced(at);
        match self.last_ack.map(|t| at.since(t)) {
            Some(d) if d <= at_once => &mut self.now.clocked,
            _ if paced => &mut self.now.paced,
            Some(d) if d <= woken => &mut self.now.woken,
            _ => &mut self.now.unprompted,
        }
    }

    fn sent(&mut self, len: i64, at: Ts) {
        self.short = len != self.mss && len % self.mss != 0;
        let together = self.burst.0.is_some_and(|t| at.since(t) <= TOGETHER);
        self.burst = (Some(at), len + if together { self.burst.1 } else { 0 });
        self.largest = self.largest.max(self.burst.1);
    }

    /// A pacer cuts the flight into bursts of about a millisecond, of one or two segments where it is slow.
    fn may_be_paced(&self, at: Ts) -> bool {
        let gap = self.burst.0.map(|t| at.since(t));
        gap.is_some_and(|g| g <= PACED) || self.largest.max(self.before) <= 2 * self.mss
    }

    fn advanced(&mut self, bytes: i64, at: Ts) {
        if let Some(t) = self.last_ack {
            let step = at.since(t).0.clamp(0, FAR);
            self.steps.push((step, step / bytes.max(1)));
        }
        self.last_ack = Some(at);
        if self.score.una.is_some_and(|u| u >= self.round_end) {
            let next = Round { start: at, steps: self.steps.len(), ..Round::default() };
            self.rounds.push(std::mem::replace(&mut self.now, next));
            self.round_end = self.nxt.plus(1);
            self.before = std::mem::take(&mut self.largest);
        }
    }
}

/// Gives the time in flight its owner, round by round.
fn judge(w: &Walk, lowest: Ns, sums: &mut Limits) {
    let (rounds, mss) = (&w.rounds[..], w.mss);
    let ceiling = ceiling(rounds, mss);
    let mut pace = Vec::new();
    for (i, r) in rounds.iter().enumerate() {
        let steps = |i: usize| rounds.get(i).map_or(w.steps.len(), |r| r.steps);
        let near = &w.steps[steps(i.saturating_sub(HABIT / 2))..steps(i + HABIT / 2)];
        let queued = r.rtt.is_some_and(|t| t >= lowest.scaled(5, 4) + QUEUE);
        let full = ceiling.is_some_and(|c| r.peak * 4 + mss > c * 4);
        let (clocked, own) = match (queued, !queued && even(near, &mut pace)) {
            (true, _) => {
                sums.path_rate += r.paced;
                (&mut sums.path_rate, r.woken + r.unprompted)
            }
            // A pacer and a steady application look the same.
            (_, true) => {
                sums.unknown += r.paced + r.woken + r.unprompted;
                (&mut sums.path_rate, Ns::ZERO)
            }
            _ if full => {
                sums.application += r.unprompted;
                sums.unknown += r.paced;
                // A level that the receive window sets is that window's.
                let window = sums.receive_window.scaled(5, 1) > sums.total();
                (if window { &mut sums.receive_window } else { &mut sums.send_buffer }, r.woken)
            }
            _ => {
                sums.application += r.woken + r.unprompted;
                sums.unknown += r.paced;
                let grows = grows(rounds, i, mss);
                (if grows { &mut sums.congestion_window } else { &mut sums.unknown }, Ns::ZERO)
            }
        };
        *clocked += r.clocked + own;
    }
}

/// A full congestion window grows, by a segment a round trip at least every other time (RFC 5681 §3.1), until a
/// loss halves it.
fn grows(rounds: &[Round], i: usize, mss: i64) -> bool {
    // The last one was cut short.
    let near = &rounds[i.saturating_sub(HABIT)..(i + HABIT).min(rounds.len() - 1)];
    let before = near.first().map_or(0, |r| r.peak);
    near.iter().any(|r| r.repaired)
        || near.last().is_some_and(|r| r.peak > before + mss * near.len() as i64 / 4)
}

/// ACKs come evenly, byte for byte: something on the path sends at its own rate all the time. Where a window
/// is the limit they come in bursts with a silence behind.
fn even(near: &[(i64, i64)], pace: &mut Vec<i64>) -> bool {
    pace.clear();
    pace.extend(near.iter().map(|s| s.1));
    if pace.len() < 12 {
        return false;
    }
    let middle = pace.len() / 2;
    let median = *pace.select_nth_unstable(middle).1;
    let most = median + median * 7 / 10;
    let (mut total, mut busy) = (0i64, 0i64);
    for (step, pace) in near {
        total = total.saturating_add(*step);
        busy = busy.saturating_add(if *pace <= most { *step } else { 0 });
    }
    total > 0 && busy >= total / 10 * 8
}

/// The level that most round trips reach, to a fraction of a segment, and none exceeds: a buffer's size. A
/// congestion window that is full grows.
fn ceiling(rounds: &[Round], mss: i64) -> Option<i64> {
    let top = rounds.iter().map(|r| r.peak).max()?;
    let full = |r: &&Round| (top - r.peak) * 4 < mss;
    let first = rounds.iter().position(|r| full(&r))?;
    let since = rounds[first..].len();
    let reached = rounds[first..].iter().filter(full).count();
    (reached >= LEVEL && reached * 10 >= since * 8 && top > mss).then_some(top)
}
