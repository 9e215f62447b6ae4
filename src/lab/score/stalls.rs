//! Waits as the link saw them, beside the stalls of the report.

use super::Score;
use super::segments::WhySent;
use super::wire::{Packet, Wire};
use crate::correlate::sender;
use crate::lab::scenario::Truth as Planned;
use crate::model::tcp::{Cause, Owner, Stall, StallCause};
use crate::model::{AppEvent, AppLog, AppOp, Dir, Ns, RelSeq, Side, Span, StreamRange, Ts};
use crate::tcp::ranges::RangeSet;

/// How far a stall may begin or end from the truth.
const TOLERANCE: Ns = Ns::from_millis(1);
/// What a scenario plans for a moment may show so long before and after it.
const SLACK: Ns = Ns::from_millis(1500);

/// A time without progress at one tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The last progress, or the first send after a pause.
    pub start: Ts,
    /// The next progress; none: it did not come.
    pub end: Option<Ts>,
    /// Bytes were on their way at its start.
    pub outstanding: StreamRange,
}

/// A wait of this length is a stall whatever the round trip: with bytes on their way, and without.
const FLOOR_OUTSTANDING: Ns = Ns::from_millis(36);
/// See above.
const FLOOR_EMPTY: Ns = Ns::from_millis(220);
/// What is sent before a wait is seen at the other end of the link in it.
pub const ON_ITS_WAY: Ns = Ns::from_millis(60);

enum Event {
    Data(StreamRange),
    Ack(RelSeq, Vec<StreamRange>),
    Reset,
}

/// Every wait of one way at one tap, however short. Progress is a byte newly acknowledged or SACKed.
pub fn waits(wire: &Wire, dir: Dir, side: Side) -> Vec<Wait> {
    waits_of(wire, dir, side, Packet::captured)
}

/// The same of what `passed` there.
fn waits_of(wire: &Wire, dir: Dir, side: Side, passed: impl Fn(&Packet, bool) -> Option<Ts>) -> Vec<Wait> {
    let mut events: Vec<(Ts, Event)> = Vec::new();
    for way in Dir::BOTH {
        for p in &wire.packets[way] {
            let Some(at) = passed(p, side == sender(way)) else { continue };
            if p.rst {
                events.push((at, Event::Reset));
            } else if way == dir {
                if p.copy > 0 {
                    events.push((at, Event::Data(p.range)));
                }
            } else if let Some(ack) = p.ack {
                events.push((at, Event::Ack(ack, p.sack.clone())));
            }
        }
    }
    events.sort_by_key(|e| e.0);
    let mut out = Vec::new();
    let mut got = RangeSet::default();
    let (mut next, mut una) = (RelSeq(0), RelSeq(0));
    let mut since: Option<Ts> = None;
    for (at, event) in events {
        match event {
            Event::Data(r) if r.end > next => {
                if una >= next {
                    // Nothing was owed; from now on something is.
                    if let Some(start) = since {
                        let outstanding = StreamRange::new(next, next);
                        out.push(Wait { start, end: Some(at), outstanding });
                    }
                    since = Some(at);
                }
                next = r.end;
            }
            Event::Data(_) => {}
            Event::Ack(ack, sack) => {
                let before = StreamRange::new(una, next);
                let mut news = 0;
                if ack <= next && ack > una {
                    news += got.insert(StreamRange::new(RelSeq(0), ack));
                    una = ack;
                }
                for r in sack.iter().filter(|r| r.end <= next && r.start >= una) {
                    news += got.insert(*r);
                }
                if news > 0 {
                    if let Some(start) = since.filter(|_| !before.is_empty()) {
                        out.push(Wait { start, end: Some(at), outstanding: before });
                    }
                    since = Some(at);
                }
            }
            Event::Reset => {
                if let Some(start) = since.take() {
                    out.push(Wait { start, end: Some(at), outstanding: StreamRange::new(una, next) });
                }
            }
        }
    }
    if let Some(start) = since {
        out.push(Wait { start, end: None, outstanding: StreamRange::new(una, next) });
    }
    out
}

/// One way at one tap.
pub struct Seen<'a> {
    /// For messages.
    pub at: &'a str,
    /// The link's view.
    pub wire: &'a Wire,
    /// Which way.
    pub dir: Dir,
    /// Whose tap.
    pub side: Side,
    /// It is all that the report has.
    pub alone: bool,
    /// How much later the report's clock has this tap's packets.
    pub skew: Ns,
    /// Why packets of this way were sent again.
    pub why: &'a [Option<WhySent>],
    /// The log of the application that sends this way.
    pub writer: Option<&'a AppLog>,
    /// The end of the report.
    pub end: Ts,
}

/// Counts the stalls of one way at one tap, and those that are missing.
pub fn score(s: &mut Score, seen: &Seen<'_>, stalls: &[&Stall], planned: &[Planned], by_fates: bool) {
    let waits = waits(seen.wire, seen.dir, seen.side);
    let complete = waits_of(seen.wire, seen.dir, seen.side, Packet::passed);
    // Without what the capture lacks nothing stood still for so long.
    let lacks = Dir::BOTH.iter().any(|d| {
        let mut all = seen.wire.packets[*d].iter();
        all.any(|p| p.missed_at_sender || p.missed_at_receiver)
    });
    let torn = |span: Span| {
        let within = |w: &Wait| Span::new(w.start, w.end.unwrap_or(seen.end)).intersect(span);
        let longest = complete.iter().filter(|w| within(w).is_some()).map(|w| seen.length(w)).max();
        lacks && longest.is_none_or(|l| l.scaled(4, 1) < span.len().scaled(3, 1))
    };
    let mine = |e: &&Planned| e.dir == seen.dir && e.tap.is_none_or(|t| t == seen.side);
    let mut met = vec![false; planned.len()];
    for stall in stalls {
        let start = stall.start - seen.skew;
        let end = stall.end.map(|e| e - seen.skew);
        let lasts = end.unwrap_or(seen.end).since(start);
        bounds(s, seen, &waits, stall, start, end);
        let said = label(stall.owner, stall.cause);
        let span = Span::new(start, end.unwrap_or(seen.end));
        let mut truth: Vec<(Owner, StallCause)> = if torn(span) {
            vec![(Owner::Capture, StallCause::Gap)]
        } else if by_fates {
            from_fates(seen, &waits, span, stall)
        } else {
            let here = planned.iter().enumerate().filter(|(_, e)| mine(e) && near(e, seen.wire.zero, span));
            let here: Vec<_> = here.collect();
            for (i, _) in &here {
                met[*i] = true;
            }
            here.iter().flat_map(|(_, e)| e.cause.iter().map(|c| (e.owner, *c))).collect()
        };
        let plan: Vec<StallCause> = truth.iter().map(|t| t.1).collect();
        let wait = waits.iter().find(|w| close(w.start, start));
        truth.extend(seen.beside_the_plan(span, &plan, wait, stall));
        let right = truth.contains(&(stall.owner, stall.cause));
        let names = |(o, c): &(Owner, StallCause)| label(*o, *c);
        let truth_label =
            if right { said.clone() } else { truth.first().map_or("nothing".to_owned(), names) };
        s.stalls.add(&truth_label, &said, 1);
        s.stall_ms.add(&truth_label, &said, (lasts.0 / 1_000_000).max(0) as u64);
        let owner = if truth.iter().any(|t| t.0 == stall.owner) {
            stall.owner
        } else {
            truth.first().map_or(Owner::Unknown, |t| t.0)
        };
        s.owners.add(owner.as_str(), stall.owner.as_str(), 1);
        if !right {
            let should: Vec<String> = truth.iter().map(names).collect();
            s.note(format!(
                "{} {}: a stall of {lasts} at {} is {}, called {said} (frames {:?})",
                seen.at,
                seen.dir,
                seen.wire.when(start),
                if should.is_empty() { "nothing that was planned".to_owned() } else { should.join(" or ") },
                stall.evidence.iter().map(|f| f.0).take(8).collect::<Vec<_>>(),
            ));
        }
    }
    for (e, _) in planned.iter().zip(met).filter(|(e, met)| mine(e) && !met && !e.optional && !by_fates) {
        // A loss that was mended while other bytes went on is planned, and no stall.
        let stood = |w: &&Wait| near(e, seen.wire.zero, Span::new(w.start, w.end.unwrap_or(seen.end)));
        let longest = waits.iter().filter(stood).filter(|w| seen.is_long(w)).max_by_key(|w| seen.length(w));
        let Some(longest) = longest else { continue };
        let truth = e.cause.first().map_or(String::new(), |c| label(e.owner, *c));
        s.stalls.add(&truth, "missing", 1);
        s.stall_ms.add(&truth, "missing", (seen.length(longest).0 / 1_000_000).max(0) as u64);
        s.note(format!(
            "{} {}: {truth} is missing from the stalls; the link saw {}",
            seen.at,
            seen.dir,
            seen.when(longest.start, longest.end)
        ));
    }
}

impl Seen<'_> {
    fn length(&self, w: &Wait) -> Ns {
        w.end.unwrap_or(self.end).since(w.start)
    }

    /// Long enough that every report must call it a stall.
    fn is_long(&self, w: &Wait) -> bool {
        let floor = if w.outstanding.is_empty() { FLOOR_EMPTY } else { FLOOR_OUTSTANDING };
        self.length(w) > floor.max(self.wire.round_trip().scaled(22, 10))
    }

    /// What really happened though nobody planned it: the link stood still for most of the time (the sender's tap may
    /// leave that open if it says that the receiver's would tell); the kernel's timer repaired a loss; or nothing was
    /// under way, and the writer's log has no write.
    fn beside_the_plan(
        &self,
        span: Span,
        plan: &[StallCause],
        wait: Option<&Wait>,
        stall: &Stall,
    ) -> Vec<(Owner, StallCause)> {
        let mut out = Vec::new();
        if together(&self.wire.stood_still, span).scaled(2, 1) >= span.len() {
            out.extend([StallCause::DelaySpike, StallCause::Queueing].map(|c| (Owner::Network, c)));
            out.extend(self.asks_for_the_other(stall).then_some((Owner::Unknown, StallCause::Unknown)));
        }
        let timed = |t: Ts| t >= span.start - ON_ITS_WAY && t <= span.end;
        let repairs = [
            StallCause::LossFast,
            StallCause::LossTail,
            StallCause::LostRetransmission,
            StallCause::BurstLoss,
        ];
        let other = !plan.is_empty() && !plan.iter().any(|c| repairs.contains(c));
        if !other && timers(self.wire, self.dir, self.why).into_iter().any(timed) {
            out.push((Owner::Network, StallCause::LossRto));
        }
        let inner = Span::new(span.start + TOLERANCE, span.end - TOLERANCE);
        let writes =
            |e: &AppEvent| e.op == AppOp::Write && Span::new(e.start, e.end).intersect(inner).is_some();
        let silent = || self.writer.is_some_and(|log| !log.events.iter().any(writes));
        if wait.is_some_and(|w| w.outstanding.is_empty()) && !self.is_missing(span) && silent() {
            out.extend([StallCause::NoData, StallCause::Idle].map(|c| (Owner::SenderApp, c)));
        }
        out
    }

    /// The sender's tap, alone, says which capture would tell.
    fn asks_for_the_other(&self, stall: &Stall) -> bool {
        self.alone && self.side == sender(self.dir) && stall.detail.needs.is_some()
    }

    /// Bytes that were sent had not arrived when it began, and some of them were lost.
    fn is_missing(&self, span: Span) -> bool {
        let packets = &self.wire.packets[self.dir];
        let there = |r: StreamRange| {
            let mut got = RangeSet::default();
            for p in packets.iter().filter(|p| p.arrived.is_some_and(|t| t <= span.start + TOLERANCE)) {
                got.insert(p.range);
            }
            got.covers(r)
        };
        packets.iter().any(|p| p.copy > 0 && p.lost() && p.sent <= span.end && !there(p.range))
    }

    fn when(&self, from: Ts, to: Option<Ts>) -> String {
        let to = to.map_or("the end".to_owned(), |t| self.wire.when(t).to_string());
        format!("a wait from {} to {to}", self.wire.when(from))
    }
}

/// When the kernel's timer sent bytes again that had been lost.
pub fn timers(wire: &Wire, dir: Dir, why: &[Option<WhySent>]) -> Vec<Ts> {
    let timed = |w: &WhySent| w.cause == Cause::Rto && !w.needless;
    let packets = wire.packets[dir].iter().zip(why);
    packets.filter(|(_, w)| w.as_ref().is_some_and(timed)).map(|(p, _)| p.sent).collect()
}

/// How much of `span` the others cover together.
fn together(others: &[Span], span: Span) -> Ns {
    let mut inside: Vec<Span> = others.iter().filter_map(|o| o.intersect(span)).collect();
    inside.sort_by_key(|s| s.start);
    let mut until = span.start;
    let mut sum = Ns::ZERO;
    for s in inside {
        sum += s.end.since(s.start.max(until)).max(Ns::ZERO);
        until = until.max(s.end);
    }
    sum
}

/// Within what a stall may be off.
fn close(a: Ts, b: Ts) -> bool {
    a.since(b).0.abs() <= TOLERANCE.0
}

fn bounds(s: &mut Score, seen: &Seen<'_>, waits: &[Wait], stall: &Stall, start: Ts, end: Option<Ts>) {
    let fits = |w: &Wait| {
        close(w.start, start)
            && match (w.end, end) {
                (Some(a), Some(b)) => close(a, b),
                (a, b) => a == b,
            }
    };
    if stall.cause == StallCause::Reset {
        // The moment of a reset, however short the wait before it.
        return;
    }
    s.bounds.truth += 1;
    s.bounds.said += 1;
    if waits.iter().any(fits) {
        s.bounds.right += 1;
    } else {
        let nearest = waits.iter().min_by_key(|w| w.start.since(start).0.abs());
        let nearest = nearest
            .map_or("there is none".to_owned(), |w| format!("the nearest is {}", seen.when(w.start, w.end)));
        s.note(format!(
            "{} {}: {}, {}, is no wait of the link; {nearest}",
            seen.at,
            seen.dir,
            stall.cause,
            seen.when(start, end)
        ));
    }
}

fn near(e: &Planned, zero: Ts, span: Span) -> bool {
    let Some(at) = e.at else { return true };
    let planned = Span::new(zero + at.0 - SLACK, zero + at.0 + e.lasts.map_or(Ns::ZERO, |d| d.0) + SLACK);
    planned.intersect(span).is_some()
}

fn label(owner: Owner, cause: StallCause) -> String {
    format!("{owner}/{cause}")
}

/// What a wait must be called, by what the link did to the bytes that it waited for; nothing where the
/// link did nothing to them.
fn from_fates(seen: &Seen<'_>, waits: &[Wait], span: Span, stall: &Stall) -> Vec<(Owner, StallCause)> {
    let packets = &seen.wire.packets[seen.dir];
    let slack = Ns::from_secs(60);
    let Some(wait) = waits.iter().min_by_key(|w| w.start.since(span.start).0.abs()) else {
        return Vec::new();
    };
    let outstanding = match wait.outstanding {
        // The receiver's tap: what it waited for never came by.
        r if r.is_empty() => never_came(packets, span),
        r => r,
    };
    let of_it = |r: StreamRange| r.overlaps(outstanding);
    let before = |t: Ts| t <= span.end && t >= span.start - slack;
    let lost: Vec<_> = packets.iter().filter(|p| p.lost() && of_it(p.range) && before(p.sent)).collect();
    let answers = seen.wire.packets[seen.dir.flip()].iter();
    let late = |p: &&Packet| p.lost() && p.sent >= span.start - ON_ITS_WAY && p.sent <= span.end;
    let only_answers = lost.is_empty();
    if only_answers && !answers.filter(late).any(|p| p.ack.is_some()) {
        return Vec::new();
    }
    let again = packets.iter().zip(seen.why);
    let again: Vec<Cause> = again
        .filter(|(p, _)| {
            p.copy > 1
                && (only_answers || p.range.start < outstanding.end)
                && p.sent >= span.start - ON_ITS_WAY
                && p.sent <= span.end
        })
        .filter_map(|(_, w)| w.map(|w| w.cause))
        .collect();
    let mut out = Vec::new();
    if again.iter().any(|c| matches!(c, Cause::Rto | Cause::RtoRecovery)) {
        out.extend([StallCause::LossRto, StallCause::BurstLoss]);
    } else if again.contains(&Cause::Tlp) {
        out.push(StallCause::LossTail);
    } else if probed_with_new_data(seen, span) {
        // What the probe shows is then repaired at once.
        out.extend([StallCause::LossTail, StallCause::LossFast]);
    }
    if lost.iter().any(|p| p.copy > 1) {
        out.push(StallCause::LostRetransmission);
    }
    if again.contains(&Cause::Fast) && !again.contains(&Cause::Rto) {
        out.push(StallCause::LossFast);
    }
    if again.contains(&Cause::Syn) || lost.iter().any(|p| p.syn) {
        out.push(StallCause::HandshakeLoss);
    }
    // One tap cannot tell the loss of an answer from its delay, and says so.
    if only_answers && out.is_empty() && seen.asks_for_the_other(stall) {
        return vec![(Owner::Unknown, StallCause::Unknown)];
    }
    if out.is_empty() && !only_answers {
        out.push(StallCause::LossFast);
    }
    out.into_iter().map(|c| (Owner::Network, c)).collect()
}

/// From the end of what had arrived when a wait began to the end of what was sent until it was over.
fn never_came(packets: &[Packet], span: Span) -> StreamRange {
    let arrived = packets.iter().filter(|p| p.arrived.is_some_and(|t| t <= span.start + TOLERANCE));
    let start = arrived.map(|p| p.range.end).max().unwrap_or_default();
    let sent = packets.iter().filter(|p| p.copy > 0 && p.sent <= span.end).map(|p| p.range.end);
    StreamRange::new(start, sent.max().unwrap_or(start).max(start))
}

/// A tail loss probe carries new data where there is some (RFC 8985 §7.3): the first packet after a silence of
/// both sides.
fn probed_with_new_data(seen: &Seen<'_>, span: Span) -> bool {
    let quiet = seen.wire.round_trip().scaled(3, 2);
    let heard = || seen.wire.packets[seen.dir.flip()].iter().filter_map(|p| p.arrived);
    seen.wire.packets[seen.dir].windows(2).any(|pair| {
        let at = pair[1].sent;
        let silent = at.since(pair[0].sent) >= quiet && !heard().any(|t| t <= at && at.since(t) < quiet);
        pair[1].copy == 1 && at >= span.start - ON_ITS_WAY && at <= span.end && silent
    })
}
