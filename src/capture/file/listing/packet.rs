//! The headers of a listed packet, as bytes: raw IP without its payload.

use super::row::{Opt, Row};
use std::net::IpAddr;

/// Room for options in a TCP header (RFC 9293 §3.1).
const OPTIONS: usize = 40;

/// Writes the headers; returns the packet's length with its payload.
pub(super) fn write(r: &Row, out: &mut Vec<u8>) -> u32 {
    out.clear();
    let options = options(r);
    let tcp_len = 20 + options.len();
    let tcp_total = u64::from(r.len) + tcp_len as u64;
    let tos = r.ip.map_or(0, |h| h.tos);
    // not listed: a TTL that no sender uses, so that it says nothing about the path
    let ttl = r.ip.map_or(0, |h| h.ttl);
    let mut sum = 6 + (tcp_total & 0xffff) as u32 + (tcp_total >> 16) as u32;
    match (r.src.address.ip(), r.dst.address.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let total = u16::try_from(tcp_total + 20).unwrap_or(0);
            let id = r.ip.map_or(0, |h| h.id);
            let fragment: u16 = if r.ip.is_some_and(|h| h.dont_fragment) { 0x4000 } else { 0 };
            out.extend([0x45, tos]);
            out.extend(total.to_be_bytes());
            out.extend(id.to_be_bytes());
            out.extend(fragment.to_be_bytes());
            out.extend([ttl, 6, 0, 0]);
            out.extend(a.octets());
            out.extend(b.octets());
            let header = !fold(words(out));
            out[10..12].copy_from_slice(&header.to_be_bytes());
        }
        (a, b) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(x) => x.to_ipv6_mapped(),
                IpAddr::V6(x) => x,
            };
            out.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
            out.extend(u16::try_from(tcp_total).unwrap_or(0).to_be_bytes());
            out.extend([6, ttl]);
            out.extend(v6(a).octets());
            out.extend(v6(b).octets());
        }
    }
    let addresses = if out.len() == 20 { 12 } else { 8 };
    sum += words(&out[addresses..]);
    let tcp = out.len();
    out.extend(r.src.address.port().to_be_bytes());
    out.extend(r.dst.address.port().to_be_bytes());
    out.extend(r.seq.unwrap_or(0).to_be_bytes());
    out.extend(r.ack.unwrap_or(0).to_be_bytes());
    out.extend([((tcp_len / 4) as u8) << 4 | (r.flags >> 8) as u8 & 1, r.flags as u8]);
    out.extend(r.window.to_be_bytes());
    out.extend([0, 0]);
    out.extend(r.urgent.to_be_bytes());
    out.extend(options);
    let sum = r.bad_sum.unwrap_or(!fold(sum + words(&out[tcp..])));
    out[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
    u32::try_from(out.len() as u64 + u64::from(r.len)).unwrap_or(u32::MAX)
}

fn options(r: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sacks: Vec<u8> = Vec::new();
    for o in &r.options {
        let begin = out.len();
        match o {
            Opt::Nop => out.push(1),
            Opt::Mss(v) => {
                out.extend([2, 4]);
                out.extend(v.to_be_bytes());
            }
            Opt::Scale(v) => out.extend([3, 3, *v]),
            Opt::SackOk => out.extend([4, 2]),
            Opt::Times(val, ecr) => {
                out.extend([8, 10]);
                out.extend(val.to_be_bytes());
                out.extend(ecr.to_be_bytes());
            }
            Opt::Sack(left, right) => {
                sacks.extend(left.to_be_bytes());
                sacks.extend(right.to_be_bytes());
            }
        }
        if out.len() > OPTIONS {
            out.truncate(begin);
        }
    }
    // tcpdump lists at most one SACK option, in front of which stand only fillers and time stamps
    let room = OPTIONS.saturating_sub(out.len() + 2) / 8 * 8;
    sacks.truncate(room);
    if !sacks.is_empty() {
        out.extend([5, 2 + sacks.len() as u8]);
        out.extend(sacks);
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Sum of big-endian 16-bit words (RFC 1071); `b` has an even length.
fn words(b: &[u8]) -> u32 {
    b.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
