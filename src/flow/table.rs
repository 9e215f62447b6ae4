//! The flow table: segments of one conversation, cut into incarnations, handed on in batches so that what waits here
//! stays bounded.

use crate::decode::{Decoded, IcmpError, Segment};
use crate::model::hash::Seeded;
use crate::model::{FlowId, Ns, Seq, Ts};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// Segments of one connection that make a batch, at most.
const BATCH: usize = 8192;
/// A connection that is over may still hear a late packet within this.
const LINGER: Ns = Ns::from_secs(2);

/// What was captured of one connection incarnation, in capture order: all of it, or the part since the last batch.
#[derive(Clone, Debug)]
pub struct Incarnation {
    /// Its number, by first appearance.
    pub flow: FlowId,
    /// Who connected, as far as it can be told.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// ICMP errors that quote one of them.
    pub icmp: Vec<IcmpError>,
}

/// A part of an incarnation.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its segments since the last batch, and what is known of it by now.
    pub part: Incarnation,
    /// Nothing of it comes any more: it is over, and the table needed its room.
    pub over: bool,
}

/// Collects segments, and hands out incarnations at the end; those of a bounded table in batches before.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Where in `slots` each pair of addresses is.
    open: HashMap<Key, u32, Seeded>,
    slots: Vec<Slot>,
    recent: Recent,
    flows: Vec<Life>,
    /// Segments that may wait here; none: any number.
    room: Option<usize>,
    /// Segments that do.
    held: usize,
    /// Connections with room for a whole batch.
    roomy: usize,
    /// Incarnations that have some, or had some when the list was last cleared, or are to be put away.
    listed: Vec<usize>,
    ready: VecDeque<Batch>,
    late: u64,
    last: Option<Ts>,
    backwards: u64,
    worst_step_back: Ns,
    tcp: u64,
    skipped: BTreeMap<String, u64>,
}

/// One incarnation and its place in the table.
#[derive(Clone, Debug)]
struct Life {
    part: Incarnation,
    /// Time stamp of its newest segment.
    newest: Ts,
    listed: bool,
    /// It has filled a batch.
    filled: bool,
    /// Put away.
    over: bool,
}

/// The newest incarnation of a 4-tuple. `isn` is kept for each of the two addresses in key order.
#[derive(Clone, Debug, Default)]
struct Slot {
    index: usize,
    /// There is one.
    used: bool,
    isn: [Option<Seq>; 2],
    fin: [bool; 2],
    reset: bool,
    /// Who connected is settled by a SYN.
    oriented: bool,
}

/// Both addresses of a connection, the lower one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// IPv4: address and port as one number, twice.
    V4(u64, u64),
    /// IPv6.
    V6([u8; 36]),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        match self {
            Key::V4(low, high) => h.write(&(u128::from(*low) << 64 | u128::from(*high)).to_le_bytes()),
            Key::V6(k) => h.write(k),
        }
    }
}

/// The slots of the connections that spoke last: packets come in bursts, and most are found here.
#[derive(Clone, Debug)]
struct Recent([Option<(Key, u32)>; Recent::PLACES]);

impl Default for Recent {
    fn default() -> Recent {
        Recent([None; Recent::PLACES])
    }
}

impl Recent {
    const PLACES: usize = 64;

    /// The place of a key. Whoever prepares keys that share one gains nothing but looks into the table.
    fn place(&mut self, key: &Key) -> &mut Option<(Key, u32)> {
        let mixed = match key {
            Key::V4(low, high) => low ^ high.rotate_left(24),
            // The ports, and the ends of the addresses.
            Key::V6(k) => u64::from_le_bytes([k[14], k[15], k[16], k[17], k[32], k[33], k[34], k[35]]),
        };
        &mut self.0[(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % Recent::PLACES]
    }
}

impl Table {
    /// An empty one that keeps everything to the end.
    pub fn new() -> Table {
        Table::default()
    }

    /// An empty one in which at most about `room` segments wait.
    pub fn bounded(room: usize) -> Table {
        Table { room: Some(room.max(1)), ..Table::default() }
    }

    /// The next batch that is ready; take them all after each [`Table::push`].
    pub fn batch(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    /// Segments that came after their connection was over and put away.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Takes what one frame held.
    pub fn push(&mut self, decoded: Decoded) {
        match &decoded {
            Decoded::Tcp(s) => self.segment(s),
            Decoded::Icmp(e) => {
                if let Some(&at) = self.open.get(&key(e.src, e.dst).0) {
                    self.flows[self.slots[at as usize].index].part.icmp.push(*e);
                }
            }
            Decoded::Skip(why) => *self.skipped.entry(why.to_string()).or_default() += 1,
        }
    }

    /// TCP segments taken so far.
    pub fn segments(&self) -> u64 {
        self.tcp
    }

    /// Frames that were no TCP segment, by reason.
    pub fn skipped(&self) -> &BTreeMap<String, u64> {
        &self.skipped
    }

    /// How often a time stamp was before its predecessor's, and by how much at most.
    pub fn backwards(&self) -> (u64, Ns) {
        (self.backwards, self.worst_step_back)
    }

    /// The incarnations, in order of first appearance; of a bounded table, the rest of those not yet put away.
    pub fn finish(self) -> Vec<Incarnation> {
        self.flows.into_iter().filter(|l| !l.over).map(|l| l.part).collect()
    }

    /// Where the slot of a key is; a new one for a new key.
    fn find(&mut self, key: Key) -> usize {
        let recent = self.recent.place(&key);
        if let Some((_, at)) = recent.filter(|(k, _)| *k == key) {
            return at as usize;
        }
        let new = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let at = *self.open.entry(key).or_insert(new);
        *recent = Some((key, at));
        if at == new {
            self.slots.push(Slot::default());
        }
        at as usize
    }

    fn segment(&mut self, s: &Segment) {
        self.tcp += 1;
        if let Some(step) = self.last.map(|l| l.since(s.ts)).filter(|step| step.0 > 0) {
            self.backwards += 1;
            self.worst_step_back = self.worst_step_back.max(step);
        }
        self.last = Some(s.ts);

        let (key, side) = key(s.src, s.dst);
        let at = self.find(key);
        let slot = &mut self.slots[at];
        if !slot.used || slot.is_new_life(s, side) {
            let index = self.flows.len();
            let (client, server) = roles(s);
            let flow = FlowId(u32::try_from(index).unwrap_or(u32::MAX));
            let part = Incarnation { flow, client, server, segments: Vec::new(), icmp: Vec::new() };
            self.flows.push(Life { part, newest: s.ts, listed: false, filled: false, over: false });
            *slot = Slot { index, used: true, ..Slot::default() };
        }
        if s.flags.syn() {
            slot.isn[side] = Some(s.seq);
            let inc = &mut self.flows[slot.index].part;
            // A SYN that comes after the SYN-ACK in the file still says who connected.
            if !s.flags.ack() && !slot.oriented {
                slot.oriented = true;
                (inc.client, inc.server) = (s.src, s.dst);
            }
        }
        slot.fin[side] |= s.flags.fin();
        slot.reset |= s.flags.rst();
        let index = slot.index;
        let life = &mut self.flows[index];
        if life.over {
            self.late += 1;
            return;
        }
        life.newest = s.ts;
        let segments = &mut life.part.segments;
        if let Some(room) = self.room
            && segments.len() == segments.capacity()
        {
            // Whoever has filled a batch will fill another one; not for all of them there is room.
            let again = life.filled && segments.is_empty() && self.roomy < room / BATCH;
            if again || segments.len() >= BATCH / 4 {
                segments.reserve_exact(BATCH.saturating_sub(segments.len()));
                self.roomy += 1;
            }
        }
        segments.push(*s);
        let Some(room) = self.room else { return };
        let waiting = life.part.segments.len();
        self.held += 1;
        if !std::mem::replace(&mut life.listed, true) {
            self.listed.push(index);
        }
        if waiting >= BATCH {
            self.hand_on(index, false);
        } else if self.held > room {
            self.make_room(room, s.ts);
        }
    }

    fn hand_on(&mut self, index: usize, over: bool) {
        let life = &mut self.flows[index];
        life.over = over;
        let inc = &mut life.part;
        life.filled = inc.segments.len() >= BATCH;
        self.roomy -= usize::from(inc.segments.capacity() >= BATCH);
        self.held -= inc.segments.len();
        let part = Incarnation {
            segments: std::mem::take(&mut inc.segments),
            icmp: std::mem::take(&mut inc.icmp),
            ..*inc
        };
        self.ready.push_back(Batch { part, over });
    }

    /// Hands on connections until half the room is free: those that are over for good, then those with the most
    /// segments, to whom a cut does least.
    fn make_room(&mut self, room: usize, now: Ts) {
        let mut all: Vec<(bool, usize, usize, bool)> = Vec::new();
        for index in std::mem::take(&mut self.listed) {
            let life = &mut self.flows[index];
            life.listed = false;
            let slot = self.open.get(&key(life.part.client, life.part.server).0);
            let ended = match slot.and_then(|&at| self.slots.get(at as usize)) {
                // Another life of the same addresses may have begun.
                Some(slot) => slot.index != index || slot.reset || slot.fin == [true; 2],
                None => true,
            };
            let over = ended && now.since(life.newest) > LINGER;
            let waiting = life.part.segments.len();
            if ended || waiting > 0 {
                all.push((over, waiting, index, ended));
            }
        }
        all.sort_unstable_by_key(|&(over, waiting, index, _)| (!over, std::cmp::Reverse(waiting), index));
        for (over, waiting, index, ended) in all {
            let handed = over || waiting > 0 && self.held > room / 2;
            if handed {
                self.hand_on(index, over);
            }
            // What has ended is kept in mind until it can be put away.
            if !over && (!handed || ended) {
                self.flows[index].listed = true;
                self.listed.push(index);
            }
        }
    }
}

impl Slot {
    /// A SYN with another initial sequence number, or any SYN after the end, starts a new life of
    /// the 4-tuple (RFC 9293 §3.6.1).
    fn is_new_life(&self, s: &Segment, side: usize) -> bool {
        if !s.flags.syn() || s.flags.rst() {
            return false;
        }
        match self.isn[side] {
            Some(isn) => isn != s.seq,
            // The first SYN of this side: the SYN-ACK of the same life, or, after data without a
            // handshake, a new life.
            None => !s.flags.ack() && (self.reset || self.fin == [true; 2]),
        }
    }
}

/// The same key for both directions, and which of its two addresses `src` is.
fn key(src: SocketAddr, dst: SocketAddr) -> (Key, usize) {
    if let (SocketAddr::V4(s), SocketAddr::V4(d)) = (src, dst) {
        let number = |a: SocketAddrV4| u64::from(a.ip().to_bits()) << 16 | u64::from(a.port());
        let (s, d) = (number(s), number(d));
        return (Key::V4(s.min(d), s.max(d)), usize::from(s > d));
    }
    let mut k = [0; 36];
    let turned = src > dst;
    let (low, high) = if turned { (dst, src) } else { (src, dst) };
    for (half, a) in k.chunks_exact_mut(18).zip([low, high]) {
        let ip = match a.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        half[..16].copy_from_slice(&ip.octets());
        half[16..].copy_from_slice(&a.port().to_be_bytes());
    }
    (Key::V6(k), usize::from(turned))
}

/// Client and server as the first segment tells: the SYN's sender, the SYN-ACK's receiver, else the
/// higher port.
fn roles(s: &Segment) -> (SocketAddr, SocketAddr) {
    let from_client = match (s.flags.syn(), s.flags.ack()) {
        (true, ack) => !ack,
        (false, _) => s.src.port() >= s.dst.port(),
    };
    if from_client { (s.src, s.dst) } else { (s.dst, s.src) }
}
