//! Capture files for benchmarks: TCP connections side by side, as the sender's tap sees them, with losses, SACKs,
//! fast resends and time-outs. The same arguments give the same bytes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io::{self, Write};
use syncscope::drive::random::Random;

/// What is in the file.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Connections at the same time.
    pub flows: u32,
    /// Records to write.
    pub packets: u64,
    /// Lost data segments per 10,000.
    pub loss: u64,
    /// Bytes kept of each packet.
    pub snaplen: usize,
    /// Packets of one connection before its FIN; then its port's successor begins. 0: without end.
    pub each: u64,
}

const MSS: u32 = 1448;
const WINDOW: u32 = 40;
const RTT: u64 = 20_000_000;
const RTO: u64 = 220_000_000;
const START: u64 = 1_795_262_400_000_000_000;

/// What happens next, and when: ordered by time, then by number.
type Event = Reverse<(u64, u64, u32, What)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The connection may send.
    Send,
    /// Segment number n reaches the receiver.
    Arrive(u32),
    /// The ACK up to n arrives; up to three SACK blocks, as segment numbers; the echoed time stamp.
    Ack(u32, [(u32, u32); 3], u32),
    /// Nothing came for a time-out after progress number n.
    Timer(u64),
}

struct Flow {
    port: u16,
    isn: u32,
    /// Next new segment, first unacknowledged.
    nxt: u32,
    una: u32,
    sacked: BTreeSet<u32>,
    resent: BTreeSet<u32>,
    progress: u64,
    busy_until: u64,
    id: u16,
    // receiver
    expected: u32,
    above: BTreeSet<u32>,
    unacked: u32,
    id_back: u16,
}

impl Flow {
    fn new(port: u16, seed: u64) -> Flow {
        Flow {
            port,
            isn: Random::new(seed).next() as u32,
            nxt: 0,
            una: 0,
            sacked: BTreeSet::new(),
            resent: BTreeSet::new(),
            progress: 0,
            busy_until: 0,
            id: seed as u16,
            expected: 0,
            above: BTreeSet::new(),
            unacked: 0,
            id_back: (seed >> 16) as u16,
        }
    }
}

struct Writer<'a, W: Write> {
    out: &'a mut W,
    snaplen: usize,
    left: u64,
    frame: Vec<u8>,
}

/// One direction's packet, as far as the header says it.
struct Header<'a> {
    up: bool,
    port: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    id: u16,
    stamps: (u32, u32),
    sacks: &'a [(u32, u32)],
    len: u32,
}

impl<W: Write> Writer<'_, W> {
    fn packet(&mut self, ts: u64, h: &Header<'_>) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let f = &mut self.frame;
        f.clear();
        f.extend([2, 0, 0, 0, 0, u8::from(h.up), 2, 0, 0, 0, 0, u8::from(!h.up), 8, 0]);
        let options: usize = match (h.flags & 2 != 0, h.sacks.len()) {
            (true, _) => 20,
            (_, 0) => 12,
            (_, n) => 12 + 4 + 8 * n,
        };
        let total = 20 + 20 + options as u32 + h.len;
        f.extend([0x45, 0]);
        f.extend((total as u16).to_be_bytes());
        f.extend(h.id.to_be_bytes());
        f.extend([0x40, 0, 64, 6, 0, 0]);
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (src, dst) = if h.up { (a, b) } else { (b, a) };
        f.extend(src);
        f.extend(dst);
        let (sport, dport) = if h.up { (h.port, 873) } else { (873, h.port) };
        f.extend(sport.to_be_bytes());
        f.extend(dport.to_be_bytes());
        f.extend(h.seq.to_be_bytes());
        f.extend(h.ack.to_be_bytes());
        f.extend([((20 + options) * 4) as u8, h.flags, 0xff, 0xff, 0, 0, 0, 0]);
        if h.flags & 2 != 0 {
            f.extend([2, 4, 5, 0xb4, 4, 2]);
        } else {
            f.extend([1, 1]);
        }
        f.extend([8, 10]);
        f.extend(h.stamps.0.to_be_bytes());
        f.extend(h.stamps.1.to_be_bytes());
        if h.flags & 2 != 0 {
            f.extend([1, 3, 3, 7]);
        }
        if !h.sacks.is_empty() {
            f.extend([1, 1, 5, 2 + 8 * h.sacks.len() as u8]);
            for (l, r) in h.sacks {
                f.extend(l.to_be_bytes());
                f.extend(r.to_be_bytes());
            }
        }
        let orig = f.len() + h.len as usize;
        let kept = orig.min(self.snaplen);
        let mut fill = h.seq;
        while f.len() < kept {
            fill = fill.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f.extend(fill.to_be_bytes());
        }
        f.truncate(kept);
        self.out.write_all(&((ts / 1_000_000_000) as u32).to_le_bytes())?;
        self.out.write_all(&((ts % 1_000_000_000) as u32).to_le_bytes())?;
        self.out.write_all(&(kept as u32).to_le_bytes())?;
        self.out.write_all(&(orig as u32).to_le_bytes())?;
        self.out.write_all(f)
    }
}

/// Writes the file (classic pcap, nanoseconds, Ethernet).
pub fn write(t: Traffic, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&0xa1b2_3c4du32.to_le_bytes())?;
    out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    out.write_all(&(t.snaplen as u32).to_le_bytes())?;
    out.write_all(&1u32.to_le_bytes())?;
    let mut w = Writer { out, snaplen: t.snaplen, left: t.packets, frame: Vec::new() };
    let mut random = Random::new(42);
    let mut number = 0;
    let mut queue: BinaryHeap<Event> = BinaryHeap::new();
    let mut plan = |queue: &mut BinaryHeap<Event>, at: u64, flow: u32, what: What| {
        number += 1;
        queue.push(Reverse((at, number, flow, what)));
    };
    let mut flows = Vec::new();
    let mut born = 0u64;
    let mut begin = |w: &mut Writer<'_, _>, at: u64| -> io::Result<Flow> {
        born += 1;
        let mut f = Flow::new(20_000 + (born % 40_000) as u16, born);
        let ms = (at / 1_000_000) as u32;
        let syn = Header {
            up: true,
            port: f.port,
            seq: f.isn,
            ack: 0,
            flags: 2,
            id: f.id,
            stamps: (ms, 0),
            sacks: &[],
            len: 0,
        };
        w.packet(at, &syn)?;
        let back = !f.isn;
        let ack = f.isn.wrapping_add(1);
        w.packet(
            at + RTT,
            &Header { up: false, seq: back, ack, flags: 18, id: 0, stamps: (ms + 20, ms), ..syn },
        )?;
        f.id = f.id.wrapping_add(1);
        w.packet(
            at + RTT + 50_000,
            &Header {
                seq: ack,
                ack: back.wrapping_add(1),
                flags: 16,
                id: f.id,
                stamps: (ms + 20, ms + 20),
                ..syn
            },
        )?;
        f.busy_until = at + RTT + 60_000;
        Ok(f)
    };
    for i in 0..t.flows {
        let at = START + u64::from(i) * 7_000;
        flows.push((begin(&mut w, at)?, 0u64));
    }
    for i in 0..t.flows {
        plan(&mut queue, START + RTT + 1_000_000 + u64::from(i) * 7_000, i, What::Send);
    }
    while w.left > 0 {
        let Some(Reverse((now, _, index, what))) = queue.pop() else { break };
        let (f, sent) = &mut flows[index as usize];
        let seq_of = |n: u32, f: &Flow| f.isn.wrapping_add(1).wrapping_add(n.wrapping_mul(MSS));
        let mut transmit: Vec<u32> = Vec::new();
        match what {
            What::Send => {
                if now < f.busy_until {
                    plan(&mut queue, f.busy_until, index, What::Send);
                    continue;
                }
                if f.nxt < f.una + WINDOW + f.sacked.len() as u32 {
                    transmit.push(f.nxt);
                    f.nxt += 1;
                    f.busy_until = now + 12_000;
                    if f.nxt < f.una + WINDOW {
                        plan(&mut queue, now + 12_000, index, What::Send);
                    }
                }
            }
            What::Arrive(n) => {
                if n == f.expected {
                    f.expected += 1;
                    while f.above.remove(&f.expected) {
                        f.expected += 1;
                    }
                    f.unacked += 1;
                } else if n > f.expected {
                    f.above.insert(n);
                }
                if f.unacked >= 2 || !f.above.is_empty() || n + 1 < f.expected {
                    f.unacked = 0;
                    let mut blocks = [(0, 0); 3];
                    let mut runs: Vec<(u32, u32)> = Vec::new();
                    for &s in &f.above {
                        match runs.last_mut() {
                            Some(r) if r.1 == s => r.1 += 1,
                            _ => runs.push((s, s + 1)),
                        }
                    }
                    // The newest first (RFC 2018 §4).
                    runs.sort_by_key(|r| !(r.0..r.1).contains(&n));
                    for (slot, r) in blocks.iter_mut().zip(&runs) {
                        *slot = *r;
                    }
                    plan(
                        &mut queue,
                        now + RTT / 2,
                        index,
                        What::Ack(f.expected, blocks, (now / 1_000_000) as u32),
                    );
                }
            }
            What::Ack(upto, blocks, stamp) => {
                let sacks: Vec<(u32, u32)> =
                    blocks.iter().filter(|b| b.1 > b.0).map(|b| (seq_of(b.0, f), seq_of(b.1, f))).collect();
                f.id_back = f.id_back.wrapping_add(1);
                let h = Header {
                    up: false,
                    port: f.port,
                    seq: (!f.isn).wrapping_add(1),
                    ack: seq_of(upto, f),
                    flags: 16,
                    id: f.id_back,
                    stamps: (stamp, stamp - 10),
                    sacks: &sacks,
                    len: 0,
                };
                w.packet(now, &h)?;
                *sent += 1;
                if upto > f.una {
                    f.una = upto;
                    f.progress += 1;
                    plan(&mut queue, now + RTO, index, What::Timer(f.progress));
                    f.sacked = f.sacked.split_off(&upto);
                    f.resent = f.resent.split_off(&upto);
                }
                for b in blocks {
                    f.sacked.extend((b.0..b.1).filter(|n| *n >= f.una));
                }
                let third = f.sacked.iter().rev().nth(2).copied().unwrap_or(0);
                for n in f.una..third {
                    if !f.sacked.contains(&n) && f.resent.insert(n) {
                        transmit.push(n);
                    }
                }
                plan(&mut queue, now + 1_000, index, What::Send);
            }
            What::Timer(progress) => {
                if progress == f.progress && f.una < f.nxt {
                    f.progress += 1;
                    plan(&mut queue, now + 2 * RTO, index, What::Timer(f.progress));
                    f.resent = BTreeSet::from([f.una]);
                    transmit.push(f.una);
                }
            }
        }
        for (k, n) in transmit.into_iter().enumerate() {
            let at = now + k as u64 * 3_000;
            f.id = f.id.wrapping_add(1);
            let ms = (at / 1_000_000) as u32;
            let h = Header {
                up: true,
                port: f.port,
                seq: seq_of(n, f),
                ack: (!f.isn).wrapping_add(1),
                flags: 24,
                id: f.id,
                stamps: (ms, ms - 20),
                sacks: &[],
                len: MSS,
            };
            w.packet(at, &h)?;
            *sent += 1;
            if random.next() % 10_000 >= t.loss {
                plan(&mut queue, at + RTT / 2 + random.next() % 8_000, index, What::Arrive(n));
            }
        }
        if t.each > 0 && *sent >= t.each {
            let h = Header {
                up: true,
                port: f.port,
                seq: seq_of(f.nxt, f),
                ack: (!f.isn).wrapping_add(1),
                flags: 20,
                id: f.id.wrapping_add(1),
                stamps: ((now / 1_000_000) as u32, 0),
                sacks: &[],
                len: 0,
            };
            w.packet(now, &h)?;
            let next = begin(&mut w, now + 1_000)?;
            flows[index as usize] = (next, 0);
            // What is on its way belongs to the old connection.
            queue.retain(|Reverse((_, _, i, _))| *i != index);
            plan(&mut queue, now + RTT + 200_000, index, What::Send);
        }
    }
    Ok(())
}
