//! The flight recorder of one end: each read, write and stretch of work, and TCP_INFO beside them.
//!
//! The pump's thread owns the [`Recorder`] and writes into a preallocated vector: no lock, no
//! allocation, two clock readings an event. Ten times a second what is new is handed to the shared
//! [`LiveRun`], from which others take snapshots while the run goes on.

use super::clock::Clock;
use super::journal::Journal;
use crate::model::{AppEvent, AppLog, AppOp, Ns, Phase, Side, TcpSample, Ts};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Events kept of one run: about 700 MiB, or 400 in a file. A run that makes more keeps its beginning and says so.
const MAX_EVENTS: usize = 8 << 20;
const FIRST_EVENTS: usize = 1 << 14;
/// Pieces of work that take less than this, one right after the other, are one event …
const SHORT: Ns = Ns::from_micros(100);
/// … of at most this length, with the first one's phase and file.
const STRETCH: Ns = Ns::from_millis(1);
/// How often TCP_INFO is sampled and the log is handed out.
pub const SAMPLE_EVERY: Ns = Ns::from_millis(100);

/// What the application was busy with: phase, file, block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// What.
    pub phase: Phase,
    /// Index of the file.
    pub file: Option<u32>,
    /// Block within it.
    pub block: Option<u32>,
}

/// A log that is still growing, shared with whoever watches.
#[derive(Debug)]
pub struct LiveRun {
    journal: Mutex<Journal>,
}

impl LiveRun {
    /// An empty log of a connection. An IPv4 address that an IPv6 socket reports in mapped form is
    /// written as IPv4: so it is on the wire.
    pub fn new(side: Side, local: SocketAddr, peer: SocketAddr) -> LiveRun {
        LiveRun { journal: Mutex::new(Journal::of(empty(side, local, peer))) }
    }

    /// The same; what is older than the newest events goes to a file in this folder. A snapshot lacks it.
    pub fn spilling(
        side: Side,
        local: SocketAddr,
        peer: SocketAddr,
        folder: &Path,
    ) -> std::io::Result<LiveRun> {
        Ok(LiveRun { journal: Mutex::new(Journal::spilling(empty(side, local, peer), folder)?) })
    }

    /// What was recorded so far; at most about 100 ms behind.
    pub fn snapshot(&self) -> AppLog {
        self.lock().log.clone()
    }

    /// The log itself, leaving an empty one.
    pub fn take(&self) -> Journal {
        let mut journal = self.lock();
        let log = &journal.log;
        let empty = empty(log.side, log.local, log.peer);
        std::mem::replace(&mut journal, Journal::of(empty))
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        // A log is valid after every statement that changes it; a panic elsewhere spoils nothing.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(side: Side, local: SocketAddr, peer: SocketAddr) -> AppLog {
    let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    AppLog {
        side,
        local: plain(local),
        peer: plain(peer),
        events: Vec::new(),
        files: Vec::new(),
        samples: Vec::new(),
        offsets_known: true,
    }
}

/// Writes the record of one end of one connection.
#[derive(Debug)]
pub struct Recorder<'a> {
    clock: Clock,
    shared: &'a LiveRun,
    on: bool,
    fresh: Vec<AppEvent>,
    samples: Vec<TcpSample>,
    published: usize,
    lost: u64,
    read: u64,
    written: u64,
}

impl<'a> Recorder<'a> {
    /// A recorder that hands out to `shared`.
    pub fn new(clock: Clock, shared: &'a LiveRun) -> Recorder<'a> {
        Recorder {
            clock,
            shared,
            on: true,
            fresh: Vec::with_capacity(FIRST_EVENTS),
            samples: Vec::new(),
            published: 0,
            lost: 0,
            read: 0,
            written: 0,
        }
    }

    /// One that only counts bytes: to measure what recording costs.
    pub fn off(clock: Clock, shared: &'a LiveRun) -> Recorder<'a> {
        Recorder { on: false, fresh: Vec::new(), ..Recorder::new(clock, shared) }
    }

    /// The run's clock.
    pub fn now(&self) -> Ts {
        self.clock.now()
    }

    /// False when it only counts.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Stream bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Stream bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// A read that returned `len` bytes, just now; when that is.
    pub fn read(&mut self, start: Ts, ready: Option<Ts>, len: u32, queued: Option<u32>, at: Position) -> Ts {
        let offset = self.read;
        self.read += u64::from(len);
        let end = self.clock.now();
        self.push(AppOp::Read, (start, ready, end), (offset, len), queued, at);
        end
    }

    /// A read of the greeting, before there was a recorder.
    pub fn greeting(&mut self, start: Ts, end: Ts, len: u32) {
        let offset = self.read;
        self.read += u64::from(len);
        self.push(AppOp::Read, (start, None, end), (offset, len), None, Position::default());
    }

    /// A write that took `len` bytes, just now.
    pub fn write(&mut self, start: Ts, ready: Option<Ts>, len: u32, queued: Option<u32>, at: Position) {
        let offset = self.written;
        self.written += u64::from(len);
        self.push(AppOp::Write, (start, ready, self.clock.now()), (offset, len), queued, at);
    }

    /// Something else that kept the application from its socket from `start` until now; when that is.
    pub fn work(&mut self, start: Ts, at: Position) -> Ts {
        let end = self.clock.now();
        if let Some(last) = self.fresh.last_mut()
            && last.op == AppOp::Work
            && !set_apart(last.phase)
            && !set_apart(at.phase)
            && last.end - last.start < STRETCH
            && end - last.end < SHORT
        {
            last.end = end;
            return end;
        }
        self.push(AppOp::Work, (start, None, end), (self.written, 0), None, at);
        end
    }

    fn push(
        &mut self,
        op: AppOp,
        (start, ready, end): (Ts, Option<Ts>, Ts),
        (offset, len): (u64, u32),
        queued: Option<u32>,
        at: Position,
    ) {
        if !self.on {
            return;
        }
        if self.published + self.fresh.len() >= MAX_EVENTS {
            self.lost += 1;
            return;
        }
        let Position { phase, file, block } = at;
        self.fresh.push(AppEvent { op, start, ready, end, offset, len, queued, phase, file, block });
    }

    /// Adds a sample of TCP_INFO.
    pub fn sample(&mut self, sample: TcpSample) {
        if self.on {
            self.samples.push(sample);
        }
    }

    /// Hands out what is new, with the names that events refer to by index. If somebody is just
    /// taking a snapshot, the next time will do: the pump never waits for an onlooker.
    pub fn publish(&mut self, files: &[String]) {
        if let Ok(log) = self.shared.journal.try_lock() {
            self.hand_out(log, files);
        }
    }

    /// Hands out the rest, once nothing is waited for any more.
    pub fn finish(&mut self, files: &[String]) {
        let shared = self.shared;
        self.hand_out(shared.lock(), files);
    }

    fn hand_out(&mut self, mut journal: MutexGuard<'_, Journal>, files: &[String]) {
        self.published += self.fresh.len();
        self.lost += journal.add(&mut self.fresh, &mut self.samples);
        let known = journal.log.files.len();
        journal.log.files.extend_from_slice(files.get(known..).unwrap_or(&[]));
    }

    /// Events that found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Pauses on purpose keep their own begin and end.
fn set_apart(phase: Phase) -> bool {
    matches!(phase, Phase::Busy | Phase::Pace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> LiveRun {
        LiveRun::new(Side::Client, "127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap())
    }

    #[test]
    fn offsets_follow_the_stream_and_times_do_not_run_back() {
        let live = live();
        let mut r = Recorder::new(Clock::new(), &live);
        let at = Position { phase: Phase::Busy, ..Position::default() };
        for len in [24, 100, 0] {
            let t = r.now();
            r.read(t, Some(t), len, Some(len), at);
            r.write(t, None, len * 2, None, at);
            r.work(t, at);
        }
        assert!(live.snapshot().events.is_empty(), "nothing handed out yet");
        r.publish(&[]);
        let log = live.snapshot();
        let offsets =
            |op| log.events.iter().filter(|e| e.op == op).map(|e| (e.offset, e.len)).collect::<Vec<_>>();
        assert_eq!(offsets(AppOp::Read), [(0, 24), (24, 100), (124, 0)]);
        assert_eq!(offsets(AppOp::Write), [(0, 48), (48, 200), (248, 0)]);
        assert_eq!(offsets(AppOp::Work), [(48, 0), (248, 0), (248, 0)]);
        assert!(log.events.is_sorted_by_key(|e| e.end));
        assert!(log.events.iter().all(|e| e.start <= e.end));
    }

    #[test]
    fn short_pieces_of_work_in_a_row_are_one_event() {
        let live = live();
        let mut r = Recorder::new(Clock::new(), &live);
        let at = |file| Position { phase: Phase::Patch, file: Some(file), block: None };
        let began = r.now();
        for file in 0..1000 {
            r.work(r.now(), at(file));
        }
        r.write(r.now(), None, 5, None, at(1000));
        r.work(r.now(), at(1001));
        r.finish(&[]);
        let log = live.take().log;
        let work: Vec<_> = log.events.iter().filter(|e| e.op == AppOp::Work).collect();
        assert!(work.len() < 500, "{} events of 1001", work.len());
        assert_eq!((work[0].file, work.last().unwrap().file), (Some(0), Some(1001)));
        assert!(work[0].start >= began && log.events.is_sorted_by_key(|e| e.end));
    }

    #[test]
    fn off_counts_and_keeps_nothing() {
        let live = live();
        let mut r = Recorder::off(Clock::new(), &live);
        r.read(r.now(), None, 10, None, Position::default());
        r.publish(&[]);
        assert_eq!((r.bytes_read(), live.snapshot().events.len()), (10, 0));
    }

    #[test]
    fn an_onlooker_never_makes_the_pump_wait_and_file_names_are_handed_out_once() {
        let live = live();
        let mut r = Recorder::new(Clock::new(), &live);
        r.work(r.now(), Position::default());
        {
            let _looking = live.lock();
            r.publish(&["a".to_owned()]);
        }
        assert_eq!(live.snapshot().events.len(), 0, "put off");
        r.publish(&["a".to_owned()]);
        r.finish(&["a".to_owned(), "b".to_owned()]);
        let log = live.take().log;
        assert_eq!((log.events.len(), log.files), (1, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(live.snapshot().files.len(), 0);
    }

    #[test]
    fn mapped_addresses_are_written_as_they_are_on_the_wire() {
        let live = LiveRun::new(
            Side::Server,
            "[::ffff:10.0.0.1]:1".parse().unwrap(),
            "[fd00::1]:2".parse().unwrap(),
        );
        let log = live.snapshot();
        assert_eq!(
            (log.local.to_string(), log.peer.to_string()),
            ("10.0.0.1:1".into(), "[fd00::1]:2".into())
        );
    }
}
