//! What the link remembers of each connection, so that a rule can say “the second copy of byte 5000”.

use super::packet::Header;
use crate::model::{Dir, PerDir, RelSeq, Seq};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Connections beyond this many at a time get no number, and no rule that asks for one fits them.
const MAX_CONNECTIONS: usize = 65_536;
/// Stretches of different copy counts remembered each way; the oldest are forgotten.
const MAX_STRETCHES: usize = 4096;

type Key = (IpAddr, u16, IpAddr, u16);

/// All connections.
#[derive(Debug)]
pub struct Connections {
    by_key: HashMap<Key, Conn>,
    seen: u32,
    on_port: BTreeMap<u16, u32>,
}

#[derive(Debug)]
struct Conn {
    number: u32,
    on_port: Vec<(u16, u32)>,
    carried: u64,
    client_isn: Option<Seq>,
    ways: PerDir<Way>,
}

#[derive(Debug, Default)]
struct Way {
    isn: Option<Seq>,
    near: RelSeq,
    copies: Copies,
}

/// One packet, seen as part of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connection number, from 1.
    pub number: u32,
    /// Its number among the connections on a port that some rule names.
    pub on_port: Vec<(u16, u32)>,
    /// Payload bytes carried before this packet, both ways together.
    pub carried: u64,
    /// Stream offsets of its payload.
    pub bytes: Option<(i64, i64)>,
    /// How often these sequence numbers have been sent, this time included; 0: it carries none.
    pub copy: u32,
}

impl Connections {
    /// `ports`: those on which connections are counted by themselves.
    pub fn new(ports: impl Iterator<Item = u16>) -> Connections {
        Connections { by_key: HashMap::new(), seen: 0, on_port: ports.map(|p| (p, 0)).collect() }
    }

    /// Takes note of a TCP or UDP packet.
    pub fn see(&mut self, dir: Dir, h: &Header) -> Option<Seen> {
        let (sport, dport) = h.ports?;
        let key = match dir {
            Dir::C2s => (h.src, sport, h.dst, dport),
            Dir::S2c => (h.dst, dport, h.src, sport),
        };
        let opening = h.tcp.filter(|t| t.flags.syn() && !t.flags.ack()).map(|t| t.seq);
        let reused = |c: &Conn| opening.is_some() && c.client_isn != opening;
        if self.by_key.get(&key).is_none_or(reused) {
            if self.by_key.len() >= MAX_CONNECTIONS && !self.by_key.contains_key(&key) {
                return None;
            }
            self.seen += 1;
            let mut on_port = Vec::new();
            for (port, n) in &mut self.on_port {
                if h.touches(*port) {
                    *n += 1;
                    on_port.push((*port, *n));
                }
            }
            let ways = PerDir { c2s: Way::default(), s2c: Way::default() };
            let conn = Conn { number: self.seen, on_port, carried: 0, client_isn: opening, ways };
            self.by_key.insert(key, conn);
        }
        let conn = self.by_key.get_mut(&key)?;
        let mut seen = Seen {
            number: conn.number,
            on_port: conn.on_port.clone(),
            carried: conn.carried,
            bytes: None,
            copy: 0,
        };
        conn.carried += u64::from(h.payload);
        if let Some(tcp) = h.tcp
            && h.seq_len() > 0
        {
            let way = &mut conn.ways[dir];
            let syn = tcp.flags.syn();
            let isn = *way.isn.get_or_insert(if syn { tcp.seq } else { Seq(tcp.seq.0.wrapping_sub(1)) });
            let start = RelSeq::unwrap_near(tcp.seq, isn, way.near);
            let end = start.plus(i64::from(h.seq_len()));
            way.near = way.near.max(end);
            seen.copy = way.copies.add(start.0, end.0);
            if h.payload > 0 {
                let first = start.plus(i64::from(syn)).stream_offset();
                seen.bytes = Some((first, first + i64::from(h.payload)));
            }
        }
        Some(seen)
    }
}

/// How often each stretch of a stream has been sent.
#[derive(Debug, Default)]
struct Copies {
    /// start → (end, how often), apart from each other.
    stretches: BTreeMap<i64, (i64, u32)>,
}

impl Copies {
    /// Counts `[start, end)` once more; says how often its most sent byte has been sent now.
    fn add(&mut self, start: i64, end: i64) -> u32 {
        match self.stretches.last_entry() {
            Some(mut last) if last.get().0 == start && last.get().1 == 1 => {
                last.get_mut().0 = end;
                return 1;
            }
            Some(last) if last.get().0 > start => {}
            _ => {
                self.stretches.insert(start, (end, 1));
                self.trim();
                return 1;
            }
        }
        let before = self.stretches.range(..start).next_back().filter(|(_, (e, _))| *e > start);
        let from = before.map_or(start, |(s, _)| *s);
        let touched: Vec<(i64, i64, u32)> =
            self.stretches.range(from..end).map(|(s, (e, n))| (*s, *e, *n)).collect();
        let mut most = 0;
        let mut at = start;
        for (s, e, n) in touched {
            self.stretches.remove(&s);
            if s < start {
                self.stretches.insert(s, (start, n));
            }
            if at < s {
                self.stretches.insert(at, (s, 1));
            }
            let inner_end = e.min(end);
            self.stretches.insert(s.max(start), (inner_end, n + 1));
            if e > end {
                self.stretches.insert(end, (e, n));
            }
            most = most.max(n);
            at = inner_end;
        }
        if at < end {
            self.stretches.insert(at, (end, 1));
        }
        self.trim();
        most + 1
    }

    fn trim(&mut self) {
        while self.stretches.len() > MAX_STRETCHES {
            self.stretches.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::build;
    use super::*;
    use proptest::prelude::*;

    fn see(c: &mut Connections, dir: Dir, port: u16, seq: u32, flags: u16, len: usize) -> Seen {
        let (client, server) = ((1, port), (2, 80));
        let (src, dst) = if dir == Dir::C2s { (client, server) } else { (server, client) };
        let p = build::tcp(src, dst, 0, seq, 0, flags, &vec![0; len]);
        c.see(dir, &Header::read(&p).unwrap()).unwrap()
    }

    #[test]
    fn bytes_count_from_the_syn_and_copies_from_one() {
        let mut c = Connections::new([80].into_iter());
        let isn = u32::MAX - 100;
        assert_eq!(see(&mut c, Dir::S2c, 5000, isn, 0x12, 0).copy, 1);
        let first = see(&mut c, Dir::S2c, 5000, isn.wrapping_add(1), 0x10, 1000);
        assert_eq!((first.bytes, first.copy, first.carried), (Some((0, 1000)), 1, 0));
        let second = see(&mut c, Dir::S2c, 5000, isn.wrapping_add(1001), 0x10, 1000);
        assert_eq!((second.bytes, second.copy, second.carried), (Some((1000, 2000)), 1, 1000));
        assert_eq!(see(&mut c, Dir::S2c, 5000, isn.wrapping_add(501), 0x10, 10).copy, 2);
        assert_eq!(see(&mut c, Dir::S2c, 5000, isn.wrapping_add(1), 0x10, 1500).copy, 3);
        assert_eq!(see(&mut c, Dir::S2c, 5000, isn.wrapping_add(1501), 0x10, 1000).copy, 2);
        assert_eq!(see(&mut c, Dir::S2c, 5000, isn.wrapping_add(2501), 0x10, 1000).copy, 1);
    }

    #[test]
    fn a_new_syn_on_the_same_ports_is_a_new_connection() {
        let mut c = Connections::new([80].into_iter());
        assert_eq!(see(&mut c, Dir::C2s, 5000, 7, 0x02, 0).number, 1);
        assert_eq!(
            see(&mut c, Dir::C2s, 5000, 7, 0x02, 0).copy,
            2,
            "the same SYN again is the same connection"
        );
        assert_eq!(see(&mut c, Dir::C2s, 5001, 9, 0x02, 0).on_port, [(80, 2)]);
        assert_eq!(see(&mut c, Dir::C2s, 5000, 8, 0x02, 0).number, 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn copies_agree_with_counting_each_byte(
            sends in proptest::collection::vec((0i64..60, 1i64..20), 1..40)
        ) {
            let mut copies = Copies::default();
            let mut plain = [0u32; 100];
            for (start, len) in sends {
                let range = start as usize..(start + len) as usize;
                plain[range.clone()].iter_mut().for_each(|n| *n += 1);
                let want = plain[range].iter().copied().max().unwrap();
                prop_assert_eq!(copies.add(start, start + len), want);
            }
        }
    }
}
