//! The clock of the record, and how far it is from the peer's.
//!
//! Packets are stamped by the kernel with `CLOCK_REALTIME`; events must be on the same clock. But a
//! step of that clock (NTP, an operator) in the middle of a run would tear reads apart. So the
//! offset between `CLOCK_REALTIME` and `CLOCK_MONOTONIC` is measured once, and every event is the
//! monotonic time plus that offset. Slewing changes both alike. A step during the run is not
//! followed; [`Clock::stepped`] says how large it was, and the record tells.

use crate::model::app::ClockOffset;
use crate::model::{Ns, Ts};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time that never steps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    epoch: Ts,
}

impl Clock {
    /// Measures the offset: the tightest of a few pairs of readings.
    pub fn new() -> Clock {
        let mut best = None;
        for _ in 0..5 {
            let before = Instant::now();
            let real = realtime();
            let width = before.elapsed();
            if best.is_none_or(|(w, _)| width < w) {
                best = Some((width, Clock { anchor: before + width / 2, epoch: real }));
            }
        }
        best.map_or_else(|| Clock { anchor: Instant::now(), epoch: realtime() }, |b| b.1)
    }

    /// Now.
    pub fn now(&self) -> Ts {
        self.at(Instant::now())
    }

    /// A monotonic instant on this clock.
    pub fn at(&self, when: Instant) -> Ts {
        let ns = |d: std::time::Duration| Ns(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
        match when.checked_duration_since(self.anchor) {
            Some(d) => self.epoch + ns(d),
            None => self.epoch - ns(self.anchor.saturating_duration_since(when)),
        }
    }

    /// How far the system's clock has been stepped since this one was set.
    pub fn stepped(&self) -> Ns {
        let fresh = Clock::new();
        fresh.epoch - self.at(fresh.anchor)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

fn realtime() -> Ts {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => Ts(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
        Err(e) => Ts(-i64::try_from(e.duration().as_nanos()).unwrap_or(i64::MAX)),
    }
}

/// One exchange with the peer: asked at `t0`, received there at `t1`, answered there at `t2`, back at
/// `t3`. `t0` and `t3` are on our clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Sent here.
    pub t0: Ts,
    /// Received there.
    pub t1: Ts,
    /// Answered there.
    pub t2: Ts,
    /// Received here.
    pub t3: Ts,
}

impl Exchange {
    /// `theirs - ours`. The request cannot have arrived before it left, nor the answer before it was
    /// given: `t2 - t3 <= offset <= t1 - t0`. The middle of that, and half its width.
    pub fn offset(self) -> ClockOffset {
        let low = (self.t2 - self.t3).0;
        let high = (self.t1 - self.t0).0;
        let offset = low.midpoint(high);
        ClockOffset { offset: Ns(offset), bound: Ns(high.saturating_sub(offset).max(0)) }
    }
}

/// The exchange with the tightest bound.
pub fn best_offset(exchanges: &[Exchange]) -> Option<ClockOffset> {
    exchanges.iter().map(|e| e.offset()).min_by_key(|o| o.bound)
}

/// One offset for a run that was measured before and after it. Where both can be true at once, the
/// tighter one. Where not, the clocks drifted: the middle, with a bound that covers both.
pub fn over_run(before: ClockOffset, after: ClockOffset) -> ClockOffset {
    let edges = |o: ClockOffset| (o.offset - o.bound, o.offset + o.bound);
    let ((a0, a1), (b0, b1)) = (edges(before), edges(after));
    if a0 <= b1 && b0 <= a1 {
        return if after.bound < before.bound { after } else { before };
    }
    let (low, high) = (a0.min(b0), a1.max(b1));
    let offset = Ns(low.0.midpoint(high.0));
    ClockOffset { offset, bound: high - offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_with_the_wall_clock() {
        let c = Clock::new();
        assert!((c.now() - realtime()).0.abs() < 1_000_000);
        assert!(c.stepped().0.abs() < 1_000_000, "{}", c.stepped());
    }

    /// The exchange of seed 004: 7.417 ms there, 8.832 ms back on the two clocks.
    #[test]
    fn the_offset_lies_between_the_fastest_ways() {
        let e = Exchange { t0: Ts(0), t1: Ts(7_417_000), t2: Ts(7_417_000), t3: Ts(16_249_000) };
        let o = e.offset();
        assert_eq!(o.offset, Ns(-707_500));
        assert_eq!(o.bound, Ns(8_124_500));
    }

    #[test]
    fn the_tightest_exchange_wins() {
        let slow = Exchange { t0: Ts(0), t1: Ts(900), t2: Ts(900), t3: Ts(1000) };
        let fast = Exchange { t0: Ts(0), t1: Ts(110), t2: Ts(110), t3: Ts(20) };
        assert_eq!(best_offset(&[slow, fast]), Some(ClockOffset { offset: Ns(100), bound: Ns(10) }));
        assert_eq!(best_offset(&[]), None);
    }

    #[test]
    fn drift_widens_the_bound_instead_of_hiding() {
        let o = |offset, bound| ClockOffset { offset: Ns(offset), bound: Ns(bound) };
        assert_eq!(over_run(o(100, 50), o(120, 10)), o(120, 10), "both can be true");
        assert_eq!(over_run(o(100, 10), o(200, 10)), o(150, 60), "they cannot: covers 90..210");
    }
}
