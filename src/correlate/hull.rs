//! Offset and rate of one clock against another, from what both ends saw of the same packets.
//!
//! A packet that went from `A` to `B` shows `B − A` plus its transit: an upper limit of the offset at that
//! moment. One that came back shows a lower limit. Every clock with a constant rate is a straight line that
//! passes between the two clouds, and only their edges matter.
//!
//! ```text
//!  B − A  │    ·  ·    ·      ·   there: offset + transit
//!         │  ·___·_______·__·__   lower hull
//!         │  - - - - - - - - -    the clocks, if the fastest packet took as long there as back
//!         │  ‾‾·‾‾‾‾·‾‾‾‾·‾‾‾     upper hull
//!         │    ·   ·    ·    ·    back: offset − transit
//!         └──────────────────── time
//! ```
//!
//! The rate is that of the widest corridor. It is believed only where each direction alone shows the same one:
//! a queue that grows bends both hulls away from each other, a clock that drifts bends them alike (after Zhang,
//! Liu, Xia: *Clock synchronization algorithms for network measurements*, INFOCOM 2002).

use super::clock::{Clock, STAMPS, Sighting, stamps};
use crate::model::{Ns, Ts};
use crate::report::{ClockFit, Drift};

/// No two clocks are taken to differ by more than this, in ns per s.
const MAX_RATE: f64 = 200_000.0;
/// Less than this, and rates are not looked at: they cannot matter.
const SHORT: f64 = 1.0;
/// Less than this, and no rate is told.
const LONG: f64 = 5.0;
/// Limits that contradict each other by more than this are not two clocks of constant rate.
const SLACK: f64 = 1e6;

/// One cloud's edge; x in s from the middle, y in ns from a common base.
struct Edge(Vec<(f64, f64)>);

impl Edge {
    /// The lower hull of points, by Andrew's monotone chain.
    fn lower(mut points: Vec<(f64, f64)>) -> Edge {
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut hull: Vec<(f64, f64)> = Vec::new();
        for p in points {
            while let [.., a, b] = hull.as_slice() {
                if (b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0) > 0.0 {
                    break;
                }
                hull.pop();
            }
            hull.push(p);
        }
        Edge(hull)
    }

    /// Where the highest line of this rate below all points passes the middle.
    fn at(&self, rate: f64) -> f64 {
        self.0.iter().map(|(x, y)| y - rate * x).fold(f64::INFINITY, f64::min)
    }

    fn span(&self) -> (f64, f64) {
        let xs = || self.0.iter().map(|p| p.0);
        (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max))
    }
}

/// Where `f`, concave on `[low, high]`, is largest: the middle of the plateau.
fn peak(low: f64, high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut a, mut b) = (low, high);
    for _ in 0..100 {
        let (m, n) = (a + (b - a) / 3.0, b - (b - a) / 3.0);
        if f(m) < f(n) { a = m } else { b = n }
    }
    let top = (a + b) / 2.0;
    let level = f(top) - 0.5;
    (crossing(top, low, level, &f) + crossing(top, high, level, &f)) / 2.0
}

/// How far from `from` towards `to` a concave `f` stays at or above `level`.
fn crossing(from: f64, to: f64, level: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut inside, mut outside) = (from, to);
    if f(to) >= level {
        return to;
    }
    for _ in 0..60 {
        let m = (inside + outside) / 2.0;
        if f(m) >= level { inside = m } else { outside = m }
    }
    inside
}

/// The corridor between what went from `A` to `B` and what came back; `near` is `A`'s clock in both.
/// None where a direction has nothing, or no line of a believable rate passes.
pub(super) fn fit(there: &[Sighting], back: &[Sighting]) -> Option<ClockFit> {
    let all = || there.iter().chain(back);
    let (first, last) = (all().map(|s| s.near).min()?, all().map(|s| s.near).max()?);
    let at = Ts(first.0.midpoint(last.0));
    let base = there.first()?.far.since(there.first()?.near);
    let point = |s: &Sighting| {
        (s.near.since(at).as_secs_f64(), (s.far.since(s.near).0.saturating_sub(base.0)) as f64)
    };
    let upper = Edge::lower(there.iter().map(point).collect());
    let lower = Edge::lower(back.iter().map(point).map(|(x, y)| (x, -y)).collect());
    if upper.0.is_empty() || lower.0.is_empty() {
        return None;
    }
    let gap = |rate: f64| upper.at(rate) + lower.at(-rate);
    let ((a, b), (c, d)) = (upper.span(), lower.span());
    let length = (b.min(d) - a.max(c)).max(0.0);

    let widest = peak(-MAX_RATE, MAX_RATE, gap);
    let apart = (peak(-MAX_RATE, MAX_RATE, |r| upper.at(r)), peak(-MAX_RATE, MAX_RATE, |r| lower.at(-r)));
    let error = (apart.0 - apart.1).abs() + STAMPS.0 as f64 / 4.0 / length.max(1e-3);
    let seen = length >= SHORT && widest.abs() > 2.0 * error;
    let rate = if seen || gap(0.0) < 0.0 { widest } else { 0.0 };
    let (up, down) = (upper.at(rate), -lower.at(-rate));
    if up - down < -SLACK {
        return None;
    }
    let offset = ((up + down) / 2.0).floor();
    let half = Ns(((up - down).abs() / 2.0).ceil() as i64);
    let (mut high, mut low) = (up.max(down), down.min(up));
    if length >= SHORT && gap(widest) > 0.0 {
        let (slow, fast) = (crossing(widest, -MAX_RATE, 0.0, gap), crossing(widest, MAX_RATE, 0.0, gap));
        high = upper.at(peak(slow, fast, |r| upper.at(r))).max(high);
        low = (-lower.at(-peak(slow, fast, |r| lower.at(-r)))).min(low);
    }
    let real = |y: f64| base + Ns(y.round() as i64);
    let extra = stamps(half);
    let floors = [
        third(there.iter().map(point).map(|(x, y)| y - rate * x)),
        third(back.iter().map(point).map(|(x, y)| rate * x - y)),
    ];
    let unsure = Ns(floors[0].max(floors[1]) as i64);
    Some(ClockFit {
        at,
        offset: real(offset),
        low: real(low) - extra,
        high: real(high) + extra,
        symmetric: STAMPS + unsure.min(half),
        round_trip: Ns((up - down).max(0.0) as i64),
        drift: (length >= LONG && error < 50_000.0).then(|| Drift {
            ppm: if seen { round(widest / 1e3) } else { 0.0 },
            error: round((if seen { error } else { error.max(widest.abs()) }) / 1e3),
        }),
        because: because(there.len(), back.len(), seen),
    })
}

/// How far the third fastest lies behind the fastest: a floor that was touched once may not be the floor.
fn third(all: impl Iterator<Item = f64>) -> f64 {
    let mut best = [f64::INFINITY; 3];
    for v in all {
        if let Some(i) = best.iter().position(|b| v < *b) {
            best[i..].rotate_right(1);
            best[i] = v;
        }
    }
    let last = best.iter().rev().copied().find(|v| v.is_finite());
    last.map_or(0.0, |l| l - best[0])
}

fn because(there: usize, back: usize, drifts: bool) -> String {
    let how = if drifts { ", and a rate that both directions show" } else { "" };
    format!("the fastest of {there} packets from A to B and of {back} from B to A{how}")
}

/// Hundredths: a rate is not known better.
fn round(ppm: f64) -> f64 {
    (ppm * 100.0).round() / 100.0
}

/// Where packets were seen twice in one direction only, no offset follows. The fastest of them is taken to have
/// needed no time, so that at least nothing arrives before it is sent.
pub(super) fn one_way(there: &[Sighting], back: &[Sighting]) -> Option<Clock> {
    let ahead = |s: &Sighting| s.far.since(s.near);
    let offset = match (there, back) {
        ([_, ..], []) => there.iter().map(ahead).min(),
        ([], [_, ..]) => back.iter().map(ahead).max(),
        _ => None,
    };
    offset.map(|offset| Clock { offset, bound: Ns(i64::MAX), ..Clock::default() })
}

/// The line that a fit stands for.
pub(super) fn line(fit: &ClockFit) -> Clock {
    let drifts = fit.drift.filter(|d| d.ppm.abs() > d.error);
    Clock { at: fit.at, offset: fit.offset, ppm: drifts.map_or(0.0, |d| d.ppm), bound: fit.bound() }
}
