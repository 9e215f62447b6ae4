//! Packets that a box on the path makes by itself: resets, and ICMP errors about packets that are too big.

use super::packet::Header;
use crate::decode::checksum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hop limit of what a box sends; the endpoints' own packets arrive with 64.
const HOPS: u8 = 60;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// An ICMPv6 error must not make a packet above the least MTU (RFC 4443 §2.4 c).
const MOST_QUOTED: usize = 1280 - 48;

/// A RST in the name of the packet's sender, for its receiver. It fits what the receiver expects next, so it
/// needs no challenge (RFC 5961 §3.2), if nothing before it is missing.
pub fn reset_onwards(h: &Header) -> Option<Vec<u8>> {
    let (tcp, ports) = (h.tcp?, h.ports?);
    let ack = tcp.flags.ack().then_some(tcp.ack.0);
    Some(reset((h.src, ports.0), (h.dst, ports.1), tcp.seq.0, ack))
}

/// A RST in the name of the packet's receiver, for its sender.
pub fn reset_back(h: &Header) -> Option<Vec<u8>> {
    let (tcp, ports) = (h.tcp?, h.ports?);
    let got = tcp.seq.0.wrapping_add(h.seq_len());
    Some(reset((h.dst, ports.1), (h.src, ports.0), tcp.ack.0, Some(got)))
}

fn reset(from: (IpAddr, u16), to: (IpAddr, u16), seq: u32, ack: Option<u32>) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend(from.1.to_be_bytes());
    tcp.extend(to.1.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.unwrap_or(0).to_be_bytes());
    tcp.extend([0x50, if ack.is_some() { RST | ACK } else { RST }]);
    tcp.extend([0; 6]); // window, checksum, urgent pointer
    wrap(from.0, to.0, TCP, tcp, 16)
}

/// “Fragmentation needed” (RFC 1191 §4) or “packet too big” (RFC 4443 §3.2) for the sender of `packet`; none where
/// the sender did not ask to be told.
pub fn too_big(packet: &[u8], h: &Header, mtu: u16) -> Option<Vec<u8>> {
    match (h.src, h.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let may_fragment = packet.get(6)? & 0x40 == 0;
            if may_fragment {
                return None;
            }
            let [a, b, c, _] = dst.octets();
            let mut icmp = vec![3, 4, 0, 0, 0, 0];
            icmp.extend(mtu.to_be_bytes());
            icmp.extend(packet.get(..(h.ip_len + 28).min(packet.len()))?);
            let sum = checksum::internet(&icmp);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            Some(wrap_plain(IpAddr::V4(Ipv4Addr::new(a, b, c, 254)), IpAddr::V4(src), ICMP, icmp))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut router = dst.octets();
            router[15] = 0xfe;
            let mut icmp = vec![2, 0, 0, 0, 0, 0];
            icmp.extend(mtu.to_be_bytes());
            icmp.extend(packet.get(..packet.len().min(MOST_QUOTED))?);
            Some(wrap(IpAddr::V6(Ipv6Addr::from(router)), IpAddr::V6(src), ICMP6, icmp, 2))
        }
        _ => None,
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;

/// Puts an IP header before a payload, and the checksum over both into it at `at`.
fn wrap(src: IpAddr, dst: IpAddr, protocol: u8, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = checksum::transport(src, dst, protocol, &payload);
    if let Some(place) = payload.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    wrap_plain(src, dst, protocol, payload)
}

fn wrap_plain(src: IpAddr, dst: IpAddr, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet.extend([0x45, 0]);
            packet.extend(((20 + payload.len()) as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]); // no ID needed: it is never cut
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let sum = checksum::internet(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, HOPS]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
        }
        // Both come from one packet.
        _ => {}
    }
    packet.extend(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::super::packet::build;
    use super::*;

    #[test]
    fn resets_fit_what_either_end_expects() {
        let p = build::tcp((1, 5000), (2, 80), 7, 100, 200, 0x18, b"hello");
        let h = Header::read(&p).unwrap();
        let on = reset_onwards(&h).unwrap();
        let back = reset_back(&h).unwrap();
        for (packet, ports, seq, ack) in [(&on, (5000, 80), 100, 200), (&back, (80, 5000), 200, 105)] {
            let r = Header::read(packet).unwrap();
            let tcp = r.tcp.unwrap();
            assert_eq!((r.ports, tcp.seq.0, tcp.ack.0), (Some(ports), seq, ack));
            assert!(tcp.flags.rst() && tcp.flags.ack());
            assert_eq!(checksum::internet(&packet[..20]), 0, "of the IP header");
            assert_eq!(checksum::transport(r.src, r.dst, TCP, &packet[20..]), 0);
        }
    }

    #[test]
    fn a_packet_that_is_too_big_is_quoted_to_its_sender() {
        let mut p = build::tcp((1, 5000), (2, 80), 7, 100, 200, 0x10, &[0; 1400]);
        let h = Header::read(&p).unwrap();
        assert_eq!(too_big(&p, &h, 1300), None, "it may be cut on its way");
        p[6] = 0x40;
        let e = too_big(&p, &h, 1300).unwrap();
        let r = Header::read(&e).unwrap();
        assert_eq!((r.proto, r.dst, r.src.to_string().as_str()), (ICMP, h.src, "10.0.0.254"));
        assert_eq!(e[20..22], [3, 4]);
        assert_eq!(e[26..28], 1300u16.to_be_bytes());
        assert_eq!(e[28..], p[..48]);
        assert_eq!((checksum::internet(&e[20..]), checksum::internet(&e[..20])), (0, 0));
    }

    #[test]
    fn ipv6_is_told_too() {
        let mut p = vec![0x60, 0, 0, 0, 0, 20, TCP, 64];
        p.extend([[0x20; 16], [0x21; 16]].concat());
        p.extend([0; 12]);
        p.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0]);
        let h = Header::read(&p).unwrap();
        let e = too_big(&p, &h, 1280).unwrap();
        let r = Header::read(&e).unwrap();
        assert_eq!((r.proto, r.dst, e[40]), (ICMP6, h.src, 2));
        assert_eq!(checksum::transport(r.src, r.dst, ICMP6, &e[40..]), 0);
        assert!(reset_back(&h).is_some_and(|r| r.len() == 60));
    }
}
