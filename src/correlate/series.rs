//! Values over time for drawing, in equal buckets.

use super::align::{Flow, World, dir_of};
use crate::model::{AppOp, Dir, Ns, Span, Ts};
use crate::report::{Series, SeriesKind};

/// Most buckets a series has.
pub const BUCKETS: i64 = 300;
/// Connections that get series: those with the most bytes.
pub const FLOWS: usize = 8;

pub(super) struct Grid {
    start: Ts,
    step: Ns,
    len: usize,
}

impl Grid {
    pub(super) fn over(span: Span) -> Grid {
        let len = span.len().0.max(1);
        let mut step = 1_000_000;
        // 1, 2, 5 × 10^n ns, from 1 ms
        for f in [2, 5, 10].iter().cycle() {
            if len / step < BUCKETS || step > i64::MAX / 100 {
                break;
            }
            let decade = 10_i64.pow(step.ilog10());
            step = decade * f;
        }
        Grid { start: span.start, step: Ns(step), len: usize::try_from(len / step).unwrap_or(0) + 1 }
    }

    pub(super) fn bucket(&self, at: Ts) -> Option<usize> {
        let i = usize::try_from(at.since(self.start).0.div_euclid(self.step.0)).ok()?;
        (i < self.len).then_some(i)
    }

    fn series(&self, kind: SeriesKind, f: &Flow, dir: Dir, input: u16, empty: i64) -> Series {
        Series {
            kind,
            flow: f.id,
            dir,
            input,
            start: self.start,
            step: self.step,
            values: vec![empty; self.len],
        }
    }
}

/// All series of the largest flows.
pub fn series(w: &World) -> Vec<Series> {
    if w.span.is_empty() {
        return Vec::new();
    }
    let grid = Grid::over(w.span);
    let mut flows: Vec<&Flow> = w.flows.iter().collect();
    let bytes = |f: &Flow| -> u64 {
        f.taps.first().map_or(0, |t| t.conn.halves.c2s.bytes.saturating_add(t.conn.halves.s2c.bytes))
    };
    flows.sort_by_key(|f| (std::cmp::Reverse(bytes(f)), f.id));
    flows.truncate(FLOWS);
    flows.sort_by_key(|f| f.id);
    let mut out = Vec::new();
    for f in flows {
        for t in &f.taps {
            for dir in Dir::BOTH {
                packets(&grid, f, t, dir, &mut out);
            }
        }
        for log in [&f.client_log, &f.server_log].into_iter().flatten() {
            let dir = dir_of(log.log.side).flip();
            let mut s = grid.series(SeriesKind::Read, f, dir, log.input, -1);
            for e in log.log.events.iter().filter(|e| e.op == AppOp::Read) {
                if let Some(v) = grid.bucket(e.end).and_then(|i| s.values.get_mut(i)) {
                    *v = (*v).max(e.end.since(e.start).0);
                }
            }
            out.push(s);
        }
    }
    out
}

fn packets(grid: &Grid, f: &Flow, t: &super::TapView, dir: Dir, out: &mut Vec<Series>) {
    let mut fresh = grid.series(SeriesKind::Bytes, f, dir, t.input, 0);
    let mut resent = grid.series(SeriesKind::Resent, f, dir, t.input, 0);
    let mut flight = grid.series(SeriesKind::InFlight, f, dir, t.input, -1);
    let mut rtt = grid.series(SeriesKind::Rtt, f, dir, t.input, -1);
    for b in &t.conn.curves[dir].buckets {
        // A bucket that began just before the first packet holds it.
        let Some(i) = grid.bucket(b.start.max(grid.start)) else { continue };
        let add = |s: &mut Series, v: i64| {
            if let Some(old) = s.values.get_mut(i) {
                *old = if s.kind == SeriesKind::Bytes || s.kind == SeriesKind::Resent {
                    *old + v
                } else {
                    v.max(*old)
                };
            }
        };
        add(&mut fresh, i64::try_from(b.bytes).unwrap_or(i64::MAX));
        add(&mut resent, i64::from(b.resent));
        add(&mut flight, b.flight.map_or(-1, |f| i64::try_from(f).unwrap_or(i64::MAX)));
        add(&mut rtt, b.rtt.map_or(-1, |r| r.0));
    }
    let something = |s: &Series| s.values.iter().any(|&v| v > 0);
    out.extend([fresh, rtt, resent, flight].into_iter().filter(something));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_round_and_few() {
        for (len, step) in [(1, 1), (200, 1), (400, 2), (900, 5), (70_000, 500), (3_600_000, 20_000)] {
            let g = Grid::over(Span::new(Ts(5), Ts(5) + Ns::from_millis(len)));
            assert_eq!(g.step, Ns::from_millis(step), "{len} ms");
            assert!(g.len as i64 <= BUCKETS);
            assert_eq!(g.bucket(Ts(5)), Some(0));
            assert_eq!(g.bucket(Ts(4)), None);
            assert!(g.bucket(Ts(5) + Ns::from_millis(len)).is_some());
        }
    }
}
