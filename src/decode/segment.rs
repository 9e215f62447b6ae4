//! What the decoder hands on: one value a packet, nothing borrowed.

use crate::model::{FrameNo, Seq, Ts};
use std::net::SocketAddr;

/// What a frame held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A TCP segment.
    Tcp(Segment),
    /// An ICMP error about a TCP segment.
    Icmp(IcmpError),
    /// Something else, counted by reason.
    Skip(Skip),
}

/// One TCP segment, with what its IP header tells about order and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Frame number in its capture.
    pub frame: FrameNo,
    /// When the tap saw it.
    pub ts: Ts,
    /// Interface index within the capture.
    pub interface: u32,
    /// Who sent it.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// VLAN tags and link addresses folded to one number: tells the same packet on two links apart.
    pub link_key: u64,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// IPv4 identification; none in IPv6.
    pub ip_id: Option<u16>,
    /// IPv4 DF (IPv6: always true).
    pub dont_fragment: bool,
    /// ECN bits of the IP header (0 to 3; 3 = congestion experienced).
    pub ecn: u8,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number; meaningful when `flags.ack()`.
    pub ack: Seq,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as on the wire, unscaled.
    pub window: u16,
    /// Payload bytes on the wire (from IP lengths; where these are 0, from the original frame length).
    pub len: u32,
    /// Options.
    pub options: TcpOptions,
    /// TCP checksum as on the wire.
    pub checksum: u16,
    /// Whether it is right: none where the packet was cut or is a fragment.
    pub checksum_ok: Option<bool>,
    /// The TCP header (with options) was cut by the snap length.
    pub cut: bool,
    /// Hash of the first payload bytes (at most [`HEAD`]): finds the same bytes in another capture. None where there
    /// is no payload, or the snap length has cut these bytes, or nobody asked.
    pub head: Option<u64>,
}

/// Payload bytes that [`Segment::head`] stands for, at most: few, so that offload and snap lengths leave them.
pub const HEAD: usize = 32;

impl Segment {
    /// Only its acknowledgment, sent at the end of its data.
    #[must_use]
    #[inline]
    pub fn without_data(self) -> Segment {
        let flags = TcpFlags(self.flags.0 & !0x03);
        Segment { seq: Seq(self.seq.0.wrapping_add(self.seq_len())), len: 0, flags, head: None, ..self }
    }

    /// Sequence numbers used: payload, SYN and FIN.
    #[inline]
    pub fn seq_len(&self) -> u32 {
        self.len.saturating_add(u32::from(self.flags.syn())).saturating_add(u32::from(self.flags.fin()))
    }
}

/// The flag byte of a TCP header (RFC 9293 §3.1), plus AE in bit 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// No more data from the sender.
    #[inline]
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// Synchronize sequence numbers.
    #[inline]
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// Reset.
    #[inline]
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// Push.
    #[inline]
    pub fn psh(self) -> bool {
        self.0 & 0x08 != 0
    }
    /// The acknowledgment number counts.
    #[inline]
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// Urgent.
    pub fn urg(self) -> bool {
        self.0 & 0x20 != 0
    }
    /// ECN echo.
    pub fn ece(self) -> bool {
        self.0 & 0x40 != 0
    }
    /// Congestion window reduced.
    pub fn cwr(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// Options that the analysis uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift (RFC 7323 §2), clamped to 14.
    pub wscale: Option<u8>,
    /// SACK permitted (RFC 2018).
    pub sack_permitted: bool,
    /// SACK blocks; the first may be a DSACK (RFC 2883).
    pub sack: SackBlocks,
    /// TSval and TSecr (RFC 7323 §3).
    pub timestamps: Option<(u32, u32)>,
}

/// At most four SACK blocks, `[left, right)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(Seq, Seq); 4],
    count: u8,
}

impl SackBlocks {
    /// Adds one; a fifth is ignored (RFC 2018 §3 leaves room for four).
    pub fn push(&mut self, left: Seq, right: Seq) {
        if let Some(slot) = self.blocks.get_mut(usize::from(self.count)) {
            *slot = (left, right);
            self.count += 1;
        }
    }

    /// The blocks, in the order on the wire.
    #[inline]
    pub fn as_slice(&self) -> &[(Seq, Seq)] {
        &self.blocks[..usize::from(self.count)]
    }

    /// True when there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// An ICMP error that quotes a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Frame number.
    pub frame: FrameNo,
    /// When.
    pub ts: Ts,
    /// Sender of the quoted segment (who is being told).
    pub src: SocketAddr,
    /// Where the quoted segment was going.
    pub dst: SocketAddr,
    /// ICMP type and code.
    pub kind: (u8, u8),
    /// Next-hop MTU of “fragmentation needed” (RFC 1191) or “packet too big” (RFC 8201).
    pub mtu: Option<u32>,
    /// Sequence number of the quoted segment.
    pub seq: Seq,
}

/// Why a frame was not analysed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Not IP: the EtherType or protocol family.
    NotIp,
    /// IP, not TCP.
    NotTcp,
    /// A fragment other than the first.
    Fragment,
    /// Cut before the end of the fixed TCP header.
    TooShort,
    /// A link type that is not read, with its number.
    LinkType(u16),
    /// Lengths that contradict each other.
    Malformed(&'static str),
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Skip::NotIp => f.write_str("not-ip"),
            Skip::NotTcp => f.write_str("not-tcp"),
            Skip::Fragment => f.write_str("fragment"),
            Skip::TooShort => f.write_str("too-short"),
            Skip::LinkType(n) => write!(f, "link-type-{n}"),
            Skip::Malformed(why) => write!(f, "malformed: {why}"),
        }
    }
}
