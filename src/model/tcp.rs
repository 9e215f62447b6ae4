//! What TCP did, in the field's words. These names are the JSON contract.

use super::flow::{Dir, FlowId};
use super::frame::FrameNo;
use super::seq::{RelSeq, StreamRange};
use super::time::{Ns, Ts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares a unit-only enum with its kebab-case names, used alike in JSON, text and tests.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word, as in the JSON.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text),+ } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }
    };
}
pub(crate) use words;

words! {
    /// What a segment was. Every segment that carries data, SYN or FIN gets exactly one.
    SegmentClass {
        /// First time these bytes were sent.
        New = "new",
        /// Bytes sent again (or, where the tap did not see the first copy, proven to be).
        Retransmission = "retransmission",
        /// The original, arriving late at the tap.
        Reordered = "reordered",
        /// The same packet twice on the path.
        NetworkDuplicate = "network-duplicate",
        /// The same packet twice in the file.
        CaptureDuplicate = "capture-duplicate",
        /// A probe of an idle connection (RFC 9293 §3.8.4).
        KeepAlive = "keep-alive",
        /// A probe of a closed window (RFC 9293 §3.8.6.1).
        WindowProbe = "window-probe",
        /// The evidence does not decide.
        Undecided = "undecided",
    }
}

impl SegmentClass {
    /// Whether it went over the path as data of its own: no copy of the capture or the network, no probe.
    pub fn is_copy(self) -> bool {
        matches!(
            self,
            SegmentClass::New
                | SegmentClass::Retransmission
                | SegmentClass::Reordered
                | SegmentClass::Undecided
        )
    }
}

words! {
    /// Why bytes were sent again.
    Cause {
        /// Duplicate ACK, SACK or RACK evidence (RFC 5681, 6675, 8985).
        Fast = "fast",
        /// A partial ACK in recovery (RFC 6582).
        PartialAck = "partial-ack",
        /// Tail loss probe (RFC 8985 §7).
        Tlp = "tlp",
        /// Retransmission time-out (RFC 6298).
        Rto = "rto",
        /// Sent again after a time-out, go-back.
        RtoRecovery = "rto-recovery",
        /// A SYN (or SYN-ACK) again.
        Syn = "syn",
        /// A FIN again.
        Fin = "fin",
        /// The path had said that the segment was too long for it (RFC 1191, RFC 8201).
        PathMtu = "path-mtu",
        /// No trigger seen.
        Unknown = "unknown",
    }
}

words! {
    /// What proves that a retransmission was not needed.
    SpuriousProof {
        /// The receiver reported the duplicate (RFC 2883).
        Dsack = "dsack",
        /// The ACK answered the original, by its timestamp (RFC 3522).
        Eifel = "eifel",
        /// It had been acknowledged before it was sent again.
        AlreadyAcked = "already-acked",
        /// One ACK answered it and, by its DSACK, a needless one that was sent later: both had stood on the path.
        Together = "together",
    }
}

/// A retransmission that was not needed, with its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spurious {
    /// The kind of proof.
    pub proof: SpuriousProof,
    /// The frame that carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameNo>,
}

/// One data, SYN or FIN segment as the analysis sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentRecord {
    /// Which capture (index into the report's inputs).
    #[serde(default)]
    pub input: u16,
    /// Frame number in that capture.
    pub frame: FrameNo,
    /// Which connection.
    pub flow: FlowId,
    /// Which way.
    pub dir: Dir,
    /// When the tap saw it.
    pub ts: Ts,
    /// First sequence number.
    pub seq: RelSeq,
    /// Payload bytes (SYN and FIN not counted).
    pub len: u32,
    /// What it was.
    pub class: SegmentClass,
    /// Why it was sent again.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// 1 = first time sent again, 2 = the retransmission was lost too, …
    #[serde(default)]
    pub resend: Option<u16>,
    /// Proof that it was not needed.
    #[serde(default)]
    pub spurious: Option<Spurious>,
    /// The frame that carried these bytes before, where the tap saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<FrameNo>,
    /// It carries SYN.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syn: bool,
    /// It carries FIN.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fin: bool,
}

impl SegmentRecord {
    /// The sequence numbers it covers, SYN and FIN included.
    pub fn range(&self) -> StreamRange {
        let extra = i64::from(self.syn) + i64::from(self.fin);
        StreamRange::new(self.seq, self.seq.plus(i64::from(self.len) + extra))
    }
}

words! {
    /// Where bytes were lost, seen from the tap.
    LossWhere {
        /// Between the sender and the tap.
        Upstream = "upstream",
        /// Between the tap and the receiver.
        Downstream = "downstream",
        /// Between two taps: two captures prove it.
        Network = "network",
        /// Seen at the receiver's tap, never acknowledged.
        ReceivingHost = "receiving-host",
        /// The capture missed it, the network did not.
        Capture = "capture",
    }
}

/// A byte interval that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// Which capture saw it.
    #[serde(default)]
    pub input: u16,
    /// Which connection.
    pub flow: FlowId,
    /// Which way the bytes were going.
    pub dir: Dir,
    /// Which bytes.
    pub range: StreamRange,
    /// When the lost copy was sent, where a tap saw that.
    pub sent: Option<Ts>,
    /// The frame of the lost copy.
    pub sent_frame: Option<FrameNo>,
    /// When the bytes got through (first copy not lost), at the tap that saw the repair.
    pub repaired: Option<Ts>,
    /// By which frame.
    pub repair_frame: Option<FrameNo>,
    /// Relative to the tap.
    #[serde(rename = "where")]
    pub location: LossWhere,
}

words! {
    /// What filled a hole.
    Filler {
        /// Bytes sent again.
        Retransmission = "retransmission",
        /// The original, late.
        Reordered = "reordered",
        /// It cannot be told.
        Undecided = "undecided",
    }
}

/// A gap in the received bytes with later bytes already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hole {
    /// Which capture saw it.
    #[serde(default)]
    pub input: u16,
    /// Which connection.
    pub flow: FlowId,
    /// Which way the bytes were going.
    pub dir: Dir,
    /// The missing bytes.
    pub range: StreamRange,
    /// When it was first seen: later data, or the first SACK that left it out.
    pub birth: Ts,
    /// The frame that showed it.
    pub birth_frame: FrameNo,
    /// When it was filled; none: still open at the end.
    pub death: Option<Ts>,
    /// The frame that filled it.
    pub filler_frame: Option<FrameNo>,
    /// What that was.
    pub filler: Option<Filler>,
    /// Most bytes that ever queued behind it.
    pub queued_behind: u64,
    /// Longest time that one application read waited for it, where an application log is joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Ns>,
}

words! {
    /// Who owed the next move.
    Owner {
        /// The application that sends.
        SenderApp = "sender-app",
        /// The sender's TCP.
        SenderTcp = "sender-tcp",
        /// The path between.
        Network = "network",
        /// The application that receives.
        ReceiverApp = "receiver-app",
        /// The receiving host.
        ReceiverHost = "receiver-host",
        /// Each waits for the other.
        Both = "both",
        /// The capture is not good enough.
        Capture = "capture",
        /// The evidence does not decide.
        Unknown = "unknown",
    }
}

words! {
    /// Why nothing moved.
    StallCause {
        /// Window and cwnd had room, the application had written nothing.
        NoData = "no-data",
        /// It was the other side's turn to speak.
        WaitingForPeer = "waiting-for-peer",
        /// Nobody owed anything.
        Idle = "idle",
        /// Limited by the congestion window.
        CwndLimited = "cwnd-limited",
        /// Limited by the send buffer.
        SendBuffer = "send-buffer",
        /// A short segment waited for a delayed ACK.
        NagleDelayedAck = "nagle-delayed-ack",
        /// The window reopened, the sender still only probes.
        StuckWindow = "stuck-window",
        /// Repaired by duplicate ACKs, SACK or RACK.
        LossFast = "loss-fast",
        /// Repaired by a tail loss probe.
        LossTail = "loss-tail",
        /// Repaired by a time-out.
        LossRto = "loss-rto",
        /// The retransmission was lost too.
        LostRetransmission = "lost-retransmission",
        /// A whole flight was lost.
        BurstLoss = "burst-loss",
        /// The original came late.
        Reordering = "reordering",
        /// A late ACK caused a time-out that was not needed.
        DelaySpike = "delay-spike",
        /// SYN or SYN-ACK lost.
        HandshakeLoss = "handshake-loss",
        /// Nothing comes through any more.
        BlackHole = "black-hole",
        /// Only large packets do not come through.
        MtuBlackHole = "mtu-black-hole",
        /// Packets were too large for the path, and it said so.
        PathMtu = "path-mtu",
        /// A long queue on the path.
        Queueing = "queueing",
        /// A policer or shaper.
        RateLimit = "rate-limit",
        /// A reset ended the connection.
        Reset = "reset",
        /// The receive window was closed.
        ZeroWindow = "zero-window",
        /// The receive window was too small.
        SmallWindow = "small-window",
        /// Dropped inside the receiving host.
        HostDrop = "host-drop",
        /// The peer stopped answering.
        PeerSilent = "peer-silent",
        /// Both windows closed.
        Deadlock = "deadlock",
        /// The capture has a gap.
        Gap = "gap",
        /// Not decided.
        Unknown = "unknown",
    }
}

/// Numbers behind a stall; only what applies is present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StallDetail {
    /// Retransmission time-outs during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
    /// Times the time-out was doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoffs: Option<u32>,
    /// Segments sent again during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resends: Option<u32>,
    /// Window or keep-alive probes during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Bytes sent and not acknowledged at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outstanding: Option<u64>,
    /// Peer's window at its start, bytes; none where the scale is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// The bytes it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<StreamRange>,
    /// `data`, `ack` or `either`: which way is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Who sent a reset: `peer` or `middlebox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<String>,
    /// What the busy side was doing (phase and file), from its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_with: Option<String>,
    /// Which evidence would decide, where this does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

/// A time without forward progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stall {
    /// Which capture saw it.
    #[serde(default)]
    pub input: u16,
    /// Which connection.
    pub flow: FlowId,
    /// The direction that did not move.
    pub dir: Dir,
    /// Last progress before it.
    pub start: Ts,
    /// First progress after it; none: still open at the end of the capture.
    pub end: Option<Ts>,
    /// Who owed the next move.
    pub owner: Owner,
    /// Why.
    pub cause: StallCause,
    /// Numbers.
    pub detail: StallDetail,
    /// Frames that show it, in order.
    pub evidence: Vec<FrameNo>,
    /// 0 to 1.
    pub confidence: f64,
}

words! {
    /// Where the capture was taken, for one connection.
    TapPosition {
        /// On the client's host.
        ClientHost = "client-host",
        /// On the server's host.
        ServerHost = "server-host",
        /// Near the client, not on its host.
        NearClient = "near-client",
        /// Near the server, not on its host.
        NearServer = "near-server",
        /// Somewhere between.
        Middle = "middle",
        /// It cannot be told.
        Unknown = "unknown",
    }
}

/// Where the capture was taken, and why we think so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tap {
    /// Where.
    pub position: TapPosition,
    /// 0 to 1.
    pub confidence: f64,
    /// In words.
    pub because: String,
    /// Round trip between the tap and the client, where it was measured.
    pub rtt_client: Option<Ns>,
    /// Round trip between the tap and the server.
    pub rtt_server: Option<Ns>,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap {
            position: TapPosition::Unknown,
            confidence: 0.0,
            because: String::new(),
            rtt_client: None,
            rtt_server: None,
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HalfStats {
    /// Packets, pure ACKs included.
    pub packets: u64,
    /// Payload bytes, each counted once.
    pub bytes: u64,
    /// Payload bytes sent again.
    pub bytes_resent: u64,
    /// Segments sent again, in MSS equivalents (offload makes larger packets than the wire carries).
    pub resent_mss: u64,
    /// Maximum segment size announced by the receiver of this direction.
    pub mss: Option<u16>,
    /// Window scale announced by the sender of this direction.
    pub wscale: Option<u8>,
    /// SACK permitted by the sender of this direction.
    pub sack: Option<bool>,
    /// Timestamps in use.
    pub timestamps: Option<bool>,
    /// Lowest RTT of data sent this way, tap to receiver and back.
    pub rtt_min: Option<Ns>,
    /// Median.
    pub rtt_p50: Option<Ns>,
    /// 99th percentile.
    pub rtt_p99: Option<Ns>,
    /// Smallest window that the receiver of this direction announced after the handshake, bytes.
    pub window_min: Option<u64>,
    /// Largest.
    pub window_max: Option<u64>,
    /// Times that window was closed.
    pub zero_windows: u64,
    /// Duplicate ACKs for this direction's data.
    pub dup_acks: u64,
    /// What its sender waited for; only at a tap near it, and none for short transfers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<Limits>>,
}

/// What the sender of one direction waited for, from its first data to the last acknowledgment. The parts add
/// up to that time exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Limits {
    /// The application had given nothing to send.
    pub application: Ns,
    /// The receive window had room for less than one segment.
    pub receive_window: Ns,
    /// Lost bytes were being repaired.
    pub recovery: Ns,
    /// The congestion window was full.
    pub congestion_window: Ns,
    /// The bytes in flight stayed at one level, below every window: the send buffer.
    pub send_buffer: Ns,
    /// Something on the path sent at its own rate, all the time.
    pub path_rate: Ns,
    /// Not known.
    pub unknown: Ns,
}

impl std::ops::AddAssign for Limits {
    fn add_assign(&mut self, o: Limits) {
        self.application += o.application;
        self.receive_window += o.receive_window;
        self.recovery += o.recovery;
        self.congestion_window += o.congestion_window;
        self.send_buffer += o.send_buffer;
        self.path_rate += o.path_rate;
        self.unknown += o.unknown;
    }
}

impl Limits {
    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, Ns); 7] {
        [
            ("application", self.application),
            ("receive-window", self.receive_window),
            ("recovery", self.recovery),
            ("congestion-window", self.congestion_window),
            ("send-buffer", self.send_buffer),
            ("path-rate", self.path_rate),
            ("unknown", self.unknown),
        ]
    }

    /// All of them.
    pub fn total(&self) -> Ns {
        self.parts().iter().fold(Ns::ZERO, |sum, p| sum + p.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_json_and_text() {
        for w in StallCause::ALL {
            assert_eq!(serde_json::to_string(w).unwrap(), format!("\"{w}\""));
        }
        assert_eq!(SegmentClass::CaptureDuplicate.as_str(), "capture-duplicate");
    }
}
