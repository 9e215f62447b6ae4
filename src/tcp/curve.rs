//! What a direction did over time, in buckets that widen as it goes on: enough to draw it, however long it is.

use crate::model::{Ns, Ts};

/// Most buckets that are kept.
const MOST: usize = 512;
/// Width of the first buckets: finer than any view draws.
const FINEST: Ns = Ns(1 << 17);

/// One direction over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Width of a bucket.
    pub step: Ns,
    /// Buckets in which something happened, in order.
    pub buckets: Vec<Bucket>,
}

/// What happened in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins.
    pub start: Ts,
    /// Payload bytes sent for the first time.
    pub bytes: u64,
    /// Segments sent again.
    pub resent: u32,
    /// Most bytes in flight; none where nothing was sent.
    pub flight: Option<u64>,
    /// Longest round trip.
    pub rtt: Option<Ns>,
}

impl Default for Curve {
    fn default() -> Curve {
        Curve { step: FINEST, buckets: Vec::new() }
    }
}

impl Curve {
    /// The bucket of a moment.
    #[inline]
    pub fn at(&mut self, ts: Ts) -> &mut Bucket {
        let newest = self.buckets.len().wrapping_sub(1);
        let inside = |b: &Bucket| (0..self.step.0).contains(&ts.since(b.start).0);
        if newest < MOST - 1 && self.buckets.get(newest).is_some_and(inside) {
            return &mut self.buckets[newest];
        }
        self.find(ts)
    }

    fn find(&mut self, ts: Ts) -> &mut Bucket {
        while self.buckets.len() >= MOST && self.step.0 <= i64::MAX / 2 {
            self.widen();
        }
        let newest = self.buckets.len().wrapping_sub(1);
        if self.buckets.get(newest).is_some_and(|b| (0..self.step.0).contains(&ts.since(b.start).0)) {
            return &mut self.buckets[newest];
        }
        let start = self.start_of(ts);
        let i = match self.buckets.last() {
            Some(last) if last.start == start => self.buckets.len() - 1,
            Some(last) if last.start > start => {
                match self.buckets.binary_search_by_key(&start, |b| b.start) {
                    Ok(i) => i,
                    Err(i) => {
                        self.buckets.insert(i, Bucket { start, ..Bucket::default() });
                        i
                    }
                }
            }
            _ => {
                self.buckets.push(Bucket { start, ..Bucket::default() });
                self.buckets.len() - 1
            }
        };
        &mut self.buckets[i]
    }

    fn start_of(&self, ts: Ts) -> Ts {
        Ts(ts.0.div_euclid(self.step.0).saturating_mul(self.step.0))
    }

    fn widen(&mut self) {
        self.step = Ns(self.step.0 * 2);
        let all = std::mem::take(&mut self.buckets);
        for b in all {
            let start = self.start_of(b.start);
            match self.buckets.last_mut() {
                Some(last) if last.start == start => {
                    last.bytes += b.bytes;
                    last.resent += b.resent;
                    last.flight = last.flight.max(b.flight);
                    last.rtt = last.rtt.max(b.rtt);
                }
                _ => self.buckets.push(Bucket { start, ..b }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_connection_has_wide_buckets_and_loses_no_byte() {
        let mut c = Curve::default();
        for i in 0..100_000_i64 {
            let b = c.at(Ts(1_000_000_000) + Ns(i * 1_000_000));
            b.bytes += 10;
            b.rtt = b.rtt.max(Some(Ns(i)));
        }
        assert!(c.buckets.len() <= MOST && c.buckets.len() >= MOST / 4, "{}", c.buckets.len());
        assert_eq!(c.buckets.iter().map(|b| b.bytes).sum::<u64>(), 1_000_000);
        assert!(c.buckets.windows(2).all(|w| w[0].start < w[1].start));
        assert_eq!(c.buckets.last().and_then(|b| b.rtt), Some(Ns(99_999)));
    }
}
