//! One connection as the link knows it: every packet that entered, what became of it, and so what a
//! tap at either end had to see. Nothing here is taken from the analysis that is to be scored.

use crate::lab::fate::{Fate, What};
use crate::model::tcp::SegmentClass;
use crate::model::{Dir, Ns, PerDir, RelSeq, Seq, Side, Span, StreamRange, Ts};
use crate::tcp::ranges::RangeSet;
use std::collections::{BTreeMap, BTreeSet};

/// SYN, FIN and RST in [`Fate::flags`] (RFC 9293 §3.1).
const FIN: u16 = 1;
const SYN: u16 = 2;
const RST: u16 = 4;
const ACK: u16 = 16;

/// A busy host hands packets over this much later than due before that is a delay which TCP feels.
const STOOD_STILL: Ns = Ns::from_millis(15);

/// One packet of the connection, with sequence numbers that count from its SYN.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// When it left its host: entered the link, or came by the capture there, if that was before.
    pub sent: Ts,
    /// When it left it at the other end; none: it did not.
    pub arrived: Option<Ts>,
    /// How often it arrived.
    pub arrivals: u8,
    /// Its number among the packets of its way.
    pub index: u64,
    /// What it covers, SYN and FIN included.
    pub range: StreamRange,
    /// Payload bytes.
    pub len: u32,
    /// It carries SYN.
    pub syn: bool,
    /// It carries FIN.
    pub fin: bool,
    /// It carries RST.
    pub rst: bool,
    /// A box on the path made it: it never passed its sender's tap.
    pub forged: bool,
    /// How often these bytes had been sent, this time included; 0: it carries none.
    pub copy: u32,
    /// What it acknowledges.
    pub ack: Option<RelSeq>,
    /// What it reports to have beyond that (RFC 2018), a duplicate (RFC 2883) first.
    pub sack: Vec<StreamRange>,
    /// It probes a closed window or an idle peer: no new number, and not the next one either.
    pub probe: Option<SegmentClass>,
    /// The sender's capture lacks it, although it passed.
    pub missed_at_sender: bool,
    /// The receiver's capture does; or it was lost before that capture began.
    pub missed_at_receiver: bool,
}

/// A packet that passed a tap, or would have, and that the tap's capture does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Whose capture.
    pub side: Side,
    /// The packet's way.
    pub dir: Dir,
    /// Its number there, as in [`Fate::index`].
    pub index: u64,
}

impl Packet {
    /// It carries something that every report must classify.
    pub fn counts(&self) -> bool {
        (self.copy > 0 || self.probe.is_some()) && !self.rst
    }

    /// It had to be sent again, by whoever was to blame.
    pub fn lost(&self) -> bool {
        self.arrived.is_none()
    }

    /// The bytes that it reports to have come twice (RFC 2883 §4): a first block at or below the acknowledgment, or
    /// inside the second block.
    pub fn dsack(&self) -> Option<StreamRange> {
        let first = *self.sack.first()?;
        let below = self.ack.is_some_and(|a| first.end <= a);
        let inside = self.sack.get(1).is_some_and(|s| s.covers(first));
        (below || inside).then_some(first)
    }

    /// One of the two captures lacks it, although that saw its time.
    pub fn missed(&self, at_sender: bool) -> bool {
        if at_sender { self.missed_at_sender } else { self.missed_at_receiver }
    }

    /// When it passed a tap: its sender's, or its receiver's.
    pub fn passed(&self, at_sender: bool) -> Option<Ts> {
        if at_sender { Some(self.sent).filter(|_| !self.forged) } else { self.arrived }
    }

    /// When it was captured there.
    pub fn captured(&self, at_sender: bool) -> Option<Ts> {
        self.passed(at_sender).filter(|_| !self.missed(at_sender))
    }
}

/// A packet passing one tap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sighting {
    /// Which packet of its way.
    pub packet: usize,
    /// When.
    pub at: Ts,
    /// What it was, seen from there.
    pub class: SegmentClass,
    /// Whether the capture can tell: it has every copy of these bytes that passed before.
    pub known: bool,
}

/// The connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// Ports of the client and the server.
    pub ports: (u16, u16),
    /// When its first packet entered the link: time 0 of a scenario.
    pub zero: Ts,
    /// Every packet of each way, in the order in which they entered.
    pub packets: PerDir<Vec<Packet>>,
    /// When the link stood still: from the moment at which a packet had to leave it to that at which it did.
    pub stood_still: Vec<Span>,
    /// The captures have every frame twice.
    pub twice: bool,
}

impl Wire {
    /// The connection of a log that carried most payload; none where there is no TCP in it.
    pub fn busiest(fates: &[Fate]) -> Option<Wire> {
        let mut carried = BTreeMap::<u32, u64>::new();
        for f in fates.iter().filter(|f| f.seq.is_some()) {
            *carried.entry(f.conn?).or_default() += u64::from(f.len) + 1;
        }
        let (conn, _) = carried.into_iter().max_by_key(|(conn, n)| (*n, std::cmp::Reverse(*conn)))?;
        // A packet is logged when its fate is known: those that were held come late in the log.
        let mut ours: Vec<&Fate> = fates.iter().filter(|f| f.conn == Some(conn) && f.seq.is_some()).collect();
        ours.sort_by_key(|f| (f.t, f.index));
        let of_it = || ours.iter().copied();
        let first = of_it().next()?;
        let (sport, dport) = (first.sport?, first.dport?);
        let ports = if first.dir == Dir::C2s { (sport, dport) } else { (dport, sport) };
        let isn = |dir: Dir| {
            let way = || of_it().filter(move |f| f.dir == dir);
            let syn = way().find(|f| f.flags.unwrap_or(0) & SYN != 0).and_then(|f| f.seq);
            Some(Seq(syn.or_else(|| way().find_map(|f| f.seq).map(|s| s.wrapping_sub(1)))?))
        };
        let isns = PerDir { c2s: isn(Dir::C2s), s2c: isn(Dir::S2c) };
        let mut near = PerDir { c2s: RelSeq(0), s2c: RelSeq(0) };
        let mut packets = PerDir { c2s: Vec::new(), s2c: Vec::new() };
        for f in of_it() {
            let Some(isn) = isns[f.dir] else { continue };
            let start = RelSeq::unwrap_near(Seq(f.seq?), isn, near[f.dir]);
            let flags = f.flags.unwrap_or(0);
            let (syn, fin) = (flags & SYN != 0, flags & FIN != 0);
            let end = start.plus(i64::from(f.len) + i64::from(syn) + i64::from(fin));
            near[f.dir] = near[f.dir].max(end);
            let theirs = isns[f.dir.flip()];
            let there = |raw: u32| Some(RelSeq::unwrap_near(Seq(raw), theirs?, near[f.dir.flip()]));
            packets[f.dir].push(Packet {
                sent: f.t,
                arrived: f.arrived(),
                arrivals: f.arrivals,
                index: f.index,
                range: StreamRange::new(start, end),
                len: f.len,
                syn,
                fin,
                rst: flags & RST != 0,
                forged: f.fate == What::Forged,
                copy: f.copy,
                ack: f.ack.filter(|_| flags & ACK != 0).and_then(there),
                sack: f
                    .sack
                    .iter()
                    .filter_map(|&(a, b)| Some(StreamRange::new(there(a)?, there(b)?)))
                    .collect(),
                probe: None,
                missed_at_sender: false,
                missed_at_receiver: false,
            });
        }
        let late = of_it().filter_map(|f| Some(Span::new(f.due?, f.left?)));
        let stood_still = late.filter(|s| s.len() >= STOOD_STILL).collect();
        let mut wire = Wire { ports, zero: first.t, packets, stood_still, twice: false };
        let closed: Vec<(Dir, Ts)> = of_it()
            .filter(|f| f.win == Some(0) && f.flags.unwrap_or(0) & (RST | SYN) == 0)
            .filter_map(|f| Some((f.dir, f.arrived()?)))
            .collect();
        for dir in Dir::BOTH {
            wire.mark_probes(dir, &closed);
        }
        Some(wire)
    }

    /// Notes when packets were sent, where that was before the link took them.
    pub fn send(&mut self, sent: &[(Dir, u64, Ts)]) {
        let sent: BTreeMap<(Dir, u64), Ts> = sent.iter().map(|&(dir, i, at)| ((dir, i), at)).collect();
        for dir in Dir::BOTH {
            for p in &mut self.packets[dir] {
                let Some(&at) = sent.get(&(dir, p.index)).filter(|at| **at < p.sent) else { continue };
                let waited = Span::new(at, p.sent);
                if waited.len() >= STOOD_STILL {
                    self.stood_still.push(waited);
                }
                p.sent = at;
            }
        }
    }

    /// Notes what captures lack.
    pub fn miss(&mut self, missed: &[Missed]) {
        for dir in Dir::BOTH {
            let of = |at: Side| -> BTreeSet<u64> {
                missed.iter().filter(|m| m.dir == dir && m.side == at).map(|m| m.index).collect()
            };
            let from = crate::correlate::sender(dir);
            let (at_sender, at_receiver) = (of(from), of(from.flip()));
            for p in self.packets[dir].iter_mut().filter(|p| !p.forged) {
                p.missed_at_sender = at_sender.contains(&p.index);
                p.missed_at_receiver = at_receiver.contains(&p.index);
            }
        }
    }

    /// A packet without data below the next number to send asks whether somebody is there
    /// (RFC 9293 §3.8.4), or whether the window is open again (§3.8.6.1).
    fn mark_probes(&mut self, dir: Dir, closed: &[(Dir, Ts)]) {
        let heard: Vec<Ts> = self.packets[dir.flip()].iter().filter_map(|p| p.arrived).collect();
        let mut next = RelSeq(0);
        for p in &mut self.packets[dir] {
            if p.copy == 0 && !p.rst && p.range.start < next && p.range.is_empty() {
                let last = heard.iter().copied().filter(|t| *t <= p.sent).max();
                let shut = last.is_some_and(|l| closed.contains(&(dir.flip(), l)));
                p.probe = Some(if shut { SegmentClass::WindowProbe } else { SegmentClass::KeepAlive });
            }
            next = next.max(p.range.end);
        }
    }

    /// Somebody ended it with a RST.
    pub fn was_reset(&self) -> bool {
        Dir::BOTH.iter().any(|&d| self.packets[d].iter().any(|p| p.rst))
    }

    /// The shortest round trip: the fastest packet each way.
    pub fn round_trip(&self) -> Ns {
        let fastest = |d: Dir| self.packets[d].iter().filter_map(|p| Some(p.arrived?.since(p.sent))).min();
        Dir::BOTH.into_iter().filter_map(fastest).sum()
    }

    /// A moment for people: since its first packet.
    pub fn when(&self, t: Ts) -> Ns {
        t.since(self.zero)
    }

    /// What a capture at `side` has of one way, in order of time. `alone`: what can be told without the other.
    pub fn sightings(&self, dir: Dir, side: Side, alone: bool) -> Vec<Sighting> {
        let at_sender = side == crate::correlate::sender(dir);
        let mut seen = Vec::new();
        let mut missed = RangeSet::default();
        for (i, p) in self.packets[dir].iter().enumerate().filter(|(_, p)| p.counts()) {
            if p.missed(at_sender) {
                missed.insert(p.range);
            }
            let Some(at) = p.captured(at_sender) else { continue };
            let known = missed.within(p.range).is_empty();
            let times = if at_sender { 1 } else { p.arrivals.max(1) };
            for n in 0..times {
                let class = if n > 0 { SegmentClass::NetworkDuplicate } else { as_sent(p) };
                seen.push(Sighting { packet: i, at, class, known });
            }
        }
        if !at_sender {
            seen.sort_by_key(|s| s.at);
            self.seen_at_receiver(dir, alone, &mut seen);
        }
        if self.twice {
            seen = seen.into_iter().flat_map(|s| self.both(dir, s)).collect();
        }
        seen
    }

    /// A frame and its copy. No record is made of the copy of a packet without data, and a packet that the
    /// network doubled, too, has nothing that tells its copies apart.
    fn both(&self, dir: Dir, s: Sighting) -> impl Iterator<Item = Sighting> {
        let known = s.known && s.class != SegmentClass::NetworkDuplicate;
        let copy = Sighting { class: SegmentClass::CaptureDuplicate, known, ..s };
        let recorded = !self.packets[dir][s.packet].range.is_empty();
        std::iter::once(Sighting { known, ..s }).chain(recorded.then_some(copy))
    }

    /// What the order of arrival makes of what was sent.
    fn seen_at_receiver(&self, dir: Dir, alone: bool, seen: &mut [Sighting]) {
        // Nothing that passed here tells a SYN or a FIN that was lost before from one that never was.
        if alone {
            let mut bare = Vec::new();
            for s in seen.iter_mut() {
                let p = &self.packets[dir][s.packet];
                if p.len == 0 && p.probe.is_none() && !bare.contains(&p.range) {
                    s.class = SegmentClass::New;
                    bare.push(p.range);
                }
            }
        }
        // The latest packet that arrived, and how far the arrived ones reach.
        let mut reach: Vec<(u64, RelSeq)> = Vec::new();
        for s in seen {
            let p = &self.packets[dir][s.packet];
            let overtaken = reach.iter().any(|(i, end)| *i > p.index && *end >= p.range.end);
            if s.class == SegmentClass::New && overtaken {
                s.class = SegmentClass::Reordered;
            }
            reach.retain(|(i, end)| *i > p.index || *end > p.range.end);
            if !reach.iter().any(|(i, end)| *i >= p.index && *end >= p.range.end) {
                reach.push((p.index, p.range.end));
            }
        }
    }
}

fn as_sent(p: &Packet) -> SegmentClass {
    match (p.probe, p.copy) {
        (Some(class), _) => class,
        (None, 0 | 1) => SegmentClass::New,
        (None, _) => SegmentClass::Retransmission,
    }
}
