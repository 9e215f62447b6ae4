//! Evidence in, report out: align, join, group, judge.

use super::findings::{self, Weighed};
use super::sentence::{self, Facts};
use super::{flows, pace, verdict};
use crate::correlate::incident::{Group, Lists, groups};
use crate::correlate::join::{Joined, Joiner};
use crate::correlate::peer::Peer;
use crate::correlate::repair::is_loss;
use crate::correlate::{self, BuildInputs, World, compare, reconcile};
use crate::model::tcp::{Hole, Owner, SegmentClass, SegmentRecord, Stall, StallCause};
use crate::model::{Dir, Ns, Side, Span, Ts};
use crate::report::{Evidence, Incident, Meta, Quality, Report, SCHEMA, Severity};
use crate::tcp::{CaptureFault, RTO_MIN};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Frames that an incident shows.
const EVIDENCE: usize = 32;

/// Makes the report. Pure: the same inputs give the same report.
pub fn build(mut b: BuildInputs) -> Report {
    let mut w = correlate::align(&mut b);
    correlate::agree::settle(&mut w);
    let mut quality = std::mem::take(&mut w.quality);
    quality.extend(connection_faults(&w));
    refine(&mut w);
    let segments = w
        .flows
        .iter()
        .flat_map(|f| &f.taps)
        .flat_map(|t| &t.conn.segments)
        .filter(|s| b.all_segments || s.class != SegmentClass::New)
        .copied()
        .collect();
    let mut stalls: Vec<Stall> =
        w.flows.iter().flat_map(|f| &f.taps).flat_map(|t| &t.conn.stalls).cloned().collect();
    stalls.sort_by_key(|s| (s.start, s.flow, s.input));
    let mut holes: Vec<Hole> =
        w.flows.iter().flat_map(|f| &f.taps).flat_map(|t| &t.conn.holes).copied().collect();
    holes.sort_by_key(|h| (h.birth, h.flow, h.input));
    let ways = compare::ways(&w);
    let losses = reconcile::losses(&w, &ways);
    let mut joined = reads(&w, b.slow_read);
    tie_holes(&mut joined, &mut holes);

    let lists = Lists { losses: &losses, holes: &holes, stalls: &stalls, reads: &joined, slow: b.slow_read };
    let mut groups = groups(&w, &lists);
    one_request(&mut groups);
    until_reset(&mut groups, &stalls);
    if b.run.as_ref().is_some_and(crate::report::RunInfo::interrupted) {
        groups.retain(|g| !cut_short(g));
    }
    for (i, g) in groups.iter().enumerate() {
        for &n in &g.reads {
            if let Some(j) = joined.get_mut(n as usize) {
                j.read.incident = j.read.incident.or(u32::try_from(i).ok());
                // one recovery, one name, though each lost byte had its own repair
                if let Some(c) = g.cause.filter(|&c| is_loss(c) && is_loss(j.read.cause)) {
                    j.read.cause = c;
                }
            }
        }
        for &n in &g.stalls {
            if let (Some(s), Some(busy)) = (stalls.get_mut(n as usize), &g.busy)
                && s.detail.busy_with.is_none()
            {
                s.detail.busy_with = Some(busy.clone());
            }
        }
    }
    let mut report = Report {
        meta: Meta {
            schema: SCHEMA.to_owned(),
            tool: concat!("syncscope ", env!("CARGO_PKG_VERSION")).to_owned(),
            title: b.title,
            slow_read: b.slow_read,
            live: b.live,
        },
        inputs: w.inputs.clone(),
        span: w.span,
        quality,
        flows: flows::reports(&w),
        segments,
        losses,
        holes,
        stalls,
        reads: joined.iter().map(|j| j.read.clone()).collect(),
        incidents: Vec::new(),
        findings: Vec::new(),
        verdict: verdict::nothing(),
        series: correlate::series::series(&w),
        run: b.run,
        comparison: compare::comparison(&w, &ways),
    };
    report.incidents = incidents(&report, &groups, &joined);
    report.findings = conclude(&w, &report, &groups);
    report.verdict = verdict::judge(&report, read_count(&w));
    report
}

/// What was missing for less than a time-out when the connection was reset is the reset's, not a loss.
fn until_reset(groups: &mut Vec<Group>, stalls: &[Stall]) {
    let resets: Vec<_> = stalls
        .iter()
        .filter(|s| s.cause == StallCause::Reset)
        .map(|s| (s.flow, s.end.unwrap_or(s.start)))
        .collect();
    let cut_off = |g: &Group| {
        let soon = |(flow, at): &(_, Ts)| *flow == g.flow && at.since(g.span.start) < RTO_MIN;
        (g.open || g.resent == 0) && g.cause.is_some_and(is_loss) && resets.iter().any(soon)
    };
    groups.retain(|g| !cut_off(g));
}

/// Each SYN that was sent again is part of the one wait for its answer.
fn one_request(groups: &mut Vec<Group>) {
    let request = |g: &Group| g.cause == Some(StallCause::HandshakeLoss);
    let waits: BTreeSet<_> =
        groups.iter().filter(|g| request(g) && !g.stalls.is_empty()).map(|g| g.flow).collect();
    groups.retain(|g| !request(g) || !g.stalls.is_empty() || !waits.contains(&g.flow));
}

/// What the user's own interruption looks like on the wire: the connection is torn down, and what
/// was under way stays open. An open wait that is long began before the user lost patience.
fn cut_short(g: &Group) -> bool {
    g.cause == Some(StallCause::Reset) || (g.open && g.span.len() < Ns::from_secs(1))
}

fn reads(w: &World, slow: Ns) -> Vec<Joined> {
    let mut out: Vec<Joined> = Vec::new();
    for f in &w.flows {
        for dir in Dir::BOTH {
            if f.log(correlate::reader(dir)).is_some() {
                out.extend(Joiner::new(f, dir).slow_reads(slow));
            }
        }
    }
    out.sort_by_key(|j| (j.read.start, j.read.flow, j.read.dir));
    out
}

fn read_count(w: &World) -> u64 {
    let logs = w.flows.iter().flat_map(|f| [&f.client_log, &f.server_log]).flatten();
    logs.map(|l| l.reads).sum()
}

/// Points each read to the hole it waited for, and tells that hole how long.
fn tie_holes(joined: &mut [Joined], holes: &mut [Hole]) {
    let index: HashMap<(u16, u64, Dir), usize> =
        holes.iter().enumerate().map(|(i, h)| ((h.input, h.birth_frame.0, h.dir), i)).collect();
    for j in joined {
        let Some(Evidence { input, frame }) = j.hole else { continue };
        let Some(&i) = index.get(&(input, frame.0, j.read.dir)) else { continue };
        let Some(h) = holes.get_mut(i) else { continue };
        let wait = j.read.end.since(j.read.start);
        h.waited = Some(h.waited.map_or(wait, |w| w.max(wait)));
        j.read.hole = u32::try_from(i).ok();
    }
}

/// Lets the sender's own log say what a quiet time was.
fn refine(w: &mut World) {
    for f in &mut w.flows {
        for t in &mut f.taps {
            for s in &mut t.conn.stalls {
                let only_syn = s.detail.range.is_some_and(|r| r.start.0 == 0 && r.end.0 <= 1);
                if s.cause == StallCause::BlackHole && s.dir == Dir::C2s && s.end.is_none() && only_syn {
                    s.cause = StallCause::HandshakeLoss;
                }
                let logs = match correlate::sender(s.dir) {
                    Side::Client => (&f.client_log, &f.server_log),
                    Side::Server => (&f.server_log, &f.client_log),
                };
                let end = t.conn.span.end;
                match (s.cause, logs) {
                    (StallCause::NoData, _) if says_goodbye(s, &t.conn.segments) => {
                        s.cause = StallCause::WaitingForPeer;
                    }
                    (StallCause::NoData | StallCause::WaitingForPeer | StallCause::Idle, (Some(v), _))
                        if !says_goodbye(s, &t.conn.segments) =>
                    {
                        by_log(s, &Peer::new(&v.log), end);
                    }
                    (StallCause::ZeroWindow | StallCause::SmallWindow, (_, Some(v))) => {
                        let span = Span::new(s.start, s.end.unwrap_or(end));
                        s.detail.busy_with = Peer::new(&v.log).during(span).busy_with;
                    }
                    _ => {}
                }
            }
        }
        for dir in Dir::BOTH {
            which_way(f, dir);
            correlate::late::settle(f, dir);
        }
    }
}

/// Nothing but a FIN ended it: the end of the stream is no data that was held back.
fn says_goodbye(s: &Stall, segments: &[SegmentRecord]) -> bool {
    let Some(end) = s.end else { return false };
    let from = segments.partition_point(|r| r.ts < end);
    let then = segments[from..].iter().take_while(|r| r.ts == end).find(|r| r.dir == s.dir);
    then.is_some_and(|r| r.fin && r.len == 0)
}

/// Two taps tell which way of a black hole is dead: does anything still arrive at the receiver's?
fn which_way(f: &mut correlate::Flow, dir: Dir) {
    let Some(last) = f.receiver_tap(dir).map(|t| t.conn.packets[dir].iter().map(|p| p.ts).max()) else {
        return;
    };
    let (side, transit) = (correlate::sender(dir), f.transit[dir].unwrap_or(Ns::ZERO));
    let Some(t) = f.taps.iter_mut().find(|t| t.side == Some(side)) else { return };
    for s in t.conn.stalls.iter_mut().filter(|s| s.dir == dir && s.cause == StallCause::BlackHole) {
        // what left before the silence may still have been on its way
        let arrives = last.is_some_and(|l| l > s.start + transit + Ns::from_millis(5));
        s.detail.path = Some(if arrives { "ack" } else { "data" }.to_owned());
        s.detail.needs = None;
        s.confidence = s.confidence.max(0.95);
    }
}

fn by_log(s: &mut Stall, peer: &Peer<'_>, end: Ts) {
    let span = Span::new(s.start, s.end.unwrap_or(end));
    let half = Ns(span.len().0 / 2);
    let d = peer.during(span);
    if d.worked > half {
        (s.cause, s.owner) = (StallCause::NoData, Owner::SenderApp);
        s.detail.busy_with = d.busy_with;
    } else if d.paced > half {
        (s.cause, s.owner) = (StallCause::Idle, Owner::SenderApp);
        s.detail.busy_with = Some("pace".to_owned());
    } else if d.reading > half {
        (s.cause, s.owner) = (StallCause::WaitingForPeer, Owner::SenderApp);
    } else {
        return;
    }
    s.confidence = s.confidence.max(0.9);
}

fn incidents(r: &Report, groups: &[Group], joined: &[Joined]) -> Vec<Incident> {
    let facts =
        Facts { zero: r.span.start, losses: &r.losses, holes: &r.holes, stalls: &r.stalls, reads: joined };
    groups
        .iter()
        .map(|g| {
            let waits = g.reads.iter().filter_map(|&n| r.reads.get(n as usize));
            let waits = waits.filter_map(|x| Span::new(x.start, x.end).intersect(g.span));
            Incident {
                flow: g.flow,
                dir: g.dir.unwrap_or(Dir::C2s),
                span: g.span,
                owner: g.owner.unwrap_or(Owner::Unknown),
                cause: g.cause.unwrap_or(StallCause::Unknown),
                bytes: g.bytes,
                reads: g.reads.clone(),
                stalls: g.stalls.clone(),
                holes: g.holes.clone(),
                losses: g.losses.clone(),
                waited: findings::union(waits),
                sentence: sentence::sentence(g, &facts),
                evidence: evidence(&g.evidence),
            }
        })
        .collect()
}

fn evidence(all: &[Evidence]) -> Vec<Evidence> {
    let mut seen = BTreeSet::new();
    let mut out: Vec<Evidence> = all.iter().copied().filter(|e| seen.insert(*e)).take(EVIDENCE).collect();
    out.sort();
    out
}

fn conclude(w: &World, r: &Report, groups: &[Group]) -> Vec<crate::report::Finding> {
    let weighed: Vec<Weighed<'_>> = groups
        .iter()
        .zip(&r.incidents)
        .map(|(group, incident)| {
            let logged = logged(w, group);
            let spans = findings::costly(group, r, logged);
            let cost = findings::union(spans.iter().copied());
            Weighed {
                incident,
                cost,
                spans,
                severity: findings::severity(group, cost, r, hung(w, r, group), logged),
                confidence: confidence(w, r, group),
            }
        })
        .collect();
    let mut all = findings::findings(&weighed, &r.quality);
    for f in all.iter_mut().filter(|f| f.code == StallCause::LossRto.as_str()) {
        let groups = || f.incidents.iter().filter_map(|&i| groups.get(i as usize));
        let taps = |g: &Group| w.flows.get(g.flow.0 as usize).map_or(0, |x| x.taps.len());
        if groups().all(|g| taps(g) >= 2) {
            let ways = if groups().any(|g| g.both) {
                "the captures show losses in both directions"
            } else {
                "the captures show losses in this direction only"
            };
            let asked = f.next.split("; ").next().unwrap_or_default();
            f.next = format!("{asked}; {ways}.");
        }
    }
    all.extend(pace::findings(r));
    all
}

/// The reader of the direction that suffered kept a log.
fn logged(w: &World, g: &Group) -> bool {
    let flow = w.flows.get(g.flow.0 as usize);
    flow.zip(g.dir).is_some_and(|(f, d)| f.log(correlate::reader(d)).is_some())
}

/// True when the evidence ends inside it and the connection never got further.
fn hung(w: &World, r: &Report, g: &Group) -> bool {
    let open = g.stalls.iter().filter_map(|&n| r.stalls.get(n as usize)).any(|s| {
        let quiet = matches!(s.cause, StallCause::Idle | StallCause::WaitingForPeer);
        s.end.is_none() && (!quiet || g.cause == Some(s.cause))
    });
    let alive = w.flows.get(g.flow.0 as usize).is_none_or(|f| f.taps.iter().all(|t| t.conn.ended == "open"));
    open && alive && g.span.len() >= Ns::from_secs(1)
}

/// How sure: what TCP's analysis said, more where two taps or an application's log agree.
fn confidence(w: &World, r: &Report, g: &Group) -> f64 {
    let told = g.stalls.iter().filter_map(|&n| r.stalls.get(n as usize));
    let told = told.filter(|s| Some(s.cause) == g.cause).map(|s| s.confidence).fold(0.0, f64::max);
    let taps = w.flows.get(g.flow.0 as usize).map_or(0, |f| f.taps.len());
    let base: f64 = match (taps, g.reads.is_empty()) {
        (2.., false) => 0.95,
        (2.., true) => 0.9,
        (_, false) => 0.85,
        (_, true) => 0.8,
    };
    match g.cause {
        None | Some(StallCause::Unknown) => told.min(0.5),
        _ if told > 0.0 && taps < 2 && g.reads.is_empty() => told,
        _ => base.max(told),
    }
}

/// The faults that single connections show, summed by capture and kind.
fn connection_faults(w: &World) -> Vec<Quality> {
    let mut sums: BTreeMap<(u16, &'static str), (CaptureFault, u64)> = BTreeMap::new();
    for t in w.flows.iter().flat_map(|f| &f.taps) {
        for q in &t.conn.quality {
            let none = CaptureFault { count: 0, bytes: 0, ..*q };
            let (sum, connections) = sums.entry((t.input, q.code)).or_insert((none, 0));
            sum.count += q.count;
            sum.bytes = sum.bytes.saturating_add(q.bytes);
            *connections += 1;
        }
    }
    let quality = |((input, code), (sum, connections)): ((u16, &str), (CaptureFault, u64))| Quality {
        input: Some(input),
        code: code.to_owned(),
        severity: if code == "capture-drops" { Severity::Warning } else { Severity::Info },
        count: sum.count,
        message: if connections > 1 {
            format!("{} (on {connections} connections)", sum.sentence())
        } else {
            sum.sentence()
        },
    };
    sums.into_iter().map(quality).collect()
}
