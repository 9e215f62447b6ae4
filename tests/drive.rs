//! Whole runs over real sockets on loopback: the trees, the record, and what happens when things break.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use syncscope::capture::live::{LiveCapture, LiveOptions};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::drive::clock::Clock;
use syncscope::drive::control::{Answer, Ask};
use syncscope::drive::tree::{TreeSpec, make_tree};
use syncscope::drive::{
    Busy, DriveError, LiveRun, Mode, Observer, Progress, RunEnd, RunRecord, ServeOptions, Server,
    SyncOptions, run_sync, wire,
};
use syncscope::model::{AppEvent, AppLog, AppOp, Ns, Phase, Side};
use syncscope::sync::{Compress, Flags};
use tempfile::TempDir;

const ANY: &str = "127.0.0.1:0";

fn small_tree() -> TreeSpec {
    TreeSpec { seed: 7, files: 60, bytes: 2 << 20, big: 4 << 20, changed_pages: 0.02 }
}

/// A source tree, a destination with an older version of its big file, and a place for records.
struct Trees {
    dir: TempDir,
}

impl Trees {
    fn new(spec: &TreeSpec) -> Trees {
        let dir = tempfile::tempdir().unwrap();
        make_tree(spec, &dir.path().join("source"), &dir.path().join("basis")).unwrap();
        let script = dir.path().join("source/run.sh");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("run.sh", dir.path().join("source/link")).unwrap();
        Trees { dir }
    }
    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }
    fn basis(&self) -> PathBuf {
        self.dir.path().join("basis")
    }
    fn record(&self) -> PathBuf {
        self.dir.path().join("record")
    }
}

/// What a sync must carry over: kind, content, time and mode of everything in a tree.
fn look(root: &Path) -> BTreeMap<PathBuf, (String, Option<SystemTime>, u32)> {
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|e| {
            let e = e.unwrap();
            let meta = e.metadata().unwrap();
            let name = e.path().strip_prefix(root).unwrap().to_owned();
            let mode = meta.permissions().mode() & 0o777;
            let seen = if meta.is_symlink() {
                (format!("link to {}", fs::read_link(e.path()).unwrap().display()), None, 0)
            } else if meta.is_dir() {
                ("dir".to_owned(), None, mode)
            } else {
                let hash = blake3::hash(&fs::read(e.path()).unwrap());
                (format!("{} bytes {}", meta.len(), hash.to_hex()), Some(meta.modified().unwrap()), mode)
            };
            (name, seen)
        })
        .collect()
}

/// Serves `root` while `client` runs.
fn serving<T>(root: &Path, options: ServeOptions, client: impl FnOnce(SocketAddr, &AtomicBool) -> T) -> T {
    let server = Server::bind(ANY.parse().unwrap(), root, options).unwrap();
    let (addr, stop) = (server.addr(), AtomicBool::new(false));
    std::thread::scope(|s| {
        let t = s.spawn(|| server.run(&stop));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(addr, &stop)));
        stop.store(true, Ordering::Relaxed);
        t.join().unwrap().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Uncompressed: what compressing saves is another share each time, and things happen at fixed times here.
fn pull(addr: SocketAddr, t: &Trees) -> SyncOptions {
    let flags = Flags { compress: Compress::Never, ..Flags::default() };
    SyncOptions { capture: false, flags, ..SyncOptions::new(addr, Mode::Pull, "", t.basis(), t.record()) }
}

fn run(o: &SyncOptions) -> RunRecord {
    run_sync(o, &AtomicBool::new(false), &mut ()).unwrap()
}

fn events(log: &AppLog, op: AppOp) -> Vec<AppEvent> {
    log.events.iter().copied().filter(|e| e.op == op).collect()
}

/// Bytes of all events of one kind; their offsets must follow each other.
fn total(log: &AppLog, op: AppOp) -> u64 {
    events(log, op).iter().fold(0, |at, e| {
        assert_eq!(e.offset, at, "{op:?} offsets are contiguous");
        at + u64::from(e.len)
    })
}

fn assert_complete(r: &RunRecord) {
    let (client, server) = (r.client_log().unwrap(), r.server_log().unwrap());
    assert_eq!((client.side, server.side), (Side::Client, Side::Server));
    assert_eq!((client.local, client.peer), (server.peer, server.local));
    for (w, read, bytes) in [(&client, &server, r.stats.wire_c2s), (&server, &client, r.stats.wire_s2c)] {
        assert_eq!(total(w, AppOp::Write), bytes);
        assert_eq!(total(read, AppOp::Read), bytes, "read by one what was written by the other");
    }
    for log in [&client, &server] {
        assert!(log.events.is_sorted_by_key(|e| e.end), "in order of their ends");
        assert!(
            log.events.iter().all(|e| e.start <= e.end && e.ready.is_none_or(|t| e.start <= t && t <= e.end))
        );
        assert_eq!(events(log, AppOp::Read).last().map(|e| e.len), Some(0), "ends with the peer's FIN");
        let last = log.samples.last().expect("TCP_INFO was sampled");
        assert_eq!(
            last.bytes_received,
            total(log, AppOp::Read) + 1,
            "the kernel agrees; its count holds the FIN"
        );
        let known = log.files.len() as u32;
        assert!(log.events.iter().all(|e| e.file.is_none_or(|f| f < known)), "every file has a name");
    }
}

#[test]
fn pull_and_push_make_the_trees_equal_and_leave_a_complete_record() {
    for mode in [Mode::Pull, Mode::Push] {
        let t = Trees::new(&small_tree());
        let (served, local) = match mode {
            Mode::Pull => (t.source(), t.basis()),
            Mode::Push => (t.basis(), t.source()),
        };
        let r = serving(&served, ServeOptions::default(), |addr, _| {
            run(&SyncOptions { local, mode, ..pull(addr, &t) })
        });
        assert_eq!((&r.end, r.errors.as_slice()), (&RunEnd::Done, &[][..]));
        let (want, got) = (look(&t.source()), look(&t.basis()));
        assert!(want.len() > 60);
        assert_eq!(got, want, "{mode:?}");
        assert_complete(&r);
        // The big file was rebuilt from its older version: only changed pages were sent.
        assert!(r.stats.matched > 3 << 20, "{:?}", r.stats);
        assert_eq!(r.stats.matched + r.stats.literal, r.stats.bytes, "{:?}", r.stats);
        // Both clocks are the same one: the truth lies within the bound.
        let clock = r.clock.unwrap();
        assert!(clock.offset.0.abs() <= clock.bound.0 && clock.bound < Ns::from_millis(5), "{clock:?}");
        assert_eq!(RunRecord::open(&r.dir).unwrap(), r);
    }
}

#[test]
fn a_server_on_the_ipv6_wildcard_serves_ipv4_and_both_logs_name_the_same_addresses() {
    let t = Trees::new(&TreeSpec { files: 5, bytes: 1000, big: 0, ..small_tree() });
    let Ok(server) = Server::bind("[::]:0".parse().unwrap(), &t.source(), ServeOptions::default()) else {
        return skip::skip("a server on the IPv6 wildcard", "no IPv6 here");
    };
    let (port, stop) = (server.addr().port(), AtomicBool::new(false));
    std::thread::scope(|s| {
        s.spawn(|| server.run(&stop));
        let r = run(&pull(SocketAddr::from(([127, 0, 0, 1], port)), &t));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(r.end, RunEnd::Done);
        assert_complete(&r);
    });
}

#[test]
fn a_second_sync_finds_nothing_to_do() {
    let t = Trees::new(&small_tree());
    let (first, second) =
        serving(&t.source(), ServeOptions::default(), |addr, _| (run(&pull(addr, &t)), run(&pull(addr, &t))));
    assert!(first.stats.changed > 60);
    assert_eq!((second.stats.changed, second.stats.literal), (0, 0));
    assert!(second.stats.wire_s2c < first.stats.wire_s2c / 20);
}

#[test]
fn a_part_of_the_tree_and_several_runs_at_once() {
    let all: Vec<Trees> = (0..3).map(|i| Trees::new(&TreeSpec { seed: i, ..small_tree() })).collect();
    let root = tempfile::tempdir().unwrap();
    for (i, t) in all.iter().enumerate() {
        fs::rename(t.source(), root.path().join(i.to_string())).unwrap();
    }
    serving(root.path(), ServeOptions::default(), |addr, _| {
        std::thread::scope(|s| {
            for (i, t) in all.iter().enumerate() {
                s.spawn(move || {
                    let r = run(&SyncOptions { remote_path: i.to_string(), ..pull(addr, t) });
                    assert_eq!(r.end, RunEnd::Done);
                    assert_complete(&r);
                });
            }
        });
    });
    for (i, t) in all.iter().enumerate() {
        assert_eq!(look(&t.basis()), look(&root.path().join(i.to_string())));
    }
}

#[test]
fn pauses_of_both_sides_are_recorded_where_they_were() {
    let t = Trees::new(&small_tree());
    let pause = |side, at, lasts| Busy { side, at: Ns::from_millis(at), lasts: Ns::from_millis(lasts) };
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| {
        run(&SyncOptions {
            bwlimit: Some(6 << 20),
            busy: vec![pause(Side::Server, 100, 300), pause(Side::Client, 550, 200)],
            ..pull(addr, &t)
        })
    });
    assert_eq!(r.end, RunEnd::Done);
    assert_complete(&r);
    let (client, server) = (r.client_log().unwrap(), r.server_log().unwrap());
    for (log, lasts) in [(&server, 300), (&client, 200)] {
        let busy: Vec<_> = log.events.iter().filter(|e| e.phase == Phase::Busy).collect();
        assert_eq!(busy.len(), 1, "{:?}", log.side);
        assert!(busy[0].end - busy[0].start >= Ns::from_millis(lasts));
        let inside =
            log.events.iter().filter(|e| e.op != AppOp::Work && e.end > busy[0].start && e.end < busy[0].end);
        assert_eq!(inside.count(), 0, "no read and no write in a pause");
    }
    let pause = server.events.iter().find(|e| e.phase == Phase::Busy).unwrap();
    let slowest = events(&client, AppOp::Read).into_iter().max_by_key(|e| e.end - e.start).unwrap();
    assert!(slowest.end - slowest.start >= Ns::from_millis(250), "the client waited: {:?}", slowest);
    assert!(slowest.start < pause.end && slowest.end > pause.start, "for that pause");
}

/// Can this process capture on loopback? Where not, the reason is printed.
fn may_capture(name: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let options =
        LiveOptions { device: Some("lo".to_owned()), ..LiveOptions::new(dir.path().join("x.pcapng")) };
    match LiveCapture::start(options) {
        Ok(_) => true,
        Err(e) => {
            skip::skip(name, &e.to_string());
            false
        }
    }
}

/// Payload bytes of each direction of the only connection in a capture, and whether it ends with FINs.
fn captured(path: &Path) -> (SocketAddr, u64, u64, String) {
    let mut source = syncscope::capture::file::open(path).unwrap();
    let input = read_capture(&mut *source, None, Reading::everything()).unwrap();
    assert_eq!(input.connections.len(), 1, "the data connection and no other");
    let c = &input.connections[0];
    assert!(c.handshake, "captured from its SYN on");
    (c.client, c.halves.c2s.bytes, c.halves.s2c.bytes, c.ended.to_owned())
}

#[test]
fn both_captures_hold_the_data_connection_whole_and_nothing_else() {
    if !may_capture("both_captures_hold_the_data_connection_whole_and_nothing_else") {
        return;
    }
    let t = Trees::new(&small_tree());
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| {
        run(&SyncOptions { capture: true, ..pull(addr, &t) })
    });
    assert_eq!((&r.end, r.errors.as_slice()), (&RunEnd::Done, &[][..]));
    let want = (r.client, r.stats.wire_c2s, r.stats.wire_s2c, "fin".to_owned());
    for (state, file) in [(&r.client_capture, r.client_pcapng()), (&r.server_capture, r.server_pcapng())] {
        let state = state.as_ref().unwrap();
        assert!(state.complete && state.device == "lo" && state.frames > 20, "{state:?}");
        assert_eq!(captured(&file.unwrap()), want);
    }
    // The join: the stream's first byte on the wire is the first that the application wrote.
    let report = syncscope::cli::analysis::report_run(
        &r.dir,
        syncscope::cli::analysis::RunView {
            title: "test".to_owned(),
            slow_read: Ns::ZERO,
            live: false,
            run: None,
            clock: r.clock,
            client_log: None,
        },
    )
    .unwrap();
    assert_eq!(report.inputs.len(), 4);
    let joined = report.reads.iter().filter(|r| r.budget.unknown == Ns::ZERO).count();
    assert!(
        report.reads.len() > 20 && joined * 10 > report.reads.len() * 9,
        "{joined} of {}",
        report.reads.len()
    );
}

#[test]
fn no_interface_to_capture_on_is_told_and_the_sync_goes_on() {
    let t = Trees::new(&small_tree());
    let options = ServeOptions { capture: false, ..ServeOptions::default() };
    let r = serving(&t.source(), options, |addr, _| {
        run(&SyncOptions { capture: true, device: Some("nosuch0".to_owned()), ..pull(addr, &t) })
    });
    assert_eq!(r.end, RunEnd::Done);
    let problem = |c: &Option<syncscope::drive::CaptureState>| c.clone().unwrap().problem.unwrap();
    assert!(problem(&r.client_capture).contains("nosuch0"), "{:?}", r.client_capture);
    assert_eq!(problem(&r.server_capture), "this server does not capture");
    assert_complete(&r);
}

/// Stops or kills something once the run has moved some bytes.
struct After<F: FnMut()> {
    bytes: u64,
    then: F,
    fired: Option<Instant>,
    live: Option<Arc<LiveRun>>,
    seen: usize,
}

impl<F: FnMut()> After<F> {
    fn new(bytes: u64, then: F) -> After<F> {
        After { bytes, then, fired: None, live: None, seen: 0 }
    }
}

impl<F: FnMut()> Observer for After<F> {
    fn started(&mut self, live: &Arc<LiveRun>) {
        self.live = Some(Arc::clone(live));
    }
    fn progress(&mut self, p: &Progress) {
        if p.read + p.written > self.bytes && self.fired.is_none() {
            self.seen = self.live.as_ref().map_or(0, |l| l.snapshot().events.len());
            self.fired = Some(Instant::now());
            (self.then)();
        }
    }
}

#[test]
fn an_interrupted_run_stops_within_a_second_and_keeps_both_halves_of_its_record() {
    let t = Trees::new(&small_tree());
    let stop = AtomicBool::new(false);
    let mut after = After::new(1 << 20, || stop.store(true, Ordering::Relaxed));
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| {
        let o = SyncOptions { bwlimit: Some(3 << 20), ..pull(addr, &t) };
        run_sync(&o, &stop, &mut after).unwrap()
    });
    assert_eq!(r.end, RunEnd::Interrupted);
    let took = after.fired.unwrap().elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(after.seen > 10, "the log could be watched while it grew: {}", after.seen);
    let (client, server) = (r.client_log().unwrap(), r.server_log().unwrap());
    assert!(total(&client, AppOp::Read) > 1 << 20);
    assert!(total(&client, AppOp::Read) <= total(&server, AppOp::Write));
}

#[test]
fn a_server_that_is_told_to_stop_ends_its_runs() {
    let t = Trees::new(&small_tree());
    let r = serving(&t.source(), ServeOptions::default(), |addr, server_stop| {
        let o = SyncOptions { bwlimit: Some(3 << 20), ..pull(addr, &t) };
        let mut after = After::new(1 << 20, || server_stop.store(true, Ordering::Relaxed));
        let r = run_sync(&o, &AtomicBool::new(false), &mut after).unwrap();
        assert!(after.fired.unwrap().elapsed() < Duration::from_secs(2));
        r
    });
    assert!(matches!(r.end, RunEnd::Broken(_)), "{:?}", r.end);
    assert!(total(&r.client_log().unwrap(), AppOp::Read) > 1 << 20);
}

struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `syncscope serve` of its own, and where it listens.
fn serve_process(root: &Path) -> (Killed, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["serve", "--listen", ANY])
        .arg(root)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let addr =
        line.split(" on ").nth(1).and_then(|s| s.split([';', ' ']).next()).expect(&line).parse().unwrap();
    (Killed(child), addr)
}

#[test]
fn a_peer_killed_in_the_middle_leaves_half_a_record_that_says_so() {
    let t = Trees::new(&small_tree());
    let (server, addr) = serve_process(&t.source());
    let mut server = Some(server);
    let o = SyncOptions { bwlimit: Some(3 << 20), ..pull(addr, &t) };
    let r = run_sync(&o, &AtomicBool::new(false), &mut After::new(1 << 20, || drop(server.take()))).unwrap();
    let RunEnd::Broken(words) = &r.end else { panic!("{:?}", r.end) };
    assert!(words.contains("closed") || words.contains("reset"), "{words}");
    assert!(r.errors.iter().any(|e| e.contains("server's half of the record is missing")), "{:?}", r.errors);
    assert!(r.server_log().is_none() && total(&r.client_log().unwrap(), AppOp::Read) > 1 << 20);
    assert!(RunRecord::open(&r.dir).is_ok());
}

#[test]
fn a_peer_that_is_busy_for_ten_time_outs_is_never_called_dead() {
    for (side, mode) in [(Side::Server, Mode::Pull), (Side::Client, Mode::Push)] {
        let t = Trees::new(&small_tree());
        let (served, local) = match mode {
            Mode::Pull => (t.source(), t.basis()),
            Mode::Push => (t.basis(), t.source()),
        };
        let mut words = Words(Vec::new());
        let r = serving(&served, ServeOptions::default(), |addr, _| {
            let o = SyncOptions {
                timeout: Duration::from_millis(500),
                busy: vec![Busy { side, at: Ns::ZERO, lasts: Ns::from_secs(5) }],
                local,
                mode,
                ..pull(addr, &t)
            };
            run_sync(&o, &AtomicBool::new(false), &mut words).unwrap()
        });
        assert_eq!((&r.end, r.errors.as_slice()), (&RunEnd::Done, &[][..]));
        assert_eq!(look(&t.basis()), look(&t.source()));
        if side == Side::Server {
            let last = words.0.last().expect("what the peer is busy with is shown");
            assert!(
                last.starts_with("the peer is busy: its program is at `busy` (at step")
                    && last.contains("for "),
                "{last}"
            );
        }
    }
}

/// Keeps what a peer that is busy says.
struct Words(Vec<String>);

impl Observer for Words {
    fn progress(&mut self, p: &Progress) {
        self.0.extend(p.peer.clone());
    }
}

#[test]
fn a_program_that_is_stopped_is_told_from_a_host_that_is_gone() {
    let t = Trees::new(&small_tree());
    let (server, addr) = serve_process(&t.source());
    let pid = nix::unistd::Pid::from_raw(server.0.id() as i32);
    let o = SyncOptions { bwlimit: Some(3 << 20), timeout: Duration::from_secs(1), ..pull(addr, &t) };
    let stop = || nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let r = run_sync(&o, &AtomicBool::new(false), &mut After::new(1 << 20, stop)).unwrap();
    let RunEnd::TimedOut(words) = &r.end else { panic!("{:?}", r.end) };
    assert!(words.contains("no sign of life from the peer for"), "{words}");
    assert!(
        words.contains("the host and the path are alive: the program there is stopped or hangs"),
        "{words}"
    );
}

/// It was opened only after the server's answer, which cost a round trip.
#[test]
fn without_captures_the_data_connection_is_opened_while_the_answer_is_on_its_way() {
    let t = Trees::new(&TreeSpec { files: 1, bytes: 10, big: 0, ..small_tree() });
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut control, _) = listener.accept().unwrap();
        control.read_exact(&mut [0; wire::PREAMBLE]).unwrap();
        let (clock, soon) = (Clock::new(), Duration::from_secs(20));
        let mut channel = wire::Channel::new(control).unwrap();
        let port = loop {
            let (frame, t1) = channel.receive(&clock, soon, &|| false).unwrap();
            match frame.message().unwrap() {
                Ask::Ping => channel.send(&Answer::Pong { t1, t2: clock.now() }, soon, &|| false).unwrap(),
                Ask::Prepare(wish) => break wish.data_port,
                other => panic!("{other:?}"),
            }
        };
        let (data, from) = listener.accept().unwrap();
        data.set_nonblocking(true).unwrap();
        let said = (&data).read(&mut [0; 1]).map_err(|e| e.kind());
        let message = "that is all".to_owned();
        channel.send(&Answer::Refused { message }, soon, &|| false).unwrap();
        (from.port() == port, said)
    });
    let e = run_sync(&pull(addr, &t), &AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(e.to_string().contains("that is all"), "{e}");
    assert_eq!(
        server.join().unwrap(),
        (true, Err(std::io::ErrorKind::WouldBlock)),
        "and nothing is said on it yet"
    );
}

#[test]
fn strangers_are_refused_and_cost_nothing() {
    let t = Trees::new(&small_tree());
    let options = ServeOptions { handshake: Duration::from_millis(400), ..ServeOptions::default() };
    serving(&t.source(), options, |addr, _| {
        let asks = |first: &[u8]| {
            let mut s = TcpStream::connect(addr).unwrap();
            s.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            s.write_all(first).unwrap();
            let (began, mut answer) = (Instant::now(), Vec::new());
            let _ = s.read_to_end(&mut answer);
            (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
        };
        let quick = Duration::from_millis(300);
        let (answer, took) = asks(b"GET / HTTP/1.1\r\n\r\n");
        assert!(answer.is_empty() && took < quick, "{answer:?} after {took:?}");
        let (answer, took) = asks(&wire::preamble(wire::Kind::Data, [7; 16]));
        assert!(answer.is_empty() && took < quick, "a token that nobody gave out: {answer:?} after {took:?}");
        let mut newer = wire::preamble(wire::Kind::Control, [0; 16]);
        newer[6] = 99;
        assert!(asks(&newer).0.contains("install the same version"));
        let mut huge = wire::preamble(wire::Kind::Control, [0; 16]).to_vec();
        huge.extend([0xff, 0xff, 0xff, 0xff, 1]);
        assert!(asks(&huge).0.contains("something else"));
        let mut nonsense = wire::preamble(wire::Kind::Control, [0; 16]).to_vec();
        nonsense.extend([3, 0, 0, 0, 1]);
        nonsense.extend(b"{}}");
        assert!(asks(&nonsense).0.contains("something else"));
        let (answer, took) = asks(b"sync");
        assert!(answer.is_empty() && took < Duration::from_secs(2), "half a greeting: {took:?}");
        // More silent ones than there are seats: the later ones are turned away, and all are gone after the deadline.
        let crowd: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(900));
        drop(crowd);
        assert_eq!(run(&pull(addr, &t)).end, RunEnd::Done, "and the server still serves");
    });
}

#[test]
fn nobody_there_and_no_folder_are_errors_that_say_what_to_do() {
    let t = Trees::new(&TreeSpec { files: 1, bytes: 10, big: 0, ..small_tree() });
    let gone = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let e = run_sync(&pull(gone, &t), &AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(matches!(e, DriveError::Connect { .. }) && e.to_string().contains("syncscope serve"), "{e}");
    let e =
        Server::bind(ANY.parse().unwrap(), Path::new("/nonexistent"), ServeOptions::default()).unwrap_err();
    assert_eq!(
        e.to_string(),
        "/nonexistent: there is no such folder; make it (mkdir -p '/nonexistent') or name another"
    );
    let holder = TcpListener::bind(ANY).unwrap();
    let taken = holder.local_addr().unwrap();
    let e = Server::bind(taken, &t.source(), ServeOptions::default()).unwrap_err().to_string();
    assert!(e.contains(&format!("ss -ltnp 'sport = :{}'", taken.port())), "{e}");
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| {
        run(&SyncOptions { remote_path: "no/such/place".to_owned(), ..pull(addr, &t) })
    });
    let RunEnd::Failed(words) = &r.end else { panic!("{:?}", r.end) };
    assert!(words.contains("no/such/place"), "{words}");
}

/// Whose disk was full could not be told: both ends said the same words, of any failure.
#[test]
fn what_failed_is_told_once_and_at_which_end() {
    let t = Trees::new(&small_tree());
    fs::create_dir_all(t.basis().join("run.sh")).unwrap();
    let why = "run.sh: a directory is in the way";
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let notice = Arc::new(move |line: &str| told.lock().unwrap().push(line.to_owned()));
    let r = serving(&t.basis(), ServeOptions { notice, ..ServeOptions::default() }, |addr, _| {
        run(&SyncOptions { mode: Mode::Push, local: t.source(), ..pull(addr, &t) })
    });
    assert_eq!((r.end, r.errors), (RunEnd::Done, vec![format!("server: {why}")]));
    let heard = heard.lock().unwrap().join("\n");
    assert!(heard.contains(&format!("done; {why}")), "the server's own log, too: {heard}");
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| run(&pull(addr, &t)));
    assert_eq!((r.end, r.errors), (RunEnd::Done, vec![why.to_owned()]));
}

/// An empty folder stayed for every server that could not be reached.
#[test]
fn a_run_that_never_began_leaves_no_folder_for_its_record() {
    let t = Trees::new(&small_tree());
    let nobody = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let runs = t.dir.path().join("runs");
    let o = SyncOptions { record: runs.join("today"), ..pull(nobody, &t) };
    run_sync(&o, &AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(!runs.exists());
    fs::create_dir(&runs).unwrap();
    run_sync(&o, &AtomicBool::new(false), &mut ()).unwrap_err();
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 0, "what was there is left alone");
}

#[test]
fn nothing_of_an_earlier_run_stays_in_the_record() {
    let t = Trees::new(&TreeSpec { files: 3, bytes: 1000, big: 0, ..small_tree() });
    fs::create_dir_all(t.record()).unwrap();
    for name in ["client.pcapng", "server.pcapng", "report.json"] {
        fs::write(t.record().join(name), "of yesterday").unwrap();
    }
    fs::write(t.record().join("notes.txt"), "mine").unwrap();
    let r = serving(&t.source(), ServeOptions::default(), |addr, _| run(&pull(addr, &t)));
    let mut names: Vec<_> = fs::read_dir(&r.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["client.events.json", "notes.txt", "run.json", "server.events.json"]);
}

#[test]
fn the_server_keeps_its_half_where_it_is_asked_to() {
    let t = Trees::new(&small_tree());
    let keep = t.dir.path().join("kept");
    let options = ServeOptions { keep: Some(keep.clone()), ..ServeOptions::default() };
    let r = serving(&t.source(), options, |addr, _| run(&SyncOptions { fetch: false, ..pull(addr, &t) }));
    assert_eq!(r.end, RunEnd::Done);
    assert!(r.server_log().is_none(), "not fetched");
    let log = syncscope::drive::record::read_log(&keep.join("server.events.json")).unwrap();
    assert_eq!(total(&log, AppOp::Write), r.stats.wire_s2c);
}

#[test]
fn both_ends_may_keep_their_halves_in_one_folder() {
    let name = "both_ends_may_keep_their_halves_in_one_folder";
    if !may_capture(name) {
        return;
    }
    let t = Trees::new(&TreeSpec { files: 3, bytes: 1000, big: 0, ..small_tree() });
    for fetch in [false, true] {
        let options = ServeOptions { keep: Some(t.record()), ..ServeOptions::default() };
        let r = serving(&t.source(), options, |addr, _| {
            run(&SyncOptions { capture: true, fetch, ..pull(addr, &t) })
        });
        assert_eq!((&r.end, r.errors.as_slice()), (&RunEnd::Done, &[][..]));
        assert_complete(&r);
        for file in [r.client_pcapng(), r.server_pcapng()] {
            assert_eq!(captured(&file.unwrap()).1, r.stats.wire_c2s);
        }
    }
}

#[test]
fn the_command_line_pulls_reports_and_stops_on_a_signal() {
    let t = Trees::new(&small_tree());
    let (mut server, addr) = serve_process(&t.source());
    let out = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args([
            "sync",
            &format!("{addr}:"),
            "--no-capture",
            "--format",
            "json",
            "--fail-on",
            "never",
            "--record",
        ])
        .arg(t.record())
        .arg(t.basis())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert_eq!(look(&t.basis()), look(&t.source()));
    let report: serde_json::Value =
        serde_json::from_slice(&out.stdout).expect("JSON and nothing else on stdout");
    assert_eq!(report["run"]["sync"]["files"], 62);
    assert!(said.contains("run record:") && !said.contains('\x1b'), "{said}");
    assert!(t.record().join("report.json").is_file());

    let asked = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(server.0.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(server.0.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_delta_of_two_short_files_is_shown_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("A"), "ashxx123_zoe").unwrap();
    fs::write(dir.path().join("B"), "ash123zoey").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["sync", "--explain-delta", "A", "B", "-B", "3"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "chunk[0] of size 3 at 0 offset=0\n\
         data receive 2 at 3\n\
         chunk[1] of size 3 at 3 offset=5\n\
         data receive 1 at 8\n\
         chunk[2] of size 3 at 6 offset=9\n"
    );
}

/// A run inside the lab: the server in one namespace, the client in the other.
fn in_lab(
    name: &str,
    link: &str,
    t: &Trees,
    change: impl FnOnce(&mut SyncOptions),
) -> Option<(RunRecord, Duration)> {
    use syncscope::lab::live::{Lab, LabError, prepare};
    use syncscope::lab::scenario::Scenario;
    let text = format!("name = \"test\"\n[endpoint]\ncc = \"reno\"\n{link}");
    let lab = match prepare().and_then(|_| Lab::start(&Scenario::parse("test", &text).unwrap(), None)) {
        Ok(lab) => lab,
        Err(LabError::NotAllowed { what, message, .. }) => {
            skip::skip(name, &format!("not allowed to {what}: {message}"));
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    let at = SocketAddr::new(lab.addr(Side::Server), 8730);
    let stop = Arc::new(AtomicBool::new(false));
    let (root, server_stop) = (t.source(), Arc::clone(&stop));
    let (tell, listening) = std::sync::mpsc::channel();
    let server = lab
        .spawn_thread(Side::Server, "server", move || {
            let server = Server::bind(at, &root, ServeOptions::default()).unwrap();
            tell.send(()).unwrap();
            server.run(&server_stop).unwrap();
        })
        .unwrap();
    listening.recv().unwrap();
    let mut options = SyncOptions { capture: true, ..pull(at, t) };
    change(&mut options);
    let client = lab
        .spawn_thread(Side::Client, "client", move || {
            let began = Instant::now();
            (run(&options), began.elapsed())
        })
        .unwrap();
    let result = client.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
    lab.finish().unwrap();
    Some(result)
}

#[test]
fn over_a_lossy_link_both_captures_are_complete_and_the_trees_equal() {
    let name = "over_a_lossy_link_both_captures_are_complete_and_the_trees_equal";
    let t = Trees::new(&small_tree());
    let link = "[c2s]\ndelay = \"10ms\"\nloss = 0.005\n[s2c]\ndelay = \"10ms\"\nloss = 0.01\n";
    let Some((r, _)) = in_lab(name, link, &t, |o| o.bwlimit = Some(2 << 20)) else { return };
    assert_eq!((&r.end, r.errors.as_slice()), (&RunEnd::Done, &[][..]));
    assert_eq!(look(&t.basis()), look(&t.source()));
    for log in [r.client_log(), r.server_log()] {
        assert!(log.unwrap().samples.iter().all(|s| s.min_rtt_us == 0 || s.min_rtt_us >= 20_000));
    }
    for c in [&r.client_capture, &r.server_capture] {
        let c = c.as_ref().unwrap();
        assert!(c.complete && c.device == "link0", "{c:?}");
    }
    let clock = r.clock.unwrap();
    assert!(clock.offset.0.abs() <= clock.bound.0 && clock.bound < Ns::from_millis(15), "{clock:?}");
    assert!(r.server_log().unwrap().samples.last().unwrap().total_retrans > 0, "the link did lose something");
}

#[test]
fn a_link_that_goes_black_ends_in_words_about_tcp_and_half_a_record() {
    let name = "a_link_that_goes_black_ends_in_words_about_tcp_and_half_a_record";
    let t = Trees::new(&small_tree());
    let black = "[c2s]\ndelay = \"10ms\"\nblackout = [{ at = \"1s\" }]\n[s2c]\ndelay = \"10ms\"\nblackout = [{ at = \"1s\" }]\n";
    let change = |o: &mut SyncOptions| {
        (o.bwlimit, o.timeout) = (Some(1 << 20), Duration::from_secs(3));
        (o.mode, o.local, o.remote_path) = (Mode::Push, t.basis(), "copy".to_owned());
    };
    let Some((r, took)) = in_lab(name, black, &t, change) else { return };
    let RunEnd::TimedOut(words) = &r.end else { panic!("{:?}", r.end) };
    assert!(words.contains("sent the same segment again"), "{words}");
    assert!(
        took < Duration::from_secs(9),
        "given up after 2 s, and no long wait for the server's half: {took:?}"
    );
    assert!(r.errors.iter().any(|e| e.contains("server's half")), "{:?}", r.errors);
    assert!(r.client_capture.as_ref().unwrap().complete, "{:?}", r.client_capture);
    let last = *r.client_log().unwrap().samples.last().unwrap();
    assert!(last.unacked > 0 && last.backoff > 0, "{last:?}");
}
