//! Ties a slow read to the bytes it waited for, and those bytes to their history.
//!
//! The join is by stream bytes: a read that returned `[a, b)` waited for byte `a` to become
//! contiguous at the receiver. The history of `a` is written, sent, (lost, sent again,) arrived;
//! times between it are the parts of the read's wait.

use super::align::{Flow, sender};
use super::budget::{Part, StopWatch};
use super::peer::{self, Peer};
use super::repair;
use super::stream::{Event, Stream};
use crate::model::tcp::{Owner, SegmentClass, SegmentRecord, Stall, StallCause};
use crate::model::{AppEvent, AppOp, Dir, Ns, RelSeq, Side, Span, StreamRange, Ts};
use crate::report::{Budget, Evidence, ReadReport};

/// A slow read with what the incidents need to know of it.
#[derive(Clone, Debug)]
pub struct Joined {
    /// As it will be reported.
    pub read: ReadReport,
    /// The bytes of the segment that it waited for.
    pub bytes: Option<StreamRange>,
    /// What the peer was doing meanwhile, from its log: phase and file.
    pub busy: Option<String>,
    /// The peer's application was held back by its own rate limit.
    pub paced: bool,
    /// Time of the wait in which the peer's application worked.
    pub peer_worked: Ns,
    /// The hole it waited for: capture and frame that showed it.
    pub hole: Option<Evidence>,
}

/// What one direction's reads are joined against.
pub struct Joiner<'a> {
    flow: &'a Flow,
    dir: Dir,
    from: Option<Stream<'a>>,
    to: Option<Stream<'a>>,
    peer: Option<Peer<'a>>,
    stalls: Vec<&'a Stall>,
    transit: Option<Ns>,
    rtt: Option<Ns>,
}

/// How a byte got through, as found at the taps.
#[derive(Default)]
struct Story<'a> {
    bytes: Option<StreamRange>,
    cause: Option<StallCause>,
    evidence: Vec<Evidence>,
    hole: Option<Evidence>,
    closed: bool,
    first: Option<&'a SegmentRecord>,
}

impl<'a> Joiner<'a> {
    /// Indexes what is known of a direction.
    pub fn new(flow: &'a Flow, dir: Dir) -> Joiner<'a> {
        let both_ways = dir.flip();
        let rtt = match (flow.transit[dir], flow.transit[both_ways]) {
            (Some(a), Some(b)) => Some(a + b),
            (Some(a), None) => Some(a + a),
            _ => None,
        };
        let mut stalls: Vec<&Stall> = flow
            .taps
            .iter()
            .filter(|t| t.conn.offsets_known || !t.conn.stalls.is_empty())
            .flat_map(|t| &t.conn.stalls)
            .filter(|s| s.dir == dir)
            .collect();
        stalls.sort_by_key(|s| (s.start, s.input));
        Joiner {
            flow,
            dir,
            from: flow.sender_tap(dir).map(|t| Stream::new(t, dir)),
            to: flow.receiver_tap(dir).map(|t| Stream::new(t, dir)),
            peer: flow.log(sender(dir)).map(|l| Peer::new(&l.log)),
            stalls,
            transit: flow.transit[dir],
            rtt,
        }
    }

    /// All reads of the receiving end that took at least `slow`, in order of start.
    pub fn slow_reads(&self, slow: Ns) -> Vec<Joined> {
        let side = sender(self.dir).flip();
        let Some(view) = self.flow.log(side) else { return Vec::new() };
        let log = &view.log;
        let known = log.offsets_known && self.flow.offsets[self.dir];
        let reads =
            log.events.iter().filter(|e| e.op == AppOp::Read && e.end.since(e.start) >= slow.max(Ns(1)));
        let mut out: Vec<Joined> = reads
            .map(|e| {
                let file = e.file.and_then(|f| log.files.get(f as usize)).cloned();
                self.join(e, side, file, known)
            })
            .collect();
        out.sort_by_key(|j| (j.read.start, j.read.end));
        out
    }

    fn join(&self, e: &AppEvent, side: Side, file: Option<String>, known: bool) -> Joined {
        let span = Span::new(e.start, e.end);
        let mut watch = StopWatch::start(span);
        let mut story = Story::default();
        let mut rest = Part::Unknown;
        if known {
            let first = RelSeq::from_stream_offset(e.offset);
            rest = self.tell(first, &mut watch, &mut story, span.end);
            // A read that insists on all its bytes goes on waiting after the first ones came; not one that was
            // told that there is something to read.
            let last = first.plus(i64::from(e.len.max(1)) - 1);
            if let Some(done) = self.to.as_ref().and_then(|s| s.contiguous(last))
                && rest == Part::LocalDelivery
                && done.ts > watch.hand() + Ns::from_millis(1)
                && done.ts <= span.end
                && e.ready.is_none()
            {
                let mut more = Story::default();
                self.tell(last, &mut watch, &mut more, span.end);
                story.evidence.append(&mut more.evidence);
                if more.cause.is_some() {
                    (story.cause, story.bytes, story.hole) = (more.cause, more.bytes, more.hole);
                }
            }
        } else {
            self.explained(&mut watch, span.end, "the read returned");
        }
        let (budget, steps) = watch.stop(rest);
        let before = steps.iter().filter(|s| s.part == "peer-app").fold(None, |_, s| Some(s.span.end));
        let peer = self.peer.as_ref().map(|p| p.during(Span::new(span.start, before.unwrap_or(span.start))));
        let (mut cause, owner) = self.blame(&budget, &story, peer.as_ref(), span);
        if e.len == 0 && cause == StallCause::NoData {
            // The end of the stream is no data that the peer held back.
            cause = StallCause::WaitingForPeer;
        }
        let peer = peer.unwrap_or_default();
        Joined {
            read: ReadReport {
                flow: self.flow.id,
                dir: self.dir,
                side,
                start: span.start,
                end: span.end,
                offset: e.offset,
                len: e.len,
                phase: e.phase,
                file,
                budget,
                steps,
                cause,
                owner,
                hole: None,
                incident: None,
                evidence: story.evidence,
            },
            bytes: story.bytes,
            paced: peer.paced > peer.worked && peer.paced.scaled(2, 1) > budget.peer_app,
            peer_worked: peer.worked,
            busy: peer.busy_with,
            hole: story.hole,
        }
    }

    /// Hands out the time until byte `x` was readable. Returns whom the rest belongs to.
    fn tell(&self, x: RelSeq, watch: &mut StopWatch, story: &mut Story<'a>, end: Ts) -> Part {
        let who = sender(self.dir).as_str();
        let written = self.peer.as_ref().and_then(|p| p.write_of(x));
        let copies = self.from.as_ref().map(|s| s.copies_of(x)).unwrap_or_default();
        let arrivals = self.to.as_ref().map(|s| s.copies_of(x)).unwrap_or_default();
        let arrived = self.to.as_ref().and_then(|s| s.contiguous(x));
        let first = copies.first().copied();
        story.first = first;
        story.bytes = first.or(arrivals.first().copied()).map(SegmentRecord::range);

        // until the bytes were written
        if let Some(w) = written {
            watch.to(
                Part::PeerApp,
                w.start,
                format!("the {who} wrote {} bytes at offset {}", w.len, w.offset),
            );
        } else if let Some(sent) = first {
            let event = format!("frame {} left the {who}", sent.frame);
            if self.app_limited(sent) {
                watch.to(Part::PeerApp, sent.ts, event);
            } else {
                self.explained(watch, sent.ts, &event);
            }
        }
        // until they were sent
        if let Some(sent) = first {
            story.evidence.push(Evidence { input: sent.input, frame: sent.frame });
            if written.is_some() {
                story.closed = self.held_by_window(watch, sent);
                watch.to(Part::SendQueue, sent.ts, format!("frame {} left the {who}", sent.frame));
            }
        }
        match (arrived, first) {
            (Some(at), _) => self.on_the_path(x, watch, story, at, &copies, &arrivals, written),
            (None, Some(sent)) => return self.seen_leaving(x, watch, story, sent, &copies, end),
            (None, None) => {
                self.explained(watch, end, "the read returned");
                return Part::Unknown;
            }
        }
        Part::LocalDelivery
    }

    /// The time that the closed window held the segment back. True when it was closed altogether.
    fn held_by_window(&self, watch: &mut StopWatch, sent: &SegmentRecord) -> bool {
        let Some(from) = &self.from else { return false };
        let since = sent.ts - self.rtt.unwrap_or(Ns::from_millis(5));
        let Some((opened, closed)) = from.window_reached(sent.range().end, sent.ts, since) else {
            return false;
        };
        // its turn came when the one before it had gone
        if let Some(before) = from.sent_before(sent.ts) {
            watch.to(Part::SendQueue, before.ts, format!("frame {} left before it", before.frame));
        }
        watch.to(Part::Window, opened.ts, format!("frame {} opened the window", opened.frame));
        closed
    }

    /// From the first transmission (or what is known of it) to the moment when all was there.
    fn on_the_path(
        &self,
        x: RelSeq,
        watch: &mut StopWatch,
        story: &mut Story<'a>,
        at: Event,
        copies: &[&'a SegmentRecord],
        arrivals: &[&'a SegmentRecord],
        written: Option<&AppEvent>,
    ) {
        let Some(to) = &self.to else { return };
        let input = to.tap.input;
        let reader = sender(self.dir).flip().as_str();
        let came = arrivals.first().copied();
        let hole = to.hole(x);
        let event = format!("frame {} completed the bytes at the {reader}", at.frame);
        let through = came.and_then(|c| self.which_copy(c, copies));
        // What came first is a resend that nobody needed: it overtook the original.
        let overtook =
            through.filter(|&i| i > 0).and_then(|i| copies.get(i)).is_some_and(|c| c.spurious.is_some());
        let late = overtook || came.is_some_and(|c| c.class == SegmentClass::Reordered);
        let resent_only = came.is_some_and(|c| c.class == SegmentClass::Retransmission);
        let lost = !late && if copies.is_empty() { resent_only } else { through.is_some_and(|i| i > 0) };
        let transit = self.transit.unwrap_or(Ns::ZERO);
        if lost || late {
            let born = hole.map(|h| h.birth);
            let due = match (copies.first(), written, born) {
                (Some(c), _, _) => Some(c.ts + transit),
                (None, Some(w), Some(b)) => Some((w.start + transit).min(b)),
                (None, Some(w), None) => Some(w.start + transit),
                (None, None, b) => b,
            };
            let by = match due {
                Some(due) if copies.is_empty() && written.is_none() => {
                    self.explained(watch, due, "later bytes had arrived");
                    due
                }
                Some(due) => due,
                None => {
                    // sent again, and nothing tells since when it was missing
                    self.explained(watch, at.ts, &event);
                    at.ts
                }
            };
            watch.to(Part::Transit, by, "the first copy should have arrived");
            let part = if late { Part::Reordering } else { Part::LossRecovery };
            watch.to(part, at.ts, &event);
            story.cause = Some(if late {
                StallCause::Reordering
            } else {
                let repaired_by = through.and_then(|i| copies.get(i).copied()).or(came);
                let resent = &copies[1.min(copies.len())..];
                let late_sign = written.zip(born).zip(self.rtt).is_some_and(|((w, born), rtt)| {
                    born.since(w.start + transit).0 > rtt.0.saturating_mul(3) / 2
                });
                let probed = late_sign || hole.is_some_and(|h| to.was_resent(h.birth_frame));
                repair::mechanism(resent, repaired_by, hole, &self.stalls, self.rtt, probed)
            });
            story.hole = hole.map(|h| Evidence { input: h.input, frame: h.birth_frame });
            story.evidence.extend(story.hole);
            for c in copies.iter().skip(1).take(through.unwrap_or(0).min(8)) {
                story.evidence.push(Evidence { input: c.input, frame: c.frame });
            }
        } else if !copies.is_empty() {
            watch.to(Part::Transit, at.ts, &event);
        } else if let Some(w) = written {
            let left = at.ts - transit;
            if at.ts.since(w.start) > transit + transit + Ns::from_millis(5) {
                self.explained(watch, left, "the bytes must have left");
            }
            watch.to(Part::Transit, at.ts, &event);
        } else {
            self.explained(watch, at.ts - transit, "the bytes must have left");
            watch.to(Part::Transit, at.ts, &event);
        }
        let frame = came.map_or(at.frame, |c| c.frame);
        story.evidence.push(Evidence { input, frame });
    }

    /// No tap at the receiver: what left the sender, and when it can have arrived.
    fn seen_leaving(
        &self,
        x: RelSeq,
        watch: &mut StopWatch,
        story: &mut Story<'a>,
        sent: &'a SegmentRecord,
        copies: &[&'a SegmentRecord],
        end: Ts,
    ) -> Part {
        let Some(from) = &self.from else { return Part::Unknown };
        let transit = self.transit.unwrap_or(Ns::ZERO);
        let loss = from.loss(x);
        let acked = from.acked(x).map(|a| a.ts);
        let in_time = |c: &&&SegmentRecord| c.ts + transit <= end && acked.is_none_or(|a| c.ts <= a);
        let through = match loss {
            Some(l) => copies.iter().find(|c| Some(c.frame) == l.repair_frame).or(copies
                .iter()
                .rev()
                .filter(in_time)
                .find(|c| c.spurious.is_none())),
            None => copies.first(),
        };
        let through = through.copied().unwrap_or(sent);
        if through.frame != sent.frame {
            watch.to(Part::Transit, sent.ts + transit, "the first copy should have arrived");
            let event = format!("the copy in frame {} should have arrived", through.frame);
            watch.to(Part::LossRecovery, through.ts + transit, event);
            let hole = from.hole(x);
            let resent = &copies[1.min(copies.len())..];
            story.cause = Some(repair::mechanism(resent, Some(through), hole, &self.stalls, self.rtt, false));
            story.hole = hole.map(|h| Evidence { input: h.input, frame: h.birth_frame });
            story.evidence.extend(story.hole);
            story.evidence.push(Evidence { input: through.input, frame: through.frame });
        }
        let arrival = through.ts + transit;
        let usual = self.rtt.unwrap_or(Ns::ZERO) + self.rtt.unwrap_or(Ns::ZERO);
        if end.since(through.ts) <= usual.max(Ns::from_millis(5)) {
            return Part::Transit;
        }
        watch.to(Part::Transit, arrival, "the bytes should have arrived");
        Part::Unknown
    }

    /// Which of the sender's copies is the one that came in: the same packet, else the last one
    /// that can have been there in time.
    fn which_copy(&self, came: &SegmentRecord, copies: &[&SegmentRecord]) -> Option<usize> {
        let (from, to) = (self.from.as_ref()?, self.to.as_ref()?);
        if copies.len() <= 1 {
            return (!copies.is_empty()).then_some(0);
        }
        let at = &to.tap.conn.packets[self.dir];
        let key =
            at.binary_search_by_key(&came.frame, |p| p.frame).ok().and_then(|i| at.get(i)).map(|p| p.key);
        if let Some(key) = key {
            let marks = &from.tap.conn.packets[self.dir];
            let is = |c: &&SegmentRecord| {
                marks.binary_search_by_key(&c.frame, |p| p.frame).is_ok_and(|i| marks[i].key == key)
            };
            let mut same = copies.iter().enumerate().filter(|(_, c)| is(c)).map(|(i, _)| i);
            if let (Some(i), None) = (same.next(), same.next()) {
                return Some(i);
            }
        }
        if came.class == SegmentClass::Reordered {
            return Some(0);
        }
        let latest = came.ts - self.transit.unwrap_or(Ns::ZERO) + Ns::from_micros(500);
        copies.iter().rposition(|c| c.ts <= latest).or(Some(0))
    }

    /// True when the segment was sent because the application wrote it just then: nothing was in
    /// flight, or no acknowledgement had come that could have let it go.
    fn app_limited(&self, sent: &SegmentRecord) -> bool {
        let Some(from) = &self.from else { return false };
        let before = from.sent_before(sent.ts).map_or(Ts::MIN, |b| b.ts + Ns(1));
        let released = from.window_reached(sent.range().end, sent.ts, before).is_some();
        let slack = Ns::from_millis(2);
        let clocked = from.ack_before(sent.ts).is_some_and(|a| sent.ts.since(a.ts) < slack);
        let paced = from
            .sent_before(sent.ts)
            .is_some_and(|b| sent.ts.since(b.ts) < Ns(self.rtt.unwrap_or(Ns::ZERO).0 / 2).max(slack));
        !released && (from.all_acked(sent.ts) || !(clocked || paced))
    }

    /// Hands out the time until `at` by the stalls that TCP's analysis found; the rest is unknown.
    fn explained(&self, watch: &mut StopWatch, at: Ts, event: &str) {
        let hand = watch.hand();
        for s in &self.stalls {
            if s.start >= at {
                break;
            }
            let stop = s.end.unwrap_or(Ts::MAX);
            if stop <= hand {
                continue;
            }
            let Some(part) = part_of(s.cause) else { continue };
            watch.to(Part::Unknown, s.start.min(at), format!("TCP stood still ({})", s.cause));
            watch.to(part, stop.min(at), if stop < at { "TCP moved on" } else { event });
        }
        watch.to(Part::Unknown, at, event);
    }

    /// Why the read was slow, in one word, and whose move it was.
    fn blame(
        &self,
        b: &Budget,
        story: &Story<'_>,
        peer: Option<&peer::During>,
        span: Span,
    ) -> (StallCause, Owner) {
        let stall = self.longest_stall(span);
        // The path's own time is nobody's fault: what came on top of it is.
        let usual = self.transit.unwrap_or(b.transit);
        let avoidable = Budget { transit: (b.transit - usual).max(Ns::ZERO), ..*b };
        let on_top = avoidable.total() > Ns::from_millis(1);
        match if on_top { avoidable.largest().0 } else { b.largest().0 } {
            "loss-recovery" => {
                let told = stall.filter(|s| part_of(s.cause) == Some(Part::LossRecovery));
                let cause = story.cause.or(told.map(|s| s.cause)).unwrap_or(StallCause::LossFast);
                (cause, Owner::Network)
            }
            "reordering" => (StallCause::Reordering, Owner::Network),
            "window" => match stall.filter(|s| part_of(s.cause) == Some(Part::Window)) {
                Some(s) => (s.cause, s.owner),
                None if story.closed => (StallCause::ZeroWindow, Owner::ReceiverApp),
                None => (StallCause::SmallWindow, Owner::ReceiverApp),
            },
            "send-queue" => match stall.filter(|s| part_of(s.cause) == Some(Part::SendQueue)) {
                Some(s) => (s.cause, s.owner),
                None => (StallCause::CwndLimited, Owner::SenderTcp),
            },
            "peer-app" => peer::cause(peer, stall, b.peer_app),
            "transit" => {
                if b.transit.0 > usual.0.max(1_000_000).saturating_mul(3) && b.transit > Ns::from_millis(20) {
                    (StallCause::Queueing, Owner::Network)
                } else {
                    (StallCause::WaitingForPeer, Owner::SenderApp)
                }
            }
            "local-delivery" => (StallCause::Unknown, Owner::ReceiverHost),
            _ => stall.map_or((StallCause::Unknown, Owner::Unknown), |s| (s.cause, s.owner)),
        }
    }

    fn longest_stall(&self, span: Span) -> Option<&'a Stall> {
        let overlap = |s: &Stall| {
            let own = Span::new(s.start, s.end.unwrap_or(Ts::MAX));
            own.intersect(span).map_or(Ns::ZERO, Span::len)
        };
        self.stalls.iter().copied().filter(|s| overlap(s).0 > 0).max_by_key(|s| overlap(s))
    }
}

/// The part of a read's wait that a stall of this cause stands for.
pub fn part_of(c: StallCause) -> Option<Part> {
    use StallCause::*;
    Some(match c {
        NoData | WaitingForPeer | Idle => Part::PeerApp,
        CwndLimited | SendBuffer | NagleDelayedAck => Part::SendQueue,
        ZeroWindow | SmallWindow | StuckWindow | Deadlock => Part::Window,
        LossFast | LossTail | LossRto | LostRetransmission | BurstLoss | HandshakeLoss | BlackHole
        | MtuBlackHole | PathMtu | HostDrop => Part::LossRecovery,
        Reordering => Part::Reordering,
        Queueing | RateLimit | DelaySpike => Part::Transit,
        Reset | PeerSilent | Gap | Unknown => return None,
    })
}
