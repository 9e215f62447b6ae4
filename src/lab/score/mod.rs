//! What a report says of a connection, held against those who know: the link's log of packet fates,
//! the kernel's counters and trace events, the applications' logs, and what the scenario planned.
//!
//! ```text
//!   truth.ndjson ──► wire ──► segments   classes, causes, needless resends
//!   kernel.json ───────┘ ├──► losses     bytes
//!   scenario.toml ───────┼──► stalls     owner, cause, begin, end
//!   *.events.json ───────┴──► reads      largest part of the budget
//!                                └─────► Score, which adds up over runs
//! ```

pub mod losses;
pub mod reads;
pub mod segments;
pub mod stalls;
pub mod tally;
pub mod text;
pub mod wire;

#[cfg(test)]
mod tests;

use super::fate::Fate;
use super::kernel::Kernel;
use super::scenario::Truth as Planned;
use crate::correlate::sender;
use crate::model::tcp::{Cause, SegmentClass, SegmentRecord, StallCause};
use crate::model::{AppLog, Dir, FlowId, FrameNo, Ns, PerDir, Side, Span, Ts};
use crate::report::{Finding, InputKind, Report};
use segments::WhySent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tally::{Confusion, Found};
use wire::{Missed, Wire};

/// Longest list of wrong answers that is kept.
const NOTES: usize = 200;

/// Everything that knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth<'a> {
    /// The link's log.
    pub fates: &'a [Fate],
    /// Both kernels.
    pub kernel: Option<&'a Kernel>,
    /// The client's application.
    pub client: Option<&'a AppLog>,
    /// The server's.
    pub server: Option<&'a AppLog>,
    /// What the scenario plans; none: nothing is known about stalls.
    pub expected: Option<&'a [Planned]>,
    /// Finding codes that the report of both captures must have; none: nothing is known about findings.
    pub findings: Option<&'a [String]>,
    /// A host dropped packets behind its capture: which ones, the link does not know.
    pub host_drops: bool,
    /// Chance makes the stalls: what they are follows from the fates.
    pub by_fates: bool,
    /// What the captures behind the report lack.
    pub missed: &'a [Missed],
    /// They have every frame twice.
    pub twice: bool,
    /// When each capture ended, by the files themselves.
    pub ends: Ends,
    /// When packets came by at their senders, by way and number: a busy link takes them later.
    pub sent: &'a [(Dir, u64, Ts)],
}

/// The last frame of each end's capture; none: the report's word is taken for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub client: Option<Ts>,
    /// The server's.
    pub server: Option<Ts>,
}

impl Ends {
    /// One side's.
    pub fn of(self, side: Side) -> Option<Ts> {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    /// The later one.
    pub fn last(self) -> Option<Ts> {
        self.client.max(self.server)
    }
}

/// How right a report is. Adds up over reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// Reports.
    pub reports: u64,
    /// Segments at both taps, by class.
    pub classes: Confusion,
    /// Retransmissions at the sender's tap, by cause, against the kernel's state.
    pub causes: Confusion,
    /// The same at the receiver's tap, where a cause can only be inferred.
    pub causes_behind: Confusion,
    /// Resends whose number (first, second, …) is wrong.
    pub resend_wrong: u64,
    /// Resends that were not needed: truth is those that something proves.
    pub spurious: Found,
    /// Lost bytes.
    pub losses: Found,
    /// Bytes that only the capture lost.
    pub gaps: Found,
    /// Losses said to have happened elsewhere.
    pub misplaced: u64,
    /// Stalls by owner and cause.
    pub stalls: Confusion,
    /// The same by owner alone.
    pub owners: Confusion,
    /// The same in milliseconds.
    pub stall_ms: Confusion,
    /// Stalls that begin and end where the link says.
    pub bounds: Found,
    /// Slow reads by the largest part of their budget.
    pub reads: Confusion,
    /// Nanoseconds that slow reads waited, and how many of them are `unknown`.
    pub read_ns: (u64, u64),
    /// Budgets that do not add up.
    pub budgets_off: u64,
    /// The kernel's counters beside the report's.
    pub counters: Vec<Counter>,
    /// Findings of reports on both captures, by their codes.
    pub findings: Found,
    /// Findings where there was nothing to find.
    pub false_findings: u64,
    /// Wrong answers in words, the first ones.
    pub notes: Vec<String>,
}

/// One number that the kernel counted, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name and whose it is.
    pub name: String,
    /// The kernel's.
    pub kernel: i64,
    /// The report's.
    pub said: i64,
}

impl Score {
    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        }
    }

    /// Answers that were wrong, of any kind.
    pub fn wrong(&self) -> u64 {
        let tables = [&self.classes, &self.causes, &self.stalls, &self.reads];
        let off = |f: &Found| f.truth + f.said - 2 * f.right.min(f.truth);
        tables.iter().map(|t| t.wrong()).sum::<u64>()
            + self.resend_wrong
            + self.misplaced
            + self.budgets_off
            + self.false_findings
            + off(&self.spurious)
            + off(&self.losses)
            + off(&self.bounds)
            + off(&self.findings)
            + self.counters.iter().filter(|c| c.kernel != c.said).count() as u64
    }

    /// Adds another's counts.
    pub fn merge(&mut self, o: &Score) {
        self.reports += o.reports;
        for (mine, theirs) in [
            (&mut self.classes, &o.classes),
            (&mut self.causes, &o.causes),
            (&mut self.causes_behind, &o.causes_behind),
            (&mut self.stalls, &o.stalls),
            (&mut self.owners, &o.owners),
            (&mut self.stall_ms, &o.stall_ms),
            (&mut self.reads, &o.reads),
        ] {
            mine.merge(theirs);
        }
        self.resend_wrong += o.resend_wrong;
        self.spurious.merge(o.spurious);
        self.losses.merge(o.losses);
        self.gaps.merge(o.gaps);
        self.misplaced += o.misplaced;
        self.bounds.merge(o.bounds);
        self.read_ns = (self.read_ns.0 + o.read_ns.0, self.read_ns.1 + o.read_ns.1);
        self.budgets_off += o.budgets_off;
        self.counters.extend(o.counters.iter().cloned());
        self.findings.merge(o.findings);
        self.false_findings += o.false_findings;
        self.notes.extend(o.notes.iter().cloned());
        self.notes.truncate(NOTES);
    }
}

/// Why there is nothing to score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The truth has no TCP in it.
    #[error("the link's log has no TCP connection in it")]
    NoConnection,
    /// The report is about other connections.
    #[error(
        "the report has no connection between the ports {client} and {server}, which the link's log is about"
    )]
    NotInReport {
        /// The client's.
        client: u16,
        /// The server's.
        server: u16,
    },
}

/// Scores one report, which must list every segment (`--all-segments`), against the truth.
pub fn score(truth: Truth<'_>, report: &Report) -> Result<Score, ScoreError> {
    let (wire, flow) = connection(truth, report)?;
    let inputs = report.flows.iter().filter(|f| f.flow == flow).map(|f| f.input);
    let inputs: Vec<(u16, Side)> = inputs.map(|i| (i, side_of(&wire, report, i, flow))).collect();
    let why = PerDir {
        c2s: segments::why_sent(&wire, Dir::C2s, truth.kernel),
        s2c: segments::why_sent(&wire, Dir::S2c, truth.kernel),
    };
    let alone = inputs.len() == 1;
    let mut shifts = PerDir { c2s: 0, s2c: 0 };
    let complete = report.segments.iter().any(|r| r.class == SegmentClass::New);
    let mut s = Score { reports: 1, ..Score::default() };
    for &(input, side) in &inputs {
        let at = format!("{} tap", side.as_str());
        for dir in Dir::BOTH {
            let records = records(report, input, flow, dir);
            let end = truth.ends.of(side).unwrap_or_else(|| last(report, input, flow));
            let m = segments::matched(&wire, dir, side, alone, &records).until(end);
            let sender_tap = side == sender(dir);
            shifts[dir] = m.shift;
            segments::score(&mut s, &at, &wire, dir, &m, &why[dir], sender_tap, complete);
            if alone && !truth.host_drops {
                let losses: Vec<_> =
                    report.losses.iter().filter(|l| l.flow == flow && l.dir == dir).collect();
                let from = if sender_tap { losses::From::Sender } else { losses::From::Receiver };
                let said = losses::Said { losses: &losses, records: &records, shift: m.shift };
                losses::score(&mut s, &at, &wire, dir, from, &said);
            }
            if let Some(kernel) = truth.kernel.filter(|_| sender_tap && truth.missed.is_empty()) {
                let heard = self::records(report, input, flow, dir.flip());
                let beyond: Vec<_> = m.beyond.iter().filter_map(|&i| why[dir][i]).collect();
                counters(&mut s, kernel, side, dir, &records, &heard, &beyond);
            }
            let stalls: Vec<_> =
                report.stalls.iter().filter(|t| t.input == input && t.flow == flow && t.dir == dir).collect();
            if truth.expected.is_some() || truth.by_fates {
                let seen = stalls::Seen {
                    at: &at,
                    wire: &wire,
                    dir,
                    side,
                    alone,
                    skew: m.skew,
                    why: &why[dir],
                    writer: reads::writer(dir, truth.client, truth.server),
                    end: if alone { truth.ends.of(side) } else { truth.ends.last() }
                        .unwrap_or(report.span.end),
                };
                stalls::score(&mut s, &seen, &stalls, truth.expected.unwrap_or_default(), truth.by_fates);
            }
        }
    }
    if !alone && !truth.host_drops {
        for dir in Dir::BOTH {
            let losses: Vec<_> = report.losses.iter().filter(|l| l.flow == flow && l.dir == dir).collect();
            let said = losses::Said { losses: &losses, records: &[], shift: shifts[dir] };
            losses::score(&mut s, "both taps", &wire, dir, losses::From::Both, &said);
        }
    }
    for dir in Dir::BOTH {
        if let Some(writer) = reads::writer(dir, truth.client, truth.server) {
            let reads: Vec<_> = report.reads.iter().filter(|r| r.flow == flow && r.dir == dir).collect();
            let reader = reads::writer(dir.flip(), truth.client, truth.server);
            reads::score(&mut s, &wire, dir, writer, reader, &reads);
        }
    }
    if let Some(planned) = truth.findings {
        let beside = Beside {
            torn: !truth.missed.is_empty(),
            stood_still: &wire.stood_still,
            timers: Dir::BOTH.iter().flat_map(|&d| stalls::timers(&wire, d, &why[d])).collect(),
            allowed: truth
                .expected
                .into_iter()
                .flatten()
                .flat_map(|e| &e.cause)
                .map(|c| c.as_str())
                .collect(),
        };
        findings(&mut s, report, planned, &beside, !alone);
    }
    Ok(s)
}

/// What happened beside the plan, by the link's or the kernel's word. A report may say it or not.
struct Beside<'a> {
    /// The captures lack frames.
    torn: bool,
    /// The link stood still.
    stood_still: &'a [Span],
    /// The kernel's timer sent lost bytes again.
    timers: Vec<Ts>,
    /// What is right as the name of a stall is right as that of a finding.
    allowed: BTreeSet<&'static str>,
}

impl Beside<'_> {
    /// A finding that is as right as its absence.
    fn saw(&self, f: &Finding) -> bool {
        let around = Span::new(f.span.start - stalls::ON_ITS_WAY, f.span.end + stalls::ON_ITS_WAY);
        let held = || self.stood_still.iter().any(|s| s.intersect(around).is_some());
        let timed = || self.timers.iter().any(|t| (around.start..=around.end).contains(t));
        self.allowed.contains(&*f.code)
            || f.code == StallCause::Gap.as_str() && self.torn
            || f.code == StallCause::DelaySpike.as_str() && held()
            || f.code == StallCause::LossRto.as_str() && timed()
    }
}

/// One capture alone cannot have all of them, but none where there is nothing to find.
fn findings(s: &mut Score, report: &Report, planned: &[String], beside: &Beside<'_>, both: bool) {
    let mut planned: BTreeSet<&str> = planned.iter().map(String::as_str).collect();
    let timed = StallCause::LossRto.as_str();
    let mut said = report.findings.iter();
    // The kernel's timer was there before the repair that was planned.
    if said.any(|f| f.code == timed && !planned.contains(timed) && beside.saw(f)) {
        let said: BTreeSet<&str> = report.findings.iter().map(|f| &*f.code).collect();
        let repairs = [StallCause::LossFast, StallCause::LossTail].map(StallCause::as_str);
        planned.retain(|code| said.contains(code) || !repairs.contains(code));
    }
    let counts = |f: &&Finding| planned.contains(&*f.code) || !beside.saw(f);
    let said: BTreeSet<&str> = report.findings.iter().filter(counts).map(|f| &*f.code).collect();
    if planned.is_empty() {
        s.false_findings += said.len() as u64;
        for f in report.findings.iter().filter(|f| said.contains(&*f.code)) {
            s.note(format!("nothing was planned, and there is the finding {}: {}", f.code, f.message));
        }
    } else if both {
        let right = planned.intersection(&said).count() as u64;
        s.findings.merge(Found { truth: planned.len() as u64, said: said.len() as u64, right });
        if planned != said {
            s.note(format!("the findings should be {planned:?}, they are {said:?}"));
        }
    }
}

/// The last packet of the connection in one capture.
fn last(report: &Report, input: u16, flow: FlowId) -> Ts {
    let flow = report.flows.iter().find(|f| (f.input, f.flow) == (input, flow));
    flow.map_or(report.span.end, |f| f.span.end)
}

/// Whose tap an input is: as the report says, else the end at whose times its packets fit better.
fn side_of(wire: &Wire, report: &Report, input: u16, flow: FlowId) -> Side {
    let said = report.inputs.iter().filter(|i| i.kind == InputKind::Capture).nth(usize::from(input));
    if let Some(side) = said.and_then(|i| i.side) {
        return side;
    }
    let off = |side: Side| {
        let mut sum = 0u64;
        for dir in Dir::BOTH {
            let times: Vec<Ts> = wire.sightings(dir, side, true).iter().map(|s| s.at).collect();
            for r in records(report, input, flow, dir).into_iter().take(256) {
                let i = times.partition_point(|t| *t < r.ts);
                let around = [i.checked_sub(1).and_then(|i| times.get(i)), times.get(i)];
                let near = around.into_iter().flatten().map(|t| t.since(r.ts).0.unsigned_abs()).min();
                sum = sum.saturating_add(near.unwrap_or(1_000_000_000));
            }
        }
        sum
    };
    if off(Side::Client) <= off(Side::Server) { Side::Client } else { Side::Server }
}

/// A host answers a SYN within so long.
const ANSWERED: Ns = Ns::from_millis(5);

/// What both the kernel and the report count, for one sender; `heard`: what the other side sent; `beyond`: why the
/// kernel sent again what the link saw after the end of that capture.
fn counters(
    s: &mut Score,
    kernel: &Kernel,
    side: Side,
    dir: Dir,
    records: &[&SegmentRecord],
    heard: &[&SegmentRecord],
    beyond: &[WhySent],
) {
    let counted = kernel.of(side);
    let resent = || records.iter().filter(|r| r.class == SegmentClass::Retransmission);
    let by =
        |causes: &[Cause]| resent().filter(|r| r.cause.is_some_and(|c| causes.contains(&c))).count() as i64;
    let mut put = |name: &str, said: i64, later: &[Cause]| {
        let name_of = format!("{} {name}", side.as_str());
        let later = beyond.iter().filter(|w| later.is_empty() || later.contains(&w.cause)).count();
        let kernel = counted.of(name) - later as i64;
        if kernel != said {
            s.notes.push(format!("{dir}: {name_of} is {kernel}, the report counts {said}"));
        }
        s.counters.push(Counter { name: name_of, kernel, said });
    };
    put("TcpRetransSegs", resent().count() as i64, &[]);
    // A SYN-ACK goes out again by its timer, or because its SYN came again: the kernel counts the first alone.
    let asked = |r: &SegmentRecord| {
        let mut syns = heard.iter().filter(|h| h.syn);
        syns.any(|h| (Ns::ZERO..ANSWERED).contains(&r.ts.since(h.ts)))
    };
    let answers = resent().filter(|r| r.cause == Some(Cause::Syn) && asked(r)).count() as i64;
    let timers = [Cause::Rto, Cause::Syn];
    let timeouts = by(&timers) - answers;
    // A FIN is sent again by whichever timer is first.
    let fins = (counted.of("TcpExtTCPTimeouts") - timeouts).clamp(0, by(&[Cause::Fin]));
    put("TcpExtTCPTimeouts", timeouts + fins, &timers);
    put("TcpExtTCPFastRetrans", by(&[Cause::Fast, Cause::PartialAck]), &[Cause::Fast]);
}

/// One segment of a capture: what it was, and what the report calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// In the report's first capture.
    pub frame: FrameNo,
    /// Payload bytes.
    pub len: u32,
    /// What the link knows.
    pub truth: SegmentClass,
    /// What the report says.
    pub said: SegmentClass,
}

/// The truth beside each segment of a report of one capture, so that others can be asked about it.
pub fn labelled(truth: Truth<'_>, report: &Report) -> Result<Vec<Labelled>, ScoreError> {
    let (wire, flow) = connection(truth, report)?;
    let side = side_of(&wire, report, 0, flow);
    let mut out = Vec::new();
    for dir in Dir::BOTH {
        let records = records(report, 0, flow, dir);
        let m = segments::matched(&wire, dir, side, true, &records);
        let pairs = m.sightings.iter().zip(&m.records);
        out.extend(pairs.filter_map(|(s, r)| {
            let r = (*r)?;
            Some(Labelled { frame: r.frame, len: r.len, truth: s.class, said: r.class })
        }));
    }
    out.sort_by_key(|l| l.frame);
    Ok(out)
}

fn connection(truth: Truth<'_>, report: &Report) -> Result<(Wire, FlowId), ScoreError> {
    let mut wire = Wire::busiest(truth.fates).ok_or(ScoreError::NoConnection)?;
    wire.send(truth.sent);
    wire.miss(truth.missed);
    wire.twice = truth.twice;
    let (client, server) = wire.ports;
    let flow = report.flows.iter().find(|f| (f.client.port(), f.server.port()) == wire.ports);
    let flow = flow.ok_or(ScoreError::NotInReport { client, server })?.flow;
    Ok((wire, flow))
}

fn records(report: &Report, input: u16, flow: FlowId, dir: Dir) -> Vec<&SegmentRecord> {
    report.segments.iter().filter(|r| r.input == input && r.flow == flow && r.dir == dir).collect()
}
