//! Link headers: what stands before the IP header, and which link it was.

use super::bytes::{Cut, be16, be32};
use super::segment::Skip;
use crate::model::{Frame, LinkType};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A hash of whatever names a link (addresses, VLAN and session numbers), eight bytes at a time.
struct LinkKey(u64);

impl LinkKey {
    fn new() -> LinkKey {
        LinkKey(0xcbf2_9ce4_8422_2325)
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    fn add(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.word(u64::from_le_bytes(word));
        }
    }
}

/// The IP packet inside, and a number for the link it was seen on.
#[inline]
pub(super) fn strip<'a>(frame: &Frame<'a>) -> Result<(Cut<'a>, u64), Skip> {
    let whole = Cut::new(frame.data, usize::try_from(frame.orig_len).unwrap_or(usize::MAX));
    let mut key = LinkKey::new();
    // What most captures are full of.
    if frame.link == LinkType::ETHERNET
        && let Some((head, _)) = frame.data.split_first_chunk::<14>()
        && let [a, b, c, d, e, f, g, h, i, j, k, l, 0x08, 0x00] = *head
    {
        key.word(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        key.word(u64::from(u32::from_le_bytes([i, j, k, l])));
        return Ok((skip(whole, 14)?, key.0));
    }
    by_link(frame, whole, key)
}

fn by_link<'a>(frame: &Frame<'a>, whole: Cut<'a>, mut key: LinkKey) -> Result<(Cut<'a>, u64), Skip> {
    let packet = match frame.link {
        LinkType::ETHERNET => ethernet(whole, &mut key)?,
        LinkType::SLL => sll(whole, &mut key)?,
        LinkType::SLL2 => sll2(whole, &mut key)?,
        LinkType::NULL | LinkType::LOOP => null(whole)?,
        // OpenBSD's DLT_LOOP has the number that others give to raw IP.
        LinkType(12) if frame.data.first() == Some(&0) => null(whole)?,
        // 12 and 14 are DLT_RAW as some systems write it into files; 228 and 229 fix the IP version.
        LinkType(12 | 14 | 101 | 228 | 229) => whole,
        LinkType(9 | 50) => ppp(whole)?,
        LinkType(51) => pppoe(whole, &mut key)?,
        LinkType(104) => cisco_hdlc(whole)?,
        LinkType(10) => fddi(whole, &mut key)?,
        LinkType(n) => return Err(Skip::LinkType(n)),
    };
    Ok((packet, key.0))
}

fn skip(c: Cut<'_>, n: usize) -> Result<Cut<'_>, Skip> {
    c.skip(n).ok_or(Skip::TooShort)
}

fn ethernet<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    key.add(c.data.get(..12).ok_or(Skip::TooShort)?);
    let kind = be16(c.data, 12).ok_or(Skip::TooShort)?;
    let rest = skip(c, 14)?;
    // IEEE 802.3: up to 1500 it is a length, and LLC follows.
    if kind <= 1500 { llc(rest.resize_down(kind), key) } else { by_ethertype(kind, rest, key) }
}

/// What follows an EtherType: IP, or tags around it.
fn by_ethertype<'a>(mut kind: u16, mut c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    // Every turn takes at least four bytes, so this ends.
    loop {
        match kind {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Ok(c),
            // 802.1Q, 802.1ad, and two older numbers for stacked tags.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                let vlan = be16(c.data, 0).ok_or(Skip::TooShort)? & 0x0fff;
                key.add(&vlan.to_be_bytes());
                kind = be16(c.data, 2).ok_or(Skip::TooShort)?;
                c = skip(c, 4)?;
            }
            0x8864 => return pppoe(c, key),
            // MPLS: labels up to the bottom of the stack (RFC 3032 §2.1), then, for lack of a
            // protocol field, whatever the first nibble says.
            0x8847 | 0x8848 => loop {
                let label = be32(c.data, 0).ok_or(Skip::TooShort)?;
                key.add(&(label >> 12).to_be_bytes());
                c = skip(c, 4)?;
                if label & 0x100 != 0 {
                    return match c.data.first().map(|b| b >> 4) {
                        Some(4 | 6) => Ok(c),
                        Some(_) => Err(Skip::NotIp),
                        None => Err(Skip::TooShort),
                    };
                }
            },
            _ => return Err(Skip::NotIp),
        }
    }
}

/// IEEE 802.2 with SNAP (RFC 1042), as under FDDI.
fn llc<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    match c.data.get(..6) {
        Some([0xaa, 0xaa, 0x03, 0, 0, 0]) => {
            let kind = be16(c.data, 6).ok_or(Skip::TooShort)?;
            by_ethertype(kind, skip(c, 8)?, key)
        }
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::TooShort),
    }
}

fn fddi<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    let frame_control = *c.data.first().ok_or(Skip::TooShort)?;
    key.add(c.data.get(1..13).ok_or(Skip::TooShort)?);
    // LLC frames are those of the form 0b_x1x1_xxxx; the rest is ring management.
    if frame_control & 0x50 != 0x50 {
        return Err(Skip::NotIp);
    }
    llc(skip(c, 13)?, key)
}

/// Of an Ethernet frame, padding included (IEEE 802.3 §3.2.8).
const SMALLEST_PAYLOAD: usize = 46;

/// PPPoE session packet (RFC 2516 §4), the EtherType already taken off.
fn pppoe<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    let head = c.data.get(..6).ok_or(Skip::TooShort)?;
    if head[1] != 0 {
        return Err(Skip::NotIp);
    }
    key.add(&head[2..4]);
    let said = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let body = skip(c, 6)?;
    let ip = ppp(body)?;
    // Some devices take Ethernet's padding for payload and write that into the IP header, sums included. Whoever
    // unpacks the session frame cuts it to this length.
    let room = said.saturating_sub(body.wire - ip.wire);
    let padded = super::ip::claimed(ip.data).is_some_and(|n| n > room && n <= SMALLEST_PAYLOAD);
    Ok(if padded { ip.at_most(room) } else { ip })
}

/// PPP (RFC 1661, 1662), with or without HDLC-like address and control, with compressed protocol field or not.
fn ppp(c: Cut<'_>) -> Result<Cut<'_>, Skip> {
    let c = match c.data.first() {
        Some(0xff) => skip(c, 2)?,
        Some(0x0f | 0x8f) => return cisco_hdlc(c),
        Some(_) => c,
        None => return Err(Skip::TooShort),
    };
    let first = *c.data.first().ok_or(Skip::TooShort)?;
    let (protocol, len) =
        if first & 1 == 1 { (u16::from(first), 1) } else { (be16(c.data, 0).ok_or(Skip::TooShort)?, 2) };
    match protocol {
        0x0021 | 0x0057 => skip(c, len),
        _ => Err(Skip::NotIp),
    }
}

fn cisco_hdlc(c: Cut<'_>) -> Result<Cut<'_>, Skip> {
    match be16(c.data, 2).ok_or(Skip::TooShort)? {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => skip(c, 4),
        _ => Err(Skip::NotIp),
    }
}

/// Linux cooked capture: packet type, ARPHRD type, address length, address (8), protocol.
///
/// The packet type is part of the key: with `any`, a forwarded packet is seen coming in at one
/// interface and going out at another, and version 1 has no interface number that would say so.
fn sll<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    key.add(c.data.get(..14).ok_or(Skip::TooShort)?);
    let protocol = be16(c.data, 14).ok_or(Skip::TooShort)?;
    cooked(protocol, skip(c, 16)?, key)
}

/// Version 2: protocol, reserved (2), interface index (4), ARPHRD type, packet type, address length, address (8).
fn sll2<'a>(c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    let protocol = be16(c.data, 0).ok_or(Skip::TooShort)?;
    key.add(c.data.get(4..20).ok_or(Skip::TooShort)?);
    cooked(protocol, skip(c, 20)?, key)
}

fn cooked<'a>(protocol: u16, c: Cut<'a>, key: &mut LinkKey) -> Result<Cut<'a>, Skip> {
    // 4 stands for “802.2 frame” (LINUX_SLL_P_802_2).
    if protocol == 4 { llc(c, key) } else { by_ethertype(protocol, c, key) }
}

/// BSD loopback. The family is in the byte order of the host that captured, which nobody wrote
/// down, and AF_INET6 is a different number on each system.
fn null(c: Cut<'_>) -> Result<Cut<'_>, Skip> {
    let family = be32(c.data, 0).ok_or(Skip::TooShort)?;
    match family.min(family.swap_bytes()) {
        2 | 10 | 24 | 28 | 30 => skip(c, 4),
        _ => Err(Skip::NotIp),
    }
}

impl Cut<'_> {
    /// Takes off what a length field says is padding; a field that says more than there is, is not believed.
    fn resize_down(self, len: u16) -> Self {
        let len = usize::from(len);
        if len > 0 && len < self.wire { self.resize(len) } else { self }
    }
}
