//! Seeded damage: the same case number gives the same damage.

use super::run::Packet;
use syncscope::decode::{Decoded, decode};
use syncscope::drive::random::Random;
use syncscope::model::{AppLog, Frame, FrameNo, LinkType, Ts};

/// Chance, and what fields like to break on.
pub struct Rng(Random);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number that fields like to break on.
    pub fn edge(&mut self) -> u32 {
        let n = self.next() as u32;
        self.of(&[
            0,
            1,
            2,
            255,
            256,
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0001,
            0xffff_fffe,
            u32::MAX,
            n,
            n & 0xffff,
        ])
    }

    pub fn time(&mut self) -> Ts {
        let n = self.next() as i64;
        Ts(self.of(&[i64::MIN, i64::MIN + 1, -1, 0, 1, 1 << 62, i64::MAX - 1, i64::MAX, n]))
    }
}

/// A file with some of its bytes changed, cut, doubled or taken from another file.
pub fn bytes(rng: &mut Rng, files: &[Vec<u8>]) -> Vec<u8> {
    let mut b = files[rng.below(files.len())].clone();
    for _ in 0..=rng.below(6) {
        if b.is_empty() {
            return b;
        }
        let at = if rng.one_in(3) { rng.below(b.len().min(64)) } else { rng.below(b.len()) };
        let to = (at + rng.below(200)).min(b.len());
        match rng.below(8) {
            0 => b.truncate(at),
            1 => drop(b.drain(at..to)),
            2 => {
                let part = b[at..to].to_vec();
                b.splice(at..at, part);
            }
            3 => {
                let other = &files[rng.below(files.len())];
                let from = rng.below(other.len());
                b.truncate(at);
                b.extend_from_slice(&other[from..]);
            }
            4 => {
                let n = rng.edge();
                let n = if rng.one_in(2) { n.to_le_bytes() } else { n.to_be_bytes() };
                let end = (at + 4).min(b.len());
                b[at..end].copy_from_slice(&n[..end - at]);
            }
            5 => b[at] = rng.of(&[0, 1, 0x7f, 0x80, 0xff]),
            _ => b[at] ^= 1 << rng.below(8),
        }
    }
    b
}

/// A capture with frames swapped, doubled, lost, and with times and TCP fields that lie.
pub fn frames(rng: &mut Rng, traces: &[Vec<Packet>]) -> Vec<Packet> {
    let mut t = traces[rng.below(traces.len())].clone();
    // one kind of damage at a time finds other things than all at once
    let kinds: Vec<usize> = (0..=rng.below(3)).map(|_| rng.below(11)).collect();
    for _ in 0..=rng.below(40) {
        if t.is_empty() {
            break;
        }
        let (i, j) = (rng.below(t.len()), rng.below(t.len()));
        match rng.of(&kinds) {
            0 => t.swap(i, j),
            1 => {
                let p = t[i].clone();
                t.insert(j, p);
            }
            2 => drop(t.remove(i)),
            3 => t[i].ts = rng.time(),
            4 => {
                let by = rng.edge() as i64 - (1 << 31);
                t[i..].iter_mut().for_each(|p| p.ts.0 = p.ts.0.saturating_add(by * 1000));
            }
            5 => {
                let other = &traces[rng.below(traces.len())];
                t.insert(i, other[rng.below(other.len())].clone());
            }
            6 => {
                let at = rng.below(t[i].data.len());
                if let Some(b) = t[i].data.get_mut(at) {
                    *b ^= 1 << rng.below(8);
                }
            }
            7 => {
                let n = rng.below(t[i].data.len() + 1);
                t[i].data.truncate(n);
            }
            8 => {
                t[i].orig_len = rng.edge();
                t[i].link =
                    rng.of(&[t[i].link, LinkType::RAW, LinkType::NULL, LinkType::SLL, LinkType::SLL2]);
            }
            _ => field(rng, &mut t[i]),
        }
    }
    t
}

/// Puts an edge into one field of the TCP header, wherever that begins.
fn field(rng: &mut Rng, p: &mut Packet) {
    let frame =
        Frame { no: FrameNo(1), ts: p.ts, link: p.link, interface: 0, orig_len: p.orig_len, data: &p.data };
    let Decoded::Tcp(s) = decode(&frame) else { return };
    let head: Vec<u8> =
        [&s.src.port().to_be_bytes()[..], &s.dst.port().to_be_bytes(), &s.seq.0.to_be_bytes()].concat();
    let Some(tcp) = p.data.windows(head.len()).position(|w| w == head) else { return };
    let n = rng.edge();
    let nudge = rng.of(&[1, 1 << 10, 1 << 16, 1 << 30, 1 << 31, u32::MAX]);
    let mut put = |at: usize, b: &[u8]| {
        if let Some(to) = p.data.get_mut(tcp + at..tcp + at + b.len()) {
            to.copy_from_slice(b);
        }
    };
    match rng.below(9) {
        0 => put(4, &n.to_be_bytes()),
        1 => put(4, &s.seq.0.wrapping_add(nudge).to_be_bytes()),
        2 => put(8, &n.to_be_bytes()),
        3 => put(8, &s.ack.0.wrapping_add(nudge).to_be_bytes()),
        4 => put(13, &[n as u8]),
        5 => put(14, &(n as u16).to_be_bytes()),
        6 => put(12, &[(n as u8) << 4]),
        7 => {
            // a SACK block around the ACK
            let left = s.ack.0.wrapping_add(nudge);
            let right = left.wrapping_add(rng.of(&[0, 1, 1460, 1 << 20, 1 << 31, u32::MAX]));
            let block = [&[1, 1, 5, 10][..], &left.to_be_bytes(), &right.to_be_bytes()].concat();
            put(12, &[8 << 4]);
            put(20, &block);
        }
        _ => put(20, &[3, 3, n as u8, 1]),
    }
}

/// Logs whose times, lengths and offsets lie.
pub fn logs(rng: &mut Rng, logs: &[AppLog]) -> Vec<AppLog> {
    let mut logs = logs.to_vec();
    for log in &mut logs {
        for _ in 0..rng.below(6) {
            let i = rng.below(log.events.len());
            let more = log.events.get(i).cloned();
            let Some(e) = log.events.get_mut(i) else { break };
            match rng.below(7) {
                0 => e.start = rng.time(),
                1 => e.end = rng.time(),
                2 => e.ready = Some(rng.time()),
                3 => e.offset = u64::from(rng.edge()) << rng.below(33),
                4 => e.len = rng.edge(),
                5 => log.events.extend(more),
                _ => log.offsets_known = rng.one_in(2),
            }
        }
    }
    logs
}
