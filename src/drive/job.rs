//! One announced run at the server: what the thread of the control connection and the thread of the
//! data connection share.

use super::alive::Vitals;
use super::clock::Clock;
use super::control::{Pause, Prepare, beat_every};
use super::journal::Journal;
use super::options::Busy;
use super::part::Part;
use super::record::RunEnd;
use super::seal::Sealed;
use super::serve::LONGEST;
use super::share::Share;
use super::wire::WireError;
use crate::model::{Ns, Side};
use crate::report::SyncStats;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
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
    pub(super) log: Journal,
    pub(super) errors: Vec<String>,
    /// What stays of a file that was cut.
    pub(super) part: Option<Part>,
}

#[derive(Debug)]
enum State {
    /// The client still has to show that its announcement is no recording.
    Promised,
    /// No outcome yet.
    Announced,
    /// Its thread is gone.
    Over(Option<Box<Outcome>>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) wish: Prepare,
    pub(super) clock: Clock,
    /// What it is about.
    pub(super) share: Share,
    /// Of the data connection, from its handshake on until that is there.
    seal: Mutex<Option<Sealed>>,
    /// Where files may lie while the run lasts; set before it begins.
    pub(super) scratch: OnceLock<PathBuf>,
    pub(super) stop: AtomicBool,
    pub(super) vitals: Vitals,
    state: Mutex<State>,
    changed: Condvar,
}

impl Job {
    /// With the client's wishes cut to what is bearable; `timeout` is the server's own. It is not begun.
    pub(super) fn new(mut wish: Prepare, timeout: Ns, clock: Clock, share: Share) -> Job {
        wish.timeout = wish.timeout.min(timeout).clamp(SHORTEST, LONGEST);
        wish.busy.truncate(MAX_PAUSES);
        wish.hold.truncate(MAX_PAUSES);
        wish.bwlimit = wish.bwlimit.map(|b| b.max(1));
        wish.snaplen = wish.snaplen.min(262_144);
        Job {
            wish,
            clock,
            share,
            seal: Mutex::new(None),
            scratch: OnceLock::new(),
            stop: AtomicBool::new(false),
            vitals: Vitals::default(),
            state: Mutex::new(State::Promised),
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

    /// The client is there, now; from here on something is done for it.
    pub(super) fn begin(&self, seal: Option<Sealed>) {
        *self.seal.lock().unwrap_or_else(PoisonError::into_inner) = seal;
        let mut state = self.lock();
        if matches!(*state, State::Promised) {
            *state = State::Announced;
        }
        self.changed.notify_all();
    }

    /// Waits until the client has shown that it is there; false: it has not, or all is over.
    pub(super) fn is_begun(&self, until: Instant, stop: &dyn Fn() -> bool) -> bool {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match *state {
                State::Announced => return true,
                State::Promised if !left.is_zero() && !stop() => {}
                State::Promised | State::Over(_) => return false,
            }
            let slice = left.min(Duration::from_millis(100));
            state = self.changed.wait_timeout(state, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The data connection's seal, once.
    pub(super) fn take_seal(&self) -> Option<Sealed> {
        self.seal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves the outcome.
    pub(super) fn finish(&self, outcome: Outcome) {
        *self.lock() = State::Over(Some(Box::new(outcome)));
        self.changed.notify_all();
    }

    /// If it was not begun, it will not be.
    pub(super) fn withdraw(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Promised) {
            *state = State::Over(None);
        }
        self.changed.notify_all();
    }

    /// There is no outcome.
    pub(super) fn abandon(&self) {
        *self.lock() = State::Over(None);
        self.changed.notify_all();
    }

    /// How long the data connection may go on where the control connection ended like this. What it heard last may be
    /// a heartbeat younger than what the other one did; and only its own thread finds out that the peer is gone, keeps
    /// what had arrived, and leaves no connection behind that the kernel goes on with.
    pub(super) fn afterglow(&self, control: Option<&WireError>) -> Duration {
        match control {
            None => AFTERGLOW,
            Some(WireError::Silent(_)) => AFTERGLOW + beat_every(self.wish.timeout.to_std()),
            Some(_) => Duration::ZERO,
        }
    }

    /// Waits for the outcome of a run that began, after its end was announced; tells the data
    /// connection to stop if it does not come in time, or at once if `hurry`.
    pub(super) fn wait(&self, afterglow: Duration, hurry: &dyn Fn() -> bool) -> Option<Outcome> {
        let since = Instant::now();
        let mut state = self.lock();
        loop {
            if let State::Over(outcome) = &mut *state {
                return outcome.take().map(|b| *b);
            }
            if hurry() || since.elapsed() >= afterglow {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppLog;
    use std::sync::Arc;

    fn job(timeout: Ns) -> Job {
        let json = serde_json::json!({
            "data_port": 1, "bwlimit": null, "busy": [], "hold": [], "timeout": timeout, "capture": false,
            "snaplen": 160, "block": null, "seed": 1, "path": "", "sealed": false
        });
        Job::new(serde_json::from_value(json).unwrap(), LONGEST, Clock::new(), Share::default())
    }

    /// It was stopped as if its user had: no part was kept, and the kernel went on with its connection.
    #[test]
    fn a_run_whose_control_connection_falls_silent_first_ends_by_its_own_time_out() {
        let job = Arc::new(job(Ns::from_secs(4)));
        job.begin(None);
        let silent = WireError::Silent(Duration::from_secs(4));
        let (glow, at) = (job.afterglow(Some(&silent)), "127.0.0.1:1".parse().unwrap());
        // Heartbeats are a second apart: so much later the data connection's last sign of life can be.
        assert!(glow > Duration::from_secs(1) && glow < Duration::from_secs(2), "{glow:?}");
        assert_eq!(
            (job.afterglow(None), job.afterglow(Some(&WireError::Closed))),
            (AFTERGLOW, Duration::ZERO)
        );
        let data = Arc::clone(&job);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700));
            let (side, events, files) = (Side::Server, Vec::new(), Vec::new());
            let log =
                AppLog { side, local: at, peer: at, events, files, samples: Vec::new(), offsets_known: true };
            let end = RunEnd::TimedOut("no sign of life".to_owned());
            let stopped = data.stop.load(Ordering::Relaxed);
            let log = Journal::of(log);
            data.finish(Outcome { end, stats: SyncStats::default(), log, errors: Vec::new(), part: None });
            stopped
        });
        let outcome = job.wait(glow, &|| false).unwrap();
        assert!(matches!(outcome.end, RunEnd::TimedOut(_)) && !thread.join().unwrap());
    }

    /// A time-out that a peer asks for must not switch this side's own off, nor end all at once.
    #[test]
    fn cve_2026_70462_the_time_out_that_a_peer_asks_for_is_held_within_bounds() {
        for (asked, kept) in [
            (i64::MIN, Ns::from_millis(100)),
            (-1, Ns::from_millis(100)),
            (0, Ns::from_millis(100)),
            (7_000_000_000, Ns::from_secs(7)),
            (i64::MAX, LONGEST),
        ] {
            let pause = Pause { at: Ns(asked), lasts: Ns(asked) };
            let json = serde_json::json!({
                "data_port": 1, "bwlimit": 0, "busy": [], "hold": [], "timeout": asked, "capture": false,
                "snaplen": u32::MAX, "block": null, "seed": 1, "path": "", "sealed": false
            });
            let wish: Prepare = serde_json::from_value(json).unwrap();
            let job = Job::new(
                Prepare { busy: vec![pause; 5000], ..wish },
                LONGEST,
                Clock::new(),
                Share::default(),
            );
            assert_eq!(job.wish.timeout, kept, "{asked} ns");
            assert!(job.patience() <= LONGEST.to_std() + Duration::from_secs(10));
            assert_eq!((job.wish.busy.len(), job.wish.bwlimit), (MAX_PAUSES, Some(1)));
            let held = Job::pauses(&job.wish.busy);
            assert!(held.iter().all(|b| b.at >= Ns::ZERO && b.lasts <= LONGEST), "{asked}");
        }
    }
}
