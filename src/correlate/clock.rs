//! How far two clocks are apart, from what both ends saw of the same things.
//!
//! ```text
//!  near clock  ──a──────────────d──▶      a→b and c→d are the fastest one each way
//!                 ╲            ╱          there = b − a,  back = d − c
//!  far clock   ────b──────c───────▶       far − near = (there − back) / 2  ±  (there + back) / 2
//! ```
//!
//! No assumption about symmetry is hidden: the bound holds for any split of the two transit times.

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
    (sum.0 >= -slack.0)
        .then_some(ClockOffset { offset: Ns((there - back).0 / 2), bound: Ns(sum.0.max(0) / 2) })
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
