//! One connection: byte-interval scoreboard, segment classes, causes, holes, windows, RTT, stalls.
//!
//! In: one [`crate::flow::Incarnation`], in capture order. Out: one [`Connection`].
//!
//! ```text
//! trace → twins → tap ─→ classes → acks, holes → causes → spurious → losses → stalls
//! ```
//!
//! Each step is one pass over a stretch of the connection; those that need look-ahead (a DSACK labels an earlier
//! segment) run after those that give them their input. A [`Tracker`] cuts a long connection into stretches.

mod acks;
mod cause;
mod cause_of_wait;
mod classify;
mod curve;
mod fault;
mod limits;
mod loss;
pub(crate) mod ranges;
mod rtt;
mod score;
mod sent;
mod spurious;
mod stall;
mod stretch;
mod tracker;
mod unseen;

pub use curve::{Bucket, Curve};
pub use fault::CaptureFault;
pub use loss::answers_a_copy;
pub use rtt::{RTO_MIN, quantile};
pub use tracker::{Keep, Tracker, Trackers, analyze};

use crate::decode::Segment;
use crate::model::tcp::{HalfStats, Hole, Loss, SegmentRecord, Stall, Tap};
use crate::model::{FlowId, FrameNo, Ns, PerDir, RelSeq, Seq, Span, Ts};
use std::net::SocketAddr;

/// Everything that one capture tells about one connection incarnation.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its number.
    pub flow: FlowId,
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// Where the tap was.
    pub tap: Tap,
    /// First to last segment.
    pub span: Span,
    /// The handshake was captured.
    pub handshake: bool,
    /// How it ended: `fin`, `reset`, `open`.
    pub ended: &'static str,
    /// Round trip of the handshake (SYN to the ACK of the SYN-ACK).
    pub irtt: Option<Ns>,
    /// Numbers of each direction of data.
    pub halves: PerDir<HalfStats>,
    /// Every data, SYN or FIN segment, in capture order, with its final class; without the `new` ones that carry only
    /// data where [`Keep::Evidence`] was asked for.
    pub segments: Vec<SegmentRecord>,
    /// How many `new` segments are not in that list.
    pub ordinary: u64,
    /// Each direction over time.
    pub curves: PerDir<Curve>,
    /// Bytes that did not arrive.
    pub losses: Vec<Loss>,
    /// Gaps in the received bytes.
    pub holes: Vec<Hole>,
    /// Times without progress, in order of start.
    pub stalls: Vec<Stall>,
    /// For each direction of data: what its receiver acknowledged and allowed, whenever that
    /// changed, in order of time. Empty, as are `rtt` and `packets`, where only evidence is kept.
    pub acks: PerDir<Vec<AckPoint>>,
    /// For each direction of data: round trips from the tap to its receiver and back.
    pub rtt: PerDir<Vec<RttSample>>,
    /// Faults of the capture that this connection shows.
    pub quality: Vec<CaptureFault>,
    /// Relative sequence number of the first byte that each direction was seen to carry; 1 when
    /// the handshake was captured. Stream offsets are known only then.
    pub offsets_known: bool,
    /// Raw sequence number that relative 0 stands for, of each sender: lays two captures that began
    /// in mid-stream on top of each other.
    pub isn: PerDir<Seq>,
    /// Every packet that each side sent, pure ACKs included, in capture order: finds the same packet
    /// at another tap.
    pub packets: PerDir<Vec<PacketMark>>,
}

impl Connection {
    /// Nothing yet but the name.
    fn named(flow: FlowId, client: SocketAddr, server: SocketAddr) -> Connection {
        Connection {
            flow,
            client,
            server,
            tap: Tap::default(),
            span: Span::default(),
            handshake: false,
            ended: "open",
            irtt: None,
            halves: PerDir::default(),
            segments: Vec::new(),
            ordinary: 0,
            curves: PerDir::default(),
            losses: Vec::new(),
            holes: Vec::new(),
            stalls: Vec::new(),
            acks: PerDir::default(),
            rtt: PerDir::default(),
            quality: Vec::new(),
            offsets_known: false,
            isn: PerDir::default(),
            packets: PerDir::default(),
        }
    }
}

/// One packet's identity: equal keys at two taps (and nowhere else at either) mean the same packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMark {
    /// When the tap saw it.
    pub ts: Ts,
    /// In which frame.
    pub frame: FrameNo,
    /// Hash of what TCP put into it. Addresses, TTL and IP ID stay out: middleboxes change them.
    pub key: u64,
    /// Hash of what stays the same behind a firewall that moves sequence numbers: first payload bytes, else time
    /// stamps. None where there is nothing of the kind.
    pub content: Option<u64>,
    /// Sequence and acknowledgment number as on the wire.
    pub raw: (Seq, Seq),
    /// TSval.
    pub tsval: Option<u32>,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// It carries neither data nor SYN, FIN or RST.
    pub pure_ack: bool,
    /// It is a reset.
    pub rst: bool,
}

impl PacketMark {
    /// The mark of a segment.
    pub fn of(s: &Segment) -> PacketMark {
        let mut b = Vec::with_capacity(64);
        b.extend_from_slice(&s.seq.0.to_le_bytes());
        b.extend_from_slice(&s.ack.0.to_le_bytes());
        b.extend_from_slice(&s.flags.0.to_le_bytes());
        b.extend_from_slice(&s.window.to_le_bytes());
        b.extend_from_slice(&s.len.to_le_bytes());
        if let Some((val, ecr)) = s.options.timestamps {
            b.extend_from_slice(&val.to_le_bytes());
            b.extend_from_slice(&ecr.to_le_bytes());
        }
        for (left, right) in s.options.sack.as_slice() {
            b.extend_from_slice(&left.0.to_le_bytes());
            b.extend_from_slice(&right.0.to_le_bytes());
        }
        PacketMark {
            ts: s.ts,
            frame: s.frame,
            key: xxhash_rust::xxh3::xxh3_64(&b),
            content: s.head.or_else(|| stamped(s)),
            raw: (s.seq, s.ack),
            tsval: s.options.timestamps.map(|t| t.0),
            ip_id: s.ip_id,
            pure_ack: s.seq_len() == 0 && !s.flags.rst(),
            rst: s.flags.rst(),
        }
    }
}

/// Hash of the time stamps and of what else a renumbering firewall leaves alone.
fn stamped(s: &Segment) -> Option<u64> {
    let (val, ecr) = s.options.timestamps?;
    let mut b = Vec::with_capacity(16);
    b.extend_from_slice(&val.to_le_bytes());
    b.extend_from_slice(&ecr.to_le_bytes());
    b.extend_from_slice(&s.window.to_le_bytes());
    b.extend_from_slice(&s.len.to_le_bytes());
    b.extend_from_slice(&s.flags.0.to_le_bytes());
    Some(xxhash_rust::xxh3::xxh3_64(&b))
}

/// The receiver's word at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPoint {
    /// When the tap saw it.
    pub ts: Ts,
    /// In which frame.
    pub frame: FrameNo,
    /// Next sequence number expected.
    pub ack: RelSeq,
    /// Receive window in bytes, none where the scale is unknown.
    pub window: Option<u64>,
}

/// One round trip, measured at the tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttSample {
    /// When the answer was seen.
    pub ts: Ts,
    /// How long it took.
    pub rtt: Ns,
}
