//! As much of an IP packet as the link must know. Lax: what cannot be read is simply not there.

use crate::decode::TcpFlags;
use crate::model::Seq;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the link reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// IP protocol number.
    pub proto: u8,
    /// IPv4 identification.
    pub id: Option<u16>,
    /// Where the payload of IP begins.
    pub ip_len: usize,
    /// Source and destination port of TCP or UDP.
    pub ports: Option<(u16, u16)>,
    /// The TCP header.
    pub tcp: Option<Tcp>,
    /// Payload bytes of TCP or UDP.
    pub payload: u32,
}

/// What the link reads of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    sack: [Option<(Seq, Seq)>; 4],
}

impl Tcp {
    fn read(b: &[u8], at: usize) -> Option<Tcp> {
        let flags = TcpFlags(u16_at(b, at + 12)? & 0x01ff);
        let end = at + usize::from(b.get(at + 12)? >> 4) * 4;
        Some(Tcp {
            seq: Seq(u32_at(b, at + 4)?),
            ack: Seq(u32_at(b, at + 8)?),
            flags,
            window: u16_at(b, at + 14)?,
            sack: sack_blocks(b.get(at + 20..end.min(b.len())).unwrap_or_default()),
        })
    }

    /// SACK blocks in the order of the header.
    pub fn sack(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.sack.iter().flatten().copied()
    }
}

/// The SACK blocks among a header's options (RFC 2018 §3): at most four find room.
fn sack_blocks(mut options: &[u8]) -> [Option<(Seq, Seq)>; 4] {
    let mut blocks = [None; 4];
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [0, ..] | [] | [_] => return blocks,
            [kind, len, ..] => {
                let Some(option) = options.get(..usize::from(*len).max(2)) else { return blocks };
                if *kind == 5 {
                    let edges = |i: usize| Some((Seq(u32_at(option, i)?), Seq(u32_at(option, i + 4)?)));
                    for (n, block) in blocks.iter_mut().enumerate() {
                        *block = edges(2 + 8 * n);
                    }
                }
                options = options.get(option.len()..).unwrap_or_default();
            }
        }
    }
}

fn u16_at(b: &[u8], i: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*b.get(i)?, *b.get(i + 1)?]))
}

fn u32_at(b: &[u8], i: usize) -> Option<u32> {
    Some(u32::from_be_bytes([*b.get(i)?, *b.get(i + 1)?, *b.get(i + 2)?, *b.get(i + 3)?]))
}

/// Length of the whole packet: as the header says, also if the packet was cut; where it says nothing
/// (offload leaves 0 there), what is here.
fn whole(said: usize, at_least: usize, here: usize) -> usize {
    if said < at_least { here } else { said }
}

impl Header {
    /// Reads an IPv4 or IPv6 packet; none for anything else.
    pub fn read(b: &[u8]) -> Option<Header> {
        match b.first()? >> 4 {
            4 => {
                let ip_len = usize::from(b[0] & 0x0f) * 4;
                let total = whole(usize::from(u16_at(b, 2)?), ip_len, b.len());
                let v4 = |i: usize| Some(IpAddr::from(Ipv4Addr::from(u32_at(b, i)?)));
                let first_fragment = u16_at(b, 6)? & 0x1fff == 0;
                let header = Header {
                    src: v4(12)?,
                    dst: v4(16)?,
                    proto: *b.get(9)?,
                    id: u16_at(b, 4),
                    ip_len,
                    ports: None,
                    tcp: None,
                    payload: 0,
                };
                Some(if first_fragment { header.transport(b, total) } else { header })
            }
            6 => {
                let v6 = |i: usize| {
                    let octets: [u8; 16] = b.get(i..i + 16)?.try_into().ok()?;
                    Some(IpAddr::from(Ipv6Addr::from(octets)))
                };
                let total = whole(usize::from(u16_at(b, 4)?) + 40, 41, b.len());
                let header = Header {
                    src: v6(8)?,
                    dst: v6(24)?,
                    proto: *b.get(6)?,
                    id: None,
                    ip_len: 40,
                    ports: None,
                    tcp: None,
                    payload: 0,
                };
                Some(header.transport(b, total))
            }
            _ => None,
        }
    }

    fn transport(mut self, b: &[u8], total: usize) -> Header {
        let at = self.ip_len;
        let ports = || Some((u16_at(b, at)?, u16_at(b, at + 2)?));
        match self.proto {
            6 => {
                self.tcp = Tcp::read(b, at);
                self.ports = ports();
                let header = b.get(at + 12).map_or(20, |o| usize::from(o >> 4) * 4);
                self.payload = total.saturating_sub(at + header) as u32;
            }
            17 => {
                self.ports = ports();
                self.payload = total.saturating_sub(at + 8) as u32;
            }
            _ => {}
        }
        self
    }

    /// Neighbour discovery, multicast and the like: what kernels say to a link by themselves.
    pub fn is_chatter(&self, b: &[u8]) -> bool {
        let multicast = self.dst.is_multicast();
        let icmp6 = self.proto == 58 && !matches!(b.get(self.ip_len), Some(1..=4 | 128 | 129));
        multicast || icmp6 || (self.src.is_ipv6() && self.proto == 0)
    }

    /// Whether `port` is one of its ports.
    pub fn touches(&self, port: u16) -> bool {
        self.ports.is_some_and(|(s, d)| s == port || d == port)
    }

    /// Sequence numbers used: payload, SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        self.tcp.map_or(0, |t| self.payload + u32::from(t.flags.syn()) + u32::from(t.flags.fin()))
    }
}

/// Where the IP packet begins in a frame of this link type; none if there is none.
pub fn ip_offset(link: crate::model::LinkType, data: &[u8]) -> Option<usize> {
    use crate::model::LinkType;
    let is_ip = |kind: u16| matches!(kind, 0x0800 | 0x86dd);
    match link {
        LinkType::RAW => Some(0),
        LinkType::NULL | LinkType::LOOP => Some(4),
        LinkType::SLL => is_ip(u16_at(data, 14)?).then_some(16),
        LinkType::SLL2 => is_ip(u16_at(data, 0)?).then_some(20),
        LinkType::ETHERNET => {
            let mut at = 12;
            while matches!(u16_at(data, at)?, 0x8100 | 0x88a8) {
                at += 4;
            }
            is_ip(u16_at(data, at)?).then_some(at + 2)
        }
        _ => None,
    }
    .filter(|at| *at < data.len())
}

/// Builds packets for tests of this room.
#[cfg(test)]
pub mod build {
    /// A TCP segment in IPv4, with the given payload; checksums are left 0.
    pub fn tcp(
        src: (u8, u16),
        dst: (u8, u16),
        id: u16,
        seq: u32,
        ack: u32,
        flags: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let total = 40 + payload.len();
        let mut b = vec![0u8; 40];
        b[0] = 0x45;
        b[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        b[4..6].copy_from_slice(&id.to_be_bytes());
        b[8] = 64;
        b[9] = 6;
        b[12..16].copy_from_slice(&[10, 0, 0, src.0]);
        b[16..20].copy_from_slice(&[10, 0, 0, dst.0]);
        b[20..22].copy_from_slice(&src.1.to_be_bytes());
        b[22..24].copy_from_slice(&dst.1.to_be_bytes());
        b[24..28].copy_from_slice(&seq.to_be_bytes());
        b[28..32].copy_from_slice(&ack.to_be_bytes());
        b[32] = 0x50;
        b[33] = flags as u8;
        b[34..36].copy_from_slice(&1000u16.to_be_bytes());
        b.extend_from_slice(payload);
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read() {
        let p = build::tcp((1, 5000), (2, 80), 7, 100, 200, 0x18, b"hello");
        let h = Header::read(&p).unwrap();
        assert_eq!((h.ports, h.id, h.payload, h.seq_len()), (Some((5000, 80)), Some(7), 5, 5));
        assert_eq!(h.tcp.unwrap().seq, Seq(100));
        assert!(h.touches(80) && h.touches(5000) && !h.touches(81));
        assert!(!h.is_chatter(&p));
    }

    #[test]
    fn sack_blocks_are_read_behind_other_options() {
        let mut options = vec![1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 18];
        for edge in [100u32, 200, 300, 400] {
            options.extend(edge.to_be_bytes());
        }
        let edges =
            |o: &[u8]| sack_blocks(o).into_iter().flatten().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>();
        assert_eq!(edges(&options), [(100, 200), (300, 400)]);
        for n in 0..options.len() {
            assert_eq!(edges(&options[..n]), [], "an option that is cut is none");
        }
        assert_eq!(edges(&[5, 0, 5, 1, 9]), []);
    }

    #[test]
    fn every_cut_of_a_packet_is_survived() {
        let p = build::tcp((1, 5000), (2, 80), 7, 100, 200, 0x18, b"hello");
        for n in 0..=p.len() {
            let _ = Header::read(&p[..n]);
        }
        let mut six = [0x60u8; 60];
        for proto in [0, 6, 17, 58] {
            six[6] = proto;
            for n in 0..=six.len() {
                let _ = Header::read(&six[..n]).map(|h| h.is_chatter(&six[..n]));
            }
        }
        assert_eq!(Header::read(&[0x12, 0x34]), None);
    }

    #[test]
    fn ip_is_found_behind_vlan_tags() {
        let mut f = vec![0u8; 12];
        f.extend_from_slice(&[0x81, 0, 0, 5, 0x88, 0xa8, 0, 6, 0x08, 0x00, 0x45]);
        assert_eq!(ip_offset(crate::model::LinkType::ETHERNET, &f), Some(22));
        assert_eq!(ip_offset(crate::model::LinkType::ETHERNET, &f[..15]), None);
    }
}
