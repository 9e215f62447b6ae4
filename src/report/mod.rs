//! THE model that every view renders, and the JSON contract `syncscope.report/1`.
//!
//! A report is plain data: it serializes to one JSON document or, one object a line, to NDJSON
//! ([`crate::view::ndjson`]), and a stored one renders exactly as a live one does.
//! All times are on one clock: that of the first input.

pub mod comparison;
mod counts;
pub mod record;

pub use comparison::*;
pub use counts::Counts;

use crate::model::app::{ClockOffset, Phase, Side};
use crate::model::tcp::{HalfStats, Hole, Loss, Owner, SegmentRecord, Stall, StallCause, Tap, words};
use crate::model::{Dir, FlowId, FrameNo, Ns, PerDir, Span, StreamRange, Ts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Name and version of the contract; the number grows when a reader would break.
pub const SCHEMA: &str = "syncscope.report/1";

/// One analysis, of one or two captures and the applications' logs beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// What this is.
    pub meta: Meta,
    /// The captures and logs it rests on.
    pub inputs: Vec<Input>,
    /// From the first to the last event of any input.
    pub span: Span,
    /// Faults of the evidence itself; judged before anything else.
    pub quality: Vec<Quality>,
    /// One entry per connection and capture, in order of flow, then capture.
    pub flows: Vec<FlowReport>,
    /// Segments that are not `new` (all with `--all-segments`).
    pub segments: Vec<SegmentRecord>,
    /// Bytes that did not arrive.
    pub losses: Vec<Loss>,
    /// Gaps in the received bytes.
    pub holes: Vec<Hole>,
    /// Times without progress.
    pub stalls: Vec<Stall>,
    /// Reads slower than the threshold, with their budgets.
    pub reads: Vec<ReadReport>,
    /// What belongs together, in order of time.
    pub incidents: Vec<Incident>,
    /// Conclusions, worst first.
    pub findings: Vec<Finding>,
    /// The answer.
    pub verdict: Verdict,
    /// For drawing: throughput, RTT and all reads over time.
    pub series: Vec<Series>,
    /// The test run behind it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunInfo>,
    /// What two captures of the same traffic say of the path between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What this report is and who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Meta {
    /// [`SCHEMA`].
    pub schema: String,
    /// `syncscope` and its version.
    pub tool: String,
    /// What was analysed, for a headline.
    pub title: String,
    /// Reads at least this slow are listed.
    pub slow_read: Ns,
    /// True while a live run is still going on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

words! {
    /// The kind of an input.
    InputKind {
        /// Packets.
        Capture = "capture",
        /// An application's reads and writes.
        AppLog = "app-log",
    }
}

/// A capture or a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Packets or application events.
    pub kind: InputKind,
    /// File name or interface.
    pub name: String,
    /// Whose end it was taken at, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Frames read, or events.
    pub frames: u64,
    /// Of these, TCP segments.
    pub tcp: u64,
    /// First and last time stamp, on its own clock.
    pub span: Option<Span>,
    /// Its clock against that of the first input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockOffset>,
    /// Drops that the capture program or kernel reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Frames that were not analysed, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// The files of a capture that lies in several, in the order in which they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InputFile>,
}

/// One file of a capture that lies in several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// File name.
    pub name: String,
    /// Frames in it.
    pub frames: u64,
    /// Number of its first frame in the whole capture, as frames are numbered in this report; none where frames of
    /// other files came between its own.
    pub first_frame: Option<FrameNo>,
}

words! {
    /// How bad.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Costs time.
        Warning = "warning",
        /// Breaks or hangs a transfer.
        Error = "error",
    }
}

/// A fault of the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Which input; none: all.
    pub input: Option<u16>,
    /// What kind: `capture-drops`, `capture-duplicates`, `cut-file`, `no-handshake`, `offload`, `cut-packets`, `time-backwards`, …
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// How often.
    pub count: u64,
    /// One plain sentence.
    pub message: String,
}

/// One connection as one capture saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowReport {
    /// Which connection; the same number at both taps.
    pub flow: FlowId,
    /// Which capture.
    pub input: u16,
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
    pub ended: String,
    /// Round trip of the handshake, tap to both ends together.
    pub irtt: Option<Ns>,
    /// Segments by class, both ways.
    #[schemars(with = "BTreeMap<String, u64>")]
    pub segments: Counts,
    /// Retransmissions by cause, both ways.
    #[schemars(with = "BTreeMap<String, u64>")]
    pub retransmissions: Counts,
    /// Retransmissions proven not to be needed.
    pub spurious: u64,
    /// Each direction's numbers.
    pub dirs: PerDir<HalfStats>,
}

/// Where the time of one slow read went. The parts add up to `end - start` exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Budget {
    /// The peer had not written the bytes.
    pub peer_app: Ns,
    /// Written, held by the sender's TCP.
    pub send_queue: Ns,
    /// Held by the receive window.
    pub window: Ns,
    /// On the path.
    pub transit: Ns,
    /// Lost, until the repair arrived.
    pub loss_recovery: Ns,
    /// The original came late.
    pub reordering: Ns,
    /// In the receive buffer, not yet read.
    pub local_delivery: Ns,
    /// Not known.
    pub unknown: Ns,
}

impl Budget {
    /// The parts with their JSON names, in the order in which a byte passes through them.
    pub fn parts(&self) -> [(&'static str, Ns); 8] {
        [
            ("peer-app", self.peer_app),
            ("send-queue", self.send_queue),
            ("window", self.window),
            ("transit", self.transit),
            ("loss-recovery", self.loss_recovery),
            ("reordering", self.reordering),
            ("local-delivery", self.local_delivery),
            ("unknown", self.unknown),
        ]
    }

    /// The sum of the parts.
    pub fn total(&self) -> Ns {
        self.parts().iter().map(|p| p.1).sum()
    }

    /// The largest part; the earlier one on a tie.
    pub fn largest(&self) -> (&'static str, Ns) {
        self.parts().into_iter().fold(("unknown", Ns(-1)), |best, p| if p.1 > best.1 { p } else { best })
    }
}

/// One boundary-to-boundary step of a budget: which part, and the two events that bound it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetStep {
    /// Name of the part (`transit`, …).
    pub part: String,
    /// When.
    pub span: Span,
    /// The event that began it, in words, with its frame where it is one.
    pub from: String,
    /// The event that ended it.
    pub to: String,
}

/// A slow read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReadReport {
    /// Which connection.
    pub flow: FlowId,
    /// The direction the bytes came in.
    pub dir: Dir,
    /// Who read.
    pub side: Side,
    /// When it began to wait.
    pub start: Ts,
    /// When it returned.
    pub end: Ts,
    /// Stream offset of its first byte, from 0.
    pub offset: u64,
    /// Bytes it returned.
    pub len: u32,
    /// What the reader was doing.
    pub phase: Phase,
    /// For which file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where its time went.
    pub budget: Budget,
    /// The same, step by step.
    pub steps: Vec<BudgetStep>,
    /// Why, in one word.
    pub cause: StallCause,
    /// Whose move it was.
    pub owner: Owner,
    /// Index of the hole it waited for in the report's `holes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<u32>,
    /// Index of its incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<u32>,
    /// Frames in the order of the story.
    pub evidence: Vec<Evidence>,
}

/// A frame of one of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Index into the report's inputs.
    pub input: u16,
    /// Frame number in that capture.
    pub frame: FrameNo,
}

/// Things that happened together for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Which connection.
    pub flow: FlowId,
    /// The direction that suffered.
    pub dir: Dir,
    /// From the first sign to the end of its effect.
    pub span: Span,
    /// Whose move it was.
    pub owner: Owner,
    /// Why.
    pub cause: StallCause,
    /// Which bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<StreamRange>,
    /// Indices into the report's `reads`.
    pub reads: Vec<u32>,
    /// Indices into `stalls`.
    pub stalls: Vec<u32>,
    /// Indices into `holes`.
    pub holes: Vec<u32>,
    /// Indices into `losses`.
    pub losses: Vec<u32>,
    /// Time that reads waited because of it.
    pub waited: Ns,
    /// One plain sentence with numbers.
    pub sentence: String,
    /// Frames that show it.
    pub evidence: Vec<Evidence>,
}

/// A conclusion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Name of the rule (`loss-rto`, …); `syncscope explain CODE` tells more.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// 0 to 1.
    pub confidence: f64,
    /// Whose fault.
    pub owner: Owner,
    /// Which connection; none: all.
    pub flow: Option<FlowId>,
    /// Which way.
    pub dir: Option<Dir>,
    /// First to last occurrence.
    pub span: Span,
    /// Which bytes, where it is about some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<StreamRange>,
    /// How often.
    pub count: u64,
    /// Time it cost.
    pub cost: Ns,
    /// Frames that show it.
    pub evidence: Vec<Evidence>,
    /// Indices into the report's `incidents`.
    pub incidents: Vec<u32>,
    /// One plain sentence with numbers.
    pub message: String,
    /// What to do next.
    pub next: String,
}

words! {
    /// The answer in one word.
    VerdictKind {
        /// Nothing to mend.
        Healthy = "healthy",
        /// It works, but slower than it could.
        Degraded = "degraded",
        /// It broke or hangs.
        Failed = "failed",
        /// The evidence does not allow a verdict.
        Inconclusive = "inconclusive",
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// In one word.
    pub kind: VerdictKind,
    /// Whose fault, mostly.
    pub owner: Option<Owner>,
    /// In one sentence.
    pub sentence: String,
}

words! {
    /// What a series counts.
    SeriesKind {
        /// New payload bytes per bucket.
        Bytes = "bytes",
        /// Highest RTT in the bucket, ns.
        Rtt = "rtt",
        /// Longest application read that ended in the bucket, ns.
        Read = "read",
        /// Segments sent again in the bucket.
        Resent = "resent",
        /// Bytes in flight, highest in the bucket.
        InFlight = "in-flight",
    }
}

/// Values over time, in equal buckets. `-1` means: nothing in this bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// What it counts.
    pub kind: SeriesKind,
    /// Which connection.
    pub flow: FlowId,
    /// Which way (for reads: the way the bytes came).
    pub dir: Dir,
    /// Which capture or log.
    pub input: u16,
    /// Start of the first bucket.
    pub start: Ts,
    /// Width of a bucket.
    pub step: Ns,
    /// One value a bucket.
    pub values: Vec<i64>,
}

/// A test run: what was asked, what was injected, what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunInfo {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of the emulated link.
    pub seed: Option<u64>,
    /// Finding codes that the scenario injects.
    pub injected: Vec<String>,
    /// Of these, found.
    pub found: Vec<String>,
    /// Of these, not found.
    pub missed: Vec<String>,
    /// Found, but not injected.
    pub unexpected: Vec<String>,
    /// The sync's own numbers.
    pub sync: Option<SyncStats>,
    /// How it ended; none while it goes on, and in older records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<RunEnded>,
    /// Where the record lies.
    pub record: Option<String>,
}

words! {
    /// How a run ended.
    RunHow {
        /// By itself.
        Done = "done",
        /// The user stopped it.
        Interrupted = "interrupted",
        /// No sign of life from the peer.
        TimedOut = "timed-out",
        /// The connection broke.
        Broken = "broken",
        /// One of the two sides could not go on: a file, a protocol error.
        Failed = "failed",
    }
}

/// The end of a run. What did not finish is never healthy, whatever its packets look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnded {
    /// In one word.
    pub how: RunHow,
    /// Why, in the words of the run; for a run that is done, the first file that failed.
    #[serde(default)]
    pub message: String,
}

impl RunInfo {
    /// True where it is known that not everything was synchronised.
    pub fn unfinished(&self) -> bool {
        let failed = self.sync.is_some_and(|s| s.failed > 0);
        failed || self.ended.as_ref().is_some_and(|e| e.how != RunHow::Done)
    }

    /// True where the user stopped it.
    pub fn interrupted(&self) -> bool {
        self.ended.as_ref().is_some_and(|e| e.how == RunHow::Interrupted)
    }
}

/// What the sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyncStats {
    /// Files looked at.
    pub files: u64,
    /// Files changed.
    pub changed: u64,
    /// Entries made where nothing of their kind lay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub created: u64,
    /// Entries removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Files that could not be synchronised.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Bytes of the source tree.
    pub bytes: u64,
    /// Bytes taken from the basis.
    pub matched: u64,
    /// Bytes sent as literals.
    pub literal: u64,
    /// Bytes on the wire, client to server.
    pub wire_c2s: u64,
    /// Bytes on the wire, server to client.
    pub wire_s2c: u64,
    /// From connect to done.
    pub duration: Ns,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_parts_add_up_and_the_largest_leads() {
        let b = Budget { transit: Ns(3), loss_recovery: Ns(5), local_delivery: Ns(5), ..Budget::default() };
        assert_eq!(b.total(), Ns(13));
        assert_eq!(b.largest(), ("loss-recovery", Ns(5)));
    }
}
