//! The same traffic at two taps: what crossed, what did not, and how long it took.
//!
//! `A` is the first capture, `B` the second. All times are on the clock of `A`.

use super::Evidence;
use crate::model::tcp::words;
use crate::model::{Dir, FlowId, FrameNo, Ns, PerDir, Side, Span, StreamRange, Ts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Two captures laid on each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Near whose end `A` was taken, compared with `B`; none: nothing tells.
    pub a_near: Option<Side>,
    /// When both captures were running.
    pub overlap: Option<Span>,
    /// `B`'s clock against `A`'s; none where packets were seen twice in one direction only, or the clocks
    /// contradict any constant rate.
    pub clock: Option<ClockFit>,
    /// Connections that both have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paired: Vec<PairedFlow>,
    /// Connections that one of them has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpaired: Vec<UnpairedFlow>,
    /// Lost between the taps, in order of sending; one entry per copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<CrossingLoss>,
    /// Seen at one tap only, and not lost by the network; in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// One clock against another. Bounds hold as long as both run at a constant rate that differs by at most 200 ppm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClockFit {
    /// Where the offset holds, on the clock of `A`: the middle of what was seen twice.
    pub at: Ts,
    /// Best estimate of `B - A` then: exact if the fastest packet took equally long each way.
    pub offset: Ns,
    /// Proven: nothing that was seen arrives before it is sent only if `B - A` is at least this …
    pub low: Ns,
    /// … and at most this.
    pub high: Ns,
    /// Error of the estimate if both ways take equally long: time stamps, and queues that never ran empty.
    pub symmetric: Ns,
    /// Fastest way from tap to tap and back.
    pub round_trip: Ns,
    /// Rate of `B` against that of `A`, where the overlap is long enough to tell.
    pub drift: Option<Drift>,
    /// What the estimate rests on, in words.
    pub because: String,
}

impl ClockFit {
    /// The largest error that the estimate can have, whatever the path.
    pub fn bound(&self) -> Ns {
        (self.high - self.offset).max(self.offset - self.low)
    }
}

/// A difference of rates: positive where `B` runs faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Parts per million.
    pub ppm: f64,
    /// How far the two directions, measured apart, leave it open.
    pub error: f64,
}

words! {
    /// Why two connections are taken for one.
    PairedBy {
        /// Same addresses and ports, numbers that fit.
        Addresses = "addresses",
        /// Packets of the same content, behind other addresses (NAT).
        Packets = "packets",
        /// Payload or time stamps of the same content, sequence numbers moved by a constant.
        Content = "content",
    }
}

/// One connection at both taps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairedFlow {
    /// Its number.
    pub flow: FlowId,
    /// Its ends as `A` saw them.
    pub a: Ends,
    /// Its ends as `B` saw them.
    pub b: Ends,
    /// Why it is the same.
    pub by: PairedBy,
    /// Added to sequence numbers between `A` and `B`, modulo 2^32, per sender.
    pub shift: PerDir<u32>,
    /// Each direction.
    pub dirs: PerDir<CrossingStats>,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
}

/// What went from one tap to the other in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CrossingStats {
    /// Data, SYN and FIN segments at the tap nearer the sender.
    pub sent: u64,
    /// Payload bytes in them, copies included.
    pub bytes: u64,
    /// Of these segments, lost on the way, whole or in part.
    pub lost: u64,
    /// Bytes of them lost.
    pub bytes_lost: u64,
    /// Pure acknowledgements at the tap nearer the sender while both captures ran.
    pub acks: u64,
    /// Of these, not seen at the other tap. Whether the network or the capture lost them cannot be told.
    pub acks_missing: u64,
    /// Time from tap to tap; none where the clocks cannot be compared or nothing was seen twice.
    pub delay: Option<Delay>,
}

/// One-way delays. Each is wrong by the clock's error, all by the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delay {
    /// Packets measured.
    pub samples: u64,
    /// Shortest.
    pub min: Ns,
    /// Half are shorter.
    pub median: Ns,
    /// 99 of 100 are shorter.
    pub p99: Ns,
    /// Longest.
    pub max: Ns,
}

words! {
    /// What proves that the network lost a copy.
    LossProof {
        /// A later copy arrived, and the receiver had acknowledged nothing of it before.
        Repaired = "repaired",
        /// It was never acknowledged, though there was time to.
        Unanswered = "unanswered",
        /// The other tap did not see it; the receiver had the bytes from an earlier copy, or no
        /// acknowledgement was captured that could tell.
        NotSeen = "not-seen",
    }
}

/// One copy of some bytes that did not come from one tap to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrossingLoss {
    /// Which connection.
    pub flow: FlowId,
    /// Which way it was going.
    pub dir: Dir,
    /// Which bytes.
    pub range: StreamRange,
    /// When it passed the tap nearer the sender.
    pub sent: Ts,
    /// The frame there.
    pub frame: Evidence,
    /// How many copies of the first byte had passed there before it.
    pub copies_before: u32,
    /// When a later copy passed that tap and arrived; none: none did.
    pub repaired: Option<Ts>,
    /// The frame of that copy, at the same tap.
    pub repair_frame: Option<FrameNo>,
    /// When it came by at the other tap.
    pub arrived: Option<Ts>,
    /// What proves it.
    pub proof: LossProof,
}

words! {
    /// Why only one tap has something.
    MissingWhy {
        /// The other capture had not begun.
        BeforeStart = "before-start",
        /// The other capture had ended, or it was on its way then.
        AfterEnd = "after-end",
        /// The other capture missed it: the receiver acknowledged it, or it came out of the network.
        CaptureDrop = "capture-drop",
    }
}

/// Packets that one tap saw and the other did not, though the network did not lose them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// The capture that has them.
    pub input: u16,
    /// Which connection.
    pub flow: FlowId,
    /// Which way they went.
    pub dir: Dir,
    /// Why the other does not.
    pub why: MissingWhy,
    /// How many segments.
    pub segments: u64,
    /// Payload bytes in them.
    pub bytes: u64,
    /// First to last byte.
    pub range: StreamRange,
    /// First to last time.
    pub span: Span,
    /// First frame.
    pub first_frame: FrameNo,
    /// Last frame.
    pub last_frame: FrameNo,
}

/// A connection that one capture has and the other has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnpairedFlow {
    /// The capture that has it.
    pub input: u16,
    /// Its number.
    pub flow: FlowId,
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// First to last segment.
    pub span: Span,
    /// Segments.
    pub packets: u64,
    /// It lies outside the time that the other capture covers.
    pub outside: bool,
}
