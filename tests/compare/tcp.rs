//! A small TCP for both ends of the emulated link, and what taps at the two ends see of it.
//!
//! It does what makes losses interesting: a window of segments in flight, fast retransmission, partial ACKs, time-outs
//! that double. It has no SACK. Every packet that it sends is kept with its number, so that a capture can miss it.

use std::collections::{BTreeMap, VecDeque};
use syncscope::lab::fate::{Fate, What};
use syncscope::lab::pair::{Endpoint, How, run};
use syncscope::lab::scenario::Scenario;
use syncscope::model::{Dir, Ns, Ts};

pub const MSS: u32 = 1000;
const RTO: Ns = Ns::from_millis(300);

/// How the two talk.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Connections, side by side.
    pub connections: u16,
    /// Bytes from client to server, each.
    pub up: u32,
    /// Bytes from server to client.
    pub down: u32,
    /// Segments in flight.
    pub window: u32,
    /// Shortest time between two segments of a connection.
    pub pace: Ns,
    /// Segments that a sender waits for room for, to send them at once.
    pub burst: u32,
    /// With TCP time stamps.
    pub stamps: bool,
}

impl Default for Talk {
    fn default() -> Talk {
        Talk { connections: 1, up: 40_000, down: 300_000, window: 16, pace: Ns(0), burst: 1, stamps: true }
    }
}

/// A packet as one tap saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub ts: Ts,
    pub data: Vec<u8>,
    /// Which way, and for the tap at its sender its number among the packets of this way.
    pub dir: Dir,
    pub index: Option<u64>,
}

/// Both taps and the truth.
pub struct Pair {
    pub client: Vec<Seen>,
    pub server: Vec<Seen>,
    pub fates: Vec<Fate>,
}

pub fn talk(scenario: &Scenario, t: Talk, start: Ts) -> Pair {
    let ports = 0..t.connections;
    let mut client = Host::new(Dir::C2s, ports.clone().map(|i| Tcp::new(Dir::C2s, 40_000 + i, t)).collect());
    let mut server = Host::new(Dir::S2c, ports.map(|i| Tcp::new(Dir::S2c, 40_000 + i, t)).collect());
    let ended = run(scenario, &mut client, &mut server, start, start + Ns::from_secs(600));
    assert_eq!(ended.how, How::Quiet, "the talk does not end by itself");
    Pair { client: client.seen, server: server.seen, fates: ended.fates }
}

impl Pair {
    /// Copies that the link dropped: way, client's port, number, first and last+1 relative sequence number.
    pub fn dropped(&self) -> Vec<(Dir, u16, u64, i64, i64)> {
        let mut out = Vec::new();
        for f in self.fates.iter().filter(|f| f.fate == What::Dropped) {
            let flags = f.flags.unwrap();
            let n = i64::from(f.len) + i64::from(flags & 2 != 0) + i64::from(flags & 1 != 0);
            if n > 0 {
                let port = if f.dir == Dir::C2s { f.sport.unwrap() } else { f.dport.unwrap() };
                let rel = i64::from(f.seq.unwrap().wrapping_sub(isn(f.dir, port)));
                out.push((f.dir, port, f.index, rel, rel + n));
            }
        }
        out
    }
}

pub fn isn(dir: Dir, port: u16) -> u32 {
    let base: u32 = if dir == Dir::C2s { 0xffff_8000 } else { 77_000_000 };
    base.wrapping_add(u32::from(port).wrapping_mul(2_654_435_761))
}

struct Host {
    dir: Dir,
    all: Vec<Tcp>,
    sent: u64,
    seen: Vec<Seen>,
}

impl Host {
    fn new(dir: Dir, all: Vec<Tcp>) -> Host {
        Host { dir, all, sent: 0, seen: Vec::new() }
    }
}

impl Endpoint for Host {
    fn receive(&mut self, now: Ts, packet: &[u8]) {
        self.seen.push(Seen { ts: now, data: packet.to_vec(), dir: self.dir.flip(), index: None });
        let at = if self.dir == Dir::C2s { 22 } else { 20 };
        let port = u16::from_be_bytes([packet[at], packet[at + 1]]);
        if let Some(t) = self.all.iter_mut().find(|t| t.port == port) {
            t.receive(now, packet);
        }
    }
    fn poll_send(&mut self, now: Ts) -> Option<Vec<u8>> {
        let packet = self.all.iter_mut().find_map(|t| t.send(now))?;
        self.seen.push(Seen { ts: now, data: packet.clone(), dir: self.dir, index: Some(self.sent) });
        self.sent += 1;
        Some(packet)
    }
    fn next_timeout(&self) -> Option<Ts> {
        self.all.iter().filter_map(Tcp::wake).min()
    }
    fn timeout(&mut self, now: Ts) {
        self.all.iter_mut().for_each(|t| t.timeout(now));
    }
}

/// One end of one connection. Relative numbers: 0 is SYN, then data, then FIN.
struct Tcp {
    dir: Dir,
    port: u16,
    talk: Talk,
    /// FIN's number plus 1.
    end: u32,
    una: u32,
    nxt: u32,
    recover: u32,
    dup: u32,
    again: bool,
    rto_at: Option<Ts>,
    backoff: u32,
    free_at: Ts,
    /// Next expected from the peer; 0: its SYN.
    expected: u32,
    early: BTreeMap<u32, u32>,
    acks: VecDeque<u32>,
    echo: u32,
    id: u16,
    bursting: bool,
}

impl Tcp {
    fn new(dir: Dir, port: u16, talk: Talk) -> Tcp {
        let bytes = if dir == Dir::C2s { talk.up } else { talk.down };
        Tcp {
            dir,
            port,
            talk,
            end: bytes + 2,
            una: 0,
            nxt: 0,
            recover: 0,
            dup: 0,
            again: false,
            rto_at: None,
            backoff: 0,
            free_at: Ts(i64::MIN),
            expected: 0,
            early: BTreeMap::new(),
            acks: VecDeque::new(),
            echo: 0,
            id: port.wrapping_mul(31),
            bursting: false,
        }
    }

    fn segment_end(&self, at: u32) -> u32 {
        match at {
            0 => 1,
            a if a + 1 >= self.end => self.end,
            a => (a + MSS).min(self.end - 1),
        }
    }

    fn limit(&self) -> u32 {
        match (self.una, self.dir, self.expected) {
            (0, Dir::S2c, 0) => 0,
            (0, ..) => 1,
            // nothing but the SYN before the peer's
            (_, _, 0) => self.una,
            _ => (self.una + self.talk.window * MSS).min(self.end),
        }
    }

    fn receive(&mut self, now: Ts, p: &[u8]) {
        let word = |i: usize| u32::from_be_bytes([p[i], p[i + 1], p[i + 2], p[i + 3]]);
        let (flags, head) = (p[33], 20 + usize::from(p[32] >> 4) * 4);
        let seq = word(24).wrapping_sub(isn(self.dir.flip(), self.port));
        let n = (p.len() - head) as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
        if self.talk.stamps {
            self.echo = self.echo.max(word(44));
        }
        if n > 0 {
            let e = self.early.entry(seq).or_insert(0);
            *e = (*e).max(seq + n);
            while let Some((&s, &e)) = self.early.first_key_value().filter(|(s, _)| **s <= self.expected) {
                self.early.remove(&s);
                self.expected = self.expected.max(e);
            }
            self.acks.push_back(self.expected);
        }
        if flags & 0x10 == 0 {
            return;
        }
        let ack = word(28).wrapping_sub(isn(self.dir, self.port));
        if ack > self.una && ack <= self.end {
            self.una = ack;
            self.nxt = self.nxt.max(ack);
            (self.dup, self.backoff) = (0, 0);
            self.again = self.una < self.recover;
            self.rto_at = (self.una < self.nxt).then(|| now + RTO);
        } else if ack == self.una && n == 0 && self.nxt > self.una {
            self.dup += 1;
            if self.dup == 3 && self.una >= self.recover {
                (self.again, self.recover) = (true, self.nxt);
            }
        }
    }

    fn send(&mut self, now: Ts) -> Option<Vec<u8>> {
        if self.again {
            self.again = false;
            self.rto_at = Some(now + Ns(RTO.0 << self.backoff.min(4)));
            return Some(self.packet(now, self.una, self.segment_end(self.una)));
        }
        let room = (self.limit().saturating_sub(self.nxt)).div_ceil(MSS);
        let wait = room < self.talk.burst && self.nxt > self.una && self.limit() < self.end && !self.bursting;
        self.bursting = self.nxt < self.limit() && !wait;
        if self.bursting && now >= self.free_at {
            let (from, to) = (self.nxt, self.segment_end(self.nxt));
            (self.nxt, self.free_at) = (to, now + self.talk.pace);
            self.rto_at = self.rto_at.or(Some(now + RTO));
            return Some(self.packet(now, from, to));
        }
        let ack = self.acks.pop_front()?;
        (self.una > 0 || self.dir == Dir::S2c).then(|| self.build(now, self.nxt, self.nxt, ack))
    }

    fn wake(&self) -> Option<Ts> {
        let paced = (self.nxt < self.limit() && self.talk.pace > Ns(0)).then_some(self.free_at);
        [self.rto_at, paced].into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Ts) {
        if self.rto_at.is_some_and(|t| t <= now) {
            (self.again, self.recover, self.rto_at) = (true, self.nxt, None);
            self.backoff += 1;
        }
    }

    fn packet(&mut self, now: Ts, from: u32, to: u32) -> Vec<u8> {
        self.acks.clear();
        self.build(now, from, to, self.expected)
    }

    fn build(&mut self, now: Ts, from: u32, to: u32, ack: u32) -> Vec<u8> {
        self.id = self.id.wrapping_add(1);
        let (syn, fin) = (from == 0 && to == 1, to > from && to == self.end);
        let len = (to - from - u32::from(syn) - u32::from(fin)) as usize;
        let me = self.dir == Dir::C2s;
        let (ours, theirs): (([u8; 4], u16), ([u8; 4], u16)) = if me {
            (([192, 0, 2, 1], self.port), ([198, 51, 100, 2], 873))
        } else {
            (([198, 51, 100, 2], 873), ([192, 0, 2, 1], self.port))
        };
        let mut b = vec![0u8; 40];
        b[0] = 0x45;
        b[4..6].copy_from_slice(&self.id.to_be_bytes());
        (b[6], b[8], b[9]) = (0x40, 64, 6);
        b[12..16].copy_from_slice(&ours.0);
        b[16..20].copy_from_slice(&theirs.0);
        b[20..22].copy_from_slice(&ours.1.to_be_bytes());
        b[22..24].copy_from_slice(&theirs.1.to_be_bytes());
        b[24..28].copy_from_slice(&isn(self.dir, self.port).wrapping_add(from).to_be_bytes());
        let acks = self.expected > 0;
        let number = if acks { isn(self.dir.flip(), self.port).wrapping_add(ack) } else { 0 };
        b[28..32].copy_from_slice(&number.to_be_bytes());
        b[33] = u8::from(acks) << 4 | u8::from(syn) << 1 | u8::from(fin);
        b[34..36].copy_from_slice(&60_000u16.to_be_bytes());
        if self.talk.stamps {
            let val = (now.0 / 1_000_000) as u32;
            b.extend_from_slice(&[1, 1, 8, 10]);
            b.extend_from_slice(&val.to_be_bytes());
            b.extend_from_slice(&self.echo.to_be_bytes());
        }
        if syn {
            b.extend_from_slice(&[2, 4]);
            b.extend_from_slice(&(MSS as u16).to_be_bytes());
        }
        b[32] = ((b.len() - 20) as u8 / 4) << 4;
        // every stretch of bytes is like no other
        let byte = |i: u32| {
            let word = (i / 4).wrapping_mul(0x9e37_79b1) ^ u32::from(self.port) ^ (u32::from(me) << 31);
            word.to_le_bytes()[(i % 4) as usize]
        };
        b.extend((from..from + len as u32).map(byte));
        let total = b.len() as u16;
        b[2..4].copy_from_slice(&total.to_be_bytes());
        seal(&mut b);
        b
    }
}

/// Sets both checksums.
pub fn seal(b: &mut [u8]) {
    let fold = |mut s: u32| {
        while s > 0xffff {
            s = (s & 0xffff) + (s >> 16);
        }
        !(s as u16)
    };
    let sum = |b: &[u8]| -> u32 {
        b.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |x| u32::from(*x))).sum()
    };
    (b[10], b[11], b[36], b[37]) = (0, 0, 0, 0);
    let ip = fold(sum(&b[..20])).to_be_bytes();
    b[10..12].copy_from_slice(&ip);
    let tcp = fold(sum(&b[12..20]) + 6 + (b.len() as u32 - 20) + sum(&b[20..])).to_be_bytes();
    b[36..38].copy_from_slice(&tcp);
}
