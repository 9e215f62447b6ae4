//! Findings about a whole transfer: it never stood still, and still something on the path held it up.

use super::rules;
use crate::correlate::sender;
use crate::model::tcp::{HalfStats, Limits, Owner, StallCause};
use crate::model::units::bits_per_second;
use crate::model::{Dir, Ns};
use crate::report::{Finding, FlowReport, Report, Severity};

/// No shorter transfer is worth a word.
const LONG: Ns = Ns::from_secs(1);
/// A queue that adds less disturbs nobody.
const QUEUE: Ns = Ns::from_millis(60);

/// One finding for each direction whose round trips a standing queue multiplied.
pub(super) fn findings(r: &Report) -> Vec<Finding> {
    let mut out: Vec<Finding> = Vec::new();
    for f in &r.flows {
        for dir in Dir::BOTH {
            let said = out.iter().any(|x| x.flow == Some(f.flow) && x.dir == Some(dir));
            if !said {
                out.extend(queue(f, dir));
            }
        }
    }
    out
}

/// Needs all three: the path set the pace, most round trips are at least twice the lowest, and by a time that
/// counts.
fn queue(f: &FlowReport, dir: Dir) -> Option<Finding> {
    let d = &f.dirs[dir];
    let HalfStats { limits: Some(limits), rtt_min: Some(low), rtt_p50: Some(usual), .. } = d else {
        return None;
    };
    let Limits { path_rate, .. } = *limits;
    let total = limits.total();
    let stands = *usual >= low.scaled(2, 1) && *usual >= *low + QUEUE;
    if total < LONG || path_rate.scaled(2, 1) < total || !stands {
        return None;
    }
    let from = sender(dir).as_str();
    let rate = bits_per_second(d.bytes, total.0);
    let top = d.rtt_p99.unwrap_or(*usual);
    Some(Finding {
        code: StallCause::Queueing.as_str().to_owned(),
        severity: Severity::Info,
        confidence: 0.8,
        owner: Owner::Network,
        flow: Some(f.flow),
        dir: Some(dir),
        span: f.span,
        bytes: None,
        count: 1,
        cost: Ns::ZERO,
        evidence: Vec::new(),
        incidents: Vec::new(),
        message: format!(
            "The rate of the path, {rate}, set the pace of the {from} for {path_rate} of {total}, and the queue before \
             it made the round trip grow from {low} to {usual} (median) and {top}."
        ),
        next: rules::rule(StallCause::Queueing).next.to_owned(),
    })
}
