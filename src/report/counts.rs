//! A few words with a number each. There may be a million of these in a report, so it is a list and no tree.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Numbers by word, in order of the words; in JSON an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(Cow<'static, str>, u64)>);

impl Counts {
    /// Counts `n` more of `word`.
    pub fn add(&mut self, word: &'static str, n: u64) {
        match self.0.binary_search_by(|(w, _)| w.as_ref().cmp(word)) {
            Ok(i) => self.0[i].1 += n,
            Err(i) => {
                self.0.reserve_exact(1);
                self.0.insert(i, (Cow::Borrowed(word), n));
            }
        }
    }

    /// How many there are of `word`.
    pub fn of(&self, word: &str) -> u64 {
        self.iter().find(|(w, _)| *w == word).map_or(0, |(_, n)| n)
    }

    /// All words with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(w, n)| (w.as_ref(), *n))
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Counts, D::Error> {
        let words = BTreeMap::<String, u64>::deserialize(from)?;
        Ok(Counts(words.into_iter().map(|(w, n)| (Cow::Owned(w), n)).collect()))
    }
}
