//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, with options and extension headers.

use super::bytes::{Cut, be16, be32};
use super::segment::Skip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const ICMPV6: u8 = 58;

/// One IP packet, its header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub id: Option<u16>,
    pub dont_fragment: bool,
    pub ecn: u8,
    /// Protocol of `payload`, after all extension headers.
    pub protocol: u8,
    /// It is the first fragment of several: `payload` is not the whole datagram.
    pub fragment: bool,
    /// A routing header says that `dst` is not the last hop; the transport checksum covers another address.
    pub rerouted: bool,
    pub payload: Cut<'a>,
}

/// True for version 4.
#[inline]
pub(super) fn is_v4(c: Cut<'_>) -> bool {
    c.data.first().is_some_and(|b| b >> 4 == 4)
}

/// Reads an IP packet of either version. Fragments other than the first have no transport header: [`Skip::Fragment`].
#[inline]
pub(super) fn parse(c: Cut<'_>) -> Result<Ip<'_>, Skip> {
    match c.data.first().map(|b| b >> 4) {
        Some(4) => v4(c, true),
        Some(6) => v6(c, true),
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::TooShort),
    }
}

/// The packet that an ICMP error quotes: cut as it likes, its length field telling of the original.
pub(super) fn parse_quoted(c: Cut<'_>) -> Result<Ip<'_>, Skip> {
    match c.data.first().map(|b| b >> 4) {
        Some(4) => v4(c, false),
        Some(6) => v6(c, false),
        Some(_) => Err(Skip::Malformed("quoted packet")),
        None => Err(Skip::TooShort),
    }
}

/// How many bytes an IP packet says it has, its header included; none where it does not say.
pub(super) fn claimed(packet: &[u8]) -> Option<usize> {
    let (n, header) = match packet.first()? >> 4 {
        4 => (be16(packet, 2)?, 0),
        6 => (be16(packet, 4)?, 40),
        _ => return None,
    };
    (n > 0).then(|| usize::from(n) + header)
}

/// Reads an IPv4 packet. `trust_length`: it is no quotation.
#[inline]
pub(super) fn v4(c: Cut<'_>, trust_length: bool) -> Result<Ip<'_>, Skip> {
    let Some((h, _)) = c.data.split_first_chunk::<20>() else { return Err(Skip::TooShort) };
    let header = usize::from(h[0] & 0x0f) * 4;
    if header < 20 {
        return Err(Skip::Malformed("IPv4 header length"));
    }
    let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
    let c = match total {
        // Segmentation offload and BIG TCP: the length did not fit or was not set yet. Some stacks
        // also quote packets with a length field they have already taken apart.
        0 => believable(c)?,
        n if n < header && trust_length => return Err(Skip::Malformed("IPv4 total length")),
        n if n < header => c,
        n => c.resize(n),
    };
    let fragment = u16::from_be_bytes([h[6], h[7]]);
    if fragment & 0x1fff != 0 {
        return Err(Skip::Fragment);
    }
    Ok(Ip {
        src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
        dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
        ttl: h[8],
        id: Some(u16::from_be_bytes([h[4], h[5]])),
        dont_fragment: fragment & 0x4000 != 0,
        ecn: h[1] & 3,
        protocol: h[9],
        fragment: fragment & 0x2000 != 0,
        rerouted: false,
        payload: c.skip(header).ok_or(Skip::TooShort)?,
    })
}

fn v6(c: Cut<'_>, trust_length: bool) -> Result<Ip<'_>, Skip> {
    let Some((h, _)) = c.data.split_first_chunk::<40>() else { return Err(Skip::TooShort) };
    let length = usize::from(u16::from_be_bytes([h[4], h[5]]));
    let mut payload = c.skip(40).ok_or(Skip::TooShort)?;
    payload = if length > 0 { payload.resize(length) } else { believable(payload)? };
    let mut ip = Ip {
        src: IpAddr::V6(v6_addr(h, 8)),
        dst: IpAddr::V6(v6_addr(h, 24)),
        ttl: h[7],
        id: None,
        dont_fragment: true,
        ecn: (h[1] >> 4) & 3,
        protocol: h[6],
        fragment: false,
        rerouted: false,
        payload,
    };
    // Every extension header takes at least eight bytes, so this ends.
    loop {
        let head = ip.payload.data;
        let len = match ip.protocol {
            // Hop-by-hop, routing, destination options, mobility, HIP, Shim6: in units of 8 after the first 8.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*head.get(1).ok_or(Skip::TooShort)?) + 1) * 8,
            // Authentication header: in units of 4, minus 2 (RFC 4302 §2.2).
            51 => (usize::from(*head.get(1).ok_or(Skip::TooShort)?) + 2) * 4,
            44 => 8,
            _ => return Ok(ip),
        };
        if trust_length && len > ip.payload.wire {
            return Err(Skip::Malformed("IPv6 extension header length"));
        }
        match ip.protocol {
            0 if length == 0 => {
                if let Some(jumbo) = jumbo_payload(head.get(..len).unwrap_or(head)) {
                    if len > jumbo || jumbo > ip.payload.wire {
                        return Err(Skip::Malformed("jumbo payload length"));
                    }
                    ip.payload = ip.payload.resize(jumbo);
                }
            }
            43 => ip.rerouted |= head.get(3).is_some_and(|left| *left > 0),
            44 => {
                let offset_and_more = be16(head, 2).ok_or(Skip::TooShort)?;
                if offset_and_more & 0xfff8 != 0 {
                    return Err(Skip::Fragment);
                }
                ip.fragment |= offset_and_more & 1 != 0;
            }
            _ => {}
        }
        ip.protocol = *head.first().ok_or(Skip::TooShort)?;
        ip.payload = ip.payload.skip(len).ok_or(Skip::TooShort)?;
    }
}

/// A packet whose length is that of its frame. Linux builds at most 512 KiB (BIG TCP); far beyond
/// that, it is the frame length that lies.
fn believable(c: Cut<'_>) -> Result<Cut<'_>, Skip> {
    if c.wire <= 16 << 20 {
        Ok(c)
    } else {
        Err(Skip::Malformed("IP length 0 in a frame of impossible length"))
    }
}

fn v6_addr(h: &[u8; 40], at: usize) -> Ipv6Addr {
    let mut a = [0; 16];
    a.copy_from_slice(&h[at..at + 16]);
    Ipv6Addr::from(a)
}

/// The jumbo payload option of a hop-by-hop header (RFC 2675 §2): the length without the IPv6 header.
fn jumbo_payload(header: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(kind) = header.get(at) {
        if *kind == 0 {
            at += 1;
            continue;
        }
        let len = usize::from(*header.get(at + 1)?);
        if *kind == 0xc2 && len == 4 {
            return usize::try_from(be32(header, at + 2)?).ok();
        }
        at += 2 + len;
    }
    None
}
