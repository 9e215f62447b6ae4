//! Faults of the capture, removed or measured before anything is counted.
//!
//! The same packet twice in a file looks like a retransmission to every tool that compares sequence
//! numbers only. Here a copy must agree in everything that its sender wrote, the IP ID included.

use super::calm::{self, Run};
use super::trace::{Packet, Trace, Twin};
use crate::model::hash::Ready;
use crate::model::{ByByte, Dir, Ns, PerDir, RelSeq, StreamRange};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Whether IPv4 identifications tell the order of sending, learnt for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdOrder {
    useful: PerDir<bool>,
    strict: PerDir<bool>,
}

/// One direction's identifications.
#[derive(Clone, Copy, Debug, Default)]
struct Ids {
    /// The last one, how many packets its own became on the wire, and where they ended.
    last: Option<(u16, u32, RelSeq)>,
    /// The newest data: its end and its ID.
    newest: Option<(RelSeq, u16)>,
    contradicted: u64,
    by_one: u64,
    grows: u64,
    others: u64,
}

impl Ids {
    fn take(&mut self, p: &Packet, id: u16, mss: u32) {
        // Data that is newer than all before, with an older ID: offload cut one packet and
        // numbered the pieces itself.
        if p.len > 0 && self.newest.is_none_or(|(end, _)| p.seq >= end) {
            self.contradicted += u64::from(self.newest.is_some_and(|(_, n)| (id.wrapping_sub(n) as i16) < 0));
            self.newest = Some((p.range().end, id));
        }
        match self.last {
            // SYN-ACKs of Linux carry 0; a run of equal IDs is a duplicated capture.
            _ if id == 0 => return,
            Some((l, ..)) if l == id => {}
            Some((l, n, end)) if (1..=8192).contains(&id.wrapping_sub(l)) => {
                self.grows += 1;
                // Offload shows several packets as one; each took an ID. So did what is missing between.
                let step = u32::from(id.wrapping_sub(l));
                let missing = || {
                    let gap = u32::try_from(p.seq.0.saturating_sub(end.0)).unwrap_or(0);
                    if p.len > 0 { gap.div_ceil(mss) } else { 0 }
                };
                self.by_one += u64::from(step == n || step > n && step - n <= missing());
            }
            Some(_) => self.others += 1,
            None => {}
        }
        let packets = if p.len <= mss { 1 } else { p.len.div_ceil(mss) };
        self.last = Some((id, packets, p.range().end));
    }

    /// Takes one side's packets of a run; false where they have to be taken one by one.
    fn take_run(&mut self, run: &Run, trace: &Trace, dir: Dir, mss: u32) -> bool {
        let sends = dir == run.sender;
        let (n, last) = if sends { (run.segments, run.last_data) } else { (run.acks(), run.last_ack) };
        let last = &trace.packets[last];
        let (Some(id), calm::Ids::ByOne) = (last.ip_id, run.ids[dir]) else {
            return run.ids[dir] == calm::Ids::Absent && last.ip_id.is_none();
        };
        let before = id.wrapping_sub(n as u16);
        let goes_on = self.last.is_some_and(|(l, n, _)| l == before && n == 1);
        let newest = self.newest.is_some_and(|(end, l)| end == run.data.start && l == before);
        if !goes_on || run.largest > mss || sends && !newest {
            return false;
        }
        self.grows += n as u64;
        self.by_one += n as u64;
        self.last = Some((id, 1, last.range().end));
        if sends {
            self.newest = Some((run.data.end, id));
        }
        true
    }

    fn are_useful(&self) -> bool {
        self.grows >= 2 && self.grows >= 3 * self.others && self.contradicted * 20 <= self.grows
    }

    fn count_every_packet(&self) -> bool {
        self.are_useful() && self.by_one >= 20 && self.by_one * 20 >= (self.grows + self.others) * 19
    }
}

impl IdOrder {
    /// Learns from consecutive packets: useful are IDs that are not zero and nearly always grow by
    /// a little (modulo 2^16).
    pub fn learn(trace: &Trace) -> IdOrder {
        let mut all: PerDir<Ids> = PerDir::default();
        let mss = PerDir { c2s: trace.segment_size(Dir::C2s), s2c: trace.segment_size(Dir::S2c) };
        for (packets, run) in trace.pieces(trace.packets.len()) {
            let mut left = PerDir { c2s: true, s2c: true };
            if let Some(r) = run {
                for d in Dir::BOTH {
                    left[d] = !all[d].take_run(r, trace, d, mss[d].max(1));
                }
                if !left.c2s && !left.s2c {
                    continue;
                }
            }
            for p in trace.packets[packets].iter().filter(|p| left[p.dir]) {
                if let Some(id) = p.ip_id {
                    all[p.dir].take(p, id, mss[p.dir].max(1));
                }
            }
        }
        let useful = PerDir { c2s: all.c2s.are_useful(), s2c: all.s2c.are_useful() };
        let strict = PerDir { c2s: all.c2s.count_every_packet(), s2c: all.s2c.count_every_packet() };
        IdOrder { useful, strict }
    }

    /// True when IDs of this direction can be compared.
    pub fn is_useful(&self, dir: Dir) -> bool {
        self.useful[dir]
    }

    /// True when this connection has a counter of its own: a jump means packets that did not come by.
    pub fn counts_every_packet(&self, dir: Dir) -> bool {
        self.strict[dir]
    }

    /// How many IDs `b` was sent after `a` (negative: before); none where IDs do not tell.
    pub fn distance(&self, a: &Packet, b: &Packet) -> Option<i16> {
        match (self.useful[a.dir], a.ip_id, b.ip_id) {
            (true, Some(x), Some(y)) if x != 0 && y != 0 && a.dir == b.dir => Some(y.wrapping_sub(x) as i16),
            _ => None,
        }
    }

    /// Order of sending by TSval, on a tie by IP ID. Where both speak they agree, save where offload
    /// cut one packet into many and numbered them itself: then the clock is right.
    pub fn sent(&self, a: &Packet, b: &Packet) -> Option<Ordering> {
        if let (Some((x, _)), Some((y, _))) = (a.timestamps, b.timestamps)
            && x != y
        {
            return Some((y.wrapping_sub(x) as i32).cmp(&0).reverse());
        }
        self.distance(a, b).filter(|&d| d != 0).map(|d| d.cmp(&0).reverse())
    }
}

/// Everything that its sender wrote into two packets is the same.
fn same(a: &Packet, b: &Packet) -> bool {
    (a.dir, a.seq, a.ack, a.len, a.flags.0) == (b.dir, b.seq, b.ack, b.len, b.flags.0)
        && (a.raw_window, a.timestamps, a.ip_id, a.checksum)
            == (b.raw_window, b.timestamps, b.ip_id, b.checksum)
        && a.same_sacks(b)
}

/// A number that equal packets share, and others hardly ever.
fn digest(p: &Packet, seed: u64) -> u64 {
    let mut b = [0; 36];
    let ack = p.ack.map_or(i64::MIN, |a| a.0);
    let (val, ecr) = p.timestamps.unwrap_or_default();
    b[..8].copy_from_slice(&p.seq.0.to_le_bytes());
    b[8..16].copy_from_slice(&ack.to_le_bytes());
    b[16..20].copy_from_slice(&p.len.to_le_bytes());
    b[20..24].copy_from_slice(&val.to_le_bytes());
    b[24..28].copy_from_slice(&ecr.to_le_bytes());
    b[28..30].copy_from_slice(&p.flags.0.to_le_bytes());
    b[30..32].copy_from_slice(&p.raw_window.to_le_bytes());
    b[32..34].copy_from_slice(&p.ip_id.unwrap_or_default().to_le_bytes());
    b[34..].copy_from_slice(&p.checksum.to_le_bytes());
    xxh3_64_with_seed(&b, seed ^ u64::from(p.dir == Dir::C2s))
}

/// Without a useful IP ID, two identical data segments this close are one: no sender repeats faster. Nor before half
/// the round trip that the handshake took.
const SAME_PACKET: Ns = Ns::from_millis(1);
/// With equal time stamps: no clock of a stack stands still for longer.
const SAME_CLOCK: Ns = Ns::from_secs(1);
/// The same, where link addresses, interface or TTL prove two vantage points.
const SAME_PACKET_ELSEWHERE: Ns = Ns::from_millis(50);

/// A stack may send a segment again under its old IP ID (RFC 1122 §3.2.1.5). No timer of one that does is known to
/// be shorter, and no network holds a copy back for so long.
const SHORTEST_TIMER: Ns = Ns::from_millis(200);

/// Packets whose sequence and acknowledgment numbers others may share, by a hash of both.
struct Repeats(Vec<u64>);

impl Repeats {
    /// Bits of the filter, at most.
    const BITS: usize = 1 << 15;

    /// Notes every packet that is not the first with its numbers for certain: newer data than any before, or a newer
    /// acknowledgment, is no copy.
    fn of(trace: &Trace) -> Option<Repeats> {
        let mut bits = Vec::new();
        let size = (trace.packets.len() * 4).next_power_of_two().clamp(64, Repeats::BITS);
        let mut reached = PerDir { c2s: RelSeq(i64::MIN), s2c: RelSeq(i64::MIN) };
        let mut acked = PerDir { c2s: None, s2c: None };
        for (packets, run) in trace.pieces(trace.packets.len()) {
            if let Some(r) = run {
                let (end, known) = (&mut reached[r.sender], &mut acked[r.sender.flip()]);
                *end = r.data.end.max(*end);
                *known = Some(r.acked).max(*known);
                continue;
            }
            for p in &trace.packets[packets] {
                let (end, known) = (&mut reached[p.dir], &mut acked[p.dir]);
                let fresh = if p.carries() { p.seq >= *end } else { p.ack > *known };
                if !fresh {
                    bits.resize(size / 64, 0);
                    let bit = Repeats::bit(p, size);
                    bits[bit / 64] |= 1u64 << (bit % 64);
                }
                if p.carries() {
                    *end = p.range().end.max(*end);
                } else {
                    *known = p.ack.max(*known);
                }
            }
        }
        (!bits.is_empty()).then_some(Repeats(bits))
    }

    fn bit(p: &Packet, size: usize) -> usize {
        let ack = p.ack.map_or(0, |a| a.0 as u64);
        let mixed = (p.seq.0 as u64 ^ ack.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % size
    }

    fn may_hold(&self, p: &Packet) -> bool {
        let bit = Repeats::bit(p, self.0.len() * 64);
        self.0[bit / 64] & 1 << (bit % 64) != 0
    }
}

/// Finds packets that are copies of earlier ones and marks them.
pub fn mark_twins(trace: &mut Trace, order: &IdOrder) {
    let Some(repeats) = Repeats::of(trace) else { return };
    // A seed of its own: nobody can prepare packets whose numbers collide.
    let seed = RandomState::new().hash_one(0);
    let mut newest: HashMap<u64, usize, Ready> = HashMap::default();
    let same_packet = trace.known.irtt.map_or(SAME_PACKET, |rtt| rtt.scaled(1, 2).max(SAME_PACKET));
    // (copy, original, seen from another vantage point)
    let mut twins: Vec<(usize, usize, bool)> = Vec::new();
    // Those that nothing but their ID makes copies: none are, where their sender keeps its IDs.
    let mut by_id: HashSet<usize> = HashSet::new();
    let mut keeps_ids: PerDir<bool> = PerDir::default();
    // Copies that got an answer of their own: their host had them twice.
    let mut heard: HashSet<usize> = HashSet::new();
    for (i, p) in trace.packets.iter().enumerate().filter(|(_, p)| repeats.may_hold(p)) {
        let Some(j) = newest.insert(digest(p, seed), i) else { continue };
        let o = &trace.packets[j];
        if !same(p, o) {
            continue;
        }
        let apart = p.ts.since(o.ts);
        let close = Ns(apart.0.saturating_abs());
        let elsewhere = p.link_key != o.link_key || p.interface != o.interface || p.ttl != o.ttl;
        // A resend gets a new ID, or a new time stamp where the stack keeps IDs.
        let same_clock = p.timestamps.is_some() && close < SAME_CLOCK;
        let same_id = (order.is_useful(p.dir) || same_clock) && p.ip_id.is_some_and(|id| id != 0);
        let seen_elsewhere = elsewhere && (same_clock || close < SAME_PACKET_ELSEWHERE);
        if !elsewhere && is_unnumbered_answer(p) && o.ts < p.ts {
            if let Some(syn) = asked_again(&trace.packets[j..i]) {
                heard.insert(j + syn);
                continue;
            }
            if is_acknowledged_again(&trace.packets[j + 1..i], &trace.packets[i..]) {
                continue;
            }
        }
        let at_once = p.carries() && close < same_packet;
        let goes_on = || {
            let resend = goes_on_behind(&trace.packets[j..=i]).map(|k| j + k);
            resend.is_some_and(|k| twins.binary_search_by_key(&k, |t| t.0).is_err())
        };
        if same_id && p.carries() && p.timestamps.is_none() && !seen_elsewhere {
            keeps_ids[p.dir] |= close >= SHORTEST_TIMER;
            if apart >= same_packet {
                by_id.insert(i);
            }
        }
        if same_id || seen_elsewhere || (at_once && !goes_on()) {
            twins.push((i, j, elsewhere));
        }
    }
    twins.retain(|(i, ..)| !by_id.contains(i) || !keeps_ids[trace.packets[*i].dir]);
    if twins.is_empty() {
        return;
    }
    let unexplained: Vec<_> = twins.iter().copied().filter(|t| !heard.contains(&t.0)).collect();
    let by_capture = made_by_capture(trace, &unexplained);
    for (i, j, elsewhere) in twins {
        let of = match trace.packets[j].twin {
            Twin::None => trace.packets[j].frame,
            Twin::Capture(f) | Twin::Network(f) => f,
        };
        let capture = (by_capture && !heard.contains(&i)) || elsewhere;
        trace.packets[i].twin = if capture { Twin::Capture(of) } else { Twin::Network(of) };
    }
}

/// The one that the last of these packets goes on behind, where it lies below the first and came after it: resends
/// run on, and reach what was sent just before they began.
fn goes_on_behind(from: &[Packet]) -> Option<usize> {
    let (first, last) = (from.first()?, from.last()?);
    let k = from[..from.len() - 1].iter().rposition(|p| p.dir == last.dir && p.carries())?;
    (k > 0 && from[k].range().end == last.seq && from[k].seq < first.seq).then_some(k)
}

/// Linux numbers no SYN-ACK, so two of them may agree in everything and still be two.
fn is_unnumbered_answer(p: &Packet) -> bool {
    p.flags.syn() && p.flags.ack() && p.ip_id.is_none_or(|id| id == 0)
}

/// Where behind a SYN-ACK another SYN came by: a server answers each (RFC 9293 §3.10.7.4).
pub fn asked_again(from: &[Packet]) -> Option<usize> {
    let dir = from.first()?.dir;
    from.iter().position(|p| p.dir != dir && p.flags.syn() && !p.flags.ack())
}

/// No host takes longer to answer a second SYN-ACK.
const ANSWERED: Ns = Ns::from_millis(5);

/// The client acknowledged the SYN-ACK before its copy came by, and again, in another packet, right behind it: it
/// got both.
fn is_acknowledged_again(before: &[Packet], from: &[Packet]) -> bool {
    let is_ack = |p: &&Packet| p.dir == Dir::C2s && p.len == 0 && p.ack.is_some() && p.ip_id.is_some();
    let Some(first) = before.iter().find(is_ack) else { return false };
    let Some(second) = from.iter().take(8).find(is_ack) else { return false };
    let same = (second.seq, second.ack) == (first.seq, first.ack) && second.ip_id != first.ip_id;
    same && from.first().is_some_and(|copy| second.ts.since(copy.ts) < ANSWERED)
}

/// Of so many copies that a network makes, the receiver reports at least one.
const REPORTED: usize = 4;

/// A network that duplicates makes the receiver report it (DSACK); a capture that duplicates does
/// so in both directions, or wholesale.
fn made_by_capture(trace: &Trace, twins: &[(usize, usize, bool)]) -> bool {
    if twins.iter().filter(|t| t.2).count() * 2 > twins.len() {
        return true;
    }
    let mut copies: PerDir<u64> = PerDir::default();
    for &(i, ..) in twins {
        copies[trace.packets[i].dir] += 1;
    }
    let carried = |dir: Dir| {
        let numbered = twins.iter().map(|&(i, ..)| (&trace.packets[i], i));
        ByByte::numbered(numbered.filter(|(p, _)| p.dir == dir && p.carries()).map(|(p, i)| (p.range(), i)))
    };
    let carried = PerDir { c2s: carried(Dir::C2s), s2c: carried(Dir::S2c) };
    let reports = |k: usize, dir: Dir, d: StreamRange| carried[dir].overlapping(d).any(|i| i < k);
    let mut reported = HashSet::new();
    for (k, a) in trace.packets.iter().enumerate() {
        if let Some(d) = a.dsack().filter(|d| reports(k, a.dir.flip(), *d)) {
            reported.insert((a.dir, d.start, d.end));
        }
    }
    // Some of these ACKs may be lost; but a needless resend is reported as well, and says nothing of the rest.
    if !reported.is_empty() && reported.len() * REPORTED >= carried.c2s.len() + carried.s2c.len() {
        return false;
    }
    let total = |d: Dir| trace.packets.iter().filter(|p| p.dir == d).count() as u64;
    let both = copies.c2s > 0 && copies.s2c > 0;
    let wholesale = Dir::BOTH.iter().any(|&d| copies[d] * 5 > total(d) && copies[d] > 1);
    // A receiver that can report duplicates and did not got only one.
    let silent = Dir::BOTH
        .iter()
        .any(|&d| !carried[d].is_empty() && trace.known.sack_permitted[d.flip()] == Some(true));
    both || wholesale || silent
}
