//! Which bytes of which stream a capture has seen: the proof that it is complete.
//!
//! This reads headers itself, as far as it must: the decoder lies to the right of this room.

use crate::model::{Frame, LinkType, Seq};
use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What a capture must have seen of one direction of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who sent it.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// Bytes of the stream, from its beginning, that are known to have passed: written by a sender
    /// that heard of their acknowledgment, or read by the receiver.
    pub bytes: u64,
    /// Of these, the bytes whose acknowledgment is known to have passed, too; 0 where nothing is known.
    pub acked: u64,
    /// The stream's end (FIN) is known to have passed.
    pub fin: bool,
}

impl Expected {
    /// The first `bytes` of a stream, nothing else.
    pub fn bytes(src: SocketAddr, dst: SocketAddr, bytes: u64) -> Expected {
        Expected { src, dst, bytes, acked: 0, fin: false }
    }
}

/// An [`Expected`] that was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What was expected.
    pub expected: Expected,
    /// Bytes seen from the stream's beginning without a gap.
    pub contiguous: u64,
    /// Bytes seen in all.
    pub seen: u64,
    /// Bytes seen to be acknowledged.
    pub acked: u64,
    /// The stream's end was seen.
    pub fin: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.expected;
        write!(f, "{} to {}:", e.src, e.dst)?;
        let mut and = "";
        if self.contiguous < e.bytes {
            write!(f, " {} of {} bytes captured", self.seen.min(e.bytes), e.bytes)?;
            if self.seen > self.contiguous {
                write!(f, ", the first gap at byte {}", self.contiguous)?;
            }
            and = ",";
        }
        if self.acked < e.acked {
            write!(f, "{and} acknowledgments of {} of {} bytes captured", self.acked, e.acked)?;
            and = ",";
        }
        if e.fin && !self.fin {
            write!(f, "{and} its end (FIN) not captured")?;
        }
        Ok(())
    }
}

/// Connections beyond this many are not followed (and so never proven complete).
const MAX_STREAMS: usize = 65_536;

/// What has been seen of every stream.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    streams: HashMap<(SocketAddr, SocketAddr), Stream>,
}

impl Coverage {
    /// Takes note of a frame.
    pub fn see(&mut self, frame: &Frame<'_>) {
        let Some(t) = header(frame) else { return };
        if t.ack
            && let Some(reverse) = self.streams.get_mut(&(t.dst, t.src))
        {
            reverse.acknowledged(t.ack_no);
        }
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&(t.src, t.dst)) {
            return;
        }
        let first = if t.syn { t.seq.plus(1) } else { t.seq };
        let stream = self.streams.entry((t.src, t.dst)).or_insert_with(|| Stream::new(first, t.syn));
        if t.syn && (stream.base != first || !stream.from_syn) {
            // The same addresses and ports again: a new connection.
            *stream = Stream::new(first, true);
        }
        stream.sent(first, t.len, t.fin);
    }

    /// What of `expected` has not been seen.
    pub fn missing(&self, expected: &[Expected]) -> Vec<Missing> {
        let of = |e: &Expected| {
            let key = (canonical(e.src), canonical(e.dst));
            let empty = Stream::new(Seq(0), false);
            let s = self.streams.get(&key).unwrap_or(&empty);
            let m = Missing {
                expected: *e,
                contiguous: s.contiguous(),
                seen: s.seen(),
                acked: s.acked,
                fin: s.fin.is_some_and(|end| s.contiguous() >= end),
            };
            let met = m.contiguous >= e.bytes && m.acked >= e.acked && (m.fin || !e.fin);
            (!met).then_some(m)
        };
        expected.iter().filter_map(of).collect()
    }
}

/// One direction of one connection, in stream offsets: byte 0 follows the SYN.
#[derive(Clone, Debug)]
struct Stream {
    /// Sequence number of byte 0.
    base: Seq,
    /// `base` is the real beginning, not just the first thing seen.
    from_syn: bool,
    /// Where the newest segment began, to unwrap the next near it.
    near: i64,
    /// Bytes seen: half-open, in order, not touching.
    ranges: Vec<(i64, i64)>,
    fin: Option<u64>,
    acked: u64,
}

impl Stream {
    fn new(base: Seq, from_syn: bool) -> Stream {
        Stream { base, from_syn, near: 0, ranges: Vec::new(), fin: None, acked: 0 }
    }

    /// The offset that a sequence number stands for, nearest to `near`.
    fn offset(&self, seq: Seq, near: i64) -> i64 {
        let near_seq = Seq(self.base.0.wrapping_add(near as u32));
        near + i64::from(seq.diff(near_seq))
    }

    fn sent(&mut self, first: Seq, len: u32, fin: bool) {
        let start = self.offset(first, self.near);
        let end = start + i64::from(len);
        self.near = self.near.max(end);
        if fin {
            self.fin = u64::try_from(end).ok();
        }
        if len > 0 {
            self.add(start, end);
        }
    }

    fn add(&mut self, start: i64, end: i64) {
        // Those that end before `start` stay, those that begin after `end` stay; what lies between is one now.
        let from = self.ranges.partition_point(|r| r.1 < start);
        let to = self.ranges.partition_point(|r| r.0 <= end);
        let merged = match self.ranges.get(from..to) {
            Some([first, .., last]) => (start.min(first.0), end.max(last.1)),
            Some([only]) => (start.min(only.0), end.max(only.1)),
            _ => (start, end),
        };
        self.ranges.splice(from..to.max(from), [merged]);
    }

    fn acknowledged(&mut self, ack: Seq) {
        let up_to = self.offset(ack, self.near);
        self.acked = self.acked.max(u64::try_from(up_to).unwrap_or(0));
    }

    fn contiguous(&self) -> u64 {
        match self.ranges.first() {
            Some((start, end)) if *start <= 0 => u64::try_from(*end).unwrap_or(0),
            _ => 0,
        }
    }

    fn seen(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| (end - start.max(&0)).max(0) as u64).sum()
    }
}

struct Header {
    src: SocketAddr,
    dst: SocketAddr,
    seq: Seq,
    ack_no: Seq,
    ack: bool,
    syn: bool,
    fin: bool,
    len: u32,
}

/// The TCP header of a frame, for the link types that a live capture on Linux gives.
fn header(frame: &Frame<'_>) -> Option<Header> {
    let by_ethertype = |at: usize, payload: usize| {
        let kind = u16::from_be_bytes(frame.data.get(at..at + 2)?.try_into().ok()?);
        Some(LaxSlicedPacket::from_ether_type(EtherType(kind), frame.data.get(payload..)?))
    };
    let packet = match frame.link {
        LinkType::ETHERNET => LaxSlicedPacket::from_ethernet(frame.data).ok()?,
        LinkType::SLL => by_ethertype(14, 16)?,
        LinkType::SLL2 => by_ethertype(0, 20)?,
        LinkType::RAW => LaxSlicedPacket::from_ip(frame.data).ok()?,
        _ => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    let position = |part: &[u8]| (part.as_ptr() as usize).checked_sub(frame.data.as_ptr() as usize);
    let tcp_end = position(tcp.header_slice())? + tcp.header_slice().len();
    let (src, dst, ip_at, ip_len): (IpAddr, IpAddr, usize, usize) = match packet.net? {
        LaxNetSlice::Ipv4(ip) => {
            let h = ip.header();
            (h.source_addr().into(), h.destination_addr().into(), position(h.slice())?, h.total_len().into())
        }
        LaxNetSlice::Ipv6(ip) => {
            let h = ip.header();
            let len = usize::from(h.payload_length());
            let whole = if len == 0 { 0 } else { len + 40 };
            (h.source_addr().into(), h.destination_addr().into(), position(h.slice())?, whole)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    // Length 0: too large for the field (BIG TCP); the frame tells.
    let end = if ip_len == 0 { frame.orig_len as usize } else { ip_at + ip_len };
    Some(Header {
        src: canonical(SocketAddr::new(src, tcp.source_port())),
        dst: canonical(SocketAddr::new(dst, tcp.destination_port())),
        seq: Seq(tcp.sequence_number()),
        ack_no: Seq(tcp.acknowledgment_number()),
        ack: tcp.ack(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        len: u32::try_from(end.checked_sub(tcp_end)?).ok()?,
    })
}

/// As on the wire: without scope, and IPv4 as IPv4 also where a socket of the other kind carries it.
fn canonical(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip().to_canonical(), a.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
