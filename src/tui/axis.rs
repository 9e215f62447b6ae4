//! One time axis for all lanes: which column an instant falls into, and where the ticks are.

use crate::model::{Ns, Span, Ts};

/// `cols` columns over `span`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What is in sight; never empty.
    pub span: Span,
    /// Columns; at least 1.
    pub cols: u16,
}

impl Axis {
    /// An axis; an empty span becomes 1 ns long.
    pub fn new(span: Span, cols: u16) -> Axis {
        let end = span.end.max(span.start + Ns(1));
        // At the very end of time there is no later instant.
        let start = span.start.min(end - Ns(1));
        Axis { span: Span { start, end }, cols: cols.max(1) }
    }

    fn width(&self) -> i128 {
        i128::from(self.span.end.0) - i128::from(self.span.start.0)
    }

    /// The column of an instant; before the axis negative, behind it `>= cols`.
    pub fn column(&self, ts: Ts) -> i64 {
        let from = i128::from(ts.0) - i128::from(self.span.start.0);
        (from * i128::from(self.cols)).div_euclid(self.width()).clamp(-1, i128::from(self.cols)) as i64
    }

    /// The columns that a stretch of time touches, if it is in sight.
    pub fn columns(&self, start: Ts, end: Ts) -> Option<(u16, u16)> {
        let first = self.column(start);
        let last = self.column(Ts(end.0.saturating_sub(1)).max(start));
        if last < 0 || first >= i64::from(self.cols) {
            return None;
        }
        Some((first.max(0) as u16, last.min(i64::from(self.cols) - 1) as u16))
    }

    /// The time that part `i` of `n` equal parts of the axis covers.
    pub fn part(&self, i: usize, n: usize) -> Span {
        let n = n.max(1) as i128;
        let edge = |i: i128| {
            let t = i128::from(self.span.start.0) + self.width() * i / n;
            Ts(t.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
        };
        let i = i as i128;
        let start = edge(i);
        Span { start, end: edge(i + 1).max(start + Ns(1)) }
    }

    /// The time that a column covers.
    pub fn of_column(&self, col: u16) -> Span {
        self.part(usize::from(col), usize::from(self.cols))
    }

    /// Ticks at round times since `zero`: column and label, labels at least `gap` columns apart.
    pub fn ticks(&self, zero: Ts, gap: u16) -> Vec<(u16, String)> {
        let most = (i128::from(self.cols) / i128::from(gap.max(1))).max(1);
        let Some(step) = round_step(self.width() / most) else { return Vec::new() };
        let from = i128::from(self.span.start.0) - i128::from(zero.0);
        let to = from + self.width();
        let mut at = from.div_euclid(step) * step;
        if at < from {
            at += step;
        }
        let mut out = Vec::new();
        while at < to && out.len() < 64 {
            let col = ((at - from) * i128::from(self.cols) / self.width()) as u16;
            out.push((col, label(at, step)));
            at += step;
        }
        out
    }
}

/// The smallest of 1, 2, 5 × 10^n that is at least `least`.
fn round_step(least: i128) -> Option<i128> {
    let mut unit: i128 = 1;
    while unit < i128::from(i64::MAX) {
        for m in [1, 2, 5] {
            if m * unit >= least {
                return Some(m * unit);
            }
        }
        unit *= 10;
    }
    None
}

/// A time with as many digits as the step needs.
fn label(at: i128, step: i128) -> String {
    let (unit, name) = match step {
        s if s >= 1_000_000 => (1_000_000_000_f64, "s"),
        s if s >= 1_000 => (1_000_000.0, "ms"),
        _ => (1_000.0, "µs"),
    };
    let digits = (0..=3).find(|d| (step as f64 / unit) * 10f64.powi(*d) >= 0.999).unwrap_or(3);
    format!("{:+.*} {name}", digits as usize, at as f64 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn instants_fall_into_columns_and_back() {
        let a = Axis::new(Span::new(Ts(0), Ts(10 * S)), 10);
        assert_eq!(a.column(Ts(0)), 0);
        assert_eq!(a.column(Ts(S - 1)), 0);
        assert_eq!(a.column(Ts(S)), 1);
        assert_eq!(a.column(Ts(-1)), -1);
        assert_eq!(a.column(Ts(10 * S)), 10);
        assert_eq!(a.columns(Ts(S), Ts(2 * S)), Some((1, 1)));
        assert_eq!(a.columns(Ts(-S), Ts(20 * S)), Some((0, 9)));
        assert_eq!(a.columns(Ts(10 * S), Ts(20 * S)), None);
        assert_eq!(a.of_column(3), Span::new(Ts(3 * S), Ts(4 * S)));
    }

    #[test]
    fn ticks_are_at_round_times() {
        let a = Axis::new(Span::new(Ts(0), Ts(15 * S)), 70);
        let labels: Vec<String> = a.ticks(Ts(0), 12).into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["+0 s", "+5 s", "+10 s"]);
        let a = Axis::new(Span::new(Ts(2 * S), Ts(2 * S + 30_000_000)), 70);
        let labels: Vec<String> = a.ticks(Ts(0), 12).into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["+2.00 s", "+2.01 s", "+2.02 s"]);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for span in
            [Span { start: Ts::MIN, end: Ts::MAX }, Span { start: Ts::MAX, end: Ts::MAX }, Span::default()]
        {
            let a = Axis::new(span, 80);
            for c in 0..80 {
                assert!(a.of_column(c).end >= a.of_column(c).start);
            }
            assert!(a.ticks(Ts(0), 10).len() <= 64);
            a.columns(Ts::MIN, Ts::MAX);
        }
    }
}
