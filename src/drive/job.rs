//! One announced run at the server: what the thread of the control connection and the thread of the
//! data connection share.

use super::alive::Vitals;
use super::clock::Clock;
use super::control::{Pause, Prepare};
use super::options::Busy;
use super::part::Part;
use super::record::RunEnd;
use super::serve::LONGEST;
use crate::model::{AppLog, Ns, Side};
use crate::report::SyncStats;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the data connection may go on after the client said that the run is over.
const AFTERGLOW: Duration = Duration::from_millis(500);
const MAX_PAUSES: usize = 1000;
/// Shortest time-out: below it every lost segment would end a run.
const SHORTEST: Ns = Ns::from_millis(100);

/// What the data connection's thread leaves behind.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: RunEnd,
    pub(super) stats: SyncStats,
    pub(super) log: AppLog,
    pub(super) errors: Vec<String>,
    /// What stays of a file that was cut.
    pub(super) part: Option<Part>,
}

#[derive(Debug)]
enum State {
    /// No data connection yet.
    Announced,
    /// Its thread is gone.
    Over(Option<Box<Outcome>>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) wish: Prepare,
    pub(super) clock: Clock,
    pub(super) stop: AtomicBool,
    pub(super) vitals: Vitals,
    state: Mutex<State>,
    changed: Condvar,
}

impl Job {
    /// With the client's wishes cut to what is bearable; `timeout` is the server's own.
    pub(super) fn new(mut wish: Prepare, timeout: Ns, clock: Clock) -> Job {
        wish.timeout = wish.timeout.min(timeout).clamp(SHORTEST, LONGEST);
        wish.busy.truncate(MAX_PAUSES);
        wish.hold.truncate(MAX_PAUSES);
        wish.bwlimit = wish.bwlimit.map(|b| b.max(1));
        wish.snaplen = wish.snaplen.min(262_144);
        Job {
            wish,
            clock,
            stop: AtomicBool::new(false),
            vitals: Vitals::default(),
            state: Mutex::new(State::Announced),
            changed: Condvar::new(),
        }
    }

    /// The server's pauses, or the times in which it holds back.
    pub(super) fn pauses(wished: &[Pause]) -> Vec<Busy> {
        let short = |ns: Ns| ns.clamp(Ns::ZERO, LONGEST);
        wished.iter().map(|p| Busy { side: Side::Server, at: short(p.at), lasts: short(p.lasts) }).collect()
    }

    /// How long to wait for a word of the client: a little longer than the data connection's thread, which
    /// can tell more about it.
    pub(super) fn patience(&self) -> Duration {
        self.wish.timeout.to_std() + Duration::from_millis(300)
    }

    /// Leaves the outcome.
    pub(super) fn finish(&self, outcome: Outcome) {
        *self.lock() = State::Over(Some(Box::new(outcome)));
        self.changed.notify_all();
    }

    /// There is no outcome.
    pub(super) fn abandon(&self) {
        *self.lock() = State::Over(None);
        self.changed.notify_all();
    }

    /// Waits for the outcome of a run that began, after its end was announced; tells the data
    /// connection to stop if it does not come, or at once if `hurry`.
    pub(super) fn wait(&self, hurry: &dyn Fn() -> bool) -> Option<Outcome> {
        let since = Instant::now();
        let mut state = self.lock();
        loop {
            if let State::Over(outcome) = &mut *state {
                return outcome.take().map(|b| *b);
            }
            if hurry() || since.elapsed() >= AFTERGLOW {
                self.stop.store(true, Ordering::Relaxed);
            }
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(20))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
