//! Counts of what was true and what was said, and the figures that follow from them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Truth → answer → how often (or how many milliseconds).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion(pub BTreeMap<String, BTreeMap<String, u64>>);

/// An answer that claims nothing is neither right nor wrong.
pub const UNDECIDED: [&str; 2] = ["undecided", "unknown"];

impl Confusion {
    /// Counts one answer.
    pub fn add(&mut self, truth: &str, said: &str, n: u64) {
        if n > 0 {
            *self.0.entry(truth.to_owned()).or_default().entry(said.to_owned()).or_default() += n;
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Confusion) {
        for (truth, row) in &other.0 {
            for (said, n) in row {
                self.add(truth, said, *n);
            }
        }
    }

    fn cells(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.iter().flat_map(|(t, row)| row.iter().map(move |(s, n)| (t.as_str(), s.as_str(), *n)))
    }

    /// All answers.
    pub fn total(&self) -> u64 {
        self.cells().map(|c| c.2).sum()
    }

    /// Answers that were right.
    pub fn right(&self) -> u64 {
        self.cells().filter(|(t, s, _)| t == s).map(|c| c.2).sum()
    }

    /// Answers that claimed nothing.
    pub fn undecided(&self) -> u64 {
        self.cells().filter(|(t, s, _)| t != s && UNDECIDED.contains(s)).map(|c| c.2).sum()
    }

    /// Answers that were wrong.
    pub fn wrong(&self) -> u64 {
        self.total() - self.right() - self.undecided()
    }

    /// Share of right answers, 0 to 1; 1 where there was nothing to say.
    pub fn accuracy(&self) -> f64 {
        share(self.right(), self.total())
    }

    /// Share of right answers among those that decided.
    pub fn decided_accuracy(&self) -> f64 {
        share(self.right(), self.total() - self.undecided())
    }

    /// The mean over all labels of F1 = 2·TP / (2·TP + FP + FN): rare labels weigh as much as common ones.
    pub fn macro_f1(&self) -> f64 {
        let labels: BTreeSet<&str> =
            self.cells().flat_map(|(t, s, _)| [t, s]).filter(|l| !UNDECIDED.contains(l)).collect();
        if labels.is_empty() {
            return 1.0;
        }
        let f1 = |l: &str| {
            let hits: u64 = self.cells().filter(|(t, s, _)| *t == l && *s == l).map(|c| c.2).sum();
            let misses: u64 = self.cells().filter(|(t, s, _)| (*t == l) != (*s == l)).map(|c| c.2).sum();
            share(2 * hits, 2 * hits + misses)
        };
        labels.iter().map(|l| f1(l)).sum::<f64>() / labels.len() as f64
    }

    /// Wrong answers, most frequent first: truth, answer, how often.
    pub fn errors(&self) -> Vec<(&str, &str, u64)> {
        let mut out: Vec<_> = self.cells().filter(|(t, s, _)| t != s).collect();
        out.sort_by_key(|(t, s, n)| (std::cmp::Reverse(*n), *t, *s));
        out
    }
}

/// `part` of `whole`; 1 where there is no whole.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// What was to be found, what was claimed, and what of that was true; in bytes or in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// True and to be found.
    pub truth: u64,
    /// Claimed.
    pub said: u64,
    /// Claimed, and true.
    pub right: u64,
}

impl Found {
    /// Adds another's counts.
    pub fn merge(&mut self, o: Found) {
        self.truth += o.truth;
        self.said += o.said;
        self.right += o.right;
    }

    /// Share of the claims that are true.
    pub fn precision(&self) -> f64 {
        share(self.right, self.said)
    }

    /// Share of the truth that was claimed.
    pub fn recall(&self) -> f64 {
        share(self.right.min(self.truth), self.truth)
    }

    /// Nothing missed, nothing made up.
    pub fn exact(&self) -> bool {
        self.truth == self.right && self.said == self.right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_small_table() {
        let mut c = Confusion::default();
        c.add("fast", "fast", 8);
        c.add("fast", "tlp", 2);
        c.add("tlp", "tlp", 1);
        c.add("rto", "unknown", 1);
        assert_eq!((c.total(), c.right(), c.wrong(), c.undecided()), (12, 9, 2, 1));
        assert!((c.decided_accuracy() - 9.0 / 11.0).abs() < 1e-9);
        // fast 16/18, tlp 2/4, rto 0: an answer that is missing counts against its label
        assert!((c.macro_f1() - (16.0 / 18.0 + 0.5) / 3.0).abs() < 1e-9);
        assert_eq!(c.errors()[0], ("fast", "tlp", 2));
    }

    #[test]
    fn nothing_to_find_and_nothing_claimed_is_exact() {
        let f = Found::default();
        assert!(f.exact() && f.precision() == 1.0 && f.recall() == 1.0);
        assert!(!Found { truth: 0, said: 5, right: 0 }.exact());
    }
}
