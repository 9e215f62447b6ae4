//! Incidents → findings: one for each code, connection and direction, worst first.

use super::rules;
use crate::correlate::incident::Group;
use crate::model::tcp::{Owner, Stall, StallCause};
use crate::model::{Dir, FlowId, Ns, Span};
use crate::report::{Evidence, Finding, Incident, Quality, Report, Severity};
use std::collections::BTreeMap;

/// More connections than this with the same trouble become one finding.
const FLOWS_APART: usize = 12;
/// Frames that a finding shows.
const EVIDENCE: usize = 24;

/// What the findings need to know of each incident beside its public form.
pub(super) struct Weighed<'a> {
    pub incident: &'a Incident,
    pub severity: Severity,
    pub cost: Ns,
    /// What the cost is the length of.
    pub spans: Vec<Span>,
    pub confidence: f64,
}

/// All findings, worst first.
pub(super) fn findings(all: &[Weighed<'_>], quality: &[Quality]) -> Vec<Finding> {
    let flows = |code: StallCause| -> usize {
        let ids: std::collections::BTreeSet<FlowId> =
            all.iter().filter(|w| w.incident.cause == code).map(|w| w.incident.flow).collect();
        ids.len()
    };
    type Key = (StallCause, Owner, Option<FlowId>, Option<Dir>);
    let mut by: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    let mut many: BTreeMap<StallCause, bool> = BTreeMap::new();
    for (i, w) in all.iter().enumerate() {
        let cause = w.incident.cause;
        let apart = !*many.entry(cause).or_insert_with(|| flows(cause) > FLOWS_APART);
        let key = if apart {
            (cause, w.incident.owner, Some(w.incident.flow), Some(w.incident.dir))
        } else {
            (cause, w.incident.owner, None, None)
        };
        by.entry(key).or_default().push(i);
    }
    let mut out: Vec<Finding> = by
        .into_iter()
        .map(|((cause, owner, flow, dir), which)| finding(all, quality, cause, owner, flow, dir, &which))
        .collect();
    out.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then(b.cost.cmp(&a.cost)).then(a.span.start.cmp(&b.span.start))
    });
    out
}

fn finding(
    all: &[Weighed<'_>],
    quality: &[Quality],
    cause: StallCause,
    owner: Owner,
    flow: Option<FlowId>,
    dir: Option<Dir>,
    which: &[usize],
) -> Finding {
    let parts = || which.iter().filter_map(|&i| all.get(i));
    let worst = parts().max_by_key(|w| (w.severity, w.cost, std::cmp::Reverse(w.incident.span.start)));
    let span = parts()
        .map(|w| w.incident.span)
        .reduce(|a, b| Span { start: a.start.min(b.start), end: a.end.max(b.end) });
    // Connections that suffer at the same time suffer once.
    let cost = union(parts().flat_map(|w| w.spans.iter().copied()));
    let mut evidence: Vec<Evidence> =
        worst.into_iter().chain(parts()).flat_map(|w| w.incident.evidence.iter().copied()).collect();
    let mut seen = std::collections::BTreeSet::new();
    evidence.retain(|e| seen.insert(*e));
    evidence.truncate(EVIDENCE);
    let message = match (worst, which.len()) {
        (None, _) => String::new(),
        (Some(w), 1) => capital(&w.incident.sentence),
        (Some(w), n) => {
            let connections: std::collections::BTreeSet<FlowId> = parts().map(|w| w.incident.flow).collect();
            let on = if connections.len() > 1 {
                format!(" on {} connections", connections.len())
            } else {
                String::new()
            };
            format!("{} times{on}, {cost} in all; the worst: {}", n, w.incident.sentence)
        }
    };
    let shaken = quality.iter().any(|q| q.severity >= Severity::Warning && q.code.starts_with("capture"));
    let sure = parts().map(|w| w.confidence).fold(0.0, f64::max);
    Finding {
        code: cause.as_str().to_owned(),
        severity: parts().map(|w| w.severity).max().unwrap_or(Severity::Info),
        confidence: (sure * if shaken { 70.0 } else { 100.0 }).round() / 100.0,
        owner,
        flow,
        dir,
        span: span.unwrap_or_default(),
        bytes: worst.filter(|_| which.len() == 1).and_then(|w| w.incident.bytes),
        count: which.len() as u64,
        cost,
        evidence,
        incidents: which.iter().map(|&i| u32::try_from(i).unwrap_or(u32::MAX)).collect(),
        message,
        next: rules::rule(cause).next.to_owned(),
    }
}

fn capital(s: &str) -> String {
    let mut c = s.chars();
    match c.next() {
        Some(first) => first.to_uppercase().chain(c).collect(),
        None => String::new(),
    }
}

/// How bad an incident is, by what it cost and whether it ever ended.
pub(super) fn severity(g: &Group, cost: Ns, r: &Report, hung: bool, logged: bool) -> Severity {
    use StallCause::*;
    let cause = g.cause.unwrap_or(Unknown);
    let stalls = || g.stalls.iter().filter_map(|&n| r.stalls.get(n as usize));
    // Whoever hangs up with all said and done may mean it; a box in between never does.
    let by_force = |s: &Stall| {
        s.detail.outstanding.is_some_and(|n| n > 0) || s.detail.sent_by.as_deref() == Some("middlebox")
    };
    let cut_off = cause == Reset && stalls().any(by_force);
    let broke = matches!(cause, MtuBlackHole | Deadlock) || cut_off;
    if matches!(cause, Gap | Idle | WaitingForPeer) {
        return Severity::Info;
    }
    if hung || broke {
        return if r.meta.live && !broke { Severity::Warning } else { Severity::Error };
    }
    let felt = !g.reads.is_empty() || stalls().any(|s| g.owns(s));
    let threshold = r.meta.slow_read.max(Ns::from_millis(1));
    match cause {
        NagleDelayedAck | Queueing | Reset | Reordering if g.reads.is_empty() => Severity::Info,
        _ if felt && cost >= threshold => Severity::Warning,
        // where the reader's log is there, no slow read means that nobody felt it
        _ if !logged && cost >= Ns(threshold.0.saturating_mul(4)) => Severity::Warning,
        _ => Severity::Info,
    }
}

/// The times that an incident cost: of its reads where there are any, else of its stalls, else of
/// its holes and losses where nobody logged the reads. Their [`union`] is its cost.
pub(super) fn costly(g: &Group, r: &Report, logged: bool) -> Vec<Span> {
    let reads: Vec<Span> = g
        .reads
        .iter()
        .filter_map(|&n| r.reads.get(n as usize))
        .filter_map(|x| Span::new(x.start, x.end).intersect(g.span))
        .collect();
    let stalls: Vec<Span> = g
        .stalls
        .iter()
        .filter_map(|&n| r.stalls.get(n as usize))
        .filter(|s| g.owns(s))
        .map(|s| Span::new(s.start, s.end.unwrap_or(g.span.end)))
        .collect();
    let length = |spans: &[Span]| union(spans.iter().copied());
    let most = if length(&reads) >= length(&stalls) { reads } else { stalls };
    // the reader's log is there and no read was slow: nobody waited
    if length(&most).0 > 0 || logged {
        return most;
    }
    let holes = g.holes.iter().filter_map(|&n| r.holes.get(n as usize));
    let holes = holes.map(|h| Span::new(h.birth, h.death.unwrap_or(g.span.end)));
    let losses = g.losses.iter().filter_map(|&n| r.losses.get(n as usize));
    let losses = losses.filter_map(|l| Some(Span::new(l.sent?, l.repaired?)));
    holes.chain(losses).collect()
}

/// Time that any of the spans covers.
pub(super) fn union(spans: impl Iterator<Item = Span>) -> Ns {
    let mut all: Vec<Span> = spans.collect();
    all.sort_by_key(|s| s.start);
    let mut total = Ns::ZERO;
    let mut upto = None;
    for s in all {
        let from = upto.map_or(s.start, |u| s.start.max(u));
        if s.end > from {
            total += s.end.since(from);
            upto = Some(s.end);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ts;

    #[test]
    fn overlapping_waits_cost_once() {
        let s = |a, b| Span::new(Ts(a), Ts(b));
        assert_eq!(union([s(0, 10), s(5, 12), s(20, 21), s(6, 7)].into_iter()), Ns(13));
        assert_eq!(union([].into_iter()), Ns(0));
    }
}
