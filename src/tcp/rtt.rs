//! Round trips and the time-out that follows from them (RFC 6298; Karn's rule).

use super::RttSample;
use super::ranges::RangeSet;
use crate::flow::{Trace, Twin};
use crate::model::{Dir, Ns, RelSeq, StreamRange, Ts};
use std::collections::VecDeque;

/// Lower bound of the RTO and of its variance term in Linux (`TCP_RTO_MIN`).
pub const RTO_MIN: Ns = Ns::from_millis(200);

/// Round trips from the tap to the receiver of `dir` and back. A segment that was sent again gives
/// none (Karn); of the segments that one ACK covers the newest counts, so that delayed ACKs
/// stretch as little as possible.
pub fn samples(trace: &Trace, dir: Dir) -> Vec<RttSample> {
    let mut waiting: VecDeque<(RelSeq, Ts)> = VecDeque::new();
    // Ends of segments that can no longer be measured.
    let mut spoilt = RangeSet::default();
    let mut nxt = None;
    let mut out = Vec::new();
    for (packets, run) in trace.pieces(trace.upto[dir]) {
        if let Some(r) = run {
            if r.sender != dir {
                continue;
            }
            if nxt.is_none_or(|n| n <= r.data.start) && spoilt.end().is_none_or(|e| e <= r.una) {
                for p in &trace.packets[packets] {
                    if p.dir == dir {
                        waiting.push_back((p.range().end, p.ts));
                        continue;
                    }
                    let mut newest = None;
                    while let Some(&w) = waiting.front().filter(|w| Some(w.0) <= p.ack) {
                        newest = Some(w);
                        waiting.pop_front();
                    }
                    if let Some((_, sent)) = newest.filter(|n| Some(n.0) == p.ack) {
                        let rtt = p.ts.since(sent);
                        if rtt.0 >= 0 {
                            out.push(RttSample { ts: p.ts, rtt });
                        }
                    }
                }
                nxt = Some(r.data.end);
                continue;
            }
        }
        for p in &trace.packets[packets] {
            if p.dir == dir {
                if !p.carries() || p.twin != Twin::None {
                    continue;
                }
                let r = p.range();
                match nxt {
                    // Whatever it repeats, and all behind that which one ACK will cover too.
                    Some(n) if r.start < n => {
                        spoilt.insert(StreamRange::new(r.start.plus(1), n.plus(1)));
                    }
                    _ => {
                        waiting.push_back((r.end, p.ts));
                        nxt = Some(r.end);
                    }
                }
            } else if let Some(ack) = p.ack {
                let mut newest = None;
                let mut clean = true;
                while let Some(&(end, ts)) = waiting.front().filter(|w| w.0 <= ack) {
                    clean &= !spoilt.covers(StreamRange::new(end, end.plus(1)));
                    newest = Some((end, ts));
                    waiting.pop_front();
                }
                if let Some((_, sent)) = newest.filter(|n| clean && n.0 == ack) {
                    let rtt = p.ts.since(sent);
                    if rtt.0 >= 0 {
                        out.push(RttSample { ts: p.ts, rtt });
                    }
                }
            }
        }
    }
    out
}

/// Smoothed round trip and time-out, fed with samples in order of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimator {
    srtt: Option<f64>,
    var: f64,
}

impl Estimator {
    /// One more sample (RFC 6298 §2.2, §2.3).
    pub fn take(&mut self, rtt: Ns) {
        let r = rtt.0 as f64;
        match self.srtt {
            None => (self.srtt, self.var) = (Some(r), r / 2.0),
            Some(s) => {
                self.var = 0.75 * self.var + 0.25 * (s - r).abs();
                self.srtt = Some(0.875 * s + 0.125 * r);
            }
        }
    }

    /// Smoothed round trip.
    pub fn srtt(&self) -> Option<Ns> {
        self.srtt.map(|s| Ns(s as i64))
    }

    /// The time-out, at Linux' lower bound; RFC 6298 §2.1's one second before any sample.
    pub fn rto(&self) -> Ns {
        match self.srtt {
            None => Ns::from_secs(1),
            Some(s) => Ns(s as i64) + Ns((4.0 * self.var) as i64).max(RTO_MIN),
        }
    }
}

/// The `q` quantile of unsorted round trips, 0 to 1.
pub fn quantile(sorted: &[Ns], q: f64) -> Option<Ns> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * q).round() as usize).copied()
}
