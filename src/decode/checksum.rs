//! The Internet checksum (RFC 1071) over the pseudo header of RFC 9293 §3.1 and RFC 8200 §8.1.

use std::net::IpAddr;

/// True when the checksum inside `payload` fits. `payload` must be the whole transport packet.
pub fn transport_ok(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> bool {
    transport(src, dst, protocol, payload) == 0
}

/// The checksum of a whole transport packet, as its field must hold it if the field is 0 now; 0 if it holds it already.
pub fn transport(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let addresses = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => u64::from(s.to_bits()) + u64::from(d.to_bits()),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum(&s.octets()) + sum(&d.octets()),
        // Nothing fits a packet of two families.
        _ => return 1,
    };
    let length = payload.len() as u64;
    let total = addresses + u64::from(protocol) + (length >> 16) + (length & 0xffff) + sum(payload);
    !fold(total)
}

/// The checksum of an IPv4 header or an ICMPv4 message, likewise.
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// Sum of the 16-bit words; an odd byte counts as the high half of a last word. Four bytes at a time are as good as
/// two: 2^16 is 1 in this arithmetic (RFC 1071 §2).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut whole = 0;
    for w in words {
        whole += u64::from(u32::from_be_bytes(*w));
    }
    whole
        + match *rest {
            [a, b, c] => u64::from(u32::from_be_bytes([a, b, c, 0])),
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            [a] => u64::from(a) << 8,
            _ => 0,
        }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
