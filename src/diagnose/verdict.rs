//! The answer in one sentence.

use crate::report::{Report, Severity, Verdict, VerdictKind};

/// Before anything was judged.
pub(super) fn nothing() -> Verdict {
    Verdict {
        kind: VerdictKind::Inconclusive,
        owner: None,
        sentence: "There is no TCP connection in this evidence.".to_owned(),
    }
}

/// Judges the findings.
pub(super) fn judge(r: &Report) -> Verdict {
    if r.flows.is_empty() && r.reads.is_empty() {
        return nothing();
    }
    match r.findings.first() {
        None => Verdict {
            kind: VerdictKind::Healthy,
            owner: None,
            sentence: "Nothing held this transfer up.".to_owned(),
        },
        Some(f) => Verdict {
            kind: match f.severity {
                Severity::Info => VerdictKind::Healthy,
                Severity::Warning => VerdictKind::Degraded,
                Severity::Error => VerdictKind::Failed,
            },
            owner: Some(f.owner),
            sentence: f.message.clone(),
        },
    }
}
