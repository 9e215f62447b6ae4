//! Who comes in at a server's door, over real sockets on loopback.

use crate::dirs;
use crate::rig::put;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use syncscope::drive::clock::Clock;
use syncscope::drive::control::{Answer, Ask, Welcome, to_hex};
use syncscope::drive::gate::{Access, network};
use syncscope::drive::seal::{Bond, FIRST, Heard, Opening};
use syncscope::drive::wire::{Channel, Frame, Kind, PREAMBLE, framed, preamble};
use syncscope::drive::{
    DriveError, Mode, RunEnd, RunRecord, Secret, ServeOptions, Server, Share, SyncOptions, run_sync,
};
use syncscope::model::Ns;
use syncscope::sync::Limits;

pub type Said = Arc<Mutex<Vec<String>>>;

/// Serves `root` while `client` runs; what the server said is there for it to read.
pub fn serving<T>(root: &Path, options: ServeOptions, client: impl FnOnce(SocketAddr, &Said) -> T) -> T {
    let said = Said::default();
    let heard = Arc::clone(&said);
    let notice = Arc::new(move |line: &str| heard.lock().unwrap().push(line.to_owned()));
    let options = ServeOptions { notice, capture: false, ..options };
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), root, options).unwrap();
    let (addr, stop) = (server.addr(), AtomicBool::new(false));
    std::thread::scope(|s| {
        let t = s.spawn(|| server.run(&stop));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(addr, &said)));
        stop.store(true, Ordering::Relaxed);
        t.join().unwrap().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub fn secret(words: &str) -> Secret {
    Secret::new(format!("{words} {words} {words} {words}").as_bytes()).unwrap()
}

pub fn with_secret(words: &str) -> ServeOptions {
    ServeOptions { secrets: vec![(String::new(), secret(words))], ..ServeOptions::default() }
}

pub fn options(addr: SocketAddr, mode: Mode, local: &Path, dir: &Path) -> SyncOptions {
    SyncOptions { capture: false, ..SyncOptions::new(addr, mode, "", local, dir.join("record")) }
}

pub fn run(o: &SyncOptions) -> Result<RunRecord, DriveError> {
    run_sync(o, &AtomicBool::new(false), &mut ())
}

/// What a peer that begins like this is answered, until the server closes.
fn asks(addr: SocketAddr, first: &[u8]) -> Vec<u8> {
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    s.write_all(first).unwrap();
    let mut answer = Vec::new();
    let _ = s.read_to_end(&mut answer);
    answer
}

pub fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let (dir, source, dest) = dirs();
    put(source.join("a/b"), &crate::rig::noise(1, 300_000), 0);
    put(source.join("c"), b"a word that is easily recognised", 0);
    (dir, source, dest)
}

#[test]
fn both_ends_show_that_they_have_the_secret_and_nothing_passes_in_the_clear() {
    for mode in [Mode::Pull, Mode::Push] {
        let (dir, source, dest) = scene();
        let (served, local) = if mode == Mode::Pull { (&source, &dest) } else { (&dest, &source) };
        serving(served, with_secret("right"), |addr, _| {
            // Somebody in between writes down all that passes.
            let (tapped, between) = tap(addr);
            let o =
                SyncOptions { secret: Some(secret("right")), ..options(between, mode, local, dir.path()) };
            let r = run(&o).unwrap();
            assert_eq!((&r.end, &r.errors[..]), (&RunEnd::Done, &[][..]));
            assert_eq!(crate::rig::picture(&dest), crate::rig::picture(&source));
            // What the logs count are the bytes of the connection: sealed ones.
            let (c, s) = (r.client_log().unwrap(), r.server_log().unwrap());
            let sum = |log: &syncscope::model::AppLog, op| {
                log.events.iter().filter(|e| e.op == op).map(|e| u64::from(e.len)).sum::<u64>()
            };
            use syncscope::model::AppOp::{Read, Write};
            assert_eq!((sum(&c, Write), sum(&c, Read)), (sum(&s, Read), sum(&s, Write)));
            assert_eq!((sum(&c, Write), sum(&c, Read)), (r.stats.wire_c2s, r.stats.wire_s2c));
            let seen = tapped.lock().unwrap();
            assert!(seen.len() as u64 >= r.stats.wire_c2s + r.stats.wire_s2c && seen.len() > 300_000);
            for word in
                [&b"easily recognised"[..], b"prepare", b"entry", &crate::rig::noise(1, 300_000)[1000..1020]]
            {
                assert!(!seen.windows(word.len()).any(|w| w == word), "{word:?} passed in the clear");
            }
        });
    }
}

/// Plays a server that answers as it likes, until the client has gone.
pub fn impostor(listener: &TcpListener, secret: Option<&Secret>, mut answers: impl FnMut(Ask) -> Answer) {
    let (patience, no) = (Duration::from_secs(60), || false);
    let mut channel = Channel::new(listener.accept().unwrap().0).unwrap();
    let hello = channel.receive_raw(PREAMBLE, patience, &no).unwrap();
    let clock = Clock::new();
    if let Some(secret) = secret {
        let first = channel.receive_framed(FIRST, patience, &no).unwrap();
        let (heard, asked) = Heard::new(Bond::Secret(secret, &hello), &first).unwrap();
        let answer = answers(Frame::Message(asked).message().unwrap());
        let welcome = serde_json::to_vec(&Welcome { t1: clock.now(), t2: clock.now(), answer }).unwrap();
        let (sealed, second) = heard.answer(&welcome).unwrap();
        channel.send_raw(&[&[0], &framed(&second)[..]].concat(), patience, &no).unwrap();
        channel.secure(sealed).unwrap();
    }
    while let Ok((frame, t1)) = channel.receive(&clock, patience, &no) {
        let answer = match frame.message().unwrap() {
            Ask::Ping => Answer::Pong { t1, t2: clock.now() },
            ask => answers(ask),
        };
        let _ = channel.send(&answer, patience, &no);
    }
}

/// A run may begin, without a seal.
pub fn ready(timeout: Ns) -> Answer {
    let token = to_hex(&[7; 16]);
    Answer::Ready { token, timeout, path: String::new(), hello: None, no_capture: None }
}

/// A relay that keeps what passes it, both ways.
fn tap(to: SocketAddr) -> (Arc<Mutex<Vec<u8>>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&kept);
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            let there = TcpStream::connect(to).unwrap();
            for (mut from, mut to) in [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)]
            {
                let all = Arc::clone(&all);
                std::thread::spawn(move || {
                    let mut buf = [0; 65_536];
                    while let Ok(n @ 1..) = from.read(&mut buf) {
                        all.lock().unwrap().extend_from_slice(&buf[..n]);
                        if to.write_all(&buf[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (kept, addr)
}

/// TLS without authentication; here: no secret, another one, and every way round the handshake.
#[test]
fn cve_2026_70454_without_the_secret_there_is_no_way_in_and_none_around() {
    let (dir, source, dest) = scene();
    let o = |addr| options(addr, Mode::Pull, &dest, dir.path());
    serving(&source, with_secret("right"), |addr, said| {
        let refused = |o: &SyncOptions, why: &str| {
            let e = run(o).unwrap_err();
            assert!(matches!(e, DriveError::Refused { .. }) && e.to_string().contains(why), "{e}");
        };
        refused(&o(addr), "--secret-file");
        refused(&SyncOptions { secret: Some(secret("wrong")), ..o(addr) }, "wrong");
        refused(&SyncOptions { secret: Some(secret("right")), user: "ann".to_owned(), ..o(addr) }, "wrong");
        let plain = SyncOptions { secret: Some(secret("right")), plain_data: true, ..o(addr) };
        refused(&plain, "plain");

        // A data connection of its own making.
        assert!(asks(addr, &preamble(Kind::Data, [7; 16])).is_empty());
        // A recording of a whole control connection, said again: the server answers with another key, and
        // what was recorded cannot be opened with it.
        let (tapped, between) = tap(addr);
        let good = SyncOptions { secret: Some(secret("right")), ..o(between) };
        assert_eq!(run(&good).unwrap().end, RunEnd::Done);
        let hello = preamble(Kind::Secured, [0; 16]);
        let heard = tapped.lock().unwrap().clone();
        let at = heard.windows(24).position(|w| w == hello).unwrap();
        let runs = || said.lock().unwrap().iter().filter(|l| l.contains("a run begins")).count();
        let before = runs();
        let first = at + 26 + usize::from(u16::from_le_bytes([heard[at + 24], heard[at + 25]]));
        let answer = asks(addr, &heard[at..first]);
        let longest = 3 + usize::from(u16::from_le_bytes([answer[1], answer[2]]));
        assert_eq!((answer[0], answer.len()), (0, longest), "an answer, and no more");
        assert_eq!(asks(addr, &heard[at..heard.len().min(at + 4000)]).len(), longest);
        assert_eq!(runs(), before, "{said:?}");
    });

    // A server that does not have the secret cannot pass for one that has.
    serving(&source, ServeOptions::default(), |addr, _| {
        let e = run(&SyncOptions { secret: Some(secret("right")), ..o(addr) }).unwrap_err();
        assert!(e.to_string().contains("no secret"), "{e}");
    });
    serving(&source, with_secret("other"), |addr, _| {
        let e = run(&SyncOptions { secret: Some(secret("right")), ..o(addr) }).unwrap_err();
        assert!(matches!(e, DriveError::Refused { .. }), "{e}");
    });
    // Nor by saying that all is well, or by sending the client's own words back.
    for reflect in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut s = listener.accept().unwrap().0;
            let mut first = [0; 26];
            s.read_exact(&mut first).unwrap();
            let mut words = vec![0; usize::from(u16::from_le_bytes([first[24], first[25]]))];
            s.read_exact(&mut words).unwrap();
            let words = if reflect { words } else { vec![7; 48] };
            s.write_all(&[&[0], &framed(&words)[..]].concat()).unwrap();
            let mut rest = Vec::new();
            let _ = s.read_to_end(&mut rest);
            rest.len()
        });
        let e = run(&SyncOptions { secret: Some(secret("right")), ..o(addr) }).unwrap_err();
        assert!(e.to_string().contains("the same secret"), "{e}");
        assert_eq!(server.join().unwrap(), 0, "the client said nothing more");
    }
}

/// The answer to the data connection's handshake is left out: then nothing is sent at all.
#[test]
fn no_server_talks_a_client_into_plain_data() {
    let (dir, source, _) = scene();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let o = options(listener.local_addr().unwrap(), Mode::Push, &source, dir.path());
    let e = std::thread::scope(|s| {
        s.spawn(|| {
            impostor(&listener, Some(&secret("right")), |ask| match ask {
                Ask::Prepare(wish) => ready(wish.timeout),
                _ => Answer::Refused { message: "enough".to_owned() },
            });
        });
        run(&SyncOptions { secret: Some(secret("right")), ..o }).unwrap_err()
    });
    assert!(e.to_string().contains("no handshake for the data connection"), "{e}");
}

#[test]
fn data_goes_plainly_only_where_both_ends_want_it() {
    let (dir, source, dest) = scene();
    let server = ServeOptions { plain_data: true, ..with_secret("right") };
    serving(&source, server, |addr, _| {
        for plain_data in [false, true] {
            let (tapped, between) = tap(addr);
            let _ = fs::remove_dir_all(&dest);
            let o = options(between, Mode::Pull, &dest, dir.path());
            let r = run(&SyncOptions { secret: Some(secret("right")), plain_data, ..o }).unwrap();
            assert_eq!(r.end, RunEnd::Done);
            let word = b"easily recognised";
            assert_eq!(tapped.lock().unwrap().windows(word.len()).any(|w| w == word), plain_data);
        }
    });
}

/// A peer that greets and then stalls or trickles held its seat for ever.
#[test]
fn cve_2026_70464_whoever_trickles_is_gone_at_the_deadline() {
    let (dir, source, _) = scene();
    let few =
        ServeOptions { max_connections: 4, handshake: Duration::from_secs(2), ..ServeOptions::default() };
    let secured = ServeOptions { secrets: with_secret("right").secrets, ..few.clone() };
    let hello = preamble(Kind::Secured, [0; 16]);
    let shaken = framed(&Opening::new(Bond::Secret(&secret("right"), &hello), &[]).unwrap().1);
    let message = [&preamble(Kind::Control, [0; 16])[..], &60_000u32.to_le_bytes(), &[1]].concat();
    let trickle = |what: &str, server: ServeOptions, first: &[u8]| {
        let key = (!server.secrets.is_empty()).then(|| secret("right"));
        let here = dir.path().join(what);
        serving(&source, server, |addr, _| {
            let mut all: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
            all.iter_mut().for_each(|s| s.write_all(first).unwrap());
            let began = Instant::now();
            // There is always something new, and never anything whole.
            while began.elapsed() < Duration::from_millis(3200) {
                all.iter_mut().for_each(|s| drop(s.write_all(&[0xff])));
                std::thread::sleep(Duration::from_millis(200));
            }
            let o = SyncOptions { secret: key, ..options(addr, Mode::Pull, &here.join("copy"), &here) };
            let end = run(&o).map(|r| r.end);
            assert_eq!(end, Ok(RunEnd::Done), "{what}: not all seats were free again");
        });
    };
    std::thread::scope(|s| {
        s.spawn(|| trickle("greeting", few.clone(), b"syncsc"));
        s.spawn(|| trickle("message", few.clone(), &message));
        s.spawn(|| trickle("handshake", secured.clone(), &hello));
        s.spawn(|| trickle("record", secured.clone(), &[&hello[..], &shaken].concat()));
    });
}

/// A deny rule by name failed open when the name could not be looked up.
#[test]
fn cve_2026_70452_a_rule_that_needs_a_look_up_is_no_rule() {
    for name in ["host.invalid", "localhost", "*.example.com", "host.invalid/24"] {
        assert!(network(name).is_err(), "{name}");
        let out = syncscope(&["serve", "--listen", "127.0.0.1:0", "--deny", name, "/tmp"]);
        assert_eq!(out.0, Some(2), "{}", out.1);
        assert!(out.1.contains("is no network"), "{}", out.1);
    }
}

/// Its sibling: a name that the peer's own DNS gave him. Only addresses count.
#[test]
fn cve_2026_43617_only_the_address_decides() {
    let (dir, source, dest) = scene();
    let o = |addr| options(addr, Mode::Pull, &dest, dir.path());
    let nets = |all: &[&str]| all.iter().map(|n| network(n).unwrap()).collect::<Vec<_>>();
    for (allow, deny, may) in [
        (vec![], nets(&["127.0.0.0/8"]), false),
        (nets(&["10.0.0.0/8"]), vec![], false),
        (nets(&["127.0.0.1"]), nets(&["127.0.0.1"]), false),
        (nets(&["127.0.0.1"]), nets(&["10.0.0.0/8"]), true),
    ] {
        let access = Access { allow, deny };
        serving(&source, ServeOptions { access: access.clone(), ..ServeOptions::default() }, |addr, _| {
            assert_eq!(run(&o(addr)).is_ok(), may, "{access:?}");
        });
    }
}

/// A list with a leading comma was split otherwise than documented, and its deny rule never fired.
#[test]
fn cve_2026_70463_a_list_with_a_hole_in_it_is_an_error() {
    for list in [",127.0.0.1", "127.0.0.1,", "127.0.0.1,,10.0.0.1", "127.0.0.1 10.0.0.1", ""] {
        let out = syncscope(&["serve", "--listen", "127.0.0.1:0", "--deny", list, "/tmp"]);
        assert_eq!(out.0, Some(2), "{list:?}: {}", out.1);
    }
}

/// A PROXY header gave any client the address that it liked. Nothing here reads one: to the greeting and to the
/// preamble behind it they are bytes of a stranger.
#[test]
fn cve_2026_53791_a_proxys_header_gives_nobody_another_address() {
    let (_dir, source, _) = scene();
    let access = Access { allow: vec![network("10.0.0.0/8").unwrap()], deny: vec![] };
    for access in [access, Access::default()] {
        serving(&source, ServeOptions { access, ..ServeOptions::default() }, |addr, said| {
            for header in [
                &b"PROXY TCP4 10.0.0.1 10.0.0.2 1234 8730\r\nsyncsc"[..],
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x04\xd2\x22\x1a",
            ] {
                assert!(asks(addr, header).is_empty());
            }
            assert!(said.lock().unwrap().iter().all(|l| l.starts_with("127.0.0.1")), "{said:?}");
        });
    }
}

/// The secret was read through a planted symlink.
#[test]
fn cve_2026_53802_a_secret_behind_a_link_or_open_to_others_is_refused() {
    let (dir, source, _) = scene();
    let (file, link) = (dir.path().join("secret"), dir.path().join("link"));
    fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let source = source.to_str().unwrap();
    for (mode, path, why) in [
        (0o600, &link, "symlink"),
        (0o644, &file, "chmod 600"),
        (0o600, &dir.path().join("none"), "generate secret"),
    ] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let path = path.to_str().unwrap();
        for args in [
            &["serve", "--listen", "127.0.0.1:0", "--secret-file", path, source][..],
            &["sync", "--secret-file", path, "127.0.0.1:1:", source],
        ] {
            let (code, said) = syncscope(args);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(why), "{said}");
        }
    }
}

#[test]
fn beyond_loopback_there_is_no_serving_without_a_secret() {
    let (_dir, source, _) = scene();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        let (code, said) = syncscope(&["serve", "--listen", listen, source.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--secret-file") && said.contains("generate secret"), "{said}");
    }
}

/// Runs the program until it ends; its exit code and what it said on stderr.
pub fn syncscope(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command.arg("20").arg(env!("CARGO_BIN_EXE_syncscope")).args(args);
    let out = command.env_remove("SYNCSCOPE_SECRET_FILE").output().unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn modules_keep_their_users_limits_and_neighbours_apart() {
    let (dir, source, dest) = scene();
    let share = |name: &str, path: &Path| Share { name: name.to_owned(), ..Share::whole(path) };
    let anns = Share {
        users: vec!["ann".to_owned()],
        limits: Limits { entries: 2, ..Limits::default() },
        ..share("anns", &dest)
    };
    let shown = Share { read_only: true, ..share("shown", &source) };
    let server = ServeOptions {
        secrets: vec![("ann".to_owned(), secret("anns")), ("bob".to_owned(), secret("bobs"))],
        modules: vec![anns, shown],
        ..ServeOptions::default()
    };
    let copy = dir.path().join("copy");
    serving(Path::new("."), server, |addr, _| {
        let o = |user: &str, mode, path: &str, local: &Path| SyncOptions {
            secret: Some(secret(&format!("{user}s"))),
            user: user.to_owned(),
            remote_path: path.to_owned(),
            ..options(addr, mode, local, dir.path())
        };
        let r = run(&o("bob", Mode::Pull, "shown/a", &copy)).unwrap();
        assert_eq!((r.end, fs::metadata(copy.join("b")).unwrap().len()), (RunEnd::Done, 300_000));
        let failed = |o: &SyncOptions| match run(o).unwrap().end {
            RunEnd::Failed(why) => why,
            other => panic!("{other:?}"),
        };
        let why = failed(&o("bob", Mode::Push, "shown", &copy));
        assert!(why.contains("read-only"), "{why}");
        for path in ["anns", "anns/x", "", "nothing", "../anns"] {
            let e = run(&o("bob", Mode::Pull, path, &copy)).unwrap_err();
            assert!(e.to_string().contains("module"), "{path}: {e}");
        }
        let why = failed(&o("ann", Mode::Push, "anns", &source));
        assert!(why.contains("more list entries"), "{why}");
        assert_eq!(run(&o("ann", Mode::Push, "anns", &source.join("a"))).unwrap().end, RunEnd::Done);
        assert!(dest.join("b").is_file());
        // The path below the module is the kernel's to judge.
        let why = failed(&o("ann", Mode::Pull, "shown/../anns", &copy));
        assert!(why.contains("leads out"), "{why}");
    });
}

#[test]
fn one_address_cannot_have_all_seats_nor_knock_for_ever() {
    let (_dir, source, _) = scene();
    let server = ServeOptions { max_per_address: 2, max_rate: 30, ..ServeOptions::default() };
    serving(&source, server, |addr, said| {
        let all: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let told = |word: &str| said.lock().unwrap().iter().any(|l| l.contains(word));
        let until = Instant::now() + Duration::from_secs(60);
        while !told("2 connections of this address") {
            assert!(Instant::now() < until, "{said:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(all);
        // Who knocks before those seats are free again is turned away without being counted.
        while !told("more than 30 connections a minute") {
            assert!(Instant::now() < until, "{said:?}");
            assert!(asks(addr, b"GET /").is_empty());
        }
    });
}

#[test]
fn who_is_in_the_queue_of_a_server_that_stops_is_not_left_waiting() {
    let (_dir, source, _) = scene();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &source, ServeOptions::default()).unwrap();
    let mut early = TcpStream::connect(server.addr()).unwrap();
    server.run(&AtomicBool::new(true)).unwrap();
    early.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let answer = early.read(&mut [0]);
    assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(TcpStream::connect(server.addr()).is_err(), "nobody accepts any more");
}
