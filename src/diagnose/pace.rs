//! Findings about a whole transfer: it never stood still, and still something on the path held it up.

use super::rules;
use crate::correlate::sender;
use crate::model::tcp::{HalfStats, Owner, StallCause};
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

/// A queue stands: the path set the pace of most of what was not repaired, most round trips are at least twice the
/// lowest, and by a time that counts. Then the lowest and the usual round trip.
fn stands(d: &HalfStats) -> Option<(Ns, Ns)> {
    let (limits, low, usual) = (d.limits.as_deref()?, d.rtt_min?, d.rtt_p50?);
    let total = limits.total();
    let long = usual >= low.scaled(2, 1) && usual >= low + QUEUE;
    let paced =
        limits.path_rate.scaled(2, 1) >= total - limits.recovery && limits.path_rate.scaled(4, 1) >= total;
    (total >= LONG && paced && long).then_some((low, usual))
}

fn queue(f: &FlowReport, dir: Dir) -> Option<Finding> {
    let d = &f.dirs[dir];
    let (low, usual) = stands(d)?;
    let limits = d.limits.as_deref()?;
    let (path_rate, total) = (limits.path_rate, limits.total());
    let from = sender(dir).as_str();
    let rate = bits_per_second(d.bytes, total.0);
    let top = d.rtt_p99.unwrap_or(usual);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tcp::Limits;

    /// Reno fills a queue until it overflows; while it repaired that, the rate of the path was not counted, and the queue
    /// was not said.
    #[test]
    fn a_queue_that_overflowed_was_no_queue() {
        let case = |path_rate: i64, application: i64| {
            let ms = Ns::from_millis;
            let limits = Limits {
                path_rate: ms(path_rate),
                recovery: ms(2161),
                application: ms(application),
                ..Limits::default()
            };
            let d = HalfStats {
                limits: Some(Box::new(limits)),
                rtt_min: Some(ms(40)),
                rtt_p50: Some(ms(1030)),
                ..HalfStats::default()
            };
            stands(&d).is_some()
        };
        assert!(case(3118, 960));
        assert!(!case(960, 3118));
    }
}
