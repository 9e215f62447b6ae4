//! Times without progress: who owed the next move, and why it did not come.
//!
//! Progress is a byte newly acknowledged or SACKed. A wait is either *outstanding* (bytes were sent,
//! nothing came back) or *empty* (all was acknowledged, nothing new was sent); a long pause that
//! ends in a loss is two waits with two owners. The wait that is still open at the end of the
//! capture counts: it is the hang.

use super::RttSample;
use super::acks::Word;
use super::cause_of_wait::{self, Wait};
use super::classify::Half;
use super::rtt::Estimator;
use super::score::Score;
use super::sent::SendClock;
use crate::flow::{Packet, Run, Trace, Twin};
use crate::model::tcp::{SegmentClass, SegmentRecord, Stall, Tap};
use crate::model::{ByByte, Dir, FrameNo, Ns, PerDir, RelSeq, StreamRange, Ts};
use std::cell::OnceCell;

/// No shorter wait counts while bytes are outstanding.
const FLOOR_OUTSTANDING: Ns = Ns::from_millis(30);
/// No shorter pause counts while nothing is.
const FLOOR_EMPTY: Ns = Ns::from_millis(200);
/// An open pause at the end of the capture is worth a word from here on.
const FLOOR_OPEN_EMPTY: Ns = Ns::from_secs(1);

/// An ACK of a lone short segment that is this much later than the fastest one was held back.
const DELAYED_ACK: Ns = Ns::from_millis(25);
/// No receiver holds an ACK back for longer (RFC 1122 §4.2.3.2).
const DELAYED_ACK_MOST: Ns = Ns::from_millis(500);

/// What the stall finder knows of one connection.
pub struct Context<'a> {
    /// Its packets.
    pub trace: &'a Trace,
    /// The largest segment that each direction may send.
    pub mss: PerDir<u32>,
    /// When holes in each direction's data closed, in order.
    pub closings: PerDir<Vec<Ts>>,
    /// The earliest FIN of each direction.
    pub goodbye: PerDir<Option<Ts>>,
    /// Times of all keep-alives, in order.
    pub keep_alives: Vec<Ts>,
    /// Retransmissions of each direction that nothing proves needless.
    pub needed: PerDir<Needed>,
    /// Its classified segments.
    pub halves: &'a PerDir<Half>,
    /// Its acknowledgments.
    /// The receivers' words.
    pub words: &'a PerDir<Word>,
    /// Its round trips.
    pub rtt: &'a PerDir<Vec<RttSample>>,
    /// Lowest round trip from the tap to each direction's receiver before these packets.
    pub lowest_before: PerDir<Option<Ns>>,
    /// Lowest round trip between the tap and each direction's sender.
    pub sender_rtt: PerDir<Option<Ns>>,
    /// The clock that each direction's sender puts into its packets.
    pub sent: PerDir<OnceCell<Option<SendClock>>>,
    /// Bytes of each direction that were acknowledged and never captured.
    pub missed: PerDir<u64>,
    /// Where the tap is.
    pub tap: &'a Tap,
    /// When the capture (not the connection) ended; none: there is more of the connection.
    pub capture_end: Option<Ts>,
    /// Both sides said goodbye: nothing is owed any more.
    pub closed: bool,
    /// One side hung up: what was still owed then ended there.
    pub reset: Option<Ts>,
}

impl Context<'_> {
    /// The clock that `dir`'s sender puts into its packets; learnt when it is asked for.
    pub fn clock(&self, dir: Dir) -> Option<&SendClock> {
        self.sent[dir].get_or_init(|| SendClock::learn(self.trace, dir)).as_ref()
    }
}

/// When holes in the data closed, in order.
pub fn closings(half: &Half) -> Vec<Ts> {
    let mut out: Vec<Ts> = half.holes.iter().filter_map(|h| h.death).collect();
    out.sort_unstable();
    out
}

/// Times of all keep-alives, in order.
pub fn keep_alives(halves: &PerDir<Half>) -> Vec<Ts> {
    let all = halves.c2s.noted().chain(halves.s2c.noted()).map(|(_, r)| r);
    let mut out: Vec<Ts> = all.filter(|r| r.class == SegmentClass::KeepAlive).map(|r| r.ts).collect();
    out.sort_unstable();
    out
}

/// Retransmissions that nothing proves needless, by their bytes.
#[derive(Debug, Default)]
pub struct Needed(ByByte);

impl Needed {
    /// Those of one direction.
    pub fn of(half: &Half) -> Needed {
        let needed = |r: &SegmentRecord| r.class == SegmentClass::Retransmission && r.spurious.is_none();
        let records = half.noted().filter(|(_, r)| needed(r));
        Needed(ByByte::numbered(records.map(|(i, r)| (r.range(), i))))
    }

    /// True when record `from` or a later one is among them and shares a number with `r`.
    pub fn any(&self, from: usize, r: StreamRange) -> bool {
        self.0.overlapping(r).any(|i| i >= from)
    }
}

/// Where one direction stands while its packets are walked.
struct Walk {
    score: Score,
    nxt: RelSeq,
    started: bool,
    /// Last progress, or the first packet.
    moved: Option<Ts>,
    /// When the oldest outstanding byte was first sent after the last progress.
    owed_since: Option<Ts>,
    last_frame: FrameNo,
}

/// All stalls of one direction, in order of start.
pub fn find(cx: &Context<'_>, dir: Dir) -> Vec<Stall> {
    let mut out = Vec::new();
    let mut est = Estimator::default();
    let rtt = &cx.rtt[dir][..];
    let mut next = 0;
    let lag = cx.sender_rtt[dir].unwrap_or(Ns::ZERO);
    let mut lowest = cx.lowest_before[dir].unwrap_or(Ns(i64::MAX));
    let mut w = Walk {
        score: Score::default(),
        nxt: RelSeq(0),
        started: false,
        moved: None,
        owed_since: None,
        last_frame: FrameNo(0),
    };
    let mut push = |wait: Wait| out.extend(cause_of_wait::judge(cx, &wait));
    // A delayed ACK tells of the receiver's timer, not of the path (RFC 1122 §4.2.3.2).
    let measured = |s: &RttSample, w: &Walk, est: &mut Estimator, lowest: &mut Ns| {
        *lowest = s.rtt.min(*lowest);
        let lone = w.unacknowledged().len() < u64::from(cx.mss[dir]);
        let delayed = lone && s.rtt > *lowest + DELAYED_ACK && s.rtt < *lowest + DELAYED_ACK_MOST;
        if !delayed {
            est.take(s.rtt + lag);
        }
    };
    let patience = |est: &Estimator| est.srtt().map_or(FLOOR_EMPTY, |s| Ns(s.0.saturating_mul(2)));
    let genuine = |p: &&Packet| !matches!(p.twin, Twin::Capture(_));
    let (told, rest) = cx.trace.packets.split_at(cx.trace.upto[dir]);
    // No smoothed round trip is shorter than the fastest one, but for its rounding.
    let least = rtt.iter().map(|s| s.rtt).min().map_or(Ns::ZERO, |r| (r + lag).scaled(2, 1) + Ns(-16));
    for (packets, run) in cx.trace.pieces(told.len()) {
        if let Some(r) = run {
            if r.sender != dir {
                w.last_frame = told[r.packets.end - 1].frame;
                continue;
            }
            let patient = if est.srtt().is_some() { least } else { least.min(FLOOR_EMPTY) };
            if w.can_pass(r, told, patient.max(FLOOR_OUTSTANDING)) {
                let last = told[r.packets.end - 1].ts;
                let here = &rtt[next..next + rtt[next..].iter().take_while(|s| s.ts <= last).count()];
                let mut low = lowest;
                let prompt = here.iter().all(|s| {
                    low = low.min(s.rtt);
                    s.rtt <= low + DELAYED_ACK
                });
                if prompt {
                    here.iter().for_each(|s| est.take(s.rtt + lag));
                    next += here.len();
                    lowest = low;
                    w.pass(r, told);
                    continue;
                }
            }
        }
        for p in told[packets].iter().filter(genuine) {
            while let Some(s) = rtt.get(next).filter(|s| s.ts <= p.ts) {
                measured(s, &w, &mut est, &mut lowest);
                next += 1;
            }
            let long = |start: Ts, floor: Ns| p.ts.since(start) > patience(&est).max(floor);
            if p.dir == dir {
                let end = p.range().end;
                if p.carries() && (end > w.nxt || !w.started) {
                    let una = w.score.una.unwrap_or(p.seq);
                    let empty = !w.started || w.nxt <= una;
                    if empty {
                        if let Some(start) = w.moved.filter(|&s| w.started && long(s, FLOOR_EMPTY)) {
                            push(w.wait(dir, start, Some(p.ts), false, p.frame));
                        }
                        w.owed_since = Some(p.ts);
                    }
                    w.nxt = if w.started { w.nxt.max(end) } else { end };
                    w.started = true;
                    w.moved.get_or_insert(p.ts);
                }
            } else {
                let outstanding =
                    w.score.una.is_some_and(|u| w.nxt > u) || (w.score.una.is_none() && w.started);
                let before = w.waiting_since().filter(|&s| outstanding && long(s, FLOOR_OUTSTANDING));
                let wait = before.map(|start| w.wait(dir, start, Some(p.ts), true, p.frame));
                let news = w.score.take(p, w.nxt);
                if news.is_progress() && w.started {
                    if let Some(wait) = wait {
                        push(wait);
                    }
                    w.moved = Some(p.ts);
                    w.owed_since = None;
                }
            }
            w.last_frame = p.frame;
        }
    }
    w.last_frame = rest.iter().rfind(genuine).map_or(w.last_frame, |p| p.frame);
    if next < rtt.len()
        && let Some(last) = rest.iter().filter(genuine).map(|p| p.ts).max()
    {
        for s in rtt[next..].iter().take_while(|s| s.ts <= last) {
            measured(s, &w, &mut est, &mut lowest);
        }
    }
    let Some(capture_end) = cx.capture_end.filter(|_| !cx.closed && w.started) else { return out };
    let outstanding = w.score.una.is_none_or(|u| w.nxt > u);
    if let Some(start) = w.waiting_since() {
        let mut wait = w.wait(dir, start, cx.reset, outstanding, w.last_frame);
        wait.until = cx.reset.unwrap_or(capture_end);
        // Before its RTO has passed, an unanswered segment at the end of a capture proves nothing.
        let floor = if outstanding { est.rto() } else { FLOOR_OPEN_EMPTY };
        if wait.len() > patience(&est).max(floor) {
            push(wait);
        }
    }
    out
}

impl Walk {
    /// No wait in this run is longer than `patience`.
    fn can_pass(&self, run: &Run, packets: &[Packet], patience: Ns) -> bool {
        let first = packets[run.first_ack].ts;
        self.started
            && self.nxt == run.data.start
            && self.score.can_pass(run)
            && run.longest <= patience
            && self.moved.is_some_and(|m| first.since(m) <= patience)
    }

    fn pass(&mut self, run: &Run, packets: &[Packet]) {
        let last_ack = &packets[run.last_ack];
        self.score.pass(run, last_ack);
        self.nxt = run.data.end;
        self.moved = Some(last_ack.ts);
        let behind = packets[run.last_ack + 1..run.packets.end].first();
        self.owed_since = behind.filter(|_| run.nxt_at_ack <= run.acked).map(|p| p.ts);
        self.last_frame = packets[run.packets.end - 1].frame;
    }

    fn waiting_since(&self) -> Option<Ts> {
        self.owed_since.max(self.moved)
    }

    /// Bytes sent and not acknowledged.
    fn unacknowledged(&self) -> StreamRange {
        StreamRange::new(self.score.una.unwrap_or(RelSeq(0)), self.nxt)
    }

    fn wait(&self, dir: Dir, start: Ts, end: Option<Ts>, outstanding: bool, last: FrameNo) -> Wait {
        let range = self.unacknowledged();
        let sacked = self.score.sacked_above(range.start);
        Wait { dir, start, end, until: end.unwrap_or(start), outstanding, range, sacked, ended_by: last }
    }
}
