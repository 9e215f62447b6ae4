//! Frames that may be handed on: addresses replaced, payload gone, and TCP's story untouched.
//!
//! ```text
//!  link addresses   IP header             TCP header                        payload
//!  replaced         addresses replaced,   kept, options that TCP's story    dropped
//!                   options blanked       does not need blanked
//! ```
//!
//! Addresses are replaced under a key, so that equal ones stay equal, and two that share their first bits do so
//! afterwards (as Crypto-PAn: J. Xu et al., ICNP 2002): subnets keep their shape. Ports, lengths, numbers and times
//! stay. The frame says how long it was, so whoever analyses it finds the same as in the original.

use super::bytes::Cut;
use super::checksum;
use super::ip::{self, ICMP, ICMPV6, TCP};
use super::link;
use crate::model::{Frame, LinkType};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;

/// What replaces addresses and names; the same for the same key.
#[derive(Debug)]
pub struct Mask {
    key: [u8; 32],
    known: HashMap<IpAddr, IpAddr>,
}

impl Mask {
    /// One with a key of any length; whoever knows it can tell whether he guessed an address.
    pub fn new(secret: &[u8]) -> Mask {
        Mask { key: blake3::derive_key("syncscope 2026 redaction", secret), known: HashMap::new() }
    }

    /// Another address for this one. Loopback, multicast, link-local and unspecified ones stay of their kind.
    pub fn ip(&mut self, a: IpAddr) -> IpAddr {
        let a = a.to_canonical();
        if let Some(b) = self.known.get(&a) {
            return *b;
        }
        let b = match a {
            IpAddr::V4(v) if v.is_loopback() || v.is_unspecified() || v.is_broadcast() => a,
            IpAddr::V6(v) if v.is_loopback() || v.is_unspecified() => a,
            // the first bits tell unicast from multicast, link-local from global
            IpAddr::V4(v) => Ipv4Addr::from(self.permuted(&v.octets(), 4)).into(),
            IpAddr::V6(v) => Ipv6Addr::from(self.permuted(&v.octets(), 10)).into(),
        };
        self.known.insert(a, b);
        b
    }

    /// The same with its port.
    pub fn socket(&mut self, a: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip(a.ip()), a.port())
    }

    /// Another name for this one: `file-3f9a21`.
    pub fn name(&self, kind: &str, name: &str) -> String {
        let h = self.hash(&[kind.as_bytes(), &[0], name.as_bytes()]);
        format!("{kind}-{:02x}{:02x}{:02x}", h[0], h[1], h[2])
    }

    /// Whether each bit is flipped depends on the key and on the bits before it; the first `keep` are not.
    fn permuted<const N: usize>(&self, from: &[u8; N], keep: usize) -> [u8; N] {
        let mut out = *from;
        for bit in keep..N * 8 {
            let mut prefix = [0u8; N];
            prefix[..bit / 8].copy_from_slice(&from[..bit / 8]);
            prefix[bit / 8] = from[bit / 8] & !(0xff_u8 >> (bit % 8));
            let flip = self.hash(&[b"address", &[N as u8, bit as u8], &prefix])[0] & 1;
            out[bit / 8] ^= flip << (7 - bit % 8);
        }
        out
    }

    /// A link address: group addresses stay such, others become locally administered ones.
    fn link_address(&self, a: &mut [u8]) {
        if a.iter().all(|b| *b == 0xff) || a.iter().all(|b| *b == 0) {
            return;
        }
        let h = self.hash(&[b"link", a]);
        let group = a.first().map_or(0, |b| b & 1);
        a.iter_mut().zip(h).for_each(|(b, h)| *b = h);
        if let Some(b) = a.first_mut() {
            *b = *b & 0xfc | 2 | group;
        }
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut h = blake3::Hasher::new_keyed(&self.key);
        parts.iter().for_each(|p| {
            h.update(p);
        });
        *h.finalize().as_bytes()
    }
}

/// What is left of a frame's bytes, written over `out`. Its original length stays that of `frame`.
pub fn redact(frame: &Frame<'_>, mask: &mut Mask, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(frame.data);
    let Ok((packet, _)) = link::strip(frame) else {
        out.truncate(link_header(frame));
        link_addresses(frame.link, mask, out);
        return;
    };
    // the packet is a part of the frame's bytes
    let at = (packet.data.as_ptr() as usize).saturating_sub(frame.data.as_ptr() as usize);
    let kept = match packet.data.first().map(|b| b >> 4) {
        Some(4) => v4(packet, mask, &mut out[at..], true),
        Some(6) => v6(packet, mask, &mut out[at..], true),
        _ => 0,
    };
    out.truncate(at + kept);
    link_addresses(frame.link, mask, out);
}

/// How much of a frame that holds no IP packet tells only what kind it is.
fn link_header(frame: &Frame<'_>) -> usize {
    let mut at = match frame.link {
        LinkType::ETHERNET => 14,
        LinkType::SLL => 16,
        LinkType::SLL2 => 20,
        LinkType::NULL | LinkType::LOOP | LinkType(9 | 50 | 104) => 4,
        LinkType(10) => 13,
        _ => 0,
    };
    let kind = |at: usize| super::bytes::be16(frame.data, at.checked_sub(2)?);
    while let (LinkType::ETHERNET, Some(0x8100 | 0x88a8 | 0x9100 | 0x9200)) = (frame.link, kind(at)) {
        at += 4;
    }
    match (frame.link, kind(at)) {
        // LLC and SNAP, or PPPoE and PPP
        (LinkType::ETHERNET, Some(0..=1500 | 0x8864)) | (LinkType(10), _) => at + 8,
        _ => at,
    }
}

fn link_addresses(link: LinkType, mask: &Mask, data: &mut [u8]) {
    // where they begin, and how long they are
    let (places, len): (&[usize], usize) = match link {
        LinkType::ETHERNET => (&[0, 6], 6),
        LinkType::SLL => (&[6], 8),
        LinkType::SLL2 => (&[12], 8),
        LinkType(10) => (&[1, 7], 6),
        _ => (&[], 0),
    };
    for at in places {
        let end = (at + len).min(data.len());
        if let Some(a) = data.get_mut(*at..end) {
            mask.link_address(a);
        }
    }
}

/// Rewrites an IPv4 packet in place; returns how many bytes of it to keep. `outer`: it is not a quoted one.
fn v4(packet: Cut<'_>, mask: &mut Mask, out: &mut [u8], outer: bool) -> usize {
    let Some(h) = packet.data.get(..20) else { return packet.data.len().min(12) };
    let len = (usize::from(h[0] & 0x0f) * 4).clamp(20, packet.data.len());
    let before = packet.data[..len].to_vec();
    for at in [12, 16] {
        let old = Ipv4Addr::new(h[at], h[at + 1], h[at + 2], h[at + 3]);
        if let IpAddr::V4(new) = mask.ip(old.into()) {
            out[at..at + 4].copy_from_slice(&new.octets());
        }
    }
    // routes and times of hosts on the way: no-operation instead
    out[20..len].fill(1);
    let sum = adjusted(field(&before, 10), &before, &out[..len]);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    let parsed = if outer { ip::parse(packet) } else { ip::parse_quoted(packet) };
    // a later fragment, or a header that makes no sense
    let Ok(parsed) = parsed else { return len };
    let (was, is) = (before[12..20].to_vec(), out[12..20].to_vec());
    let rest = out.get_mut(len..).unwrap_or_default();
    len + transport(parsed.protocol, parsed.payload, mask, rest, outer.then_some((was, is)))
}

/// The same for IPv6.
fn v6(packet: Cut<'_>, mask: &mut Mask, out: &mut [u8], outer: bool) -> usize {
    let Some(h) = packet.data.get(..40) else { return packet.data.len().min(8) };
    let before: Vec<u8> = h[8..40].to_vec();
    for at in [8usize, 24] {
        let Ok(old) = <[u8; 16]>::try_from(&h[at..at + 16]) else { continue };
        match mask.ip(IpAddr::V6(old.into())) {
            IpAddr::V6(new) => out[at..at + 16].copy_from_slice(&new.octets()),
            // an IPv4 address in IPv6's clothes
            IpAddr::V4(new) => out[at..at + 16].copy_from_slice(&new.to_ipv6_mapped().octets()),
        }
    }
    let parsed = if outer { ip::parse(packet) } else { ip::parse_quoted(packet) };
    let Ok(parsed) = parsed else {
        // a fragment header tells nothing but that
        return if h[6] == 44 { packet.data.len().min(48) } else { 40 };
    };
    let len = (parsed.payload.data.as_ptr() as usize).saturating_sub(packet.data.as_ptr() as usize);
    blank_extensions(h[6], &mut out[40..len]);
    let is = out[8..40].to_vec();
    let rest = out.get_mut(len..).unwrap_or_default();
    len + transport(parsed.protocol, parsed.payload, mask, rest, outer.then_some((before, is)))
}

/// Routing headers hold addresses, destination options may.
fn blank_extensions(mut kind: u8, mut ext: &mut [u8]) {
    while let [next, units, ..] = *ext {
        let len = match kind {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        if len > ext.len() {
            return;
        }
        let (this, rest) = ext.split_at_mut(len);
        match kind {
            43 => this[8..].fill(0),
            60 => this[2..].fill(0),
            51 => this[12.min(len)..].fill(0),
            _ => {}
        }
        (kind, ext) = (next, rest);
    }
}

/// What follows the IP header, in place; returns how many bytes of it to keep. `addresses`: as they were and as they
/// are now; none in a quoted packet.
fn transport(
    protocol: u8,
    payload: Cut<'_>,
    mask: &mut Mask,
    out: &mut [u8],
    addresses: Option<(Vec<u8>, Vec<u8>)>,
) -> usize {
    let keep = match (protocol, addresses) {
        (TCP, Some((old, new))) => tcp(payload, mask, out, old, new),
        // quoted: ports and sequence number
        (TCP, None) => 8,
        (UDP, _) => {
            if let Some(sum) = out.get_mut(6..8) {
                sum.fill(0);
            }
            8
        }
        (ICMP | ICMPV6, Some(_)) => {
            if let Some(sum) = out.get_mut(2..4) {
                sum.fill(0);
            }
            icmp(protocol, payload.data, mask, out)
        }
        _ => 0,
    };
    keep.min(payload.data.len())
}

/// The header. Its checksum covers the addresses before and after, too.
fn tcp(payload: Cut<'_>, mask: &Mask, out: &mut [u8], mut old: Vec<u8>, mut new: Vec<u8>) -> usize {
    let said = payload.data.get(12).map_or(20, |b| usize::from(b >> 4) * 4).max(20);
    let header = said.min(payload.data.len());
    let (Some(was), Some(is)) = (payload.data.get(..header), out.get_mut(..header)) else { return 0 };
    if header < 20 {
        return header;
    }
    blank_options(&mut is[20..]);
    old.extend_from_slice(was);
    new.extend_from_slice(is);
    let sum = if payload.wire == said && payload.complete() {
        adjusted(field(was, 16), &old, &new)
    } else {
        // the sum of bytes that are gone would tell of them
        field(&mask.hash(&[b"checksum", &was[16..18]]), 0)
    };
    is[16..18].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The header, and of the packet that an error is about as much as every error quotes.
fn icmp(protocol: u8, data: &[u8], mask: &mut Mask, out: &mut [u8]) -> usize {
    let error = match (protocol, data.first()) {
        (ICMP, Some(3 | 4 | 11 | 12)) => true,
        (ICMPV6, Some(1..=4)) => true,
        // a redirect names a gateway
        (ICMP, Some(5)) => {
            if let Some(gateway) = out.get_mut(4..8) {
                gateway.fill(0);
            }
            true
        }
        _ => false,
    };
    let (Some(inner), Some(out), true) = (data.get(8..), out.get_mut(8..), error) else { return 8 };
    let cut = Cut::new(inner, inner.len());
    8 + match inner.first().map(|b| b >> 4) {
        Some(4) => v4(cut, mask, out, false),
        Some(6) => v6(cut, mask, out, false),
        _ => 0,
    }
}

/// Keeps what the analysis reads: MSS, window scale, SACK, time stamps.
fn blank_options(mut o: &mut [u8]) {
    loop {
        let len = match o {
            [] => return,
            [1, ..] => 1,
            [0, ..] | [_] => return o.fill(0),
            [_, len, ..] => usize::from(*len),
        };
        if (len < 2 && o[0] != 1) || len > o.len() {
            return o.fill(0);
        }
        let (this, rest) = o.split_at_mut(len);
        if !matches!(this[0], 1 | 2 | 3 | 4 | 5 | 8) {
            this[2..].fill(0);
        }
        o = rest;
    }
}

fn field(b: &[u8], at: usize) -> u16 {
    super::bytes::be16(b, at).unwrap_or(0)
}

/// A checksum after some of the bytes that it covers were replaced (RFC 1624): right where it was right, wrong where
/// it was wrong. The field itself, if it is among them, is the same in both.
fn adjusted(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    let (old, new) = (checksum::internet(old), checksum::internet(new));
    // internet() is the complement of the sum: !new + !(!old)
    let mut total = u32::from(!sum) + u32::from(old) + u32::from(!new);
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    !(total as u16)
}
