//! The TCP header (RFC 9293 §3.1) and its options.

use super::bytes::{be16, be32};
use super::checksum;
use super::ip::{self, Ip};
use super::segment::{Decoded, HEAD, Segment, Skip, TcpFlags, TcpOptions};
use crate::model::{Frame, Seq};
use std::net::SocketAddr;

pub(super) fn segment(frame: &Frame<'_>, link_key: u64, ip: &Ip<'_>) -> Decoded {
    read(frame, link_key, ip, true)
}

/// Without [`Segment::head`].
pub(super) fn headless(frame: &Frame<'_>, link_key: u64, ip: &Ip<'_>) -> Decoded {
    read(frame, link_key, ip, false)
}

#[inline(always)]
fn read(frame: &Frame<'_>, link_key: u64, ip: &Ip<'_>, with_head: bool) -> Decoded {
    let tcp = ip.payload;
    let Some((h, options)) = tcp.data.split_first_chunk::<20>() else {
        return Decoded::Skip(if tcp.wire < 20 {
            Skip::Malformed("IP payload shorter than a TCP header")
        } else {
            Skip::TooShort
        });
    };
    let header = usize::from(h[12] >> 4) * 4;
    if header < 20 {
        return Decoded::Skip(Skip::Malformed("TCP data offset below 5"));
    }
    if header > tcp.wire {
        return Decoded::Skip(Skip::Malformed("TCP header longer than its packet"));
    }
    let whole_header = tcp.data.len() >= header;
    let verifiable = tcp.complete() && !ip.fragment && !ip.rerouted;
    Decoded::Tcp(Segment {
        frame: frame.no,
        ts: frame.ts,
        interface: frame.interface,
        src: SocketAddr::new(ip.src, u16::from_be_bytes([h[0], h[1]])),
        dst: SocketAddr::new(ip.dst, u16::from_be_bytes([h[2], h[3]])),
        link_key,
        ttl: ip.ttl,
        ip_id: ip.id,
        dont_fragment: ip.dont_fragment,
        ecn: ip.ecn,
        seq: Seq(u32::from_be_bytes([h[4], h[5], h[6], h[7]])),
        ack: Seq(u32::from_be_bytes([h[8], h[9], h[10], h[11]])),
        flags: TcpFlags(u16::from_be_bytes([h[12] & 1, h[13]])),
        window: u16::from_be_bytes([h[14], h[15]]),
        len: u32::try_from(tcp.wire - header).unwrap_or(u32::MAX),
        options: parse_options(options.get(..header - 20).unwrap_or(options)),
        checksum: u16::from_be_bytes([h[16], h[17]]),
        checksum_ok: verifiable.then(|| checksum::transport_ok(ip.src, ip.dst, ip::TCP, tcp.data)),
        cut: !whole_header,
        head: if with_head {
            head(tcp.data.get(header..).unwrap_or_default(), tcp.wire - header)
        } else {
            None
        },
    })
}

fn head(payload: &[u8], wire: usize) -> Option<u64> {
    let wanted = wire.min(HEAD);
    payload.get(..wanted).filter(|p| !p.is_empty()).map(xxhash_rust::xxh3::xxh3_64)
}

/// Reads options as far as they make sense; the first length that doesn't ends it.
#[inline]
fn parse_options(mut o: &[u8]) -> TcpOptions {
    let mut out = TcpOptions::default();
    // What nearly every segment carries (RFC 7323 appendix A).
    if let [1, 1, 8, 10, a, b, c, d, e, f, g, h, rest @ ..] = o {
        out.timestamps = Some((u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h])));
        o = rest;
    }
    if !o.is_empty() {
        parse_rest(o, &mut out);
    }
    out
}

fn parse_rest(mut o: &[u8], out: &mut TcpOptions) {
    loop {
        let len = match o {
            [] | [0, ..] | [_] => return,
            [1, ..] => {
                o = &o[1..];
                continue;
            }
            [_, len, ..] => usize::from(*len),
        };
        // A length below 2 would stand still; one beyond the end was cut or is a lie.
        let Some(body) = o.get(2..len) else { return };
        match (o[0], body) {
            (2, [a, b]) => out.mss = Some(u16::from_be_bytes([*a, *b])),
            (3, [shift]) => out.wscale = Some((*shift).min(14)),
            (4, []) => out.sack_permitted = true,
            (5, blocks) if blocks.len() % 8 == 0 => {
                for b in blocks.chunks_exact(8) {
                    if let (Some(left), Some(right)) = (be32(b, 0), be32(b, 4)) {
                        out.sack.push(Seq(left), Seq(right));
                    }
                }
            }
            (8, t) if t.len() == 8 => out.timestamps = be32(t, 0).zip(be32(t, 4)),
            _ => {}
        }
        o = &o[len..];
    }
}

/// Ports and sequence number: the eight bytes of TCP that every ICMP error quotes (RFC 792).
pub(super) fn quoted(tcp: &[u8]) -> Option<(u16, u16, Seq)> {
    Some((be16(tcp, 0)?, be16(tcp, 2)?, Seq(be32(tcp, 4)?)))
}
