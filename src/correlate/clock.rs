//! How far two clocks are apart, from what both ends saw of the same things.
//!
//! ```text
//!  near clock  ──a──────────────d──▶      a→b and c→d are the fastest one each way
//!                 ╲            ╱          there = b − a,  back = d − c
//!  far clock   ────b──────c───────▶       far − near = (there − back) / 2  ±  (there + back) / 2
//! ```
//!
//! No assumption about symmetry is hidden: the bound holds for any split of the two transit times. Clocks that run
//! apart are in [`super::hull`].

use crate::model::app::ClockOffset;
use crate::model::{Ns, Ts};

/// One thing seen twice: on the near clock and on the far clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// On the near clock.
    pub near: Ts,
    /// On the far clock.
    pub far: Ts,
}

/// Time stamps of one instant differ by this much between processors and sockets of a host.
pub(super) const STAMPS: Ns = Ns::from_micros(50);

/// What a bound of `half` a round trip leaves out. The bound is reached only if one way takes no time at all: on a
/// longer path that is further from the truth than time stamps are; next door it is not.
pub(super) fn stamps(half: Ns) -> Ns {
    if half < Ns::from_millis(1) { STAMPS } else { Ns::ZERO }
}

/// Another clock against the one that times are told by: an offset at one instant, and a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// When, on the clock that times are told by.
    pub at: Ts,
    /// `theirs - ours` then.
    pub offset: Ns,
    /// How much faster theirs runs, in parts per million.
    pub ppm: f64,
    /// The offset's error cannot be larger.
    pub bound: Ns,
}

impl Clock {
    /// What they call `theirs`, on our clock.
    pub fn ours(&self, theirs: Ts) -> Ts {
        let plain = theirs - self.offset;
        // `plain` is off by what has drifted since `at`, and that by a millionth of itself, which is nothing
        let since = plain.since(self.at).0 as f64;
        plain - Ns((since * self.ppm / (1e6 + self.ppm)).round() as i64)
    }

    /// Without the rate, for a reader.
    pub fn told(&self) -> ClockOffset {
        ClockOffset { offset: self.offset, bound: self.bound }
    }
}

impl From<ClockOffset> for Clock {
    fn from(c: ClockOffset) -> Clock {
        Clock { at: Ts(0), offset: c.offset, ppm: 0.0, bound: c.bound }
    }
}

/// The offset `far - near` from things that went from near to far (`there`) and from far to near
/// (`back`). None where one way has nothing, or where the two contradict each other by more than
/// `slack` (clocks that drift or were set meanwhile).
pub fn offset(
    there: impl Iterator<Item = Sighting>,
    back: impl Iterator<Item = Sighting>,
    slack: Ns,
) -> Option<ClockOffset> {
    let there = there.map(|s| s.far.since(s.near)).min()?;
    let back = back.map(|s| s.near.since(s.far)).min()?;
    let sum = there + back;
    let half = Ns(sum.0.saturating_abs() / 2);
    (sum.0 >= -slack.0)
        .then_some(ClockOffset { offset: Ns((there - back).0 / 2), bound: half + stamps(half) })
}

/// The tighter of two estimates.
pub fn tighter(a: Option<ClockOffset>, b: Option<ClockOffset>) -> Option<ClockOffset> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.bound < a.bound { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// True when both can be right.
pub fn agree(a: ClockOffset, b: ClockOffset) -> bool {
    (a.offset - b.offset).0.saturating_abs() <= (a.bound + b.bound).0
}

/// The same offset seen from the other side.
pub fn flip(c: ClockOffset) -> ClockOffset {
    ClockOffset { offset: -c.offset, bound: c.bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(near: i64, far: i64) -> Sighting {
        Sighting { near: Ts(near), far: Ts(far) }
    }

    #[test]
    fn the_fastest_packet_each_way_gives_offset_and_bound() {
        // 7.417 ms there, 8.832 ms back, as in the two listings of a lost heartbeat
        let there = [at(100_000_000, 108_239_000), at(0, 7_417_000)];
        let back = [at(58_832_000, 50_000_000)];
        let c = offset(there.into_iter(), back.into_iter(), Ns::ZERO).unwrap();
        assert_eq!(c, ClockOffset { offset: Ns(-707_500), bound: Ns(8_124_500) });
    }

    #[test]
    fn a_way_without_packets_gives_no_offset() {
        assert_eq!(offset([at(0, 5)].into_iter(), [].into_iter(), Ns::ZERO), None);
    }

    #[test]
    fn clocks_that_ran_backwards_in_between_give_none() {
        // one way took −5 s and the other 1 s: no single offset explains both
        assert_eq!(offset([at(0, -5_000)].into_iter(), [at(1_000, 0)].into_iter(), Ns(10)), None);
    }

    #[test]
    fn the_tighter_estimate_wins() {
        let a = ClockOffset { offset: Ns(5), bound: Ns(100) };
        let b = ClockOffset { offset: Ns(9), bound: Ns(1) };
        assert_eq!(tighter(Some(a), Some(b)), Some(b));
        assert_eq!(tighter(Some(a), None), Some(a));
        assert!(agree(a, b) && !agree(b, ClockOffset { offset: Ns(0), bound: Ns(1) }));
    }
}
