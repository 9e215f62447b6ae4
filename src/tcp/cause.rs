//! Why bytes were sent again, judged from what the sender knew when it sent them.
//!
//! An ACK that the tap sees reaches the sender half the tap-to-sender round trip later, and what
//! that triggers comes by another half later: a trigger lies at least `sender_rtt` back.
//!
//! ```text
//! the path said that it was too long, now it is shorter  → path-mtu    (RFC 1191, 8201)
//! SACK above, or 3 duplicate ACKs, just arrived          → fast        (RFC 5681, 6675, 8985)
//! below the recovery point, a partial ACK just arrived   → partial-ack (RFC 6582)
//! quiet, the last segment, nothing known to be lost      → tlp         (RFC 8985 §7)
//! quiet for an RTO, the first unacknowledged segment     → rto         (RFC 6298)
//! below the recovery point of a time-out                 → rto-recovery
//! ```

use super::RttSample;
use super::classify::Half;
use super::ranges::RangeSet;
use super::rtt::Estimator;
use super::score::Score;
use crate::flow::{Packet, Run, Trace, Twin};
use crate::model::tcp::{Cause, SegmentClass};
use crate::model::{Dir, Ns, RelSeq, StreamRange, Ts};

/// Where the sender stands (RFC 5681 §3.2, RFC 6298 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Fast recovery until this number is acknowledged.
    Recovery(RelSeq),
    /// Recovery from a time-out until this number is acknowledged.
    Loss(RelSeq),
}

/// Fills in `cause` and `resend` of every retransmission of `half`.
pub fn assign(trace: &Trace, half: &mut Half, dir: Dir, sender_rtt: Option<Ns>, rtt: &[RttSample]) {
    if !half.repeats() {
        return;
    }
    // On the sender's own host an ACK is acted on within microseconds. The fastest round trip of a few, from the
    // handshake alone where the receiver sends no data, is not the fastest there is.
    let far = sender_rtt.filter(|&r| r >= crate::flow::tap::OWN_HOST);
    let lag = far.map_or(Ns::ZERO, |r| r.scaled(19, 20));
    let sack = trace.known.sack_permitted[dir.flip()] != Some(false);
    let mut answers = Answers { packets: &trace.packets, dir, next: 0 };
    let mut runs = trace.runs.iter().filter(|r| r.sender == dir).peekable();
    let mut rtt = rtt.iter().peekable();
    let mut est = Estimator::default();
    let mut score = Score::default();
    let mut state = State::Open;
    let mut nxt = RelSeq(0);
    let mut last_send: Option<Ts> = None;
    let mut last_news: Option<Ts> = None;
    let mut last_partial: Option<Ts> = None;
    // A resend that is no probe.
    let mut last_repair: Option<Ts> = None;
    // A tap near the receiver learns how much a time-out has to repair only from what comes after.
    let mut timed_out_at: Option<Ts> = None;
    // A tail loss probe goes out once per quiet time; the next timer is the RTO.
    let mut probed = false;
    let mut path = PathMtu::of(trace, dir, lag);
    let mut undo = Undo::default();

    let mut next_record = 0;
    while let Some(&r) = half.records.get(next_record) {
        let k = next_record;
        while runs.next_if(|r| r.packets.end <= half.packets[k]).is_some() {}
        if state == State::Open
            && score.sacked.is_empty()
            && path.waiting.is_empty()
            && let Some(run) = runs.peek().filter(|r| r.packets.contains(&half.packets[k]))
            && let records = (k..half.records_of(&run.packets).end)
            && half.are_plain(records.clone())
            && let Some(heard) = answers.pass(run, half.records[records.end - 1].ts - lag)
        {
            let last = half.records[records.end - 1];
            if let Some((p, ack)) = heard {
                score.reach(ack, p);
                last_news = Some(p.ts + lag);
                probed = false;
            }
            while let Some(s) = rtt.next_if(|s| s.ts <= last.ts) {
                est.take(s.rtt + lag);
            }
            nxt = nxt.max(last.range().end);
            last_send = Some(last.ts);
            next_record = records.end;
            continue;
        }
        next_record += 1;
        if matches!(r.class, SegmentClass::CaptureDuplicate | SegmentClass::NetworkDuplicate) {
            continue;
        }
        while let Some(p) = answers.peek().filter(|p| p.ts + lag <= r.ts) {
            answers.next += 1;
            let news = score.take(p, nxt);
            if news.is_progress() || news.duplicate {
                last_news = Some(p.ts + lag);
            }
            if news.is_progress() {
                probed = false;
            }
            if let State::Loss(to) = state {
                if undo.proven_by(p, news.advanced) || news.is_progress() && undo.original_arrived(&score) {
                    state = State::Open;
                    undo.reached = to;
                } else if nxt > to && (news.sacked > 0 || news.duplicate) {
                    undo.once = RangeSet::default();
                }
            }
            if let State::Recovery(to) | State::Loss(to) = state {
                if score.una.is_some_and(|u| u >= to) {
                    state = State::Open;
                } else if news.advanced {
                    last_partial = Some(p.ts + lag);
                }
            }
        }
        while let Some(s) = rtt.next_if(|s| s.ts <= r.ts) {
            est.take(s.rtt + lag);
        }
        if let Some(told) = path.hear(r.ts, nxt) {
            last_news = last_news.max(Some(told));
        }
        let range = r.range();
        if range.start > nxt
            && nxt.0 > 0
            && timed_out_at.is_some_and(|t| r.ts.since(t) < Ns(est.rto().0.saturating_mul(2)))
        {
            state = State::Loss(range.start);
        }
        if r.class == SegmentClass::Retransmission {
            let copies = half.coverage.over(range).map(|(_, c)| {
                c.records().filter(|&i| (i as usize) < k && is_resend(half.records[i as usize].class)).count()
            });
            let resend = u16::try_from(1 + copies.max().unwrap_or(0)).unwrap_or(u16::MAX);

            let quiet = match last_send.max(last_news) {
                Some(t) => r.ts.since(t),
                None => Ns::ZERO,
            };
            let rto = est.rto();
            let srtt = est.srtt();
            let is_first = score.una.is_none_or(|u| range.start <= u);
            let is_last = range.end >= nxt;
            // No copy of it was seen before: they died on their way to the tap.
            let unseen = range.start >= nxt && nxt.0 > 0;
            let sacked_above = score.has_above(range.end);
            let dup_evidence = sacked_above || score.dup_acks >= 3;
            // The timer runs from the last progress and the segment's own last copy; new data does not hold it up.
            let own = copy_before(half, k).map_or(last_send, |i| Some(half.records[i].ts));
            let waited = own.max(last_news).max(last_repair).map_or(Ns::ZERO, |t| r.ts.since(t));
            let timed_out = waited >= rto.scaled(7, 10) && is_first;
            let just = |t: Option<Ts>| {
                t.is_some_and(|t| r.ts.since(t).0 <= srtt.map_or(10_000_000, |s| s.0 / 4).max(5_000_000))
            };
            // Linux: PTO = 2·SRTT, with one segment in flight also the longest delayed ACK; never
            // later than the RTO would be. Only in the open state, once, and with SACK.
            let probe_due = srtt.is_some_and(|s| {
                let by_rto = rto.scaled(5, 4) + Ns::from_millis(20);
                let latest = (s.scaled(5, 2) + Ns::from_millis(250)).min(by_rto);
                quiet >= s.scaled(3, 2) && quiet <= latest
            });
            // No later than the RTO of the oldest segment either, though new data went out until then.
            let overdue =
                !is_first && srtt.zip(last_news).is_some_and(|(s, t)| r.ts.since(t) >= s.scaled(3, 2));
            let may_probe = sack && state == State::Open && !probed && is_last && !dup_evidence && r.len > 0;

            let recovering = matches!(state, State::Recovery(to) if range.start < to);
            let cause = if r.syn {
                Cause::Syn
            } else if r.len == 0 && r.fin && !(recovering && just(last_news)) {
                Cause::Fin
            } else if let Some(&cause) = half.told.get(&(k as u32)) {
                cause
            } else if !timed_out && path.explains(half, k) {
                Cause::PathMtu
            } else if may_probe && (probe_due || overdue) && !(timed_out && doubling_follows(half, k, waited))
            {
                Cause::Tlp
            } else if timed_out && !(dup_evidence && just(last_news)) {
                Cause::Rto
            } else if unseen && may_probe && range.start > nxt {
                // A time-out would have begun with what is missing before it.
                Cause::Tlp
            } else if unseen && timed_out_at.is_some() {
                Cause::RtoRecovery
            } else if let State::Loss(to) = state
                && range.start < to
            {
                Cause::RtoRecovery
            } else if dup_evidence {
                Cause::Fast
            } else if recovering {
                if just(last_partial) { Cause::PartialAck } else { Cause::Fast }
            } else if range.start < undo.reached {
                Cause::RtoRecovery
            } else if sack && just(last_news) && sent_later_and_arrived(half, k, &score) {
                Cause::Fast
            } else {
                Cause::Unknown
            };
            match cause {
                Cause::Tlp => probed = true,
                Cause::Rto => {
                    timed_out_at = Some(r.ts);
                    undo.begin(state, range, trace.packets[half.packets[k]].timestamps);
                    let from = score.una.unwrap_or(range.start);
                    undo.once = sent_once(half, k, StreamRange::new(from, nxt.max(from)), &score);
                    state = State::Loss(nxt.max(range.end));
                }
                Cause::Fast if state == State::Open => state = State::Recovery(nxt.max(range.end)),
                _ => {}
            }
            if cause != Cause::Tlp {
                last_repair = Some(r.ts);
            }
            undo.resends += 1;
            undo.once.remove(range);
            half.records[k].cause = Some(cause);
            half.records[k].resend = Some(resend);
        }
        nxt = nxt.max(range.end);
        if !matches!(r.class, SegmentClass::KeepAlive | SegmentClass::Reordered) {
            last_send = Some(r.ts);
        }
    }
}

/// The packets of the receiver, as they reach the sender.
struct Answers<'a> {
    packets: &'a [Packet],
    /// Of the data.
    dir: Dir,
    next: usize,
}

impl<'a> Answers<'a> {
    /// The next one.
    fn peek(&mut self) -> Option<&'a Packet> {
        let answers = |p: &Packet| p.dir != self.dir && !matches!(p.twin, Twin::Capture(_));
        self.next += self.packets[self.next..].iter().take_while(|p| !answers(p)).count();
        self.packets.get(self.next)
    }

    /// Takes those of a run that the tap saw up to `until`: the last one, and what it acknowledges. The outer none, where
    /// others are due by then, too.
    fn pass(&mut self, run: &Run, until: Ts) -> Option<Option<(&'a Packet, RelSeq)>> {
        if self.peek().is_some() && self.next < run.packets.start {
            return None;
        }
        let begin = self.next;
        let mut last = None;
        while let Some(p) = self.peek().filter(|p| p.ts <= until) {
            if self.next >= run.packets.end {
                self.next = begin;
                return None;
            }
            last = p.ack.map(|ack| (p, ack));
            self.next += 1;
        }
        Some(last)
    }
}

/// A time-out that an ACK proves needless: its sender goes back to where it was (RFC 4015, RFC 3708, RFC 5682),
/// and repeats later only what new evidence asks for.
#[derive(Default)]
struct Undo {
    /// What the timer sent first, and when by its sender's clock.
    first: StreamRange,
    stamp: Option<u32>,
    /// Resends since, that one included.
    resends: u32,
    /// Up to here a sender that does not undo repeats everything.
    reached: RelSeq,
    /// Under way when the timer fired, and not sent again.
    once: RangeSet,
}

impl Undo {
    fn begin(&mut self, state: State, first: StreamRange, timestamps: Option<(u32, u32)>) {
        if !matches!(state, State::Loss(_)) {
            *self = Undo { first, stamp: timestamps.map(|t| t.0), ..Undo::default() };
        }
    }

    /// It answers something older than the time-out, or reports the only resend as a duplicate.
    fn proven_by(&self, ack: &Packet, advanced: bool) -> bool {
        let echoed = ack.timestamps.map(|t| t.1).filter(|&ecr| ecr != 0);
        let older = echoed.zip(self.stamp).is_some_and(|(e, s)| (e.wrapping_sub(s) as i32) < 0);
        let twice = self.resends == 1 && ack.dsack().is_some_and(|d| d.covers(self.first));
        advanced && older || twice
    }

    /// The receiver has more than what was sent again (RFC 5682 §3.1, step 3b).
    fn original_arrived(&self, score: &Score) -> bool {
        self.once.iter().any(|r| !score.parts(r).is_empty())
    }
}

/// The parts of `flight` that were sent once before record `k`, and not confirmed.
fn sent_once(half: &Half, k: usize, flight: StreamRange, score: &Score) -> RangeSet {
    let mut out = RangeSet::default();
    let again = |i: u32| (i as usize) <= k && is_resend(half.records[i as usize].class);
    for (r, carried) in half.coverage.over(flight) {
        if !carried.records().any(again) && (carried.first as usize) < k {
            out.insert(r);
        }
    }
    score.parts(flight).into_iter().for_each(|r| out.remove(r));
    out
}

/// What routers told the sender about the longest packet that the path takes.
struct PathMtu {
    /// When the sender heard it and which length; the latest first.
    waiting: Vec<(Ts, u32)>,
    /// The shortest so far, and how far the sender had come when it last heard of one.
    told: Option<(u32, RelSeq)>,
    /// IP and TCP headers without options.
    headers: u32,
}

impl PathMtu {
    fn of(trace: &Trace, dir: Dir, lag: Ns) -> PathMtu {
        let sender = if dir == Dir::C2s { trace.known.client } else { trace.known.server };
        let about = trace.known.icmp.iter().filter(|e| e.src == sender);
        let mut waiting: Vec<(Ts, u32)> = about.filter_map(|e| Some((e.ts + lag, e.mtu?))).collect();
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        PathMtu { waiting, told: None, headers: if sender.is_ipv6() { 60 } else { 40 } }
    }

    /// Takes what the sender heard up to `at`, having sent up to `nxt`; when it heard the newest of that.
    fn hear(&mut self, at: Ts, nxt: RelSeq) -> Option<Ts> {
        let mut heard = None;
        while let Some((t, mtu)) = self.waiting.pop_if(|w| w.0 <= at) {
            let least = self.told.map_or(mtu, |(m, _)| m.min(mtu));
            self.told = Some((least, nxt));
            heard = Some(t);
        }
        heard
    }

    /// Record `k` fits the path, and its bytes were in a packet before that did not.
    fn explains(&self, half: &Half, k: usize) -> bool {
        let Some((mtu, upto)) = self.told else { return false };
        let fits = |i: usize| half.records[i].len + self.headers <= mtu;
        let range = half.records[k].range();
        range.start < upto && fits(k) && copy_before(half, k).is_some_and(|i| !fits(i))
    }
}

/// The last record before `k` that carried some of its bytes.
fn copy_before(half: &Half, k: usize) -> Option<usize> {
    let carried = half.coverage.over(half.records[k].range());
    carried.flat_map(|(_, c)| c.records()).map(|i| i as usize).filter(|&i| i < k).max()
}

/// Something that was sent after the last copy of record `k` has been delivered: by RACK's clock that copy is
/// lost, though nothing above it in the stream was SACKed (RFC 8985 §6.2).
fn sent_later_and_arrived(half: &Half, k: usize, score: &Score) -> bool {
    let Some(last) = copy_before(half, k) else { return false };
    half.records[last + 1..k].iter().rev().take(256).any(|r| {
        let again = matches!(r.class, SegmentClass::New | SegmentClass::Retransmission);
        again && !r.range().is_empty() && score.has(r.range())
    })
}

fn is_resend(class: SegmentClass) -> bool {
    class == SegmentClass::Retransmission
}

/// After an RTO the next one comes twice as late; after a tail loss probe the first RTO comes at its
/// normal distance. Tells the two apart where one segment was all that was in flight.
fn doubling_follows(half: &Half, k: usize, quiet: Ns) -> bool {
    let r = &half.records[k];
    let again = half.records[k + 1..]
        .iter()
        .take(8)
        .find(|n| n.class == SegmentClass::Retransmission && n.range().overlaps(r.range()));
    again.is_some_and(|n| n.ts.since(r.ts) > quiet.scaled(17, 10))
}
