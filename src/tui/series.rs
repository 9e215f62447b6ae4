//! The report's series, read for the columns of an axis.

use super::state::State;
use crate::model::{Dir, Ns, Span};
use crate::report::{Series, SeriesKind};

/// The direction that carries more.
pub(super) fn main_dir(state: &State) -> Dir {
    let bytes = |d: Dir| {
        state.report().flows.iter().filter(|f| Some(f.flow) == state.flow()).map(|f| f.dirs[d].bytes).max()
    };
    if bytes(Dir::S2c) > bytes(Dir::C2s) { Dir::S2c } else { Dir::C2s }
}

/// A series of the chosen connection. Where two captures give one, the one with the higher values:
/// only the sender's tap sees the whole round trip.
pub(super) fn series(state: &State, kind: SeriesKind, dir: Dir) -> Option<&Series> {
    let of =
        |s: &&Series| s.kind == kind && s.dir == dir && Some(s.flow) == state.flow() && s.step > Ns::ZERO;
    state.report().series.iter().filter(of).max_by_key(|s| s.values.iter().copied().max())
}

/// Buckets that `span` touches: first and one past the last.
fn buckets(s: &Series, span: Span) -> (usize, usize) {
    let step = i128::from(s.step.0.max(1));
    let at = |t: i64| (i128::from(t) - i128::from(s.start.0)).div_euclid(step);
    let n = s.values.len() as i128;
    let first = at(span.start.0).clamp(0, n);
    let last = (at(span.end.0.saturating_sub(1)) + 1).clamp(first, n);
    (first as usize, last as usize)
}

/// One value for `span`, empty buckets left out.
pub(super) fn over(s: &Series, span: Span, pick: fn(i64, i64) -> i64) -> Option<i64> {
    let (first, last) = buckets(s, span);
    s.values[first..last].iter().copied().filter(|v| *v != -1).reduce(pick)
}

/// The sum over `span`; buckets that it cuts count by their share.
pub(super) fn amount(s: &Series, span: Span) -> f64 {
    let (first, last) = buckets(s, span);
    (first..last)
        .map(|i| {
            let start = s.start + Ns(s.step.0.saturating_mul(i as i64));
            let bucket = Span::new(start, start + s.step);
            let share = bucket.intersect(span).map_or(0, |x| x.len().0) as f64 / s.step.0.max(1) as f64;
            s.values[i].max(0) as f64 * share
        })
        .sum()
}
