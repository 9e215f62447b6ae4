//! What each segment was: the order of sending decides, not the order of sequence numbers.
//!
//! A hole that fills is a late original or a retransmission. IP IDs tell which (where they are
//! learnt to count), then timestamps (a tie decides nothing), then whether a trigger could have
//! reached the sender and come back by then; else it stays undecided.

use super::ranges::{Coverage, RangeSet};
use super::rtt::RTO_MIN;
use super::score::Score;
use super::unseen::{self, DELAYED_ACK, Unseen};
use crate::flow::hygiene::{IdOrder, asked_again};
use crate::flow::{Ids, Packet, Run, Trace, Twin};
use crate::model::tcp::{Cause, Filler, Hole, SegmentClass, SegmentRecord};
use crate::model::{Dir, Ns, PerDir, RelSeq, StreamRange, Ts};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// One direction, classified.
#[derive(Debug, Default)]
pub struct Half {
    /// Data, SYN, FIN segments and probes, in capture order.
    pub records: Vec<SegmentRecord>,
    /// For each record, its packet.
    pub packets: Vec<usize>,
    /// Records that may be more than data sent once and in order, by number; all others are just that.
    pub noted: Vec<u32>,
    /// Which record carried which bytes (probes and copies left out).
    pub coverage: Coverage,
    /// For each record sent again: the bytes of it that were there before, by an ACK or a DSACK.
    pub needless: HashMap<u32, RangeSet>,
    /// Records of which the first copies never came by, and what made their sender repeat them.
    pub told: HashMap<u32, Cause>,
    /// Gaps seen in the data itself.
    pub holes: Vec<Hole>,
    /// One past the highest number sent.
    pub nxt: RelSeq,
    /// Packets whose data came after its own acknowledgment: the capture's order is wrong.
    pub after_ack: Vec<usize>,
}

impl Half {
    /// Something was sent again.
    pub fn repeats(&self) -> bool {
        self.noted().any(|(_, r)| r.class == SegmentClass::Retransmission)
    }

    /// Records that may be more than data sent once and in order, with their numbers.
    pub fn noted(&self) -> impl Iterator<Item = (usize, &SegmentRecord)> {
        self.noted.iter().map(|&i| (i as usize, &self.records[i as usize]))
    }

    /// One past the highest number of a record with payload.
    pub fn last_byte(&self) -> Option<RelSeq> {
        let plain = (0..self.records.len()).rev().find(|&i| self.noted.binary_search(&(i as u32)).is_err());
        let all = plain.map(|i| &self.records[i]).into_iter().chain(self.noted().map(|(_, r)| r));
        all.filter(|r| r.len > 0).map(|r| r.range().end).max()
    }

    /// All of these records are data sent once and in order.
    pub fn are_plain(&self, records: Range<usize>) -> bool {
        let next = self.noted.get(self.noted.partition_point(|&i| (i as usize) < records.start));
        next.is_none_or(|&i| i as usize >= records.end)
    }

    /// The records of these packets.
    pub fn records_of(&self, packets: &Range<usize>) -> Range<usize> {
        let at = |i: usize| self.packets.partition_point(|&p| p < i);
        at(packets.start)..at(packets.end)
    }
}

/// No packet is under way for longer than this and overtaken by its own copy; an older IP ID then
/// means another counter.
const LATEST: Ns = Ns::from_secs(2);

/// Packets after one that are looked through for what fills a gap before it.
const LOOKED_THROUGH: usize = 256;

/// A gap that is still open.
struct Open {
    hole: usize,
    /// Packet that showed it.
    opener: usize,
    left: RangeSet,
}

struct Walk<'a> {
    trace: &'a Trace,
    order: &'a IdOrder,
    dir: Dir,
    /// Round trip from the tap to the sender and back.
    sender_rtt: Option<Ns>,
    /// Round trip of the whole path.
    path_rtt: Option<Ns>,
    /// No sender repeats a tail before 1½ round trips (RFC 8985 §7.2 waits two).
    patience: Ns,
    half: Half,
    /// By first number; disjoint, since each begins where all before it ended.
    open: BTreeMap<RelSeq, Open>,
    score: Score,
    started: bool,
    window_closed: bool,
    probing: bool,
    /// Newest packet of this direction, and whether the other side sent data since.
    previous: Option<usize>,
    peer_spoke: bool,
    /// Packets since the newest one that the receiver says it had twice, and that did not come by.
    reported: u32,
    /// One past the highest number that the other side was seen to use.
    peer_nxt: RelSeq,
    last_ack: Option<Ts>,
    unseen: Unseen,
}

/// Classifies one direction. `lowest`: lowest round trip from the tap to each direction's receiver.
pub fn classify(trace: &Trace, order: &IdOrder, dir: Dir, lowest: PerDir<Option<Ns>>) -> Half {
    // The sender of `dir` is the receiver of the other direction.
    let sender_rtt = lowest[dir.flip()];
    let path_rtt = lowest.c2s.zip(lowest.s2c).map(|(a, b)| a + b);
    let mut w = Walk {
        trace,
        order,
        dir,
        sender_rtt,
        path_rtt,
        patience: path_rtt.map_or(Ns::from_millis(200), |r| r.scaled(3, 2).max(Ns::from_millis(5))),
        half: Half::default(),
        open: BTreeMap::new(),
        score: Score::default(),
        started: false,
        window_closed: false,
        probing: false,
        previous: None,
        peer_spoke: false,
        reported: 0,
        peer_nxt: RelSeq(0),
        last_ack: None,
        unseen: Unseen::new(trace.segment_size(dir)),
    };
    let told = trace.told(dir);
    // Data and their ACKs: more than half are records.
    w.half.records.reserve(told.len() * 3 / 4);
    w.half.packets.reserve(told.len() * 3 / 4);
    for (packets, run) in trace.pieces(told.len()) {
        let passed = run.is_some_and(|r| if r.sender == dir { w.pass(r) } else { w.hear(r) });
        if !passed {
            packets.for_each(|i| if told[i].dir == dir { w.sent(i) } else { w.answered(i) });
        }
    }
    w.settle(None);
    w.half.noted.sort_unstable();
    w.half.noted.dedup();
    for o in w.open.into_values() {
        w.half.holes[o.hole].queue_up_to(w.half.nxt);
    }
    w.half
}

impl Walk<'_> {
    /// Takes a run of this direction's data at once, if nothing is open that its packets could decide.
    fn pass(&mut self, run: &Run) -> bool {
        let counts = self.order.counts_every_packet(self.dir);
        let ids = matches!(run.ids[self.dir], Ids::ByOne | Ids::Absent);
        let settled = self.started && self.half.nxt == run.data.start && self.score.can_pass(run);
        if !settled || counts && !ids || !self.unseen.is_settled() {
            return false;
        }
        let flow = self.trace.known.flow;
        for (k, p) in self.trace.packets[run.packets.clone()].iter().enumerate() {
            if p.dir != self.dir {
                continue;
            }
            let id = self.half.records.len() as u32;
            self.half.records.push(SegmentRecord {
                input: 0,
                frame: p.frame,
                flow,
                dir: self.dir,
                ts: p.ts,
                seq: p.seq,
                len: p.len,
                class: SegmentClass::New,
                cause: None,
                resend: None,
                spurious: None,
                of: None,
                syn: false,
                fin: false,
            });
            self.half.packets.push(run.packets.start + k);
            self.half.coverage.add(p.range(), id);
        }
        let last_ack = &self.trace.packets[run.last_ack];
        self.score.pass(run, last_ack);
        self.last_ack = Some(last_ack.ts);
        self.window_closed = false;
        self.probing = false;
        self.unseen
            .saw_all(self.half.records[self.half.records.len() - run.segments..].iter().map(|r| r.len));
        self.half.nxt = run.data.end;
        self.previous = Some(run.last_data);
        self.peer_spoke = false;
        self.reported = 0;
        self.peer_nxt = self.peer_nxt.max(last_ack.range().end);
        true
    }

    /// Takes a run of the other direction's data, which this one only acknowledges.
    fn hear(&mut self, run: &Run) -> bool {
        self.window_closed = false;
        self.peer_nxt = self.peer_nxt.max(run.data.end);
        self.previous = Some(run.last_ack);
        self.peer_spoke = run.last_data > run.last_ack;
        self.reported = 0;
        true
    }

    fn answered(&mut self, i: usize) {
        let p = &self.trace.packets[i];
        if matches!(p.twin, Twin::Capture(_)) {
            return;
        }
        let news = self.score.take(p, self.half.nxt);
        if news.advanced {
            self.last_ack = Some(p.ts);
        }
        if !p.flags.syn() && !p.flags.rst() {
            self.window_closed = p.raw_window == 0;
        }
        self.peer_spoke |= p.carries();
        self.reported += u32::from(p.dsack().is_some_and(|d| !self.was_repeated(d)));
        self.peer_nxt = self.peer_nxt.max(p.range().end);
    }

    /// One of the newest packets is a second copy of these bytes.
    fn was_repeated(&self, r: StreamRange) -> bool {
        let newest = self.half.records.iter().rev().take(16);
        newest.into_iter().any(|s| s.class != SegmentClass::New && s.range().overlaps(r))
    }

    fn record(&mut self, i: usize, class: SegmentClass, of: Option<u32>) -> u32 {
        let p = &self.trace.packets[i];
        let id = self.half.records.len() as u32;
        self.half.noted.push(id);
        self.half.records.push(SegmentRecord {
            input: 0,
            frame: p.frame,
            flow: self.trace.known.flow,
            dir: self.dir,
            ts: p.ts,
            seq: p.seq,
            len: p.len,
            class,
            cause: None,
            resend: None,
            spurious: None,
            of: of.map(|o| self.half.records[o as usize].frame),
            syn: p.flags.syn(),
            fin: p.flags.fin(),
        });
        self.half.packets.push(i);
        id
    }

    fn sent(&mut self, i: usize) {
        let p = &self.trace.packets[i];
        match p.twin {
            Twin::Capture(f) | Twin::Network(f) => {
                if p.carries() {
                    let class = match p.twin {
                        Twin::Network(_) => SegmentClass::NetworkDuplicate,
                        _ => SegmentClass::CaptureDuplicate,
                    };
                    let id = self.record(i, class, None);
                    self.half.records[id as usize].of = Some(f);
                }
                return;
            }
            Twin::None => {}
        }
        if p.flags.rst() {
            return;
        }
        if let Some(class) = self.probe(p) {
            self.probing = class == SegmentClass::WindowProbe;
            self.record(i, class, None);
            self.previous = Some(i);
            return;
        }
        if p.carries() {
            self.data(i);
        }
        self.previous = Some(i);
        self.peer_spoke = false;
        self.reported = 0;
    }

    /// A probe repeats the last acknowledged number with no or one byte, or tries one new byte into a
    /// closed window. A byte that is sent again *unacknowledged* is a retransmission.
    fn probe(&self, p: &Packet) -> Option<SegmentClass> {
        let una = self.score.una?;
        if p.len > 1 || p.flags.syn() || p.flags.fin() || !self.started {
            return None;
        }
        let old = p.seq.plus(1) == una && una <= self.half.nxt;
        let into_closed = p.len == 1 && self.window_closed && p.seq == una && p.seq == self.half.nxt;
        if into_closed || (old && (self.window_closed || self.probing || self.half.nxt > una)) {
            return Some(SegmentClass::WindowProbe);
        }
        (old && una.0 > 1).then_some(SegmentClass::KeepAlive)
    }

    fn data(&mut self, i: usize) {
        let p = &self.trace.packets[i];
        let r = p.range();
        let nxt = if self.started { self.half.nxt } else { r.start };
        self.settle(Some(p.ts));
        let (class, of) = if r.start >= nxt { self.fresh(i, nxt) } else { self.repeated(i) };
        if r.start < nxt && class == SegmentClass::Retransmission {
            self.died_ahead(i);
        }
        let id = self.record(i, class, of);
        self.unseen.saw(p.len);
        if class == SegmentClass::New || class == SegmentClass::Retransmission {
            self.probing = false;
        }
        self.fill(i, r, class);
        self.half.coverage.add(r, id);
        self.half.nxt = nxt.max(r.end);
        self.started = true;
    }

    /// At or beyond everything seen so far.
    fn fresh(&mut self, i: usize, nxt: RelSeq) -> (SegmentClass, Option<u32>) {
        let p = &self.trace.packets[i];
        let r = p.range();
        let gap = StreamRange::new(nxt, r.start);
        // What was acknowledged already did arrive; the capture missed it.
        let from = self.score.una.map_or(gap.start, |u| gap.start.max(u));
        let goes_on = self.started && self.unseen.repeats() && self.are_all_missing(i, gap);
        if goes_on {
            self.unseen.skip(gap);
        }
        if self.started && from < gap.end {
            let range = StreamRange::new(from, gap.end);
            let mut left = RangeSet::default();
            left.insert(range);
            self.open.insert(range.start, Open { hole: self.half.holes.len(), opener: i, left });
            self.half.holes.push(Hole {
                input: 0,
                flow: self.trace.known.flow,
                dir: self.dir,
                range,
                birth: p.ts,
                birth_frame: p.frame,
                death: None,
                filler_frame: None,
                filler: None,
                queued_behind: 0,
                waited: None,
            });
            if goes_on {
                return self.next_unseen(i);
            }
            self.settle(None);
            if let Some((missing, _)) = self.missing_before(i) {
                let elsewhere = self.filled_unseen(i, gap.start);
                return (self.unseen.beyond(gap, missing.saturating_sub(elsewhere)), None);
            }
            if let (Some(prev), Some(rtt)) = (self.previous, self.path_rtt)
                && !self.peer_spoke
                && !self.order.is_useful(self.dir)
            {
                let pause = p.ts.since(self.trace.packets[prev].ts);
                return (self.unseen.maybe_probe(pause, rtt.max(Ns::from_millis(5))), None);
            }
        } else if goes_on {
            return self.next_unseen(i);
        } else if self.started && gap.is_empty() {
            if let Some((missing, pause)) = self.missing_before(i).filter(|m| m.0 > 0) {
                self.unseen.timed_out(missing, pause, p.len, p.ts);
                return (SegmentClass::Retransmission, None);
            }
            if self.looks_like_time_out(i) {
                self.unseen.maybe_timed_out(p.ts);
                return (SegmentClass::Undecided, None);
            }
            if let Some(until) = self.died_before(i).and_then(|m| self.cut_shorter(i, m)) {
                self.unseen.too_long(until, p.ts);
            }
            return self.next_unseen(i);
        }
        (SegmentClass::New, None)
    }

    /// New, or the next of what the tap never saw before.
    fn next_unseen(&mut self, i: usize) -> (SegmentClass, Option<u32>) {
        let p = &self.trace.packets[i];
        let id = self.half.records.len() as u32;
        let (class, cause) = self.unseen.next(id, p.range(), p.ts, self.patience);
        self.half.told.extend(cause.map(|c| (id, c)));
        (class, None)
    }

    /// A gap, and as many packets did not come by right before this one as fit into it: this is the next of those that
    /// are sent in order. New data that a sender puts between its resends (F-RTO, RFC 5682 §2.1) leaves a gap without them.
    fn are_all_missing(&self, i: usize, gap: StreamRange) -> bool {
        let Some(prev) = self.previous.map(|j| &self.trace.packets[j]) else { return false };
        let packets = i64::from(self.unseen.packets(gap.len()));
        !gap.is_empty()
            && self.order.counts_every_packet(self.dir)
            && prev.range().end == gap.start
            && self.order.distance(prev, &self.trace.packets[i]).is_some_and(|d| i64::from(d) == packets + 1)
    }

    /// What was captured after packet `i`, without second copies of it.
    fn after(&self, i: usize) -> impl Iterator<Item = &Packet> + Clone {
        self.trace.packets[i + 1..].iter().filter(|q| !matches!(q.twin, Twin::Capture(_)))
    }

    /// Packets that left and did not come by before this one, and for how long none did; where
    /// that is long enough for a resend, and the peer gave nothing to acknowledge meanwhile.
    fn missing_before(&self, i: usize) -> Option<(u32, Ns)> {
        let p = &self.trace.packets[i];
        let prev = &self.trace.packets[self.previous?];
        let pause = p.ts.since(prev.ts);
        if self.peer_spoke
            || !self.order.counts_every_packet(self.dir)
            || pause <= self.patience
            || self.half.nxt.0 <= 1
        {
            return None;
        }
        let ids = self.order.distance(prev, p).filter(|&d| (1..4096).contains(&d))?;
        let gone = self.unseen.on_the_wire(prev.len) + self.reported;
        Some((u32::from(ids.unsigned_abs()).saturating_sub(gone), pause))
    }

    /// Packets that fill gaps below `from`, seen before packet `i`, and never come by: the capture lacks them.
    fn filled_unseen(&self, i: usize, from: RelSeq) -> u32 {
        let comes = |r: StreamRange| {
            let later = self.after(i).take(LOOKED_THROUGH);
            later.clone().any(|q| q.dir == self.dir && q.range().overlaps(r))
                || !later.filter(|q| q.dir != self.dir).any(|q| q.ack.is_some_and(|a| a >= r.end))
        };
        let gaps = self.open.values().filter(|o| o.opener != i).flat_map(|o| o.left.iter());
        let acked = |r: StreamRange| self.score.una.is_some_and(|u| u >= r.end);
        gaps.filter(|r| r.end <= from && !acked(*r) && !comes(*r)).map(|r| self.unseen.packets(r.len())).sum()
    }

    /// Packets that died on their way to the tap right before this one; none where they may be late, or had
    /// nothing to carry but an acknowledgment.
    fn died_before(&self, i: usize) -> Option<u32> {
        let p = &self.trace.packets[i];
        let prev = &self.trace.packets[self.previous?];
        let same = prev.raw_window == p.raw_window && prev.ack == p.ack;
        let owes = prev.ack.is_none_or(|a| a < self.peer_nxt);
        // Hosts that count all their packets with one counter start at a higher TTL.
        if !self.order.counts_every_packet(self.dir)
            || owes
            || !same
            || p.len == 0
            || prev.len > self.unseen.mss()
            || p.ttl > 64
        {
            return None;
        }
        let ids = self.order.distance(prev, p).filter(|&d| (2..4096).contains(&d))?;
        let mine = self.after(i).filter(|q| q.dir == self.dir).take(64);
        let late = |q: &Packet| self.order.distance(prev, q).is_some_and(|d| d > 0 && d < ids);
        (!mine.into_iter().any(late)).then(|| u32::from(ids.unsigned_abs()) - 1)
    }

    /// See [`unseen::cut_shorter`]: to where `missing` packets reached that began where this one does.
    fn cut_shorter(&self, i: usize, missing: u32) -> Option<RelSeq> {
        let this = std::iter::once(&self.trace.packets[i]);
        let data = this.chain(self.after(i)).filter(|p| p.dir == self.dir && p.len > 0);
        self.open.is_empty().then(|| unseen::cut_shorter(data, self.unseen.mss(), missing)).flatten()
    }

    /// The first resend of the first gap comes a round trip behind what showed it. What died between the two
    /// cannot have been a resend, so it was new, and will be sent again. Later it may have been either.
    fn died_ahead(&mut self, i: usize) {
        let p = &self.trace.packets[i];
        let Some((_, gap)) = self.open.first_key_value() else { return };
        let hole = self.half.holes[gap.hole];
        let untouched = hole.range.start == p.seq && gap.left.covers(hole.range);
        let first = self.sender_rtt.is_some_and(|rtt| p.ts.since(hole.birth) < rtt.scaled(3, 2));
        let top = self.previous.map(|j| &self.trace.packets[j]).filter(|q| q.range().end == self.half.nxt);
        let Some(top) = top else { return };
        let died = self.died_before(i).unwrap_or(0);
        if untouched && first {
            self.unseen.died_ahead(self.half.nxt, died);
        } else {
            self.unseen.maybe_died_ahead(self.half.nxt, died, top.ts);
        }
    }

    /// Where IDs do not count: after a pause of a time-out a full segment comes alone, and a round trip later
    /// two or more at once. A sender with that much new data begins with more than one (RFC 6928 §2); one
    /// that repeats after a time-out does not (RFC 5681 §3.1).
    fn looks_like_time_out(&self, i: usize) -> bool {
        let p = &self.trace.packets[i];
        let (Some(rtt), Some(prev)) = (self.path_rtt, self.previous.map(|j| &self.trace.packets[j])) else {
            return false;
        };
        if self.peer_spoke
            || self.order.counts_every_packet(self.dir)
            || self.half.nxt.0 <= 1
            || p.ts.since(prev.ts) < RTO_MIN.max(self.patience)
            || !self.unseen.is_full(p.len)
            || rtt < Ns::from_millis(1)
        {
            return false;
        }
        let mut after = self.after(i).take(64);
        let mut next =
            || after.find(|q| q.carries()).filter(|q| q.dir == self.dir).map(|q| (q.ts, q.range().start));
        let (Some((second, from)), Some((third, _))) = (next(), next()) else { return false };
        let gone = second.since(p.ts);
        from == p.range().end
            && gone >= rtt.scaled(8, 10)
            && gone <= self.patience + DELAYED_ACK
            && third.since(second) < rtt.scaled(2, 10)
    }

    /// A go-back that has ended leaves its doubtful records decided.
    fn settle(&mut self, at: Option<Ts>) {
        if !self.unseen.repeats() {
            return;
        }
        let (doubtful, class) = self.unseen.settle(at, self.patience);
        for id in doubtful {
            self.half.records[id as usize].class = class;
        }
    }

    /// Starts below what was seen.
    fn repeated(&mut self, i: usize) -> (SegmentClass, Option<u32>) {
        let p = &self.trace.packets[i];
        let r = p.range();
        let before = self.half.coverage.over(r).map(|(_, c)| c.last()).max();
        let unseen = self.half.coverage.gaps(r);
        match (before, unseen.is_empty()) {
            (Some(last), true) => {
                let earlier = &self.trace.packets[self.half.packets[last as usize]];
                if self.order.sent(p, earlier) == Some(Ordering::Less) && p.ts.since(earlier.ts) < LATEST {
                    // The copy that overtook it was the resend.
                    let overtaker = &mut self.half.records[last as usize];
                    if matches!(overtaker.class, SegmentClass::New | SegmentClass::Undecided) {
                        overtaker.class = SegmentClass::Retransmission;
                        self.half.noted.push(last);
                    }
                    (SegmentClass::Reordered, Some(last))
                } else if self.order.sent(p, earlier).is_none() && self.follows_its_resend(r, last, p.ts) {
                    (SegmentClass::Reordered, Some(last))
                } else if self.answers_unseen(i, self.half.packets[last as usize]) {
                    (SegmentClass::Undecided, Some(last))
                } else {
                    (SegmentClass::Retransmission, Some(last))
                }
            }
            (Some(last), false) => (SegmentClass::Retransmission, Some(last)),
            (None, _) => (self.late_or_again(i, r), None),
        }
    }

    /// A second SYN-ACK, sooner than by any timer, though no second SYN came by that it answers: the path doubled
    /// either that SYN behind the tap, or this.
    fn answers_unseen(&self, i: usize, earlier: usize) -> bool {
        let (p, first) = (&self.trace.packets[i], &self.trace.packets[earlier]);
        p.flags.syn()
            && p.flags.ack()
            && p.ts.since(first.ts) < RTO_MIN
            && self.order.sent(p, first).is_none()
            && asked_again(self.trace.packets.get(earlier..i).unwrap_or_default()).is_none()
    }

    /// Only a resend of these bytes came by so far, less than a round trip ago: no sender repeats again so fast,
    /// so this is the original.
    fn follows_its_resend(&self, r: StreamRange, resend: u32, at: Ts) -> bool {
        let again = &self.half.records[resend as usize];
        let alone = self.half.coverage.over(r).all(|(_, c)| c.first == resend && c.again.is_empty());
        let soon = self.path_rtt.is_some_and(|rtt| at.since(again.ts) < rtt.scaled(7, 10));
        alone && soon && again.class == SegmentClass::Retransmission
    }

    /// Bytes never seen, below bytes seen.
    fn late_or_again(&mut self, i: usize, r: StreamRange) -> SegmentClass {
        let p = &self.trace.packets[i];
        let Some(gap) = self.open_in(r).next() else {
            // Below the first byte ever seen, or acknowledged before it came by.
            let since_ack = self.last_ack.map(|t| p.ts.since(t));
            if self.score.has(r)
                && since_ack.is_some_and(|d| d < self.sender_rtt.unwrap_or(Ns::from_millis(5)))
            {
                self.half.after_ack.push(i);
                return SegmentClass::New;
            }
            return if self.score.has(r) { SegmentClass::Retransmission } else { SegmentClass::Undecided };
        };
        let opener = &self.trace.packets[gap.opener];
        match self.order.sent(p, opener) {
            Some(Ordering::Less) => return SegmentClass::Reordered,
            Some(_) => return SegmentClass::Retransmission,
            None => {}
        }
        let waited = p.ts.since(opener.ts);
        match self.sender_rtt {
            // Before any trigger could have gone to the sender and its answer come back.
            Some(rtt) if waited < rtt.scaled(7, 10) => SegmentClass::Reordered,
            Some(rtt) if waited >= rtt && (self.score.dup_acks > 0 || self.score.has_above(r.end)) => {
                SegmentClass::Retransmission
            }
            _ if waited >= RTO_MIN => SegmentClass::Retransmission,
            _ => SegmentClass::Undecided,
        }
    }

    /// Keeps the open gaps up to date.
    fn fill(&mut self, i: usize, r: StreamRange, class: SegmentClass) {
        let p = &self.trace.packets[i];
        let end = self.half.nxt.max(r.end);
        if self.open.is_empty() {
            return;
        }
        let touched: Vec<RelSeq> = self.open_in(r).map(|o| self.half.holes[o.hole].range.start).collect();
        let holes = &mut self.half.holes;
        for key in touched {
            let Some(o) = self.open.get_mut(&key) else { continue };
            o.left.remove(r);
            if !o.left.is_empty() {
                continue;
            }
            let hole = &mut holes[o.hole];
            hole.queue_up_to(end);
            hole.death = Some(p.ts);
            hole.filler_frame = Some(p.frame);
            hole.filler = Some(match class {
                SegmentClass::Retransmission => Filler::Retransmission,
                SegmentClass::Reordered => Filler::Reordered,
                _ => Filler::Undecided,
            });
            self.open.remove(&key);
        }
    }

    /// Open gaps that share a number with `r`, in order.
    fn open_in(&self, r: StreamRange) -> impl Iterator<Item = &Open> {
        let before = self.open.range(..r.start).next_back();
        let all = before.into_iter().chain(self.open.range(r.start..r.end.max(r.start)));
        all.map(|(_, o)| o).filter(move |o| self.half.holes[o.hole].range.overlaps(r))
    }
}

impl Hole {
    /// Everything up to `nxt` was sent while it was open.
    fn queue_up_to(&mut self, nxt: RelSeq) {
        self.queued_behind = self.queued_behind.max(StreamRange::new(self.range.end, nxt).len());
    }
}
