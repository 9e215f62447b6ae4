//! Two pumps over loopback, with stand-ins for the sync.

use super::super::clock::Clock;
use super::super::recorder::LiveRun;
use super::*;
use crate::model::{AppLog, AppOp, Side};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends `to_send` bytes and wants `to_get`; works a little for every 64 KiB that it got.
struct Swap {
    to_send: usize,
    to_get: usize,
    owed_work: usize,
    out: Vec<u8>,
    failure: Option<String>,
}

impl Swap {
    fn new(to_send: usize, to_get: usize) -> Swap {
        Swap { to_send, to_get, owed_work: 0, out: vec![5; CHUNK], failure: None }
    }
}

impl Engine for Swap {
    fn input(&mut self, bytes: &[u8]) {
        self.owed_work += 1;
        match self.to_get.checked_sub(bytes.len()) {
            Some(rest) => self.to_get = rest,
            None => self.failure = Some("more than wanted".to_owned()),
        }
    }
    fn eof(&mut self) {
        self.failure = Some("too early".to_owned());
    }
    fn work(&mut self) -> Option<Position> {
        self.owed_work = self.owed_work.checked_sub(1)?;
        Some(Position { phase: Phase::Patch, file: Some(0), block: None })
    }
    fn output(&mut self, max: usize) -> &[u8] {
        &self.out[..max.min(self.to_send).min(CHUNK)]
    }
    fn sent(&mut self, n: usize) {
        self.to_send -= n;
    }
    fn wants_input(&self) -> bool {
        self.owed_work < 4
    }
    fn is_done(&self) -> bool {
        self.to_send == 0 && self.to_get == 0 && self.owed_work == 0
    }
    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
    fn reading(&self) -> Position {
        Position { phase: Phase::Data, ..Position::default() }
    }
    fn writing(&self) -> Position {
        self.reading()
    }
    fn files(&self) -> &[String] {
        &[]
    }
}

struct End {
    engine: Swap,
    bwlimit: Option<u64>,
    busy: Vec<Busy>,
    hold: Vec<Busy>,
    timeout: Ns,
}

fn end(to_send: usize, to_get: usize) -> End {
    End {
        engine: Swap::new(to_send, to_get),
        bwlimit: None,
        busy: Vec::new(),
        hold: Vec::new(),
        timeout: Ns::from_secs(10),
    }
}

fn drive(side: Side, socket: TcpStream, mut e: End, stop: &AtomicBool) -> (RunEnd, AppLog) {
    let clock = Clock::new();
    let live = LiveRun::new(side, socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let mut rec = Recorder::new(clock, &live);
    let options = PumpOptions {
        done: &|| {},
        opened: clock.now(),
        bwlimit: e.bwlimit,
        busy: e.busy,
        hold: e.hold,
        timeout: e.timeout,
        stop: &|| stop.load(Ordering::Relaxed),
        vitals: &Vitals::default(),
        tick: &mut |_| {},
    };
    let how = pump(&socket, &mut e.engine, &mut rec, options);
    (how, live.take().log)
}

fn pair() -> (TcpStream, TcpStream) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(l.local_addr().unwrap()).unwrap();
    (a, l.accept().unwrap().0)
}

fn both(a: End, b: End) -> ((RunEnd, AppLog), (RunEnd, AppLog)) {
    let (sa, sb) = pair();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let t = s.spawn(|| drive(Side::Server, sb, b, &stop));
        (drive(Side::Client, sa, a, &stop), t.join().unwrap())
    })
}

fn sum(log: &AppLog, op: AppOp) -> u64 {
    let mut next = 0;
    for e in log.events.iter().filter(|e| e.op == op) {
        assert_eq!(e.offset, next, "offsets are contiguous");
        next += u64::from(e.len);
    }
    next
}

#[test]
fn two_that_only_want_to_send_do_not_block_each_other() {
    let n = 40 << 20;
    let ((ea, a), (eb, b)) = both(end(n, n), end(n, n));
    assert_eq!((ea, eb), (RunEnd::Done, RunEnd::Done));
    for (w, r) in [(&a, &b), (&b, &a)] {
        assert_eq!((sum(w, AppOp::Write), sum(r, AppOp::Read)), (n as u64, n as u64));
    }
    for log in [&a, &b] {
        assert!(log.events.is_sorted_by_key(|e| e.end));
        assert!(
            log.events.iter().all(|e| e.start <= e.end && e.ready.is_none_or(|r| e.start <= r && r <= e.end))
        );
        assert_eq!(
            log.events.iter().rev().find(|e| e.op == AppOp::Read).map(|e| e.len),
            Some(0),
            "ends with EOF"
        );
        assert!(!log.samples.is_empty());
    }
}

#[test]
fn a_pause_is_recorded_without_any_move_in_it() {
    let busy = Busy { side: Side::Server, at: Ns::from_millis(20), lasts: Ns::from_millis(150) };
    let mut server = end(64 << 20, 0);
    server.bwlimit = Some(200 << 20);
    server.busy = vec![busy];
    let ((_, client), (_, server)) = both(end(0, 64 << 20), server);
    let pause = *server.events.iter().find(|e| e.phase == Phase::Busy).expect("recorded");
    assert!(pause.end - pause.start >= busy.lasts);
    let inside = |e: &&crate::model::AppEvent| e.end > pause.start && e.end < pause.end;
    assert_eq!(server.events.iter().filter(inside).count(), 0);
    let slow = client.events.iter().filter(|e| e.op == AppOp::Read).max_by_key(|e| e.end - e.start).unwrap();
    assert!(slow.end - slow.start >= Ns::from_millis(120), "the reader waited: {:?}", slow.end - slow.start);
    assert!(slow.ready.is_some_and(|r| slow.end - r < Ns::from_millis(30)), "and says so");
}

#[test]
fn pacing_holds_the_rate_and_is_recorded() {
    let mut client = end(2 << 20, 0);
    client.bwlimit = Some(8 << 20);
    let ((_, log), _) = both(client, end(0, 2 << 20));
    let paced: Ns = log.events.iter().filter(|e| e.phase == Phase::Pace).map(|e| e.end - e.start).sum();
    assert!(paced > Ns::from_millis(180) && paced < Ns::from_millis(600), "250 ms worth, paced {paced}");
    let most = log.events.iter().filter(|e| e.op == AppOp::Write).map(|e| e.len).max().unwrap();
    assert!(most <= 84_000, "10 ms worth is 83 886 bytes: {most}");
}

#[test]
fn while_held_nothing_is_written_and_reading_goes_on() {
    let mut client = end(4 << 20, 4 << 20);
    client.bwlimit = Some(20 << 20);
    client.hold = vec![Busy { side: Side::Client, at: Ns::from_millis(50), lasts: Ns::from_millis(100) }];
    let mut server = end(4 << 20, 4 << 20);
    server.bwlimit = Some(20 << 20);
    let ((how, log), _) = both(client, server);
    assert_eq!(how, RunEnd::Done);
    let longest =
        log.events.iter().filter(|e| e.phase == Phase::Pace).max_by_key(|e| e.end - e.start).unwrap();
    // Reading ends a stretch of holding back and begins the next: together they are the gap.
    let writes: Vec<_> = log.events.iter().filter(|e| e.op == AppOp::Write).collect();
    let gap = writes.windows(2).map(|w| (w[0].end, w[1].end)).max_by_key(|w| w.1 - w.0).unwrap();
    assert!(gap.1 - gap.0 >= Ns::from_millis(95), "{gap:?}");
    let reads = log.events.iter().filter(|e| e.op == AppOp::Read && e.end > gap.0 && e.end < gap.1).count();
    assert!(reads > 3, "{reads} reads meanwhile");
    assert!(longest.end - longest.start < Ns::from_millis(100));
}

#[test]
fn silence_ends_in_words() {
    let (a, _b) = pair();
    let mut e = end(10, 10);
    e.timeout = Ns::from_millis(300);
    let (how, log) = drive(Side::Client, a, e, &AtomicBool::new(false));
    let RunEnd::TimedOut(words) = how else { panic!("{how:?}") };
    assert!(words.contains("TCP is idle"), "{words}");
    assert_eq!(sum(&log, AppOp::Write), 10);
}

#[test]
fn a_peer_that_does_not_read_is_named() {
    let (a, _b) = pair();
    let mut e = end(64 << 20, 10);
    e.timeout = Ns::from_millis(600);
    let (how, _) = drive(Side::Client, a, e, &AtomicBool::new(false));
    let RunEnd::TimedOut(words) = how else { panic!("{how:?}") };
    assert!(words.contains("does not read"), "{words}");
}

#[test]
fn a_peer_that_goes_away_breaks_the_run_not_the_record() {
    let (a, b) = pair();
    drop(b);
    let (how, log) = drive(Side::Client, a, end(0, 10), &AtomicBool::new(false));
    assert_eq!(how, RunEnd::Broken("too early".to_owned()));
    assert_eq!(log.events.len(), 1);
}

#[test]
fn stop_is_heard_within_a_second() {
    let (a, _b) = pair();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let t = s.spawn(|| drive(Side::Client, a, end(0, 10), &stop));
        std::thread::sleep(std::time::Duration::from_millis(150));
        let asked = std::time::Instant::now();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(t.join().unwrap().0, RunEnd::Interrupted);
        assert!(asked.elapsed() < std::time::Duration::from_millis(500));
    });
}
