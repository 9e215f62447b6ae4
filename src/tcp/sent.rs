//! When a packet left its sender, by the clock that the sender put into it (TSval, RFC 7323 §3).
//!
//! A tap near the receiver can't see whether a packet that ends a silence was sent late or came late.
//! Its time stamp can: what lags behind the fastest packets of its neighbourhood stood on the path.

use crate::flow::{Packet, Trace, Twin};
use crate::model::{Dir, Ns, Ts};
use std::collections::BTreeMap;

/// Ticks in use: µs and ms (Linux), 4 ms, 10 ms. Coarser ones tell nothing here.
const TICKS: [i64; 4] = [1_000, 1_000_000, 4_000_000, 10_000_000];
/// Two clocks drift apart: packets further away than two of these are not compared.
const BLOCK: Ns = Ns::from_secs(10);
/// No tick is learnt from less.
const SHORTEST: Ns = Ns::from_millis(500);

/// One sender's clock as its packets show it.
#[derive(Clone, Debug)]
pub struct SendClock {
    tick: i64,
    zero: (Ts, u32),
    /// The fastest packet of each block, by its number.
    fastest: BTreeMap<i64, i64>,
}

impl SendClock {
    /// Learns the clock of `dir`'s sender; none where it sends no time stamps, coarse ones, or too few.
    pub fn learn(trace: &Trace, dir: Dir) -> Option<SendClock> {
        let stamped = || {
            let genuine = |p: &&Packet| p.dir == dir && !matches!(p.twin, Twin::Capture(_)) && !p.flags.rst();
            trace.packets.iter().filter(genuine).filter_map(|p| Some((p.ts, p.timestamps?.0)))
        };
        let (zero, last) = (stamped().next()?, stamped().next_back()?);
        let span = last.0.since(zero.0);
        let ticks = i64::from(last.1.wrapping_sub(zero.1));
        if span < SHORTEST || ticks == 0 {
            return None;
        }
        let tick = TICKS.into_iter().find(|t| {
            // µs stamps wrap within 72 minutes.
            let passed = span.0 / t % (1 << 32);
            (ticks - passed).abs() * 3 < passed
        })?;
        let mut clock = SendClock { tick, zero, fastest: BTreeMap::new() };
        for (ts, val) in stamped() {
            let lag = clock.lag(ts, val);
            clock.fastest.entry(clock.block(ts)).and_modify(|f| *f = lag.min(*f)).or_insert(lag);
        }
        Some(clock)
    }

    fn block(&self, ts: Ts) -> i64 {
        ts.since(self.zero.0).0.div_euclid(BLOCK.0)
    }

    /// How far `val` is behind a clock that started with the first packet, ns.
    fn lag(&self, ts: Ts, val: u32) -> i64 {
        let passed = ts.since(self.zero.0).0;
        let due = (passed / self.tick) as u32;
        let behind = due.wrapping_sub(val.wrapping_sub(self.zero.1)) as i32;
        i64::from(behind) * self.tick + passed % self.tick
    }

    /// How much longer a packet took than the fastest of its neighbourhood, to the tick.
    pub fn late(&self, p: &Packet) -> Option<Ns> {
        let (val, _) = p.timestamps?;
        let block = self.block(p.ts);
        let fastest = self.fastest.range(block - 1..=block + 1).map(|(_, f)| *f).min()?;
        Some(Ns((self.lag(p.ts, val) - fastest).max(0)))
    }
}
