//! The decision list: one wait → one owner, one cause, its evidence. The first rule that holds wins;
//! rules that need proof come before rules that merely fit.

use super::AckPoint;
use super::stall::Context;
use crate::flow::Packet;
use crate::model::tcp::{
    Cause, Owner, SegmentClass, SegmentRecord, Stall, StallCause, StallDetail, TapPosition,
};
use crate::model::{Dir, FrameNo, Ns, RelSeq, Span, StreamRange, Ts};

/// A time without progress, before it has a name.
pub struct Wait {
    /// The direction that did not move.
    pub dir: Dir,
    /// Last progress, or the first send after a pause.
    pub start: Ts,
    /// First progress after; none: still open.
    pub end: Option<Ts>,
    /// `end`, or the end of the capture.
    pub until: Ts,
    /// Bytes were on their way.
    pub outstanding: bool,
    /// Bytes not acknowledged at its start.
    pub range: StreamRange,
    /// Of these, SACKed.
    pub sacked: u64,
    /// The frame that ended it (or the last one).
    pub ended_by: FrameNo,
}

impl Wait {
    /// How long it lasted.
    pub fn len(&self) -> Ns {
        self.until.since(self.start)
    }

    fn span(&self) -> Span {
        Span::new(self.start, self.until)
    }
}

/// What happened during a wait.
struct Facts<'a> {
    cx: &'a Context<'a>,
    wait: &'a Wait,
    /// Records of this direction from its start to its end.
    records: Vec<&'a SegmentRecord>,
    /// The packet of the first of them.
    first: Option<&'a Packet>,
    /// Resends among them.
    resends: Vec<&'a SegmentRecord>,
    detail: StallDetail,
    mss: u64,
}

/// Names a wait; none where it is no stall at all.
pub fn judge(cx: &Context<'_>, wait: &Wait) -> Option<Stall> {
    let half = &cx.halves[wait.dir];
    let from = half.records.partition_point(|r| r.ts < wait.start);
    let once = |r: &SegmentRecord| r.class != SegmentClass::CaptureDuplicate;
    let during = half.records[from..].iter().zip(&half.packets[from..]);
    let during: Vec<_> = during.take_while(|(r, _)| r.ts <= wait.until).filter(|(r, _)| once(r)).collect();
    let records: Vec<_> = during.iter().map(|(r, _)| *r).collect();
    let resends: Vec<_> =
        records.iter().copied().filter(|r| r.class == SegmentClass::Retransmission).collect();
    let count = |c: Cause| resends.iter().filter(|r| r.cause == Some(c)).count() as u32;
    let probes = records.iter().filter(|r| is_probe(r.class)).count() as u32;
    let timeouts = count(Cause::Rto) + resends.iter().filter(|r| r.syn && !answers_syn(cx, r)).count() as u32;
    let some = |n: u32| (n > 0).then_some(n);
    let detail = StallDetail {
        timeouts: some(timeouts),
        backoffs: some(timeouts.saturating_sub(1)),
        resends: some(resends.len() as u32),
        probes: some(probes),
        outstanding: wait.outstanding.then(|| wait.range.len().saturating_sub(wait.sacked)),
        window: window_at(&cx.words[wait.dir].points, wait.start).and_then(|a| a.window),
        range: (!wait.range.is_empty()).then_some(wait.range),
        ..StallDetail::default()
    };
    let mss = u64::from(cx.mss[wait.dir]);
    let first = during.first().map(|(_, i)| &cx.trace.packets[**i]);
    let mut f = Facts { cx, wait, records, first, resends, detail, mss };
    let (owner, cause, confidence) = f.decide()?;
    let mut evidence: Vec<FrameNo> = Vec::new();
    if let Some(a) = window_at(&cx.words[wait.dir].points, wait.start) {
        evidence.push(a.frame);
    }
    let shown = if f.resends.is_empty() { &f.records } else { &f.resends };
    evidence.extend(shown.iter().map(|r| r.frame).take(16));
    evidence.push(wait.ended_by);
    evidence.sort_unstable();
    evidence.dedup();
    Some(Stall {
        input: 0,
        flow: cx.trace.known.flow,
        dir: wait.dir,
        start: wait.start,
        end: wait.end,
        owner,
        cause,
        detail: f.detail,
        evidence,
        confidence,
    })
}

/// A SYN-ACK sent again because its SYN came again: no timer did that.
fn answers_syn(cx: &Context<'_>, r: &SegmentRecord) -> bool {
    let soon = cx.sender_rtt[r.dir].unwrap_or(Ns::ZERO).scaled(5, 4) + Ns::from_millis(5);
    let heard = &cx.halves[r.dir.flip()].records;
    let newest = heard[..heard.partition_point(|h| h.ts <= r.ts)].iter().rev().take(8);
    r.dir == Dir::S2c && newest.into_iter().any(|h| h.syn && r.ts.since(h.ts) < soon)
}

fn is_probe(class: SegmentClass) -> bool {
    matches!(class, SegmentClass::WindowProbe | SegmentClass::KeepAlive)
}

/// The receiver's newest word at that moment.
fn window_at(acks: &[AckPoint], at: Ts) -> Option<&AckPoint> {
    acks.partition_point(|a| a.ts <= at).checked_sub(1).map(|i| &acks[i])
}

type Answer = (Owner, StallCause, f64);

/// A host that knows no better sends segments of this size (RFC 9293 §3.7.1); where no SYN was captured, the largest
/// segment seen may be a short one.
const LEAST_MSS: u64 = 536;

impl Facts<'_> {
    fn decide(&mut self) -> Option<Answer> {
        if let Some(a) = self.handshake() {
            return Some(a);
        }
        if !self.cx.trace.known.seen[self.wait.dir.flip()] {
            self.detail.needs = Some("a capture of both directions".to_owned());
            return Some((Owner::Capture, StallCause::Gap, 0.9));
        }
        if let Some(a) = self.window() {
            return Some(a);
        }
        if self.wait.outstanding { self.outstanding() } else { self.empty() }
    }

    /// SYN or SYN-ACK unanswered.
    fn handshake(&mut self) -> Option<Answer> {
        let first = self.records.first()?;
        if !self.wait.outstanding || !first.syn || self.wait.range.start.0 > 0 {
            return None;
        }
        let again = self.resends.iter().any(|r| r.syn);
        Some(match (!again, self.wait.end) {
            (false, Some(_)) => (Owner::Network, StallCause::HandshakeLoss, 0.95),
            (_, None) => {
                self.detail.path = Some("either".to_owned());
                self.detail.needs = Some("a capture at the server: did the SYN arrive?".to_owned());
                (Owner::Network, StallCause::BlackHole, 0.6)
            }
            (true, Some(_)) => (Owner::Network, StallCause::Queueing, 0.4),
        })
    }

    /// The receiver's window was closed, too small, or open again and not used.
    fn window(&mut self) -> Option<Answer> {
        let acks = &self.cx.words[self.wait.dir].points;
        let span = self.wait.span();
        let closed = time_closed(acks, span);
        let reopened = acks[acks.partition_point(|a| a.ts < span.start)..]
            .iter()
            .take_while(|a| a.ts < span.end)
            .filter(|a| a.window.is_none_or(|w| w >= self.mss))
            .map(|a| a.ts)
            .next();
        let was_closed = window_at(acks, span.start).is_some_and(|a| a.window == Some(0)) || closed.0 > 0;
        if !was_closed {
            return self.small_window();
        }
        if let Some(at) = reopened {
            let later = self.records.iter().filter(|r| r.ts > at);
            let probes = later.clone().filter(|r| is_probe(r.class)).count();
            let sent = later.filter(|r| !is_probe(r.class)).count();
            let unused = span.end.since(at);
            if probes >= 2 && (sent == 0 || self.wait.end.is_some() && unused.0 > span.len().0 / 2) {
                let heard = self.heard_of(at);
                if heard != Some(true) {
                    let needs = "a capture at the sender: did the window update arrive?";
                    self.detail.needs = Some(needs.to_owned());
                }
                return Some(match heard {
                    Some(true) => (Owner::SenderTcp, StallCause::StuckWindow, 0.9),
                    Some(false) => (Owner::Network, StallCause::LossRto, 0.6),
                    None => (Owner::SenderTcp, StallCause::StuckWindow, 0.5),
                });
            }
        }
        if closed.scaled(2, 1) < span.len() {
            return None;
        }
        let other = time_closed(&self.cx.words[self.wait.dir.flip()].points, span);
        if other.scaled(2, 1) > span.len() {
            return Some((Owner::Both, StallCause::Deadlock, 0.9));
        }
        let sure = if self.detail.probes.is_some() || !self.wait.outstanding { 0.95 } else { 0.8 };
        Some((Owner::ReceiverApp, StallCause::ZeroWindow, sure))
    }

    /// The sender knew of what its receiver said at `at`: its own tap saw that, or it echoed that time stamp.
    fn heard_of(&self, at: Ts) -> Option<bool> {
        if near_receiver(self.cx.tap.position, self.wait.dir.flip()) {
            return Some(true);
        }
        let packets = &self.cx.trace.packets;
        let said = packets.iter().find(|p| p.ts == at && p.dir != self.wait.dir)?.timestamps?.0;
        let mut echoes = packets
            .iter()
            .filter(|p| p.dir == self.wait.dir && p.ts > at && p.ts < self.wait.until)
            .filter_map(|p| p.timestamps);
        Some(echoes.any(|(_, ecr)| ecr.wrapping_sub(said) as i32 >= 0))
    }

    fn small_window(&self) -> Option<Answer> {
        let a = window_at(&self.cx.words[self.wait.dir].points, self.wait.start)?;
        let usable = a.ack.plus(i64::try_from(a.window?).ok()?).0.saturating_sub(self.wait.range.end.0);
        let tight = a.window? < self.mss && usable < self.mss.min(i64::MAX as u64) as i64;
        // A sender that waits for a larger window and at last fills the small one to the byte (RFC 9293
        // §3.8.6.2.1) had more to send.
        let edge = a.ack.plus(i64::try_from(a.window?).ok()?);
        let fills = self.records.iter().any(|r| !is_probe(r.class) && r.range().end == edge);
        let held = self.detail.probes.is_some() || fills;
        (tight && self.resends.is_empty() && a.window? > 0 && held).then_some((
            Owner::ReceiverApp,
            StallCause::SmallWindow,
            0.7,
        ))
    }

    /// Bytes were on their way and nothing came back.
    fn outstanding(&mut self) -> Option<Answer> {
        if self.resends.is_empty() {
            return self.outstanding_without_resend();
        }
        // A probe that raced a delayed ACK (RFC 8985 §7.2 leaves no room for it with two short segments
        // in flight): nothing was lost and nothing was late.
        let delayed_ack = self.wait.len() <= self.usual_rtt().unwrap_or(Ns::ZERO) + Ns::from_millis(200);
        if self.detail.timeouts.is_none()
            && self.wait.range.len() < 2 * self.mss
            && delayed_ack
            && self.nothing_was_lost()
        {
            return None;
        }
        Some(self.outstanding_with_resends())
    }

    /// The lowest of the newest round trips before the wait.
    fn usual_rtt(&self) -> Option<Ns> {
        let rtt = &self.cx.rtt[self.wait.dir];
        let before = rtt.partition_point(|s| s.ts <= self.wait.start);
        rtt[before.saturating_sub(8)..before].iter().map(|s| s.rtt).min()
    }

    fn outstanding_with_resends(&mut self) -> Answer {
        let timeouts = self.detail.timeouts.unwrap_or(0);
        if timeouts >= 2
            && let Some(sure) = self.only_large_ones_repeat()
        {
            return (Owner::Network, StallCause::MtuBlackHole, sure);
        }
        if self.dropped_by_host() {
            return (Owner::ReceiverHost, StallCause::HostDrop, 0.85);
        }
        // Whoever gives up and resets ends the wait without having been answered.
        let gave_up = self.cx.reset.is_some() && self.wait.end == self.cx.reset;
        if self.wait.end.is_none() || (gave_up && timeouts >= 2) {
            return self.open_with_resends(timeouts);
        }
        if self.nothing_was_lost() && !self.ends_one_round_trip_after_resend() {
            if self.filled_and_closed() {
                return (Owner::ReceiverApp, StallCause::ZeroWindow, 0.8);
            }
            return (Owner::Network, StallCause::DelaySpike, 0.9);
        }
        if timeouts > 0 {
            let flight = self.wait.range.len().saturating_sub(self.wait.sacked);
            let again: u64 = self.resends.iter().map(|r| u64::from(r.len)).sum();
            if timeouts == 1 && flight >= 8 * self.mss && again * 10 >= flight * 9 {
                return (Owner::Network, StallCause::BurstLoss, 0.85);
            }
            return (Owner::Network, StallCause::LossRto, 0.95);
        }
        if self.resends.iter().any(|r| r.resend.is_some_and(|n| n > 1)) {
            return (Owner::Network, StallCause::LostRetransmission, 0.9);
        }
        if self.resends.iter().any(|r| matches!(r.cause, Some(Cause::Tlp | Cause::Fin))) {
            return (Owner::Network, StallCause::LossTail, 0.95);
        }
        if self.resends.iter().any(|r| r.cause == Some(Cause::PathMtu)) {
            return (Owner::Network, StallCause::PathMtu, 0.95);
        }
        if self.resends.iter().any(|r| r.cause == Some(Cause::Unknown) || r.cause.is_none()) {
            // A receiver's tap sees the repair, not the sender's reason.
            let cause = if self.wait.len() >= super::rtt::RTO_MIN {
                StallCause::LossRto
            } else {
                StallCause::LossFast
            };
            self.detail.needs = Some("a capture at the sender, for what triggered the resend".to_owned());
            return (Owner::Network, cause, 0.6);
        }
        (Owner::Network, StallCause::LossFast, 0.95)
    }

    /// Whatever was sent again of these bytes, then or later, had arrived before.
    fn nothing_was_lost(&self) -> bool {
        let half = &self.cx.halves[self.wait.dir];
        let from = half.records.partition_point(|r| r.ts < self.wait.start);
        !self.cx.needed[self.wait.dir].any(from, self.wait.range)
    }

    /// The flight filled the window to the byte, and the answer, which came as fast as ever, closes it: a receiver
    /// with no room holds back its ACK, too (RFC 1122 §4.2.3.2).
    fn filled_and_closed(&self) -> bool {
        let Some(answer) = self.answer() else { return false };
        let allowed = window_at(&self.cx.words[self.wait.dir].points, self.wait.start);
        let edge = allowed.and_then(|a| Some(a.ack.plus(i64::try_from(a.window?).ok()?)));
        let late = self.cx.clock(self.wait.dir.flip()).and_then(|c| c.late(answer));
        edge == Some(self.wait.range.end)
            && answer.ack == edge
            && answer.raw_window == 0
            && late.is_none_or(|l| l.scaled(2, 1) <= self.wait.len())
    }

    /// What ended it.
    fn answer(&self) -> Option<&Packet> {
        let packets = &self.cx.trace.packets;
        packets.binary_search_by_key(&self.wait.ended_by, |p| p.frame).ok().map(|i| &packets[i])
    }

    /// The ACK that ended it answers the last resend: the ACKs of the originals were lost, not late.
    fn ends_one_round_trip_after_resend(&self) -> bool {
        let (Some(to_receiver), Some(last)) = (self.usual_rtt(), self.resends.last()) else { return false };
        let usual = to_receiver + self.cx.sender_rtt[self.wait.dir].unwrap_or(Ns::ZERO);
        let answer = self.wait.until.since(last.ts).scaled(10, 1);
        answer >= usual.scaled(9, 1) && answer <= usual.scaled(13, 1)
    }

    fn open_with_resends(&mut self, timeouts: u32) -> Answer {
        let spoke =
            |d: Dir| {
                self.cx.trace.packets.iter().any(|p| {
                    p.dir == d && p.ts > self.wait.start + Ns::from_millis(1) && p.ts <= self.wait.until
                })
            };
        let receiver_speaks = spoke(self.wait.dir.flip());
        let at_receiver = near_receiver(self.cx.tap.position, self.wait.dir);
        if !receiver_speaks && at_receiver {
            return (Owner::ReceiverHost, StallCause::PeerSilent, 0.85);
        }
        if timeouts >= 2 && !receiver_speaks {
            self.detail.path = Some("either".to_owned());
            self.detail.needs =
                Some("a capture at the receiver: does the data arrive, do its ACKs leave?".to_owned());
            return (Owner::Network, StallCause::BlackHole, 0.85);
        }
        (Owner::Network, StallCause::LossRto, 0.7)
    }

    /// None: only the ACK was late, and nobody waited for it (delayed ACK, RFC 1122 §4.2.3.2).
    fn outstanding_without_resend(&mut self) -> Option<Answer> {
        let flight = self.wait.range.len();
        let delayed_ack = Ns::from_millis(30)..Ns::from_millis(550);
        if self.wait.end.is_some() {
            let closings = &self.cx.closings[self.wait.dir];
            let next = closings.get(closings.partition_point(|&d| d <= self.wait.start));
            let hole_closed = next.is_some_and(|&d| d <= self.wait.until);
            if hole_closed || self.wait.sacked > 0 {
                // The ACK of a repair before or after may be what got lost.
                let repaired = self.repaired(self.wait.range.start);
                return Some((Owner::Network, repaired.unwrap_or(StallCause::Reordering), 0.6));
            }
            if let Some(cause) = self.shown_by_its_end() {
                return Some((Owner::Network, cause, 0.6));
            }
            // A short segment alone in flight, its ACK late, and more data right behind it: the
            // sender held that back (Nagle), the receiver held the ACK (RFC 1122 §4.2.3.2).
            let next = self.next_send_after(self.wait.until);
            if flight < self.mss
                && delayed_ack.contains(&self.wait.len())
                && next.is_some_and(|d| d < Ns::from_millis(2))
            {
                return Some((Owner::SenderTcp, StallCause::NagleDelayedAck, 0.85));
            }
            if flight < 2 * self.mss && delayed_ack.contains(&self.wait.len()) {
                return None;
            }
            if self.may_be_a_gap() {
                return Some((Owner::Capture, StallCause::Gap, 0.5));
            }
            return Some(self.answered_late());
        }
        if self.may_be_a_gap() {
            return Some((Owner::Capture, StallCause::Gap, 0.5));
        }
        let rto_passed = self.wait.len() > Ns::from_secs(3);
        if rto_passed && near_receiver(self.cx.tap.position, self.wait.dir) && self.wait.sacked > 0 {
            // The receiver said what is missing, and it never came.
            self.detail.path = Some("data".to_owned());
            self.detail.needs =
                Some("a capture at the sender: were the missing bytes sent again?".to_owned());
            return Some((Owner::Network, StallCause::BlackHole, 0.6));
        }
        if rto_passed && near_receiver(self.cx.tap.position, self.wait.dir) {
            return Some((Owner::ReceiverHost, StallCause::PeerSilent, 0.6));
        }
        self.detail.needs = Some(if rto_passed {
            "no timer fired although one was due: the sender or the capture stopped".to_owned()
        } else {
            "a longer capture: the retransmission timer had not fired yet".to_owned()
        });
        Some((Owner::Unknown, StallCause::Unknown, 0.3))
    }

    /// What a few frames can hide is not long.
    fn may_be_a_gap(&mut self) -> bool {
        let short = self.usual_rtt().unwrap_or(Ns::ZERO).scaled(4, 1).max(super::rtt::RTO_MIN);
        let gap = self.capture_is_leaky() && self.wait.len() < short;
        if gap {
            self.detail.needs = Some("a capture without drops".to_owned());
        }
        gap
    }

    /// By which repair a byte got through that had to be sent again, in this wait or not.
    fn repaired(&self, byte: RelSeq) -> Option<StallCause> {
        let half = &self.cx.halves[self.wait.dir];
        let (_, carried) = half.coverage.over(StreamRange::new(byte, byte.plus(1))).next()?;
        let needed = |r: &&SegmentRecord| r.class == SegmentClass::Retransmission && r.spurious.is_none();
        let repair = carried.records().map(|i| &half.records[i as usize]).find(needed)?;
        Some(match repair.cause {
            Some(Cause::Tlp | Cause::Fin) => StallCause::LossTail,
            Some(Cause::Rto | Cause::RtoRecovery) => StallCause::LossRto,
            Some(Cause::PathMtu) => StallCause::PathMtu,
            _ => StallCause::LossFast,
        })
    }

    /// The answer that ended it SACKs behind a gap: bytes were lost, and the first ACK that said so. A probe with
    /// new data may have called for another (RFC 8985 §7.3).
    fn shown_by_its_end(&self) -> Option<StallCause> {
        let answer = self.answer()?;
        let repaired =
            answer.ack.filter(|_| !answer.sacks().is_empty()).and_then(|una| self.repaired(una))?;
        Some(if self.probed_with_new_data() { StallCause::LossTail } else { repaired })
    }

    /// The last segment is a tail loss probe of new data (RFC 8985 §7.3).
    fn probed_with_new_data(&self) -> bool {
        let [.., before, probe] = self.records.as_slice() else { return false };
        let quiet = self.usual_rtt().is_some_and(|rtt| probe.ts.since(before.ts) >= rtt.scaled(3, 2));
        // Whoever had more to send had filled the segment before; after a short one the application wrote again.
        quiet && u64::from(before.len) >= self.mss.max(LEAST_MSS)
    }

    /// It ended within less than a round trip of its last segment.
    fn came_before_the_answer_of_the_probe(&self) -> bool {
        let Some((probe, rtt)) = self.records.last().zip(self.usual_rtt()) else { return false };
        self.wait.until.since(probe.ts) < rtt.scaled(9, 10)
    }

    /// Nothing was sent again, the ACK was late.
    fn answered_late(&mut self) -> Answer {
        let clock = self.cx.clock(self.wait.dir.flip());
        let late = self.answer().zip(clock).and_then(|(p, c)| c.late(p));
        if late.is_some_and(|l| l.scaled(2, 1) > self.wait.len()) {
            self.detail.path = Some("ack".to_owned());
        }
        let rtt = &self.cx.rtt[self.wait.dir];
        let before = rtt.partition_point(|s| s.ts <= self.wait.start);
        let mut newest: Vec<Ns> = rtt[before.saturating_sub(4)..before].iter().map(|s| s.rtt).collect();
        newest.sort_unstable();
        let lowest = rtt.iter().map(|s| s.rtt).min();
        let median = newest.get(newest.len() / 2);
        // More than a delayed ACK adds.
        let risen =
            median.zip(lowest).is_some_and(|(&m, l)| m >= l.scaled(2, 1) && m >= l + Ns::from_millis(60));
        // A queue that holds bytes for longer than a time-out makes their sender repeat them.
        let plausible = self.wait.len() <= Ns::from_secs(3);
        if risen && plausible {
            return (Owner::Network, StallCause::Queueing, 0.7);
        }
        if self.detail.path.is_some() && plausible {
            return (Owner::Network, StallCause::Queueing, 0.6);
        }
        let needs = "a capture at the receiver: did the data come late, or was it answered late?";
        self.detail.needs = Some(needs.to_owned());
        // Two full segments are acknowledged at once (RFC 5681 §4.2): that ACK was lost, or late.
        if self.wait.range.len() >= 2 * self.mss && self.probed_with_new_data() {
            // What comes sooner than the probe's own answer can was under way before.
            if self.came_before_the_answer_of_the_probe() {
                return (Owner::Network, StallCause::DelaySpike, 0.6);
            }
            return (Owner::Network, StallCause::LossTail, 0.6);
        }
        (Owner::Unknown, StallCause::Unknown, 0.4)
    }

    /// The capture missed so much of this connection that silence proves nothing.
    fn capture_is_leaky(&self) -> bool {
        let missed: u64 = Dir::BOTH.iter().map(|&d| self.cx.missed[d]).sum();
        let seen: u64 = Dir::BOTH.iter().map(|&d| self.cx.halves[d].nxt.0.max(0) as u64).sum();
        missed > 0 && missed * 100 >= seen
    }

    /// Everything was acknowledged and nothing new was sent.
    fn empty(&mut self) -> Option<Answer> {
        if let Some(answer) = self.ended_by_resend() {
            return answer;
        }
        if let Some(late) = self.came_late() {
            return Some(late);
        }
        if self.records.first().is_some_and(|r| r.class == SegmentClass::Undecided && !r.syn) {
            let needs = "a capture at the sender: did it pause, or was a flight lost?";
            self.detail.needs = Some(needs.to_owned());
            return Some((Owner::Unknown, StallCause::Unknown, 0.4));
        }
        let mine = &self.cx.halves[self.wait.dir].records;
        let said_goodbye = self.cx.goodbye[self.wait.dir].is_some_and(|t| t <= self.wait.start);
        let ended_by_reset = self.cx.reset.is_some() && self.wait.end == self.cx.reset;
        if said_goodbye || ended_by_reset {
            return None;
        }
        let other = &self.cx.halves[self.wait.dir.flip()].records;
        let alive = &self.cx.keep_alives;
        let next = alive.get(alive.partition_point(|&t| t < self.wait.start));
        if next.is_some_and(|&t| t <= self.wait.until) {
            return Some((Owner::SenderApp, StallCause::Idle, 0.8));
        }
        let mute = !self.cx.halves[self.wait.dir].records.iter().any(|r| r.len > 0);
        let talks = |r: &&SegmentRecord| r.len > 0 && !is_probe(r.class);
        let peer_last = other[..other.partition_point(|r| r.ts <= self.wait.until)].iter().rev().find(talks);
        let my_last = mine[..mine.partition_point(|r| r.ts <= self.wait.start)].iter().rev().find(talks);
        let peer_after = peer_last.filter(|p| my_last.is_none_or(|m| p.ts > m.ts));
        if mute {
            // A direction that never carries data owes none, save a server that was asked and never
            // answers.
            // Nor does one whose peer is not done asking: its window is closed, or it asks again.
            let asking = |r: &SegmentRecord| r.ts >= self.wait.start && r.class != SegmentClass::New;
            let blocked = window_at(&self.cx.words[Dir::C2s].points, self.wait.until)
                .is_some_and(|a| a.window == Some(0));
            let done = !blocked && !other.iter().rev().take(8).any(asking);
            let asked = done && self.wait.end.is_none() && self.wait.dir == Dir::S2c && peer_after.is_some();
            let heard = window_at(&self.cx.words[Dir::C2s].points, self.wait.until).is_some_and(|a| {
                a.ack >= self.cx.halves[Dir::C2s].nxt && self.wait.until.since(a.ts) >= Ns::from_secs(1)
            });
            return (asked && heard).then_some((Owner::SenderApp, StallCause::NoData, 0.5));
        }
        match peer_after {
            // The other side spoke last. It is done: was it long ago, or did it just end?
            Some(p) => {
                let turn = self.wait.until.since(p.ts.max(self.wait.start));
                if turn.scaled(2, 1) < self.wait.len() {
                    Some((Owner::SenderApp, StallCause::WaitingForPeer, 0.8))
                } else if self.wait.dir == Dir::S2c && my_last.is_some() && self.ends_the_talk() {
                    Some((Owner::SenderApp, StallCause::WaitingForPeer, 0.6))
                } else if self.wait.dir == Dir::S2c {
                    // A server that was asked owes an answer.
                    Some((Owner::SenderApp, StallCause::NoData, 0.7))
                } else {
                    Some((Owner::SenderApp, StallCause::Idle, 0.6))
                }
            }
            // It had the word and stopped in the middle, with window and cwnd open.
            None if self.wait.end.is_some() => Some((Owner::SenderApp, StallCause::NoData, 0.85)),
            None => Some((Owner::SenderApp, StallCause::Idle, 0.5)),
        }
    }

    /// The other side has closed, and what ended the wait closes this one: nobody waited for more than that.
    fn ends_the_talk(&self) -> bool {
        let closed = self.cx.goodbye[self.wait.dir.flip()].is_some_and(|t| t <= self.wait.until);
        closed && self.records.iter().any(|r| r.fin && Some(r.ts) == self.wait.end)
    }

    /// The tap may have missed the first copies, or the sender their ACKs. None: no resend ended it.
    fn ended_by_resend(&mut self) -> Option<Option<Answer>> {
        let first = self.records.first().filter(|r| r.class == SegmentClass::Retransmission)?;
        if first.syn {
            // The other direction's SYN-ACK is what got no answer.
            return Some(None);
        }
        if first.spurious.is_some() && self.nothing_was_lost() {
            // All was there and acknowledged: the ACKs did not come back in time, or not at all. A sender
            // that stops asking has got them; the rest of the silence has another reason.
            let last = self.resends.last()?.ts;
            let before = self.resends.iter().rev().nth(1).map_or(self.wait.start, |r| r.ts);
            let next = last.since(before).scaled(5, 2).max(Ns::from_millis(500));
            if self.wait.until.since(last) > next {
                return None;
            }
            let answer = if self.wait.end.is_none() {
                (Owner::Network, StallCause::BlackHole, 0.85)
            } else if self.ends_one_round_trip_after_resend() {
                // What else was in flight may have been lost with the ACKs.
                return Some(Some((Owner::Network, StallCause::LossRto, 0.7)));
            } else {
                (Owner::Network, StallCause::DelaySpike, 0.7)
            };
            self.detail.path = Some("ack".to_owned());
            return Some(Some(answer));
        }
        let cause = match first.cause {
            Some(Cause::PathMtu) => StallCause::PathMtu,
            Some(Cause::Tlp) => StallCause::LossTail,
            _ if self.wait.len() < super::rtt::RTO_MIN => StallCause::LossTail,
            _ => StallCause::LossRto,
        };
        self.detail.needs = Some("a capture at the sender: when did the first copy leave?".to_owned());
        Some(Some((Owner::Network, cause, 0.7)))
    }

    /// What ended the silence was sent long before, by its own time stamp: it stood on the path.
    fn came_late(&mut self) -> Option<Answer> {
        let sure = match self.cx.clock(self.wait.dir) {
            Some(clock) if clock.late(self.first?)?.scaled(2, 1) >= self.wait.len() => 0.9,
            None if self.came_with_its_resend() => 0.8,
            _ => return None,
        };
        self.detail.path = Some("data".to_owned());
        Some((Owner::Network, StallCause::DelaySpike, sure))
    }

    /// Bytes and their resend came at once, though a sender waits a round trip before it repeats anything.
    fn came_with_its_resend(&self) -> bool {
        let Some(rtt) = self.cx.sender_rtt[self.wait.dir] else { return false };
        let half = &self.cx.halves[self.wait.dir];
        let from = half.records.partition_point(|r| r.ts < self.wait.until);
        let burst =
            half.records[from..].iter().take_while(|r| r.ts.since(self.wait.until) < rtt.scaled(7, 10));
        let first = |r: &SegmentRecord| half.coverage.over(r.range()).map(|(_, c)| c.first as usize).min();
        burst.filter(|r| r.class == SegmentClass::Retransmission).any(|r| first(r).is_some_and(|i| i >= from))
    }

    fn next_send_after(&self, at: Ts) -> Option<Ns> {
        let records = &self.cx.halves[self.wait.dir].records;
        let next = records.get(records.partition_point(|r| r.ts < at))?;
        Some(next.ts.since(at))
    }

    /// Segments above some size repeat and never get through, smaller ones do (RFC 4821 §1). How sure that
    /// is; none: it does not look so.
    fn only_large_ones_repeat(&self) -> Option<f64> {
        let smallest = self.resends.iter().map(|r| r.len).min().unwrap_or(0);
        if smallest <= 500 {
            return None;
        }
        if self.cx.trace.known.icmp.iter().any(|e| e.mtu.is_some()) {
            return Some(0.95);
        }
        let acked = window_at(&self.cx.words[self.wait.dir].points, self.wait.until).map(|a| a.ack);
        let half = &self.cx.halves[self.wait.dir];
        let through = |r: &&SegmentRecord| acked.is_some_and(|a| r.range().end <= a) && r.len > 0;
        let mut passed = half.records.iter().filter(through).peekable();
        let fits = passed.peek().is_some() && passed.all(|r| r.len < smallest);
        // What was sent after a large one and did arrive says that the path is alive.
        let more_sacked = self.wait.end.is_some() && acked == Some(self.wait.range.start);
        let alive = self.wait.sacked > 0 || more_sacked || self.peer_spoke();
        fits.then_some(if alive { 0.9 } else { 0.65 })
    }

    /// The other side sent data while this one waited.
    fn peer_spoke(&self) -> bool {
        let other = &self.cx.halves[self.wait.dir.flip()].records;
        let from = other.partition_point(|r| r.ts <= self.wait.start);
        other[from..].iter().take_while(|r| r.ts < self.wait.until).any(|r| r.len > 0)
    }

    /// On the receiver's own host: copies of the first unacknowledged byte came by, intact, and it went on
    /// acknowledging the byte before.
    fn dropped_by_host(&self) -> bool {
        let host = match self.wait.dir {
            Dir::C2s => TapPosition::ServerHost,
            Dir::S2c => TapPosition::ClientHost,
        };
        if self.cx.tap.position != host {
            return false;
        }
        let half = &self.cx.halves[self.wait.dir];
        let una = self.wait.range.start;
        let from = half.records.partition_point(|r| r.ts < self.wait.start);
        let came = half.records[from..]
            .iter()
            .zip(&half.packets[from..])
            .take_while(|(r, _)| r.ts < self.wait.until)
            .filter(|(r, i)| {
                r.class != SegmentClass::CaptureDuplicate
                    && r.range().start <= una
                    && una < r.range().end
                    && self.cx.trace.packets[**i].checksum_ok != Some(false)
            })
            .count();
        // Without a later ACK it may have stopped altogether.
        let lives = self.wait.end.is_some()
            || self.cx.trace.packets.iter().any(|p| {
                p.dir != self.wait.dir
                    && p.ts > self.wait.start + Ns::from_millis(1)
                    && p.ts < self.wait.until
            });
        came >= 2 && lives && !self.nothing_was_lost()
    }
}

/// How long the window was closed during `span`.
fn time_closed(acks: &[AckPoint], span: Span) -> Ns {
    let first = acks.partition_point(|a| a.ts <= span.start).saturating_sub(1);
    let mut sum = Ns::ZERO;
    for (i, a) in acks.iter().enumerate().skip(first) {
        if a.ts >= span.end {
            break;
        }
        let until = acks.get(i + 1).map_or(span.end, |n| n.ts);
        if a.window == Some(0) {
            sum += Span::new(a.ts, until).intersect(span).map_or(Ns::ZERO, Span::len);
        }
    }
    sum
}

fn near_receiver(tap: TapPosition, dir: Dir) -> bool {
    match dir {
        Dir::C2s => matches!(tap, TapPosition::ServerHost | TapPosition::NearServer),
        Dir::S2c => matches!(tap, TapPosition::ClientHost | TapPosition::NearClient),
    }
}
