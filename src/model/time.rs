//! Time as data. Nobody in the pure middle reads a clock: time is always an argument.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// A point in time: nanoseconds since the Unix epoch, on the clock of whoever took it
/// (capture host, application). Range: years 1678 to 2262; out-of-range input saturates.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Ts(pub i64);

/// A signed length of time in nanoseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Ns(pub i64);

/// A half-open stretch of time `[start, end)`. `end >= start` always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// First instant.
    pub start: Ts,
    /// First instant after.
    pub end: Ts,
}

impl Ts {
    /// The earliest instant that can be written.
    pub const MIN: Ts = Ts(i64::MIN);
    /// The latest instant that can be written.
    pub const MAX: Ts = Ts(i64::MAX);

    /// From seconds and nanoseconds since the epoch; saturates outside the range.
    pub fn from_secs_nanos(secs: i64, nanos: i64) -> Ts {
        Ts(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// `self - earlier`, saturating.
    #[inline]
    pub fn since(self, earlier: Ts) -> Ns {
        Ns(self.0.saturating_sub(earlier.0))
    }
}

impl Ns {
    /// No time.
    pub const ZERO: Ns = Ns(0);

    /// Whole microseconds.
    pub const fn from_micros(us: i64) -> Ns {
        Ns(us.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    pub const fn from_millis(ms: i64) -> Ns {
        Ns(ms.saturating_mul(1_000_000))
    }

    /// Whole seconds.
    pub const fn from_secs(s: i64) -> Ns {
        Ns(s.saturating_mul(1_000_000_000))
    }

    /// In milliseconds, for people.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// In seconds, for rates.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `num / den` of it, saturating; `den` is not 0.
    #[must_use]
    #[inline]
    pub fn scaled(self, num: i64, den: i64) -> Ns {
        // Dividing 128 bits takes many times as long.
        if let Some(product) = self.0.checked_mul(num) {
            return Ns(product.saturating_div(den));
        }
        let wide = i128::from(self.0) * i128::from(num) / i128::from(den);
        Ns(wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }

    /// For `std` APIs; negative becomes zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.max(0) as u64)
    }
}

impl Span {
    /// A span from two instants; swapped instants give an empty span at `start`.
    pub fn new(start: Ts, end: Ts) -> Span {
        Span { start, end: end.max(start) }
    }

    /// Its length.
    pub fn len(self) -> Ns {
        self.end.since(self.start)
    }

    /// True when it has no length.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The part both cover, if any.
    pub fn intersect(self, other: Span) -> Option<Span> {
        let s = Span { start: self.start.max(other.start), end: self.end.min(other.end) };
        (s.start < s.end).then_some(s)
    }
}

impl Add<Ns> for Ts {
    type Output = Ts;
    #[inline]
    fn add(self, d: Ns) -> Ts {
        Ts(self.0.saturating_add(d.0))
    }
}
impl Sub<Ns> for Ts {
    type Output = Ts;
    #[inline]
    fn sub(self, d: Ns) -> Ts {
        Ts(self.0.saturating_sub(d.0))
    }
}
impl Sub for Ts {
    type Output = Ns;
    #[inline]
    fn sub(self, o: Ts) -> Ns {
        self.since(o)
    }
}
impl AddAssign<Ns> for Ts {
    #[inline]
    fn add_assign(&mut self, d: Ns) {
        *self = *self + d;
    }
}
impl Add for Ns {
    type Output = Ns;
    #[inline]
    fn add(self, o: Ns) -> Ns {
        Ns(self.0.saturating_add(o.0))
    }
}
impl AddAssign for Ns {
    #[inline]
    fn add_assign(&mut self, o: Ns) {
        *self = *self + o;
    }
}
impl Sub for Ns {
    type Output = Ns;
    #[inline]
    fn sub(self, o: Ns) -> Ns {
        Ns(self.0.saturating_sub(o.0))
    }
}
impl SubAssign for Ns {
    fn sub_assign(&mut self, o: Ns) {
        *self = *self - o;
    }
}
impl Neg for Ns {
    type Output = Ns;
    fn neg(self) -> Ns {
        Ns(self.0.saturating_neg())
    }
}
impl std::iter::Sum for Ns {
    fn sum<I: Iterator<Item = Ns>>(iter: I) -> Ns {
        iter.fold(Ns::ZERO, |a, b| a + b)
    }
}

/// Prints with the unit that keeps three to four figures: `106 µs`, `239.6 ms`, `12.4 s`.
impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a = self.0.unsigned_abs() as f64;
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = if a < 1e3 {
            format!("{sign}{a:.0} ns")
        } else if a < 1e6 {
            let v = a / 1e3;
            if v < 9.95 { format!("{sign}{v:.1} µs") } else { format!("{sign}{v:.0} µs") }
        } else if a < 1e9 {
            let v = a / 1e6;
            if v < 9.995 { format!("{sign}{v:.2} ms") } else { format!("{sign}{v:.1} ms") }
        } else {
            let v = a / 1e9;
            if v < 9.995 { format!("{sign}{v:.2} s") } else { format!("{sign}{v:.1} s") }
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_with_a_fitting_unit() {
        let cases = [
            (999, "999 ns"),
            (106_000, "106 µs"),
            (4_200, "4.2 µs"),
            (7_417_000, "7.42 ms"),
            (239_600_000, "239.6 ms"),
            (12_400_000_000, "12.4 s"),
            (-710_000, "-710 µs"),
        ];
        for (ns, want) in cases {
            assert_eq!(Ns(ns).to_string(), want);
        }
    }

    #[test]
    fn arithmetic_saturates_instead_of_overflowing() {
        assert_eq!(Ts::MAX + Ns(1), Ts::MAX);
        assert_eq!(Ts::MIN - Ts::MAX, Ns(i64::MIN));
        assert_eq!(Ts::from_secs_nanos(i64::MAX, 1), Ts::MAX);
        assert_eq!(
            (Ns(i64::MAX).scaled(7, 10), Ns(i64::MAX).scaled(2, 1)),
            (Ns(6456360425798343064), Ns(i64::MAX))
        );
    }

    #[test]
    fn spans_intersect_half_open() {
        let a = Span::new(Ts(0), Ts(10));
        assert_eq!(a.intersect(Span::new(Ts(10), Ts(20))), None);
        assert_eq!(a.intersect(Span::new(Ts(5), Ts(20))), Some(Span::new(Ts(5), Ts(10))));
    }
}
