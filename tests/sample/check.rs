//! What every report must keep, whoever made it.

use super::budget;
use syncscope::model::Ns;
use syncscope::report::{Report, SCHEMA};

/// What every report must keep.
pub fn check(r: &Report) {
    assert_eq!(r.meta.schema, SCHEMA);
    let below = |v: &[u32], n: usize, what: &str| {
        assert!(v.iter().all(|&i| (i as usize) < n), "{what} index out of range")
    };
    for (i, x) in r.reads.iter().enumerate() {
        assert_eq!(x.budget.total(), x.end - x.start, "read {i}: the budget does not add up to the wait");
        assert_eq!(x.budget, budget(&x.steps), "read {i}: the steps make another budget");
        let mut t = x.start;
        for s in &x.steps {
            assert_eq!(s.span.start, t, "read {i}: a gap between steps");
            t = s.span.end;
        }
        assert!(x.steps.is_empty() || t == x.end, "read {i}: the steps end early");
        below(x.hole.as_slice(), r.holes.len(), "hole");
        below(x.incident.as_slice(), r.incidents.len(), "incident");
        for e in &x.evidence {
            assert!((e.input as usize) < r.inputs.len());
        }
    }
    for i in &r.incidents {
        below(&i.reads, r.reads.len(), "read");
        below(&i.stalls, r.stalls.len(), "stall");
        below(&i.holes, r.holes.len(), "hole");
        below(&i.losses, r.losses.len(), "loss");
    }
    for f in &r.findings {
        below(&f.incidents, r.incidents.len(), "incident");
    }
    for s in &r.series {
        assert!(s.step > Ns::ZERO);
    }
}
