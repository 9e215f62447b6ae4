//! Is the peer alive, is it only busy, or is it gone? Decided from facts and the time, nothing else.
//!
//! ```text
//!  life      a byte of the peer's that arrived · a byte of ours that the peer's TCP acknowledged · a heartbeat
//!  no life   what this end wrote into its own buffer, what it worked, ACKs that acknowledge nothing new
//! ```
//! Heartbeats travel beside the data, so a program that hashes or waits for a disk is heard; they say what
//! it does and how much of the stream it has read and written. Four ends follow from that:
//!
//! | what stands still for the time-out | verdict |
//! | --- | --- |
//! | every sign of life | [`Dead::Silent`]: the path, the host or the program is gone |
//! | ACKs of the data, its window open, while heartbeats come | [`Dead::Unacknowledged`]: the path drops the data |
//! | arrival of what the peer says it wrote, while heartbeats come | [`Dead::Missing`]: the same, seen by the receiver |
//! | both programs, each waiting for the other, with nothing on its way | [`Dead::Deadlock`]: a bug of ours |
//! | only the peer's progress, while heartbeats come | alive: it is busy, and says with what |

use crate::model::units::bytes;
use crate::model::{Ns, Phase, Ts};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one end says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// What its program does, or did last.
    pub phase: Phase,
    /// Index of the file, if it is about one.
    pub file: Option<u32>,
    /// Reads and pieces of work so far: its progress.
    pub steps: u64,
    /// Bytes of the data connection that it has read.
    pub read: u64,
    /// Bytes of the data connection that it has written.
    pub written: u64,
    /// It has nothing to do and nothing to send before bytes arrive.
    pub waits: bool,
}

/// A peer's last words, and how long it has said nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When the last heartbeat came.
    pub at: Ts,
    /// What it said.
    pub beat: Beat,
    /// Since when it has said this and nothing else.
    pub since: Ts,
}

impl Heard {
    /// What the peer is doing, for people.
    pub fn in_words(&self, now: Ts) -> String {
        let what = match self.beat.waits {
            true => "it waits for this side".to_owned(),
            false => format!("its program is at `{}`", self.beat.phase.as_str()),
        };
        let still = now - self.since;
        let progress = match still < Ns::from_secs(1) {
            true => format!("{} steps so far", self.beat.steps),
            false => format!("at step {} for {still}", self.beat.steps),
        };
        format!("{what} ({progress}; it has read {} of the data)", bytes(self.beat.read))
    }
}

/// What the thread of the data and the thread of the heartbeats tell each other.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<(Beat, Option<Heard>)>);

impl Vitals {
    /// This end's next heartbeat.
    pub fn mine(&self) -> Beat {
        self.lock().0
    }

    /// Says what this end is doing.
    pub fn set(&self, beat: Beat) {
        self.lock().0 = beat;
    }

    /// A heartbeat of the peer's. However many come, only the last one is kept.
    pub fn hear(&self, now: Ts, beat: Beat) {
        let heard = &mut self.lock().1;
        let since = heard.filter(|h| h.beat == beat).map_or(now, |h| h.since);
        *heard = Some(Heard { at: now, beat, since });
    }

    /// The peer's last one.
    pub fn heard(&self) -> Option<Heard> {
        self.lock().1
    }

    fn lock(&self) -> MutexGuard<'_, (Beat, Option<Heard>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this end's kernel and program know of the data connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Bytes that arrived, read or not (`tcpi_bytes_received`).
    pub arrived: u64,
    /// Bytes that the peer's TCP acknowledged (`tcpi_bytes_acked`).
    pub acked: u64,
    /// Segments in flight (`tcpi_unacked`).
    pub unacked: u32,
    /// The peer's TCP takes nothing: it does not read (`tcpi_snd_wnd` is 0, or probes are out).
    pub closed: bool,
    /// Bytes that arrived and were not read (`SIOCINQ`).
    pub unread: u32,
    /// What this end says of itself.
    pub mine: Beat,
}

/// Why the connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// No sign of life of any kind for this long.
    Silent(Ns),
    /// Data in flight was not acknowledged for this long, though the peer's program is heard.
    Unacknowledged(Ns),
    /// These bytes were written by the peer and did not arrive for this long, though its program is heard.
    Missing(u64, Ns),
    /// Both ends have waited for each other for this long.
    Deadlock(Ns),
}

impl Dead {
    /// In words; what TCP was doing comes behind.
    pub fn in_words(self) -> String {
        match self {
            Dead::Silent(t) => format!("no sign of life from the peer for {t}"),
            Dead::Unacknowledged(t) => {
                format!("nothing that was sent was acknowledged for {t}, though the peer's program is heard")
            }
            Dead::Missing(n, t) => {
                let n = bytes(n);
                format!("{n} that the peer has written did not arrive for {t}, though its program is heard")
            }
            Dead::Deadlock(t) => {
                format!("both ends have waited for each other for {t}: a bug of syncscope; please report it")
            }
        }
    }
}

/// Watches one connection.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    timeout: Ns,
    last: Facts,
    beat: Option<Heard>,
    /// The last sign of life.
    life: Ts,
    /// When data in flight was last acknowledged, or none was in flight.
    outward: Ts,
    /// When something last arrived, or nothing was due.
    inward: Ts,
    /// When it was last not so that both wait.
    apart: Ts,
}

impl Watch {
    /// From now on; `timeout` is how long anything may stand still.
    pub fn new(now: Ts, timeout: Ns) -> Watch {
        let last = Facts::default();
        Watch { timeout, last, beat: None, life: now, outward: now, inward: now, apart: now }
    }

    /// Looks at the facts; why the connection is dead, if it is.
    pub fn look(&mut self, now: Ts, facts: Facts, heard: Option<Heard>) -> Option<Dead> {
        let arrived = facts.arrived > self.last.arrived;
        let acked = facts.acked > self.last.acked;
        if arrived || acked {
            self.life = now;
        }
        if let Some(h) = heard {
            self.life = self.life.max(h.at);
        }
        if acked || facts.unacked == 0 || facts.closed {
            self.outward = now;
        }
        let said = heard.map(|h| h.beat).unwrap_or_default();
        let missing = said.written.saturating_sub(facts.arrived);
        // What is not read here keeps the peer from sending more.
        if arrived || missing == 0 || facts.unread > 0 {
            self.inward = now;
        }
        let same = self.beat.map(|h| h.beat) == heard.map(|h| h.beat) && facts.mine == self.last.mine;
        let nothing_under_way = said.written == facts.mine.read && said.read == facts.mine.written;
        if !(same && said.waits && facts.mine.waits && nothing_under_way) {
            self.apart = now;
        }
        (self.last, self.beat) = (facts, heard);
        let over = |since: Ts| Some(now - since).filter(|t| *t >= self.timeout);
        if let Some(t) = over(self.life) {
            return Some(Dead::Silent(t));
        }
        if let Some(t) = over(self.outward) {
            return Some(Dead::Unacknowledged(t));
        }
        if let Some(t) = over(self.inward) {
            return Some(Dead::Missing(missing, t));
        }
        over(self.apart).map(Dead::Deadlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: Ns = Ns::from_secs(2);

    fn at(ms: i64) -> Ts {
        Ts(1_000_000_000_000 + ms * 1_000_000)
    }

    fn beat(steps: u64) -> Beat {
        Beat { phase: Phase::Signature, steps, ..Beat::default() }
    }

    /// Looks every 100 ms, with the facts of that moment; when it is called dead, in ms, and why.
    fn watch(until: i64, mut facts: impl FnMut(i64, &Vitals) -> Facts) -> Option<(i64, Dead)> {
        let (mut w, vitals) = (Watch::new(at(0), T), Vitals::default());
        (0..=until / 100).find_map(|i| {
            let ms = i * 100;
            let now = facts(ms, &vitals);
            w.look(at(ms), now, vitals.heard()).map(|d| (ms, d))
        })
    }

    #[test]
    fn what_this_end_writes_and_works_is_no_sign_of_life() {
        let dead = watch(10_000, |ms, _| Facts {
            mine: Beat { written: ms as u64 * 1000, ..beat(ms as u64) },
            arrived: if ms <= 500 { ms as u64 } else { 500 },
            ..Facts::default()
        });
        assert_eq!(dead, Some((2500, Dead::Silent(T))), "the time-out counts from the last byte that came");
    }

    #[test]
    fn bytes_that_arrive_and_bytes_that_are_acknowledged_are_life() {
        let arriving = |ms: i64, _: &Vitals| Facts { arrived: ms as u64 / 1500, ..Facts::default() };
        assert_eq!(watch(60_000, arriving), None);
        let acked = |ms: i64, _: &Vitals| Facts { acked: ms as u64 / 1500, unacked: 9, ..Facts::default() };
        assert_eq!(watch(60_000, acked), None);
    }

    #[test]
    fn a_peer_busy_for_ten_time_outs_is_never_dead() {
        let dead = watch(20_000, |ms, v| {
            if ms % 500 == 0 {
                v.hear(at(ms), beat(ms as u64));
            }
            // It does not read either: its window is closed, and what was sent fills both buffers.
            Facts { acked: 100, unacked: 0, closed: true, ..Facts::default() }
        });
        assert_eq!(dead, None);
    }

    #[test]
    fn heartbeats_without_any_progress_for_ever_mean_busy_and_say_for_how_long() {
        let vitals = Vitals::default();
        let dead = watch(3_600_000, |ms, v| {
            v.hear(at(ms), beat(7));
            vitals.hear(at(ms), beat(7));
            Facts::default()
        });
        assert_eq!(dead, None);
        let words = vitals.heard().unwrap().in_words(at(3_600_000));
        assert!(words.starts_with("its program is at `signature` (at step 7 for 3600"), "{words}");
    }

    #[test]
    fn a_flood_of_heartbeats_is_one_heartbeat() {
        let v = Vitals::default();
        for i in 0..1_000_000 {
            v.hear(at(1), beat(i));
        }
        assert_eq!(v.heard(), Some(Heard { at: at(1), beat: beat(999_999), since: at(1) }));
    }

    #[test]
    fn heartbeats_that_stop_end_it() {
        let dead = watch(20_000, |ms, v| {
            if ms <= 3000 {
                v.hear(at(ms), beat(1));
            }
            Facts::default()
        });
        assert_eq!(dead, Some((5000, Dead::Silent(T))));
    }

    #[test]
    fn data_that_the_path_drops_is_seen_by_both_ends_though_heartbeats_come() {
        let sender = watch(20_000, |ms, v| {
            v.hear(at(ms), beat(1));
            Facts { acked: 1000.min(ms as u64), unacked: 10, ..Facts::default() }
        });
        assert_eq!(sender, Some((3000, Dead::Unacknowledged(T))));
        let receiver = watch(20_000, |ms, v| {
            v.hear(at(ms), Beat { written: 5000, ..beat(1) });
            Facts { arrived: 1000.min(ms as u64), ..Facts::default() }
        });
        assert_eq!(receiver, Some((3000, Dead::Missing(4000, T))));
    }

    #[test]
    fn what_waits_unread_here_is_not_missing() {
        let dead = watch(20_000, |ms, v| {
            v.hear(at(ms), Beat { written: 5_000_000, ..beat(1) });
            Facts { arrived: 1000, unread: 1000, ..Facts::default() }
        });
        assert_eq!(dead, None);
    }

    #[test]
    fn two_that_wait_for_each_other_are_told_so() {
        let waiting = Beat { phase: Phase::Data, steps: 3, read: 10, written: 20, waits: true, file: None };
        let dead = watch(20_000, |ms, v| {
            v.hear(at(ms), Beat { read: 20, written: 10, ..waiting });
            Facts { arrived: 10, acked: 21, mine: waiting, ..Facts::default() }
        });
        assert!(matches!(dead, Some((2000..=2200, Dead::Deadlock(_)))), "{dead:?}");
        // Its program has not read all of it: it was busy when it said that it waits.
        let dead = watch(20_000, |ms, v| {
            v.hear(at(ms), Beat { read: 19, written: 10, ..waiting });
            Facts { arrived: 10, acked: 21, mine: waiting, ..Facts::default() }
        });
        assert_eq!(dead, None);
    }

    proptest! {
        /// Whatever a peer says: it is never dead while there is a sign of life within every time-out and its
        /// window is closed, and always dead one time-out after the last sign.
        #[test]
        fn any_heartbeats_and_any_order(
            moves in proptest::collection::vec((0i64..1900, any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>(), 0u8..3), 1..200),
        ) {
            let (mut w, v, mut now) = (Watch::new(at(0), T), Vitals::default(), at(0));
            let mut facts = Facts { closed: true, unread: 1, ..Facts::default() };
            for (ms, steps, read, written, waits, kind) in moves {
                now += Ns::from_millis(ms);
                match kind {
                    0 => v.hear(now, Beat { steps, read, written, waits, ..Beat::default() }),
                    1 => facts.arrived += 1 + steps % 1000,
                    _ => facts.acked += 1 + steps % 1000,
                }
                facts.mine.steps += 1;
                prop_assert_eq!(w.look(now, facts, v.heard()), None);
            }
            facts.mine.written += 1 << 20;
            prop_assert_eq!(w.look(now + T - Ns(1), facts, v.heard()), None);
            prop_assert_eq!(w.look(now + T, facts, v.heard()), Some(Dead::Silent(T)));
        }
    }
}
