//! The flow table: segments of one conversation, cut into incarnations.

use crate::decode::{Decoded, IcmpError, Segment};
use crate::model::{FlowId, Ns, Seq, Ts};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Everything that was captured of one connection incarnation, in capture order.
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

/// Collects segments; hands out incarnations at the end.
#[derive(Debug, Default)]
pub struct Table {
    open: HashMap<(SocketAddr, SocketAddr), Slot>,
    flows: Vec<Incarnation>,
    last: Option<Ts>,
    backwards: u64,
    worst_step_back: Ns,
    tcp: u64,
    skipped: BTreeMap<String, u64>,
}

/// The newest incarnation of a 4-tuple. `isn` is kept for each of the two addresses in key order.
#[derive(Debug)]
struct Slot {
    index: usize,
    isn: [Option<Seq>; 2],
    fin: [bool; 2],
    reset: bool,
    /// Who connected is settled by a SYN.
    oriented: bool,
}

impl Table {
    /// An empty one.
    pub fn new() -> Table {
        Table::default()
    }

    /// Takes what one frame held.
    pub fn push(&mut self, decoded: Decoded) {
        match decoded {
            Decoded::Tcp(s) => self.segment(s),
            Decoded::Icmp(e) => {
                if let Some(slot) = self.open.get(&key(e.src, e.dst).0) {
                    self.flows[slot.index].icmp.push(e);
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

    /// The incarnations, in order of first appearance.
    pub fn finish(self) -> Vec<Incarnation> {
        self.flows
    }

    fn segment(&mut self, s: Segment) {
        self.tcp += 1;
        if let Some(step) = self.last.map(|l| l.since(s.ts)).filter(|step| step.0 > 0) {
            self.backwards += 1;
            self.worst_step_back = self.worst_step_back.max(step);
        }
        self.last = Some(s.ts);

        let (key, side) = key(s.src, s.dst);
        let reused = self.open.get(&key).is_some_and(|slot| slot.is_new_life(&s, side));
        let slot = match self.open.get_mut(&key) {
            Some(slot) if !reused => slot,
            _ => {
                let index = self.flows.len();
                let (client, server) = roles(&s);
                let flow = FlowId(u32::try_from(index).unwrap_or(u32::MAX));
                self.flows.push(Incarnation { flow, client, server, segments: Vec::new(), icmp: Vec::new() });
                let slot = Slot { index, isn: [None; 2], fin: [false; 2], reset: false, oriented: false };
                self.open.entry(key).insert_entry(slot).into_mut()
            }
        };
        if s.flags.syn() {
            slot.isn[side] = Some(s.seq);
            let inc = &mut self.flows[slot.index];
            // A SYN that comes after the SYN-ACK in the file still says who connected.
            if !s.flags.ack() && !slot.oriented {
                slot.oriented = true;
                (inc.client, inc.server) = (s.src, s.dst);
            }
        }
        slot.fin[side] |= s.flags.fin();
        slot.reset |= s.flags.rst();
        self.flows[slot.index].segments.push(s);
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
fn key(src: SocketAddr, dst: SocketAddr) -> ((SocketAddr, SocketAddr), usize) {
    if src <= dst { ((src, dst), 0) } else { ((dst, src), 1) }
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
