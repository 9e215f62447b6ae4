//! Segments made by hand: one connection between two fixed hosts, or chance.

use super::mutate::Rng;
use std::net::SocketAddr;
use syncscope::decode::{SackBlocks, Segment, TcpFlags, TcpOptions};
use syncscope::model::{FrameNo, Seq, Ts};

pub const SYN: u16 = 2;
pub const ACK: u16 = 16;
pub const MSS: u32 = 1460;

/// A packet; relative numbers: the SYN is 0.
#[derive(Clone, Copy)]
pub struct P {
    pub ms: f64,
    pub client: bool,
    pub flags: u16,
    pub seq: u32,
    pub ack: u32,
    pub len: u32,
    pub window: u16,
}

impl P {
    pub fn data(ms: f64, seq: u32) -> P {
        P { ms, client: true, flags: ACK, seq, ack: 1, len: MSS, window: 60_000 }
    }

    pub fn ack(ms: f64, ack: u32) -> P {
        P { ms, client: false, flags: ACK, seq: 1, ack, len: 0, window: 60_000 }
    }

    /// The segment; `n` numbers it, `port` tells the connection.
    pub fn segment(self, n: usize, port: u16, sacks: &[(u32, u32)]) -> Segment {
        let client = SocketAddr::from(([10, 0, 0, 1], port));
        let server = SocketAddr::from(([10, 0, 0, 2], 873));
        let syn = self.flags & SYN != 0;
        let mut sack = SackBlocks::default();
        sacks.iter().for_each(|&(l, r)| sack.push(Seq(l), Seq(r)));
        Segment {
            frame: FrameNo(n as u64 + 1),
            ts: Ts(1_700_000_000_000_000_000 + (self.ms * 1e6) as i64),
            interface: 0,
            src: if self.client { client } else { server },
            dst: if self.client { server } else { client },
            link_key: 0,
            ttl: 64,
            ip_id: None,
            dont_fragment: true,
            ecn: 0,
            seq: Seq(self.seq),
            ack: Seq(self.ack),
            flags: TcpFlags(self.flags),
            window: self.window,
            len: self.len,
            options: TcpOptions {
                mss: syn.then_some(1460),
                wscale: syn.then_some(14),
                sack_permitted: syn,
                sack,
                timestamps: None,
            },
            checksum: n as u16,
            checksum_ok: Some(true),
            cut: false,
            head: None,
        }
    }
}

pub fn handshake() -> [P; 3] {
    let p = |ms, client, flags, seq, ack| P { ms, client, flags, seq, ack, len: 0, window: 60_000 };
    [p(0.0, true, SYN, 0, 0), p(20.0, false, SYN | ACK, 0, 1), p(20.1, true, ACK, 1, 1)]
}

/// Up to 80 segments whose every field is chance or an edge.
pub fn chance(rng: &mut Rng) -> Vec<Segment> {
    let near = rng.edge();
    let steps = [0, 1, 2, 536, 1460, 1 << 16, 1 << 30, 1 << 31, u32::MAX];
    let wild_time = rng.one_in(3);
    let wild_numbers = rng.one_in(2);
    (0..rng.below(80))
        .map(|n| {
            let number = |rng: &mut Rng| {
                if wild_numbers && rng.one_in(4) {
                    rng.edge()
                } else {
                    near.wrapping_add(rng.of(&steps)).wrapping_add(rng.below(20_000) as u32)
                }
            };
            let p = P {
                ms: (n * rng.below(100)) as f64,
                client: rng.one_in(2),
                flags: rng.of(&[ACK, ACK, ACK, ACK, SYN, SYN | ACK, ACK | 1, 4, 4 | ACK, 0, 1, 0x1ff]),
                seq: number(rng),
                ack: number(rng),
                len: rng.of(&[0, 0, 1, 100, 1460, 65_535, u32::MAX]),
                window: rng.of(&[0, 0, 1, 500, 65_535]),
            };
            let sacks: Vec<_> = (0..rng.below(5))
                .map(|_| {
                    let l = number(rng);
                    (l, l.wrapping_add(rng.of(&steps)))
                })
                .collect();
            let sacks = if rng.one_in(2) { &sacks[..] } else { &[] };
            let mut s = p.segment(n, 1000 + u16::from(rng.one_in(20)), sacks);
            if wild_time && rng.one_in(4) {
                s.ts = rng.time();
            }
            s.options.wscale = s.options.wscale.map(|_| rng.edge() as u8);
            s.options.mss = s.options.mss.map(|_| rng.edge() as u16);
            s.options.timestamps = rng.one_in(3).then(|| (rng.edge(), rng.edge()));
            s.ip_id = rng.one_in(2).then_some(rng.edge() as u16);
            s.ttl = rng.of(&[0, 64, 63, 255]);
            s.checksum_ok = rng.of(&[None, Some(true), Some(false)]);
            s
        })
        .collect()
}
