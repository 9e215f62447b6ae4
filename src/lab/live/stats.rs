//! What the link counted.

use crate::lab::fate::{Fate, What};
use crate::model::{Ns, PerDir};
use std::collections::BTreeMap;

/// What the link did in all.
#[derive(Clone, Debug, Default)]
pub struct LabStats {
    /// The link's own counts.
    pub link: LinkStats,
    /// Packets that the kernels dropped before the link could read them, client's and server's device.
    /// Not 0: the truth log does not know of these.
    pub unread: (u64, u64),
}

/// Counts of both ways.
#[derive(Clone, Debug, Default)]
pub struct LinkStats {
    /// Each way.
    pub ways: PerDir<WayStats>,
    /// How much later than due packets were handed to the kernel.
    pub lateness: Lateness,
    /// Packets that a device did not take.
    pub device_refused: u64,
}

/// Counts of one way. `entered` = the sum of all fates but `forged`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayStats {
    /// Packets that entered; those that were forged on the link did not.
    pub entered: u64,
    /// Packets that left at the other end; a duplicate counts twice.
    pub arrived: u64,
    /// By fate and cause.
    pub fates: BTreeMap<(What, String), u64>,
}

impl WayStats {
    /// Takes one fate into account.
    pub fn count(&mut self, fate: &Fate) {
        self.entered += u64::from(fate.fate != What::Forged);
        self.arrived += u64::from(fate.arrivals);
        // The common case needs no allocation for the name of a cause.
        if let Some(n) =
            (fate.fate == What::Passed).then(|| self.fates.get_mut(&(What::Passed, String::new()))).flatten()
        {
            *n += 1;
        } else {
            *self.fates.entry((fate.fate, fate.cause.to_string())).or_default() += 1;
        }
    }

    /// Packets that never arrived.
    pub fn dropped(&self) -> u64 {
        self.fates.iter().filter(|((what, _), _)| *what == What::Dropped).map(|(_, n)| n).sum()
    }
}

const STEP: Ns = Ns::from_micros(2);
const STEPS: usize = 5000;

/// A distribution of delays, in steps of 2 µs up to 10 ms.
#[derive(Clone, Debug)]
pub struct Lateness {
    steps: Vec<u64>,
    count: u64,
    max: Ns,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness { steps: vec![0; STEPS + 1], count: 0, max: Ns::ZERO }
    }
}

impl Lateness {
    /// Adds one; negative counts as 0.
    pub fn note(&mut self, late: Ns) {
        let step = (late.0.max(0) / STEP.0) as usize;
        self.steps[step.min(STEPS)] += 1;
        self.count += 1;
        self.max = self.max.max(late);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The delay that `share` of all do not exceed, rounded up to a step; past 10 ms the maximum.
    pub fn quantile(&self, share: f64) -> Ns {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (i, n) in self.steps.iter().enumerate().take(STEPS) {
            below += n;
            if below >= rank.max(1) {
                return Ns((i as i64 + 1) * STEP.0).min(self.max.max(STEP));
            }
        }
        self.max
    }

    /// The largest.
    pub fn max(&self) -> Ns {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_of_what_was_noted() {
        let mut l = Lateness::default();
        assert_eq!(l.quantile(0.5), Ns::ZERO);
        (1..=1000).for_each(|us| l.note(Ns::from_micros(us)));
        l.note(Ns::from_millis(50));
        assert_eq!(l.quantile(0.5), Ns::from_micros(502));
        assert_eq!(l.quantile(0.99), Ns::from_micros(992));
        assert_eq!(l.quantile(1.0), Ns::from_millis(50));
        assert_eq!((l.count(), l.max()), (1001, Ns::from_millis(50)));
    }
}
