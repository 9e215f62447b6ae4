//! The answer in one sentence: why is it slow or hung, and whose fault is it?

use crate::model::Ns;
use crate::model::tcp::Owner;
use crate::model::units::bytes;
use crate::report::{Finding, InputKind, Report, Severity, Verdict, VerdictKind};

/// Below this, a finding alone does not carry a verdict.
const SURE: f64 = 0.4;
/// A capture that missed more than this share of its frames says nothing about losses.
const DROPPED: f64 = 0.05;

/// Before anything was judged.
pub(super) fn nothing() -> Verdict {
    inconclusive("There is no TCP connection in this evidence.".to_owned())
}

fn inconclusive(sentence: String) -> Verdict {
    Verdict { kind: VerdictKind::Inconclusive, owner: None, sentence }
}

/// Judges the findings.
pub(super) fn judge(r: &Report, reads: u64) -> Verdict {
    if r.flows.is_empty() && reads == 0 {
        return nothing();
    }
    let sure = |f: &&Finding| f.confidence >= SURE && f.severity > Severity::Info;
    if let Some((name, missed, of)) = leaky(r) {
        let mut sentence = format!(
            "The capture {} missed {missed} of about {of} packets; what it did not see cannot be judged.",
            crate::model::units::printable(name)
        );
        if let Some(worst) = r.findings.iter().find(sure) {
            sentence.push_str(&format!(" Likeliest: {}", worst.message));
        }
        return inconclusive(sentence);
    }
    if let Some(worst) = r.findings.iter().find(sure) {
        return guilty(r, worst);
    }
    if let Some(f) = r.findings.iter().find(|f| f.severity > Severity::Info) {
        return inconclusive(format!("The evidence does not decide. Likeliest: {}", f.message));
    }
    let carried = carried(r);
    if carried == 0 && reads == 0 {
        return inconclusive("No data was transferred, so there is nothing to judge.".to_owned());
    }
    let notes = r.findings.len();
    let mut sentence = match reads {
        0 => format!("Nothing held this transfer up: {} in {}", bytes(carried), r.span.len()),
        n => format!(
            "Nothing held this transfer up: {} in {}, {n} reads, {}",
            bytes(carried),
            r.span.len(),
            if r.reads.is_empty() {
                format!("none slower than {}", r.meta.slow_read)
            } else {
                format!("{} slower than {} for an ordinary reason", r.reads.len(), r.meta.slow_read)
            }
        ),
    };
    if let Some(f) = r.findings.first() {
        sentence.push_str(&format!(
            ", although {notes} thing{} worth knowing: {}",
            if notes == 1 { " is" } else { "s are" },
            lower(&f.message)
        ));
    } else {
        sentence.push('.');
    }
    Verdict { kind: VerdictKind::Healthy, owner: None, sentence }
}

/// A capture that missed too much: its name, how many packets, of how many. Drops that the capture
/// program owned up to, or bytes that were acknowledged and never seen.
fn leaky(r: &Report) -> Option<(&str, u64, u64)> {
    r.inputs.iter().enumerate().filter(|(_, i)| i.kind == InputKind::Capture).find_map(|(n, i)| {
        let seen =
            |q: &&crate::report::Quality| q.code == "capture-drops" && q.input.map(usize::from) == Some(n);
        let missed =
            r.quality.iter().filter(seen).map(|q| q.count).max().unwrap_or(0).max(i.dropped.unwrap_or(0));
        let of = i.frames + missed;
        (missed as f64 > DROPPED * of as f64).then_some((i.name.as_str(), missed, of))
    })
}

fn guilty(r: &Report, f: &Finding) -> Verdict {
    let (kind, word) = match f.severity {
        Severity::Error => (VerdictKind::Failed, if broke(f) { "Broken" } else { "Hung" }),
        _ => (VerdictKind::Degraded, "Slow"),
    };
    let owner = owner_words(f);
    let share = if f.flow.is_some() && f.cost > Ns::ZERO && r.span.len() > Ns::ZERO {
        let percent = (f.cost.0 as f64 / r.span.len().0 as f64 * 100.0).min(100.0);
        format!(" ({} of {}, {percent:.0} %)", f.cost, r.span.len())
    } else {
        String::new()
    };
    let more = r.findings.iter().filter(|o| o.severity > Severity::Info).count().saturating_sub(1);
    let more = match more {
        0 => String::new(),
        1 => " One more finding follows.".to_owned(),
        n => format!(" {n} more findings follow."),
    };
    Verdict {
        kind,
        owner: Some(f.owner),
        sentence: format!("{word} because of {owner}{share}: {}{more}", lower(&f.message)),
    }
}

fn broke(f: &Finding) -> bool {
    f.code == "reset"
}

fn owner_words(f: &Finding) -> String {
    use crate::correlate::sender;
    let from = f.dir.map(|d| format!(" ({})", sender(d).as_str())).unwrap_or_default();
    let to = f.dir.map(|d| format!(" ({})", sender(d).flip().as_str())).unwrap_or_default();
    match f.owner {
        Owner::SenderApp => format!("the sending application{from}"),
        Owner::SenderTcp => format!("the sender's TCP{from}"),
        Owner::Network => "the network".to_owned(),
        Owner::ReceiverApp => format!("the receiving application{to}"),
        Owner::ReceiverHost => format!("the receiving host{to}"),
        Owner::Both => "both applications".to_owned(),
        Owner::Capture => "the capture".to_owned(),
        Owner::Unknown => "something that this evidence does not show".to_owned(),
    }
}

fn lower(s: &str) -> String {
    let mut c = s.chars();
    match c.next() {
        Some(first) => first.to_lowercase().chain(c).collect(),
        None => String::new(),
    }
}

/// Payload bytes of all connections, each counted at one tap.
fn carried(r: &Report) -> u64 {
    let mut best = std::collections::BTreeMap::new();
    for f in &r.flows {
        let b = f.dirs.c2s.bytes.saturating_add(f.dirs.s2c.bytes);
        let e = best.entry(f.flow).or_insert(0);
        *e = b.max(*e);
    }
    best.values().sum()
}
