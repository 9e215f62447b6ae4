//! `--bwlimit`: a token bucket that lets through at most ~10 ms worth at once, so that the limit looks
//! like a slow application and not like bursts that overrun a queue on the path.
//!
//! Kept as the time at which all bytes let through so far are paid for (the generic cell rate
//! algorithm, ITU-T I.371 annex A): no fractions of tokens that get lost.

use crate::model::{Ns, Ts};

const BURST: Ns = Ns::from_millis(10);
/// A burst holds at least about one segment, however low the rate.
const SMALLEST_BURST: u64 = 1400;

/// The bucket of one side.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: u64,
    burst: Ns,
    paid_until: Ts,
}

impl Pace {
    /// `rate` in bytes per second, at least 1.
    pub fn new(rate: u64) -> Pace {
        let rate = rate.max(1);
        let burst = cost(rate, SMALLEST_BURST).0.max(BURST.0);
        Pace { rate, burst: Ns(burst), paid_until: Ts::MIN }
    }

    /// Bytes that may be written now.
    pub fn available(&self, now: Ts) -> u64 {
        let saved = (now - self.paid_until.max(now - self.burst)).0.max(0);
        (i128::from(saved) * i128::from(self.rate) / 1_000_000_000) as u64
    }

    /// Accounts for `n` bytes written.
    pub fn take(&mut self, now: Ts, n: u64) {
        self.paid_until = self.paid_until.max(now - self.burst) + cost(self.rate, n);
    }

    /// How long until there is room for `pending` bytes or half a burst, whichever is less; zero: now.
    pub fn wait(&self, now: Ts, pending: u64) -> Ns {
        let want = cost(self.rate, pending).0.min(self.burst.0 / 2);
        let saved = (now - self.paid_until.max(now - self.burst)).0;
        Ns((want - saved).max(0))
    }
}

fn cost(rate: u64, bytes: u64) -> Ns {
    let ns = u128::from(bytes) * 1_000_000_000;
    Ns(i64::try_from(ns.div_ceil(u128::from(rate))).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always has something to send, for `seconds`; what left and when.
    fn sent(rate: u64, seconds: i64) -> Vec<(Ts, u64)> {
        let (mut p, mut now, mut out) = (Pace::new(rate), Ts(1_000_000_000), Vec::new());
        let end = now + Ns::from_secs(seconds);
        while now < end {
            let wait = p.wait(now, u64::MAX / 2);
            if wait > Ns::ZERO {
                now += wait;
                continue;
            }
            let n = p.available(now).min(65_536);
            p.take(now, n);
            out.push((now, n));
        }
        out
    }

    #[test]
    fn the_rate_holds_and_bursts_stay_within_ten_milliseconds() {
        for rate in [20_000, 1_000_000, 12_500_000, 1_250_000_000] {
            let out = sent(rate, 2);
            let total: u64 = out.iter().map(|o| o.1).sum();
            let want = rate * 2;
            assert!(total.abs_diff(want) <= want / 50 + 2800, "{rate}: {total} for {want}");
            let most = out
                .iter()
                .enumerate()
                .map(|(i, a)| {
                    out[i..].iter().take_while(|b| b.0 - a.0 < Ns::from_millis(1)).map(|b| b.1).sum::<u64>()
                })
                .max()
                .unwrap();
            assert!(
                most <= (rate * 11 / 1000).max(1400) + 65_536.min(rate / 1000),
                "{rate}: {most} within 1 ms"
            );
        }
    }

    #[test]
    fn a_short_rest_does_not_wait_for_half_a_burst() {
        let mut p = Pace::new(1_000_000);
        let t = Ts(5_000_000_000);
        p.take(t, 10_000);
        assert_eq!(p.available(t), 0);
        assert_eq!(p.wait(t, 100), Ns(100_000), "100 bytes at 1 MB/s");
        assert_eq!(p.wait(t, 1 << 20), Ns(5_000_000));
        assert_eq!(p.wait(t + Ns::from_secs(9), 1 << 20), Ns::ZERO);
    }
}
