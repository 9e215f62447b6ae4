//! What an application did with its socket, whoever recorded it: our own engine, strace, a log.

use super::time::{Ns, Ts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Who connected.
    Client,
    /// Who listened.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn flip(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// `"client"` or `"server"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppOp {
    /// Waiting for, then taking bytes from the socket.
    Read,
    /// Handing bytes to the socket.
    Write,
    /// Anything else that kept the application from its socket: hashing, disk, pacing, an injected pause.
    Work,
}

/// What the sync was busy with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Greeting and options.
    #[default]
    Handshake,
    /// The file list.
    List,
    /// Block signatures of the basis.
    Signature,
    /// The search for matches.
    Delta,
    /// Literals and copies on their way.
    Data,
    /// Rebuilding a file.
    Patch,
    /// Whole-file verification.
    Verify,
    /// Attributes and rename.
    Rename,
    /// Held back by the own rate limit (`--bwlimit`).
    Pace,
    /// Held up on purpose by a test (`busy` in a scenario).
    Busy,
    /// After the last file.
    Done,
    /// Not known (logs of other programs).
    Other,
}

impl Phase {
    /// Lower-case name, as in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Handshake => "handshake",
            Phase::List => "list",
            Phase::Signature => "signature",
            Phase::Delta => "delta",
            Phase::Data => "data",
            Phase::Patch => "patch",
            Phase::Verify => "verify",
            Phase::Rename => "rename",
            Phase::Pace => "pace",
            Phase::Busy => "busy",
            Phase::Done => "done",
            Phase::Other => "other",
        }
    }
}

/// One read, write or stretch of other work. Times are on the clock of the host it ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppEvent {
    /// What was done.
    pub op: AppOp,
    /// When the application began it: for a read, when it began to wait.
    pub start: Ts,
    /// When the socket was reported readable or writable, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ts>,
    /// When the call returned.
    pub end: Ts,
    /// Stream offset of the first byte read or written, from 0; for `Work` the write offset so far.
    pub offset: u64,
    /// Bytes read or written. A read of 0 bytes is the end of the stream.
    pub len: u32,
    /// Bytes in the socket's queue: before a read (SIOCINQ), after a write (SIOCOUTQ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// What the sync was doing.
    pub phase: Phase,
    /// Index into [`AppLog::files`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<u32>,
    /// Block number within that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
}

/// The kernel's view of one connection at one moment (`TCP_INFO`). Zero where the kernel is too old to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TcpSample {
    /// When it was taken.
    pub ts: Ts,
    /// TCP state number (`TCP_ESTABLISHED` = 1).
    pub state: u8,
    /// Congestion state: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.
    pub ca_state: u8,
    /// Unanswered retransmissions of the first segment.
    pub retransmits: u8,
    /// Times the RTO has been doubled.
    pub backoff: u8,
    /// Retransmission time-out, µs.
    pub rto_us: u32,
    /// Smoothed RTT, µs.
    pub rtt_us: u32,
    /// RTT variance, µs.
    pub rttvar_us: u32,
    /// Lowest RTT, µs.
    pub min_rtt_us: u32,
    /// Sending MSS, bytes.
    pub snd_mss: u32,
    /// Congestion window, segments.
    pub snd_cwnd: u32,
    /// Segments in flight.
    pub unacked: u32,
    /// Of these, SACKed.
    pub sacked: u32,
    /// Of these, thought lost.
    pub lost: u32,
    /// Of these, sent again.
    pub retrans: u32,
    /// Segments sent again since the connection began.
    pub total_retrans: u32,
    /// Bytes sent again since the connection began.
    pub bytes_retrans: u64,
    /// Bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes received from the peer.
    pub bytes_received: u64,
    /// Bytes written by the application and not yet sent.
    pub notsent_bytes: u32,
    /// Peer's receive window, bytes.
    pub snd_wnd: u32,
    /// Own receive window, bytes.
    pub rcv_wnd: u32,
    /// Time with data to send or in flight, µs.
    pub busy_us: u64,
    /// Of that, limited by the peer's window, µs.
    pub rwnd_limited_us: u64,
    /// Of that, limited by the send buffer, µs.
    pub sndbuf_limited_us: u64,
    /// Delivery rate, bytes/s.
    pub delivery_rate: u64,
    /// DSACKs received.
    pub dsack_dups: u32,
    /// Reorderings seen.
    pub reord_seen: u32,
}

/// Everything one end's application recorded about one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppLog {
    /// Which end.
    pub side: Side,
    /// Its own address.
    pub local: SocketAddr,
    /// The peer's address, as this end saw it.
    pub peer: SocketAddr,
    /// In order of `end`.
    pub events: Vec<AppEvent>,
    /// File names that events refer to, relative to the sync's root.
    pub files: Vec<String>,
    /// In order of time.
    pub samples: Vec<TcpSample>,
    /// False where offsets are guesses (imported logs without byte counts).
    pub offsets_known: bool,
}

/// How far two clocks are apart: `theirs - ours`, known to lie within `offset ± bound`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockOffset {
    /// Best estimate of `theirs - ours`.
    pub offset: Ns,
    /// Half the round trip that the estimate rests on; the error cannot be larger.
    pub bound: Ns,
}
