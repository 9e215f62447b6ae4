//! A connection, or a stretch of it, with direction, unwrapped sequence numbers and scaled windows.

use super::calm::{Finder, Run, Scale};
use super::stray::{Field, Strays};
use crate::decode::{IcmpError, Segment, TcpFlags, TcpOptions};
use crate::model::{Dir, FlowId, FrameNo, Ns, PerDir, RelSeq, Seq, StreamRange, Ts};
use std::net::SocketAddr;
use std::ops::Range;

/// Whether a packet is a copy of an earlier one of the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// It is not.
    None,
    /// The file has it twice, the path had it once.
    Capture(FrameNo),
    /// The path carried it twice.
    Network(FrameNo),
}

/// One packet of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Frame number.
    pub frame: FrameNo,
    /// When the tap saw it.
    pub ts: Ts,
    /// Which way.
    pub dir: Dir,
    /// First sequence number.
    pub seq: RelSeq,
    /// One past the last; SYN and FIN have one each.
    end: RelSeq,
    /// Payload bytes.
    pub len: u32,
    /// Acknowledgment number, in the numbers of the other direction.
    pub ack: Option<RelSeq>,
    /// Window in bytes that its sender grants; none where the scale is unknown and matters.
    pub window: Option<u64>,
    /// Window field as on the wire.
    pub raw_window: u16,
    /// Flags.
    pub flags: TcpFlags,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DF.
    pub dont_fragment: bool,
    /// Few packets have SACK blocks: they lie elsewhere, so that all passes over the others read less.
    sacks: Option<Box<Sacks>>,
    /// Checksum field, to compare packets.
    pub checksum: u16,
    /// The checksum is right.
    pub checksum_ok: Option<bool>,
    /// Where on the link it was seen.
    pub link_key: u64,
    /// On which interface.
    pub interface: u32,
    /// The copy of another packet.
    pub twin: Twin,
}

/// The SACK blocks of one packet, in the numbers of the other direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sacks {
    /// Without the DSACK.
    blocks: [StreamRange; 4],
    /// How many of them count.
    len: u8,
    dsack: Option<StreamRange>,
}

impl Packet {
    /// A segment with its direction, its place in the stream, and what it says; without its SACK blocks.
    #[inline]
    pub(super) fn of(
        s: &Segment,
        dir: Dir,
        range: StreamRange,
        ack: Option<RelSeq>,
        window: Option<u64>,
    ) -> Packet {
        Packet {
            frame: s.frame,
            ts: s.ts,
            dir,
            seq: range.start,
            end: range.end,
            len: s.len,
            ack,
            window,
            raw_window: s.window,
            flags: s.flags,
            timestamps: s.options.timestamps,
            ip_id: s.ip_id,
            ttl: s.ttl,
            dont_fragment: s.dont_fragment,
            sacks: None,
            checksum: s.checksum,
            checksum_ok: s.checksum_ok,
            link_key: s.link_key,
            interface: s.interface,
            twin: Twin::None,
        }
    }

    /// The sequence numbers it covers, SYN and FIN included.
    #[inline]
    pub fn range(&self) -> StreamRange {
        StreamRange { start: self.seq, end: self.end }
    }

    /// It carries data, SYN or FIN.
    #[inline]
    pub fn carries(&self) -> bool {
        self.end > self.seq
    }

    /// Its SACK blocks in the numbers of the other direction, without the DSACK.
    #[inline]
    pub fn sacks(&self) -> &[StreamRange] {
        self.sacks.as_ref().map_or(&[], |s| &s.blocks[..usize::from(s.len)])
    }

    /// What the receiver got twice (RFC 2883 §4).
    #[inline]
    pub fn dsack(&self) -> Option<StreamRange> {
        self.sacks.as_ref().and_then(|s| s.dsack)
    }

    /// The same SACK blocks, DSACK or not.
    pub fn same_sacks(&self, other: &Packet) -> bool {
        self.sacks == other.sacks
    }
}

/// What a stretch of a connection rests on: its name, and what the packets before it have settled.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its number.
    pub flow: FlowId,
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// ICMP errors about it.
    pub icmp: Vec<IcmpError>,
    /// The SYN of each direction was seen.
    pub syn: PerDir<bool>,
    /// MSS that each direction's SYN announced (it limits the *other* direction's segments).
    pub mss: PerDir<Option<u16>>,
    /// Window scale that each direction's SYN announced.
    pub wscale: PerDir<Option<u8>>,
    /// SACK permitted by each direction's SYN; none without a SYN.
    pub sack_permitted: PerDir<Option<bool>>,
    /// Largest payload of each direction.
    pub largest: PerDir<u32>,
    /// Each direction puts time stamps into its data.
    pub stamped: PerDir<bool>,
    /// Each direction has packets.
    pub seen: PerDir<bool>,
    /// Each direction has said goodbye.
    pub fin: PerDir<bool>,
    /// SYN to the ACK of the SYN-ACK.
    pub irtt: Option<Ns>,
    numbers: PerDir<Numbering>,
    widest: PerDir<u64>,
}

impl Known {
    /// Nothing but the name.
    pub fn nothing(flow: FlowId, client: SocketAddr, server: SocketAddr) -> Known {
        Known {
            flow,
            client,
            server,
            icmp: Vec::new(),
            syn: PerDir::default(),
            mss: PerDir::default(),
            wscale: PerDir::default(),
            sack_permitted: PerDir::default(),
            largest: PerDir::default(),
            stamped: PerDir::default(),
            seen: PerDir::default(),
            fin: PerDir::default(),
            irtt: None,
            numbers: PerDir::default(),
            widest: PerDir::default(),
        }
    }

    /// Raw sequence number that relative 0 stands for, of each sender.
    pub fn isn(&self) -> PerDir<Seq> {
        let isn = |d: Dir| self.numbers[d].isn.unwrap_or_default();
        PerDir { c2s: isn(Dir::C2s), s2c: isn(Dir::S2c) }
    }
}

/// A stretch of one connection, ready for analysis.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What holds for the whole connection, as far as its packets have shown it.
    pub known: Known,
    /// Packets in capture order.
    pub packets: Vec<Packet>,
    /// Packets with SACK blocks that name bytes outside the receiver's window, once for each: a middlebox renumbers
    /// the stream and not its SACKs.
    pub foreign_sacks: Vec<usize>,
    /// Some checksum is wrong.
    pub wrong_sums: bool,
    /// Wrong checksums of each direction are damage done on the way, not left to a network card.
    pub damage: PerDir<bool>,
    /// Damaged packets whose numbers are out of place: nothing in their headers is believed.
    pub damaged: Vec<usize>,
    /// Packets with a number that belongs nowhere, though their checksums are right or unknown: it is not believed.
    pub strays: Vec<usize>,
    /// One past the last packet that says something of each direction's data; see [`Trace::find_ends`].
    pub upto: PerDir<usize>,
    /// Packets of which the snap length has cut the TCP header.
    pub cut: Vec<usize>,
    /// Runs of packets in which nothing happens, in order.
    pub runs: Vec<Run>,
}

/// Numbers this close to the newest one are never doubted: twice the largest window without scaling.
pub(super) const NEAR: u32 = 1 << 17;

/// One direction's numbering while the trace is built.
#[derive(Clone, Copy, Debug, Default)]
struct Numbering {
    isn: Option<Seq>,
    newest: RelSeq,
}

impl Numbering {
    /// Without a SYN the first number seen is 1.
    fn unwrap(&mut self, raw: Seq) -> RelSeq {
        let isn = *self.isn.get_or_insert_with(|| {
            self.newest = RelSeq(1);
            Seq(raw.0.wrapping_sub(1))
        });
        RelSeq::unwrap_near(raw, isn, self.newest)
    }

    /// The newest number as on the wire.
    fn newest_raw(&self) -> Seq {
        Seq(self.isn.unwrap_or_default().0.wrapping_add(self.newest.0 as u32))
    }

    /// Too far from all that came before to be of this stream, or, where nothing did, from the first sound packet;
    /// `reach`: the largest window granted.
    fn is_far(&self, raw: Seq, sound: Option<Seq>, reach: u64) -> bool {
        let distance = match self.isn {
            Some(isn) => RelSeq::unwrap_near(raw, isn, self.newest).0.abs_diff(self.newest.0),
            None => sound.map_or(0, |n| u64::from(n.diff(raw).unsigned_abs())),
        };
        distance > reach.max(1 << 16).saturating_mul(2)
    }
}

/// How far from the newest number one may be, where `widest` is the largest window granted.
pub(super) fn reach_of(widest: u64) -> u32 {
    u32::try_from(widest.saturating_mul(2)).unwrap_or(u32::MAX).max(NEAR)
}

/// Segments of a connection: those that were kept of what came before, and what came since.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The first ones.
    pub old: &'a [Segment],
    /// Those behind.
    pub new: &'a [Segment],
}

impl<'a> View<'a> {
    /// All, in order.
    pub fn iter(self) -> impl Iterator<Item = &'a Segment> {
        self.old.iter().chain(self.new)
    }

    /// How many.
    pub fn len(self) -> usize {
        self.old.len() + self.new.len()
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn at(self, i: usize) -> &'a Segment {
        i.checked_sub(self.old.len()).map_or_else(|| &self.old[i], |k| &self.new[k])
    }

    /// Those from `i` on.
    pub fn from(self, i: usize) -> View<'a> {
        let k = i.saturating_sub(self.old.len()).min(self.new.len());
        View { old: self.old.get(i..).unwrap_or_default(), new: &self.new[k..] }
    }
}

/// Whether wrong checksums of each direction are damage: where offload fills them in later, all are wrong.
fn damage(segments: View<'_>, dir_of: impl Fn(&Segment) -> Dir) -> PerDir<bool> {
    let is_wrong = |s: &Segment| s.checksum_ok == Some(false);
    let mut sums = PerDir::<(usize, usize)>::default();
    for s in segments.iter().filter(|s| s.checksum_ok.is_some()) {
        let (wrong, all) = &mut sums[dir_of(s)];
        (*wrong, *all) = (*wrong + usize::from(is_wrong(s)), *all + 1);
    }
    let few = |(wrong, all): (usize, usize)| wrong > 0 && wrong * 4 <= all;
    PerDir { c2s: few(sums.c2s), s2c: few(sums.s2c) }
}

impl Trace {
    /// Orients and numbers the segments of a connection that come after what is known. `one_by_one`: without runs.
    pub fn new(mut known: Known, segments: View<'_>, one_by_one: bool) -> Trace {
        let client = known.client;
        let dir_of = |s: &Segment| if s.src == client { Dir::C2s } else { Dir::S2c };
        let mut packets = Vec::with_capacity(segments.len());
        let mut foreign_sacks = Vec::new();
        let is_rare = |s: &Segment| s.flags.syn() || s.checksum_ok == Some(false);
        let rare = segments.old.iter().any(is_rare) || segments.new.iter().any(is_rare);
        let wrong_sums = rare && segments.iter().any(|s| s.checksum_ok == Some(false));
        let damage = if wrong_sums { damage(segments, dir_of) } else { PerDir::default() };
        let mut damaged = Vec::new();
        let mut strays = Vec::new();
        let any_damage = damage.c2s || damage.s2c;
        let doubted = Strays::of(segments, client);
        let wrong = |s: &Segment| damage[dir_of(s)] && s.checksum_ok == Some(false);
        let first = |d: Dir| segments.iter().find(|s| dir_of(s) == d && !wrong(s)).map(|s| s.seq);
        let sound = PerDir {
            c2s: damage.c2s.then(|| first(Dir::C2s)).flatten(),
            s2c: damage.s2c.then(|| first(Dir::S2c)).flatten(),
        };
        // Handshake facts first: they hold for packets that the file has before the SYN, too.
        for s in segments.iter().filter(|s| rare && s.flags.syn() && !wrong(s)) {
            let d = dir_of(s);
            known.syn[d] = true;
            known.mss[d] = s.options.mss.or(known.mss[d]);
            known.wscale[d] = s.options.wscale.or(known.wscale[d]);
            known.sack_permitted[d] = Some(s.options.sack_permitted || known.sack_permitted[d] == Some(true));
            known.numbers[d].isn.get_or_insert(s.seq);
        }
        let scaling = known.syn.c2s && known.syn.s2c;
        let scale = |d: Dir| -> Option<u8> {
            match (scaling, known.wscale.c2s, known.wscale.s2c) {
                // RFC 7323 §2.2: in force only when both SYNs carry it.
                (true, Some(_), Some(_)) => known.wscale[d],
                (true, ..) => Some(0),
                (false, ..) => None,
            }
        };
        let scales = PerDir { c2s: scale(Dir::C2s), s2c: scale(Dir::S2c) };
        let mut cut = Vec::new();
        let mut calm = if one_by_one { Finder::off() } else { Finder::default() };
        let Known { numbers, widest, largest, stamped, seen, fin, .. } = &mut known;
        let mut i = 0;
        for s in segments.old.iter().chain(segments.new) {
            let dir = dir_of(s);
            if s.cut {
                cut.push(i);
            }
            if !any_damage {
                let other = dir.flip();
                let by = Scale {
                    isn: (numbers[dir].isn.unwrap_or_default(), numbers[other].isn.unwrap_or_default()),
                    newest: (numbers[dir].newest, numbers[other].newest),
                    widest: if scaling { (widest[other], widest[dir]) } else { (0, 0) },
                    shift: scales[dir],
                };
                if calm.go_on(&mut packets, s, dir, &by)
                    && let Some(p) = packets.last()
                {
                    numbers[dir].newest = numbers[dir].newest.max(p.end);
                    let granted = p.window.unwrap_or(u64::from(s.window) << 14);
                    widest[dir] = granted.max(widest[dir]);
                    largest[dir] = largest[dir].max(p.len);
                    stamped[dir] |= p.len > 0 && p.timestamps.is_some();
                    i += 1;
                    continue;
                }
            }
            let nothing;
            let lies = |field, number: Seq, of: &Numbering, reach: u64| {
                if number.diff(of.newest_raw()).unsigned_abs() <= NEAR || of.isn.is_none() {
                    return false;
                }
                doubted.lies(i, field, of.newest_raw(), if scaling { reach_of(reach) } else { NEAR })
            };
            let unbelieved =
                if any_damage && wrong(s) && numbers[dir].is_far(s.seq, sound[dir], widest[dir.flip()]) {
                    Some(&mut damaged)
                } else if lies(Field::Sequence, s.seq, &numbers[dir], widest[dir.flip()]) {
                    Some(&mut strays)
                } else {
                    None
                };
            let (s, seq) = match unbelieved {
                Some(list) => {
                    list.push(i);
                    nothing =
                        Segment { flags: TcpFlags(0), options: TcpOptions::default(), ..s.without_data() };
                    (&nothing, numbers[dir].newest)
                }
                None => (s, numbers[dir].unwrap(s.seq)),
            };
            let back = &mut numbers[dir.flip()];
            // RFC 9293 §3.5.2: a reset of an unsynchronized connection may acknowledge anything.
            let speaks = s.flags.ack() && !(s.flags.rst() && s.ack.0 == 0);
            let ack = if speaks && lies(Field::Acknowledgment, s.ack, back, widest[dir]) {
                strays.push(i);
                None
            } else {
                speaks.then(|| back.unwrap(s.ack))
            };
            let end = seq.plus(i64::from(s.len) + i64::from(s.flags.syn()) + i64::from(s.flags.fin()));
            let window = match (s.flags.syn(), scales[dir], s.window) {
                (true, ..) => Some(u64::from(s.window)),
                (_, Some(k), w) => Some(u64::from(w) << k.min(14)),
                (_, None, 0) => Some(0),
                (_, None, _) => None,
            };
            let mut p = Packet::of(s, dir, StreamRange { start: seq, end }, ack, window);
            if let Some(ack) = ack {
                back.newest = back.newest.max(ack);
                let granted = p.window.unwrap_or(u64::from(s.window) << 14).max(1 << 16);
                let reach = &mut widest[dir];
                *reach = granted.max(*reach);
                if !s.options.sack.is_empty() {
                    let (isn, newest) = (back.isn.unwrap_or_default(), back.newest);
                    let blocks = s.options.sack.as_slice().iter().map(|&(l, r)| {
                        let left = RelSeq::unwrap_near(l, isn, newest);
                        StreamRange::new(left, left.plus(i64::from(r.diff(l).max(0))))
                    });
                    let foreign = p.take_sacks(ack, *reach, blocks);
                    foreign_sacks.extend(std::iter::repeat_n(i, foreign as usize));
                }
            }
            numbers[dir].newest = numbers[dir].newest.max(p.range().end);
            largest[dir] = largest[dir].max(p.len);
            seen[dir] = true;
            fin[dir] |= p.flags.fin();
            stamped[dir] |= p.len > 0 && p.timestamps.is_some();
            calm.take(i, &p, s);
            packets.push(p);
            i += 1;
        }
        known.irtt = known.irtt.or_else(|| handshake(&packets));
        let upto = PerDir { c2s: packets.len(), s2c: packets.len() };
        let runs = calm.finish();
        Trace { known, packets, foreign_sacks, wrong_sums, damage, damaged, strays, upto, cut, runs }
    }

    /// Finds out from where on a direction only acknowledges, and is told nothing new: most transfers go one way, and
    /// nobody needs to walk through them twice. Copies must be marked by now.
    pub fn find_ends(&mut self) {
        // The highest number that each direction used and acknowledged; what its last packet said of the other one;
        // whether it has not yet answered.
        let mut reach: PerDir<RelSeq> = PerDir::default();
        let mut acked: PerDir<Option<RelSeq>> = PerDir::default();
        let mut word: PerDir<Option<(RelSeq, u16)>> = PerDir::default();
        let mut due: PerDir<bool> = PerDir::default();
        let mut upto: PerDir<usize> = PerDir::default();
        for (packets, run) in self.pieces(self.packets.len()) {
            if let Some(r) = run {
                let (dir, other) = (r.sender, r.sender.flip());
                let told = &self.packets[r.last_data];
                if !due[other] && word[dir].is_some_and(|w| told.ack == Some(w.0) && told.raw_window == w.1) {
                    upto[dir] = r.packets.end;
                    due[dir] = r.last_data > r.last_ack;
                    reach[dir] = reach[dir].max(r.data.end);
                    acked[other] = acked[other].max(Some(r.acked));
                    word[other] = Some((r.acked, self.packets[r.last_ack].raw_window));
                    continue;
                }
            }
            for i in packets {
                let p = &self.packets[i];
                let (dir, other) = (p.dir, p.dir.flip());
                // Data in order, with the same word as before.
                if p.len > 0
                    && p.twin == Twin::None
                    && p.flags.0 & 0x07 == 0
                    && !due[other]
                    && p.sacks.is_none()
                {
                    let same = word[dir].is_some_and(|w| p.ack == Some(w.0) && p.raw_window == w.1);
                    if same && p.raw_window > 0 {
                        upto[dir] = i + 1;
                        due[dir] = true;
                        reach[dir] = reach[dir].max(p.range().end);
                        continue;
                    }
                }
                let copy = matches!(p.twin, Twin::Capture(_));
                let end = p.range().end;
                let odd = p.flags.0 & 0x07 != 0;
                if p.carries() || !copy && (odd || end != reach[dir]) {
                    upto[dir] = i + 1;
                    due[dir] = true;
                }
                let said = p.ack.map(|ack| (ack, p.raw_window));
                let asks_again = p.len == 0 && p.ack.is_some_and(|ack| ack < reach[other]);
                let tells = odd || said.is_none() || said != word[dir] || p.sacks.is_some();
                if due[other] || !copy && (tells || asks_again || p.raw_window == 0) {
                    upto[other] = i + 1;
                    due[other] &= copy;
                }
                if !copy {
                    reach[dir] = reach[dir].max(end);
                    acked[dir] = acked[dir].max(p.ack);
                    // What was overtaken is no measure, nor a SYN, whose window has another scale.
                    word[dir] = said.filter(|_| !odd && p.ack == acked[dir]);
                }
            }
        }
        self.upto = upto;
    }

    /// The first `upto` packets, cut where runs begin and end, each piece with the run that it is.
    pub fn pieces(&self, upto: usize) -> impl Iterator<Item = (Range<usize>, Option<&Run>)> {
        let mut runs = self.runs.iter().filter(move |r| r.packets.end <= upto).peekable();
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= upto {
                return None;
            }
            let run = runs.next_if(|r| r.packets.start == at);
            let end = match run {
                Some(r) => r.packets.end,
                None => runs.peek().map_or(upto, |r| r.packets.start),
            };
            Some((std::mem::replace(&mut at, end)..end, run))
        })
    }

    /// Packets that say something of `dir`'s data, and those between them.
    pub fn told(&self, dir: Dir) -> &[Packet] {
        &self.packets[..self.upto[dir]]
    }

    /// Payload and SYN/FIN packets of one direction that are no copies made by the capture.
    pub fn sends(&self, dir: Dir) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(move |p| p.dir == dir && !matches!(p.twin, Twin::Capture(_)))
    }

    /// The largest segment that `dir` may send: the other side's MSS option, less the timestamp
    /// option (RFC 9293 §3.7.1) or what else fills the header, or what was seen most.
    pub fn segment_size(&self, dir: Dir) -> u32 {
        /// Room for options in a TCP header (RFC 9293 §3.1).
        const OPTIONS: u32 = 40;
        let announced = self.known.mss[dir.flip()].map(u32::from).filter(|&m| m >= 64);
        let seen = self.known.largest[dir];
        match announced {
            Some(m) if self.known.stamped[dir] => m - 12,
            Some(m) if seen < m && seen + OPTIONS >= m => seen,
            Some(m) => m,
            None => self.known.largest[dir].clamp(1, 1460),
        }
    }
}

impl Packet {
    /// Tells the DSACK from the SACKs (RFC 2883 §4): the first block is a duplicate when it lies
    /// below the cumulative ACK or inside the second block.
    /// A block outside what the receiver can hold (`reach` bytes around the ACK) is left out and counted.
    fn take_sacks(&mut self, ack: RelSeq, reach: u64, blocks: impl Iterator<Item = StreamRange>) -> u64 {
        let reach = i64::try_from(reach.saturating_mul(2)).unwrap_or(i64::MAX);
        let mut foreign = 0;
        let mut all = [StreamRange::default(); 4];
        let mut n = 0;
        for b in blocks.filter(|b| !b.is_empty()).take(4) {
            if b.end > ack.plus(reach) || b.start.plus(reach) < ack {
                foreign += 1;
                continue;
            }
            all[n] = b;
            n += 1;
        }
        let first_is_dsack = n > 0 && (all[0].end <= ack || (n > 1 && all[1].covers(all[0])));
        let mut told = Sacks { dsack: first_is_dsack.then_some(all[0]), ..Sacks::default() };
        for b in &all[usize::from(first_is_dsack)..n] {
            if b.start > ack {
                told.blocks[usize::from(told.len)] = *b;
                told.len += 1;
            }
        }
        self.sacks = (told != Sacks::default()).then(|| Box::new(told));
        foreign
    }
}

/// SYN to the ACK of the SYN-ACK: the path's round trip, wherever the tap is.
fn handshake(packets: &[Packet]) -> Option<Ns> {
    let syn = packets.iter().filter(|p| p.flags.syn() && !p.flags.ack()).collect::<Vec<_>>();
    let syn_acks = packets.iter().filter(|p| p.flags.syn() && p.flags.ack()).count();
    // Sent again: it can't be told which copy was answered.
    let ([syn], 1) = (syn.as_slice(), syn_acks) else { return None };
    let ack =
        packets.iter().find(|p| p.dir == syn.dir && !p.flags.syn() && p.flags.ack() && p.ts >= syn.ts)?;
    Some(ack.ts.since(syn.ts))
}
