//! Segmentation offload, done by the link as a network card does it: one large segment of the sender's kernel
//! becomes packets of its MSS, and packets that arrive together become one large segment for the receiver's.
//!
//! The kernel says what is to be done in the header before each packet (struct virtio_net_hdr).

use super::packet::Header;
use crate::decode::checksum;
use std::net::IpAddr;

/// Length of the header before each packet.
pub const HEADER: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_IS_VALID: u8 = 2;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const ECN: u8 = 0x80;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
/// No IP packet is longer.
const MOST: usize = 65_535;

/// The header of a packet of which nothing is left to be done.
pub const PLAIN: [u8; HEADER] = [0; HEADER];

fn u16_at(b: &[u8], i: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes([*b.get(i)?, *b.get(i + 1)?])))
}

/// Splits what was read from a device into the packets that go on the wire, whole and with their checksums.
/// Nothing: it is no packet.
pub fn cut(read: &[u8]) -> Vec<Vec<u8>> {
    let Some((head, packet)) = read.split_at_checked(HEADER) else { return Vec::new() };
    let size = u16_at(head, 4).unwrap_or(0);
    let is_large = matches!(head[1] & !ECN, TCP4 | TCP6) && size > 0;
    if is_large && let Some(pieces) = pieces(packet, size) {
        return pieces;
    }
    let mut own = packet.to_vec();
    if head[0] & NEEDS_CHECKSUM != 0 {
        let (start, offset) = (u16_at(head, 6).unwrap_or(0), u16_at(head, 8).unwrap_or(0));
        // What stands there is the sum of the pseudo header.
        if let Some(sum) = own.get(start..).map(checksum::internet)
            && let Some(place) = own.get_mut(start + offset..start + offset + 2)
        {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
    vec![own]
}

fn pieces(packet: &[u8], size: usize) -> Option<Vec<Vec<u8>>> {
    let h = Header::read(packet)?;
    let (tcp, at) = (h.tcp?, h.ip_len);
    let body = at + usize::from(packet.get(at + 12)? >> 4) * 4;
    let (headers, payload) = packet.split_at_checked(body).filter(|_| body >= at + 20)?;
    let count = payload.len().div_ceil(size);
    let mut out = Vec::with_capacity(count);
    for (i, chunk) in payload.chunks(size).enumerate() {
        let mut own = Vec::with_capacity(body + chunk.len());
        own.extend_from_slice(headers);
        own.extend_from_slice(chunk);
        if let Some(id) = h.id {
            own[4..6].copy_from_slice(&id.wrapping_add(i as u16).to_be_bytes());
        }
        let seq = tcp.seq.0.wrapping_add((i * size) as u32);
        own[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
        if i > 0 {
            own[at + 13] &= !CWR;
        }
        if i + 1 < count {
            own[at + 13] &= !(FIN | PSH);
        }
        finish(&mut own, &h);
        out.push(own);
    }
    Some(out)
}

/// Sets the lengths and checksums of a TCP packet anew.
fn finish(packet: &mut [u8], h: &Header) {
    let (len, at) = (packet.len(), h.ip_len);
    if matches!(h.src, IpAddr::V4(_)) {
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::internet(&packet[..at]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((len - at) as u16).to_be_bytes());
    }
    packet[at + 16..at + 18].fill(0);
    let sum = checksum::transport(h.src, h.dst, h.proto, &packet[at..]);
    packet[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
}

/// Packets that arrive one right after the other and are handed to the kernel as one.
#[derive(Debug, Default)]
pub struct Merge {
    packet: Vec<u8>,
    first: Option<Header>,
    body: usize,
    size: usize,
    count: usize,
    closed: bool,
}

impl Merge {
    /// Takes a packet in; false: it does not continue what is here, which must be taken out first.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        // One that was damaged on its way must stay so: merging would give it a new checksum.
        let whole = |h: &Header| {
            packet.get(h.ip_len..).is_some_and(|p| checksum::transport_ok(h.src, h.dst, h.proto, p))
        };
        let header = Header::read(packet).filter(whole);
        let body = header.and_then(|h| {
            let own = usize::from(packet.get(h.ip_len + 12)? >> 4) * 4;
            (own >= 20).then_some(h.ip_len + own)
        });
        let Some(first) = &self.first else {
            if !self.packet.is_empty() {
                return false;
            }
            self.packet.extend_from_slice(packet);
            self.count = 1;
            if let (Some(h), Some(body)) = (header, body)
                && let Some(tcp) = h.tcp
            {
                let plain = tcp.flags.0 & !u16::from(PSH) == 0x10;
                self.closed = !plain || h.payload == 0 || tcp.flags.0 & u16::from(PSH) != 0;
                (self.first, self.body, self.size) = (Some(h), body, h.payload as usize);
            }
            return true;
        };
        let (Some(h), Some(tcp), Some(body)) = (header, header.and_then(|h| h.tcp), body) else {
            return false;
        };
        let Some(before) = first.tcp else { return false };
        let sent = (self.packet.len() - self.body) as u32;
        let follows = (h.src, h.dst, h.ports, tcp.ack, tcp.window)
            == (first.src, first.dst, first.ports, before.ack, before.window)
            && tcp.seq.0 == before.seq.0.wrapping_add(sent)
            && tcp.flags.0 & !u16::from(PSH) == 0x10
            && (1..=self.size).contains(&(h.payload as usize))
            && body == self.body
            && packet.get(h.ip_len + 20..body) == self.packet.get(first.ip_len + 20..self.body)
            && self.packet.len() + h.payload as usize <= MOST;
        if self.closed || !follows {
            return false;
        }
        self.packet.extend_from_slice(packet.get(body..).unwrap_or_default());
        self.count += 1;
        let pushed = tcp.flags.0 & u16::from(PSH) != 0;
        if pushed && let Some(flags) = self.packet.get_mut(first.ip_len + 13) {
            *flags |= PSH;
        }
        // A short one is the last.
        self.closed = pushed || (h.payload as usize) < self.size;
        true
    }

    /// Takes out what is here, with the header for the device; leaves nothing.
    pub fn take(&mut self) -> Option<([u8; HEADER], Vec<u8>)> {
        let mut own = std::mem::take(self);
        if own.packet.is_empty() {
            return None;
        }
        let mut head = PLAIN;
        if let Some(h) = own.first.filter(|_| own.count > 1) {
            finish(&mut own.packet, &h);
            head[0] = CHECKSUM_IS_VALID;
            head[1] = if matches!(h.src, IpAddr::V4(_)) { TCP4 } else { TCP6 };
            head[2..4].copy_from_slice(&(own.body as u16).to_ne_bytes());
            head[4..6].copy_from_slice(&(own.size as u16).to_ne_bytes());
        }
        Some((head, own.packet))
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::build;
    use super::*;

    fn large(payload: &[u8], size: u16) -> Vec<u8> {
        let mut read = vec![NEEDS_CHECKSUM, TCP4, 0, 0];
        read.extend(size.to_ne_bytes());
        read.extend(20u16.to_ne_bytes());
        read.extend(16u16.to_ne_bytes());
        read.extend(build::tcp((1, 5000), (2, 80), 0xffff, u32::MAX - 10, 9, 0x99, payload));
        read
    }

    #[test]
    fn a_large_segment_becomes_packets_with_their_own_headers() {
        let payload: Vec<u8> = (0..=255).collect();
        let cut = cut(&large(&payload, 100));
        let mut got = Vec::new();
        for (i, p) in cut.iter().enumerate() {
            let h = Header::read(p).unwrap();
            let tcp = h.tcp.unwrap();
            assert_eq!(h.id, Some(0xffffu16.wrapping_add(i as u16)));
            assert_eq!(tcp.seq.0, (u32::MAX - 10).wrapping_add(100 * i as u32));
            assert_eq!(checksum::internet(&p[..20]), 0);
            assert_eq!(checksum::transport(h.src, h.dst, 6, &p[20..]), 0);
            got.extend_from_slice(&p[40..]);
        }
        assert_eq!(got, payload);
        let flags: Vec<u16> = cut.iter().map(|p| Header::read(p).unwrap().tcp.unwrap().flags.0).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19], "CWR on the first only, FIN and PSH on the last only");
    }

    #[test]
    fn what_was_cut_merges_again() {
        let payload: Vec<u8> = (0..=255).collect();
        let mut read = large(&payload, 100);
        read[HEADER + 33] = 0x18;
        let cut = cut(&read);
        let mut merge = Merge::default();
        assert_eq!(merge.take(), None);
        assert!(cut.iter().all(|p| merge.add(p)));
        assert!(!merge.add(&cut[0]), "the short one was the last");
        let (head, packet) = merge.take().unwrap();
        assert_eq!((head[0], head[1], u16_at(&head, 4)), (CHECKSUM_IS_VALID, TCP4, Some(100)));
        assert_eq!(packet[40..], payload);
        let h = Header::read(&packet).unwrap();
        assert_eq!((h.payload, h.tcp.unwrap().flags.0), (256, 0x18));
        assert_eq!(checksum::transport(h.src, h.dst, 6, &packet[20..]), 0);
        assert!(merge.add(&cut[1]) && !merge.add(&cut[0]), "a hole is not merged over");
        assert_eq!(merge.take().unwrap(), (PLAIN, cut[1].clone()));
        let mut damaged = cut[1].clone();
        damaged[50] ^= 1;
        assert!(merge.add(&cut[0]) && !merge.add(&damaged), "what is damaged stays alone");
    }

    #[test]
    fn a_missing_checksum_is_filled_in() {
        let mut p = build::tcp((1, 5000), (2, 80), 1, 1, 9, 0x10, b"abc");
        let h = Header::read(&p).unwrap();
        // The kernel leaves the sum of the pseudo header, not inverted.
        let pseudo = !checksum::transport(h.src, h.dst, 6, &[0; 23][..]);
        p[36..38].copy_from_slice(&pseudo.to_be_bytes());
        let mut read = vec![NEEDS_CHECKSUM, 0, 0, 0, 0, 0];
        read.extend(20u16.to_ne_bytes());
        read.extend(16u16.to_ne_bytes());
        read.extend(&p);
        let whole = cut(&read);
        assert_eq!(checksum::transport(h.src, h.dst, 6, &whole[0][20..]), 0);
    }

    #[test]
    fn every_cut_of_what_was_read_is_survived() {
        let read = large(&[7; 300], 100);
        for n in 0..read.len() {
            let _ = cut(&read[..n]);
        }
        assert_eq!(cut(&read[..5]), Vec::<Vec<u8>>::new());
    }
}
