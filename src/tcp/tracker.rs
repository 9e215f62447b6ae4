//! A connection of any length in bounded memory: stretch by stretch, each with some packets before and after it.
//!
//! ```text
//! packets  ───────────┬──────────────────────────┬───────────┬───→
//!          lead-in    │ own: answered for here   │ look-ahead│
//!                     └────── previous cut       └── this cut: where nothing is open, if there is such a place
//! ```
//!
//! Each event belongs to the stretch in which it began. One that is still open where the look-ahead ends is left to
//! the next stretch, whose lead-in begins before it.

use super::curve::{Bucket, Curve};
use super::fault::Faults;
use super::stretch::{Stretch, both};
use super::{Connection, PacketMark, rtt};
use crate::decode::Segment;
use crate::flow::trace::Known;
use crate::flow::{Batch, Incarnation, Packet, Trace, Twin, View};
use crate::model::tcp::{HalfStats, SegmentClass, SegmentRecord};
use crate::model::{Dir, FlowId, FrameNo, Ns, PerDir, RelSeq, Span, Ts};
use std::collections::HashMap;
use std::ops::Range;

/// Packets looked at after a cut, at most: a round trip of most paths, for the ACKs and DSACKs of what came before.
const LOOK_AHEAD: usize = 768;
/// Packets before a cut that the next stretch begins with, at least.
const LEAD_IN: usize = 384;
/// ICMP errors that are remembered.
const ICMP: usize = 64;
/// Round trips kept for the quantiles.
const SPREAD: usize = 4096;

/// What is kept of a connection beside its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Every segment, ACK and round trip: another capture or an application's log is to be laid on it.
    #[default]
    Everything,
    /// What was not ordinary.
    Evidence,
}

/// One connection while its packets come in.
#[derive(Clone, Debug)]
pub struct Tracker {
    keep: Keep,
    one_by_one: bool,
    known: Known,
    lowest: PerDir<Option<Ns>>,
    view: Vec<Segment>,
    /// What came since; it belongs behind.
    fresh: Vec<Segment>,
    /// The first packet of `view` that no stretch has answered for.
    from: usize,
    /// Last time stamp that the stretch before has seen.
    seen_until: Option<Ts>,
    sums: PerDir<Sums>,
    faults: Faults,
    done: Connection,
}

/// One direction's numbers so far.
#[derive(Clone, Debug, Default)]
struct Sums {
    stats: HalfStats,
    rtts: Spread,
}

/// Round trips: all of them, or where they are many every second, fourth, …
#[derive(Clone, Debug, Default)]
struct Spread {
    kept: Vec<Ns>,
    lowest: Option<Ns>,
    seen: u64,
    every: u32,
}

impl Spread {
    fn take(&mut self, rtt: Ns) {
        self.lowest = Some(self.lowest.map_or(rtt, |l| l.min(rtt)));
        let wanted = self.seen.is_multiple_of(1 << self.every);
        self.seen += 1;
        if wanted {
            self.kept.push(rtt);
            if self.kept.len() >= SPREAD {
                self.every += 1;
                let mut i = 0;
                self.kept.retain(|_| {
                    i += 1;
                    i % 2 == 1
                });
            }
        }
    }

    fn sorted(&self) -> Vec<Ns> {
        let mut all = self.kept.clone();
        all.sort_unstable();
        all
    }
}

/// Analyses one connection incarnation in one stretch, keeping everything. `capture_end`: time stamp of the capture's
/// last frame, of whatever connection; a wait that is open then is a stall, too.
pub fn analyze(inc: &Incarnation, capture_end: Ts) -> Connection {
    let mut t = Tracker::new(inc, Keep::Everything);
    t.take(inc.clone());
    t.finish(capture_end)
}

/// Trackers of many connections. What it gets of other connections does not change what it says of one, so several of
/// these can share a capture.
#[derive(Clone, Debug, Default)]
pub struct Trackers {
    keep: Keep,
    one_by_one: bool,
    open: HashMap<FlowId, Box<Tracker>>,
    done: Vec<Connection>,
}

impl Trackers {
    /// None yet.
    pub fn new(keep: Keep) -> Trackers {
        Trackers { keep, ..Trackers::default() }
    }

    /// As [`Tracker::one_by_one`], for each.
    #[must_use]
    pub fn one_by_one(self) -> Trackers {
        Trackers { one_by_one: true, ..self }
    }

    fn tracker(&self, part: &Incarnation) -> Tracker {
        let t = Tracker::new(part, self.keep);
        if self.one_by_one { t.one_by_one() } else { t }
    }

    /// Takes a part of a connection.
    pub fn take(&mut self, b: Batch) {
        let flow = b.part.flow;
        if b.over {
            self.finish(b.part, None);
        } else {
            if !self.open.contains_key(&flow) {
                self.open.insert(flow, Box::new(self.tracker(&b.part)));
            }
            if let Some(t) = self.open.get_mut(&flow) {
                t.take(b.part);
                t.advance();
            }
        }
    }

    /// Takes the rest of a connection. `capture_end`: as for [`analyze`]; none where both ends are gone.
    pub fn finish(&mut self, rest: Incarnation, capture_end: Option<Ts>) {
        let open = self.open.remove(&rest.flow);
        let mut t = open.map_or_else(|| self.tracker(&rest), |t| *t);
        t.take(rest);
        let newest = t.view().from(t.view().len().saturating_sub(1)).iter().next();
        let end = capture_end.or(newest.map(|s| s.ts)).unwrap_or_default();
        self.done.push(t.finish(end));
    }

    /// The connections that are finished.
    pub fn into_connections(self) -> Vec<Connection> {
        self.done
    }
}

impl Tracker {
    /// A connection of which nothing is known but its name.
    pub fn new(inc: &Incarnation, keep: Keep) -> Tracker {
        Tracker {
            keep,
            one_by_one: false,
            known: Known::nothing(inc.flow, inc.client, inc.server),
            lowest: PerDir::default(),
            view: Vec::new(),
            fresh: Vec::new(),
            from: 0,
            seen_until: None,
            sums: PerDir::default(),
            faults: Faults::default(),
            done: Connection::named(inc.flow, inc.client, inc.server),
        }
    }

    /// Looks at every packet in every pass, also where nothing happens: the same answers, at a higher price.
    #[must_use]
    pub fn one_by_one(self) -> Tracker {
        Tracker { one_by_one: true, ..self }
    }

    /// Takes packets, in capture order, and ICMP errors about them.
    pub fn take(&mut self, mut part: Incarnation) {
        if self.fresh.is_empty() {
            self.fresh = part.segments;
        } else {
            self.fresh.append(&mut part.segments);
        }
        // A SYN that comes late in the file says who connected.
        (self.known.client, self.known.server) = (part.client, part.server);
        let room = ICMP.saturating_sub(self.known.icmp.len());
        self.known.icmp.extend(part.icmp.into_iter().take(room));
    }

    /// Analyses all but the newest packets, and forgets them.
    pub fn advance(&mut self) {
        let len = self.view().len();
        let upto = len.saturating_sub(LOOK_AHEAD.min(len / 4));
        if upto <= self.from + 1 {
            return;
        }
        let s = self.stretch(None);
        let cut = self.cut(&s, upto);
        self.digest(&s, Some(cut));
        let from = self.lead_in(&s, cut);
        let last_words = last_words(&s.trace.packets[..from]);
        self.seen_until = s.trace.packets.iter().map(|p| p.ts).max();
        self.known = s.trace.known;
        self.lowest = s.lowest;
        self.from = last_words.len() + cut - from;
        let all = self.view();
        let mut view = Vec::with_capacity(len - from + last_words.len());
        view.extend(
            last_words.iter().map(|&(i, data)| if data { *all.at(i) } else { all.at(i).without_data() }),
        );
        let rest = all.from(from);
        view.extend_from_slice(rest.old);
        view.extend_from_slice(rest.new);
        self.view = view;
        self.fresh = Vec::new();
    }

    /// Nothing comes any more.
    pub fn finish(mut self, capture_end: Ts) -> Connection {
        let s = self.stretch(Some(capture_end));
        self.digest(&s, None);
        let known = &s.trace.known;
        let mut c = self.done;
        (c.client, c.server) = (known.client, known.server);
        c.ended = s.ended;
        c.offsets_known = known.syn.c2s && known.syn.s2c;
        c.handshake = c.offsets_known;
        c.isn = known.isn();
        c.quality = self.faults.told(known);
        c.losses.sort_by_key(|l| (l.sent.or(l.repaired), l.range.start));
        c.holes.sort_by_key(|h| (h.birth, h.range.start));
        c.stalls.sort_by_key(|s| (s.start, s.end.is_none()));
        for d in Dir::BOTH {
            let Sums { stats, rtts } = std::mem::take(&mut self.sums[d]);
            let sorted = rtts.sorted();
            c.halves[d] = HalfStats {
                mss: known.mss[d.flip()],
                wscale: known.wscale[d],
                sack: known.sack_permitted[d],
                timestamps: Some(stats.timestamps == Some(true)),
                rtt_min: rtts.lowest,
                rtt_p50: rtt::quantile(&sorted, 0.5),
                rtt_p99: rtt::quantile(&sorted, 0.99),
                ..stats
            };
            c.curves[d].buckets.shrink_to_fit();
        }
        // There may be a million of these.
        c.segments.shrink_to_fit();
        c.losses.shrink_to_fit();
        c.holes.shrink_to_fit();
        c.stalls.shrink_to_fit();
        c
    }

    fn stretch(&self, capture_end: Option<Ts>) -> Stretch {
        let trace = Trace::new(self.known.clone(), self.view(), self.one_by_one);
        Stretch::new(trace, self.lowest, capture_end)
    }

    fn view(&self) -> View<'_> {
        View { old: &self.view, new: &self.fresh }
    }

    /// The last place, in the second half of what may be answered for, where the fewest things are open.
    fn cut(&self, s: &Stretch, upto: usize) -> usize {
        let packets = &s.trace.packets;
        let half = self.from + (upto - self.from).div_ceil(2);
        let apart = |i: usize| i == 0 || packets.get(i).is_none_or(|p| p.ts > packets[i - 1].ts);
        if s.holes.is_empty() && s.stalls.is_empty() && s.losses.is_empty() {
            return (half.max(self.from + 1)..=upto).rev().find(|&i| apart(i)).unwrap_or(upto);
        }
        let mut open = vec![0i32; packets.len() + 1];
        let mut spans = |from: Ts, to: Option<Ts>| {
            let a = packets.partition_point(|p| p.ts < from);
            let b = to.map_or(packets.len(), |t| packets.partition_point(|p| p.ts <= t));
            if a < b {
                open[a] += 1;
                open[b] -= 1;
            }
        };
        s.holes.iter().for_each(|h| spans(h.birth, h.death));
        s.stalls.iter().for_each(|x| spans(x.start, x.end));
        s.losses.iter().filter_map(|l| Some((l.sent?, l.repaired))).for_each(|(a, b)| spans(a, b));
        let mut now = 0;
        let mut best = (i32::MAX, upto);
        for (i, step) in open.iter().enumerate().take(upto + 1) {
            now += step;
            if i >= half && i > self.from && now <= best.0 && apart(i) {
                best = (now, i);
            }
        }
        best.1
    }

    /// Where the next stretch begins to look: some packets before the cut, and before what is still open.
    fn lead_in(&self, s: &Stretch, cut: usize) -> usize {
        let packets = &s.trace.packets;
        let mut from = cut.saturating_sub(LEAD_IN.min(packets.len() / 4));
        let holes = s.holes.iter().filter(|h| h.death.is_none()).map(|h| h.birth);
        let losses = s.losses.iter().filter(|l| l.repaired.is_none()).filter_map(|l| l.sent);
        if let Some(oldest) = holes.chain(losses).min() {
            let begin = packets.partition_point(|p| p.ts < oldest);
            from = from.min(begin.saturating_sub(8).max(packets.len() / 2));
        }
        from.min(cut)
    }

    /// Takes over what belongs to this stretch: up to packet `cut`, or to the end.
    fn digest(&mut self, s: &Stretch, cut: Option<usize>) {
        let own = Own::new(s, self.from, cut, self.seen_until);
        let c = &mut self.done;
        if own.first {
            c.irtt = s.trace.known.irtt;
            c.tap = s.tap.clone();
        } else if s.tap.confidence > 0.0 {
            c.tap = s.tap.clone();
        }
        let none = self.sums.c2s.stats.packets + self.sums.s2c.stats.packets + self.faults.twins == 0;
        if let Some(p) = s.trace.packets[own.packets.clone()].first().filter(|_| none) {
            c.span = Span::new(p.ts, p.ts);
        }
        let mss = both(|d| s.trace.known.mss[d.flip()].map_or(1460, u32::from).max(536));
        for (packets, run) in s.trace.pieces(own.packets.end) {
            let packets = packets.start.max(own.packets.start)..packets.end;
            if let Some(r) = run
                && packets == r.packets
                && r.largest <= mss[r.sender]
                && Dir::BOTH.iter().all(|&d| self.sums[d].stats.timestamps == Some(true))
            {
                c.span.start = c.span.start.min(s.trace.packets[packets.start].ts);
                c.span.end = c.span.end.max(s.trace.packets[packets.end - 1].ts);
                self.sums[r.sender].stats.packets += r.segments as u64;
                self.sums[r.sender.flip()].stats.packets += r.acks() as u64;
                continue;
            }
            for p in s.trace.packets.get(packets).unwrap_or_default() {
                c.span.start = c.span.start.min(p.ts);
                c.span.end = c.span.end.max(p.ts);
                let twin = matches!(p.twin, Twin::Capture(_));
                self.faults.twins += u64::from(twin);
                self.faults.oversize += u64::from(p.len > mss[p.dir]);
                let stats = &mut self.sums[p.dir].stats;
                stats.packets += u64::from(!twin);
                stats.timestamps = Some(stats.timestamps == Some(true) || p.timestamps.is_some());
            }
        }
        let segments = View { old: &self.view, new: &self.fresh }.from(own.packets.start);
        self.faults.cut += own.count(&s.trace.cut);
        self.faults.foreign_sacks += own.count(&s.trace.foreign_sacks);
        self.faults.damaged += own.count(&s.trace.damaged);
        self.faults.strays += own.count(&s.trace.strays);
        for d in Dir::BOTH {
            let (half, word) = (&s.halves[d], &s.words[d]);
            let sums = &mut self.sums[d];
            let sent = draw(&mut c.curves[d], s, d, &own);
            add_up(&mut sums.stats, s, d, &own, sent);
            for x in s.rtt[d].iter().filter(|x| own.time(x.ts)) {
                sums.rtts.take(x.rtt);
            }
            self.faults.late += own.count(&half.after_ack);
            for r in word.unseen.iter().filter(|r| own.byte(d, r.start)) {
                self.faults.missed_places += 1;
                self.faults.missed_bytes += r.len();
            }
            if self.keep == Keep::Everything {
                c.acks[d].extend(word.points.iter().filter(|a| own.frame(a.frame)));
                c.rtt[d].extend(s.rtt[d].iter().filter(|x| own.time(x.ts)));
                // What the file has twice went by once.
                let packets = segments.iter().zip(&s.trace.packets[own.packets.clone()]);
                let once = packets.filter(|(_, p)| p.dir == d && !matches!(p.twin, Twin::Capture(_)));
                c.packets[d].extend(once.map(|(s, _)| PacketMark::of(s)));
            }
        }
        let everything = self.keep == Keep::Everything;
        let begin = c.segments.len();
        for half in Dir::BOTH.map(|d| &s.halves[d]) {
            let records = half.records_of(&own.packets);
            if everything {
                c.segments.extend(&half.records[records]);
                continue;
            }
            let before = c.segments.len();
            let noted = half.noted().filter(|(i, r)| records.contains(i) && is_evidence(r));
            c.segments.extend(noted.map(|(_, r)| *r));
            c.ordinary += (records.len() - (c.segments.len() - before)) as u64;
        }
        c.segments[begin..].sort_by_key(|r| r.frame);
        let losses = s.losses.iter().filter(|l| match (l.sent_frame, l.repair_frame) {
            (Some(f), _) => own.event(f, l.sent, l.repaired),
            (None, Some(f)) => own.frame(f),
            (None, None) => own.byte(l.dir, l.range.start),
        });
        c.losses.extend(losses);
        c.holes.extend(s.holes.iter().filter(|h| own.event(h.birth_frame, Some(h.birth), h.death)));
        c.stalls.extend(s.stalls.iter().filter(|x| own.wait(x.start, x.end)).cloned());
    }
}

/// Of packets that are forgotten, those that say where a direction stood: its last data, what the other side had said
/// before, and its answer. A direction may be silent for longer than any lead-in. With each, whether its data counts:
/// other data of that direction may come after it.
fn last_words(packets: &[Packet]) -> Vec<(usize, bool)> {
    let mut out: Vec<(usize, bool)> = Vec::new();
    for d in Dir::BOTH {
        let Some(i) = packets.iter().rposition(|p| p.dir == d && p.carries()) else { continue };
        let end = packets[i].range().end;
        let before = packets[..i].iter().rposition(|p| p.dir != d && p.ack.is_some());
        let answer = packets[i..].iter().position(|p| p.dir != d && p.ack.is_some_and(|a| a >= end));
        out.push((i, true));
        out.extend(before.into_iter().chain(answer.map(|k| i + k)).map(|k| (k, false)));
    }
    // Where one is both, its data counts.
    out.sort_unstable_by_key(|&(i, data)| (i, !data));
    out.dedup_by_key(|w| w.0);
    out
}

/// More than a segment sent once, in order, and heard of no more.
fn is_evidence(r: &SegmentRecord) -> bool {
    r.class != SegmentClass::New || r.syn || r.fin
}

/// What a stretch answers for.
struct Own {
    packets: std::ops::Range<usize>,
    frames: std::ops::Range<FrameNo>,
    times: std::ops::Range<Ts>,
    bytes: PerDir<(RelSeq, RelSeq)>,
    /// What the stretch before has seen; what was open then is told here.
    seen_until: Option<Ts>,
    first: bool,
    last: bool,
}

impl Own {
    fn new(s: &Stretch, from: usize, cut: Option<usize>, seen_until: Option<Ts>) -> Own {
        let packets = &s.trace.packets;
        let first = seen_until.is_none();
        let last = cut.is_none();
        let upto = cut.unwrap_or(packets.len());
        let frame = |i: usize, end: FrameNo| packets.get(i).map_or(end, |p| p.frame);
        let time = |i: usize| packets.get(i).map_or(Ts::MAX, |p| p.ts);
        let reached = reach(&s.trace, upto);
        let before = reach(&s.trace, from.min(upto));
        Own {
            packets: from..upto,
            frames: if first { FrameNo(0) } else { frame(from, FrameNo(u64::MAX)) }..if last {
                FrameNo(u64::MAX)
            } else {
                frame(upto, FrameNo(u64::MAX))
            },
            times: if first { Ts::MIN } else { time(from) }..if last { Ts::MAX } else { time(upto) },
            bytes: both(|d| {
                let low = if first { RelSeq(i64::MIN) } else { before[d] };
                (low, if last { RelSeq(i64::MAX) } else { reached[d] })
            }),
            seen_until,
            first,
            last,
        }
    }

    /// How many of these packets are its own.
    fn count(&self, packets: &[usize]) -> u64 {
        packets.iter().filter(|i| self.packets.contains(i)).count() as u64
    }

    fn frame(&self, f: FrameNo) -> bool {
        self.frames.contains(&f)
    }

    fn time(&self, t: Ts) -> bool {
        self.times.contains(&t) || (self.last && t == Ts::MAX)
    }

    fn byte(&self, d: Dir, x: RelSeq) -> bool {
        self.bytes[d].0 <= x && x < self.bytes[d].1
    }

    /// It was open when the stretch before ended, and that left it to this one.
    fn left_over(&self, end: Option<Ts>) -> bool {
        self.seen_until.is_some_and(|u| end.is_none_or(|e| e > u))
    }

    /// Something that began in frame `f`.
    fn event(&self, f: FrameNo, start: Option<Ts>, end: Option<Ts>) -> bool {
        let settled = self.last || end.is_some();
        let before = f < self.frames.start || start.is_some_and(|s| s < self.times.start);
        settled && (self.frame(f) || (before && self.left_over(end)))
    }

    fn wait(&self, start: Ts, end: Option<Ts>) -> bool {
        self.time(start) || (start < self.times.start && self.left_over(end))
    }
}

/// One past the highest number of each direction in the first `upto` packets.
fn reach(trace: &Trace, upto: usize) -> PerDir<RelSeq> {
    let mut reached = PerDir { c2s: RelSeq(i64::MIN), s2c: RelSeq(i64::MIN) };
    for (packets, run) in trace.pieces(upto) {
        if let Some(r) = run {
            reached[r.sender] = reached[r.sender].max(r.data.end);
            continue;
        }
        for p in &trace.packets[packets] {
            reached[p.dir] = reached[p.dir].max(p.range().end);
        }
    }
    reached
}

/// Adds one direction's numbers. `sent`: payload bytes of its own packets, copies and all.
fn add_up(n: &mut HalfStats, s: &Stretch, dir: Dir, own: &Own, sent: u64) {
    let (half, word) = (&s.halves[dir], &s.words[dir]);
    let mss = u64::from(s.trace.segment_size(dir).max(1));
    let records = half.records_of(&own.packets);
    n.bytes += sent;
    for (i, r) in half.noted().filter(|(i, _)| records.contains(i)) {
        if r.class == SegmentClass::Retransmission {
            n.bytes_resent += u64::from(r.len);
            n.resent_mss += u64::from(r.len).div_ceil(mss).max(1);
        }
        n.bytes -= u64::from(r.len);
        for (range, _) in half.coverage.over(r.range()).filter(|(_, c)| c.first as usize == i) {
            // SYN and FIN have a number each, and are no bytes.
            let syn = r.syn && range.start == r.seq;
            let fin = r.fin && range.end == r.range().end;
            n.bytes += range.len().saturating_sub(u64::from(syn) + u64::from(fin));
        }
    }
    let points = word.points.iter().skip(usize::from(own.first)).filter(|a| own.frame(a.frame));
    for w in points.filter_map(|a| a.window) {
        n.window_min = Some(n.window_min.map_or(w, |m| m.min(w)));
        n.window_max = n.window_max.max(Some(w));
    }
    n.zero_windows += own.count(&word.zero_windows);
    n.dup_acks += own.count(&word.dup_acks);
    let sender_rtt = s.lowest[dir.flip()];
    if let Some(l) = super::limits::split(&s.trace, &own.packets, half, dir, &s.rtt[dir], sender_rtt) {
        **n.limits.get_or_insert_default() += l;
    }
}

/// Puts one direction's own packets into its curve; the sum of their payloads.
fn draw(curve: &mut Curve, s: &Stretch, dir: Dir, own: &Own) -> u64 {
    let (half, word) = (&s.halves[dir], &s.words[dir]);
    let mut acks = word.points.iter().peekable();
    let (mut top, mut acked) = (0_i64, 1_i64);
    let mut sent = 0;
    // The bucket that is being filled, its span, and a moment in it.
    let mut bucket: Option<(Range<Ts>, Bucket)> = None;
    let last = half.packets.partition_point(|&i| i < own.packets.end);
    for (r, i) in half.records[..last].iter().zip(&half.packets) {
        while let Some(a) = acks.next_if(|a| a.ts <= r.ts) {
            acked = acked.max(a.ack.0);
        }
        let own = *i >= own.packets.start;
        sent += u64::from(if own { r.len } else { 0 });
        if !r.class.is_copy() {
            continue;
        }
        top = top.max(r.range().end.0);
        if own {
            let b = match &mut bucket {
                Some((span, b)) if span.contains(&r.ts) => b,
                slot => {
                    put(curve, slot.take());
                    let start = curve.at(r.ts).start;
                    &mut slot
                        .insert((start..start + curve.step, Bucket { start: r.ts, ..Bucket::default() }))
                        .1
                }
            };
            if r.class == SegmentClass::Retransmission {
                b.resent += 1;
            } else {
                b.bytes += u64::from(r.len);
            }
            b.flight = b.flight.max(u64::try_from(top.saturating_sub(acked)).ok().or(Some(0)));
        }
    }
    put(curve, bucket.take());
    for x in s.rtt[dir].iter().filter(|x| own.time(x.ts)) {
        let b = match &mut bucket {
            Some((span, b)) if span.contains(&x.ts) => b,
            slot => {
                put(curve, slot.take());
                let start = curve.at(x.ts).start;
                &mut slot.insert((start..start + curve.step, Bucket { start: x.ts, ..Bucket::default() })).1
            }
        };
        b.rtt = b.rtt.max(Some(x.rtt));
    }
    put(curve, bucket);
    sent
}

/// Adds what was gathered for a bucket.
fn put(curve: &mut Curve, gathered: Option<(Range<Ts>, Bucket)>) {
    let Some((_, more)) = gathered else { return };
    let b = curve.at(more.start);
    b.bytes += more.bytes;
    b.resent += more.resent;
    b.flight = b.flight.max(more.flight);
    b.rtt = b.rtt.max(more.rtt);
}
