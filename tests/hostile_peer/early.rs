//! What rides in the first message of a handshake: it saves a round trip, and whoever heard it can say it again.

use crate::dirs;
use crate::door::{options, run, scene, secret, serving, with_secret};
use crate::rig::{picture, put};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use syncscope::drive::control::{Answer, Ask, Prepare, Welcome, from_hex};
use syncscope::drive::seal::{Bond, Opening, Sealed};
use syncscope::drive::wire::{Kind, framed, preamble};
use syncscope::drive::{Mode, RunEnd, ServeOptions, SyncOptions};
use syncscope::model::Ns;

/// A relay over a long way: what it is given comes out at the other end so much later.
fn long_way(to: SocketAddr, one_way: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            let there = TcpStream::connect(to).unwrap();
            here.set_nodelay(true).unwrap();
            there.set_nodelay(true).unwrap();
            for (mut from, mut to) in [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)]
            {
                let (arrived, leaving) = channel::<(Instant, Vec<u8>)>();
                std::thread::spawn(move || {
                    let mut buf = [0; 65_536];
                    loop {
                        let n = from.read(&mut buf).unwrap_or(0);
                        let _ = arrived.send((Instant::now(), buf[..n].to_vec()));
                        if n == 0 {
                            break;
                        }
                    }
                });
                std::thread::spawn(move || {
                    for (at, bytes) in leaving {
                        std::thread::sleep((at + one_way).saturating_duration_since(Instant::now()));
                        if bytes.is_empty() || to.write_all(&bytes).is_err() {
                            let _ = to.shutdown(std::net::Shutdown::Write);
                            break;
                        }
                    }
                });
            }
        }
    });
    addr
}

/// The relay accepts at once, so that opening a connection costs nothing: these are the round trips after it.
#[test]
fn with_a_secret_a_run_takes_no_more_round_trips_than_without() {
    const ROUND: Duration = Duration::from_millis(500);
    for with in [false, true] {
        let (dir, source, dest) = dirs();
        (0..50).for_each(|n| put(source.join(format!("{n}")), &crate::rig::noise(n, 200), 0));
        let server = if with { with_secret("right") } else { ServeOptions::default() };
        serving(&dest, server, |addr, _| {
            let o = options(long_way(addr, ROUND / 2), Mode::Push, &source, dir.path());
            let o = SyncOptions { secret: with.then(|| secret("right")), ..o };
            for (most, what) in [(4, "push"), (3, "nothing to do")] {
                let began = Instant::now();
                let r = run(&o).unwrap();
                let took = began.elapsed();
                assert_eq!((&r.end, &r.errors[..]), (&RunEnd::Done, &[][..]));
                assert_eq!(picture(&dest), picture(&source));
                let rounds = took.as_secs_f64() / ROUND.as_secs_f64();
                assert!(
                    rounds > f64::from(most) - 0.6 && rounds < f64::from(most) + 0.7,
                    "{what}, secret {with}: {rounds:.2} round trips"
                );
            }
        });
    }
}

/// A client of our own, as far as its first message; what the server answered to it.
struct Early {
    stream: TcpStream,
    sealed: Sealed,
    answer: Answer,
}

fn wish(path: &str) -> Prepare {
    Prepare {
        data_port: 1,
        bwlimit: None,
        busy: Vec::new(),
        hold: Vec::new(),
        timeout: Ns::from_secs(5),
        capture: false,
        snaplen: 160,
        block: None,
        seed: 1,
        path: path.to_owned(),
        sealed: true,
    }
}

/// The first message, with an announcement in it.
fn first(wish: Prepare) -> (Opening, Vec<u8>) {
    let hello = preamble(Kind::Secured, [0; 16]);
    let payload = serde_json::to_vec(&Ask::Prepare(wish)).unwrap();
    let (opening, message) = Opening::new(Bond::Secret(&secret("right"), &hello), &payload).unwrap();
    (opening, [&hello[..], &framed(&message)].concat())
}

/// Says it, and takes the first byte of the answer and the message behind it.
fn say(addr: SocketAddr, first: &[u8]) -> (TcpStream, u8, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(first).unwrap();
    let mut head = [0; 3];
    stream.read_exact(&mut head).unwrap();
    let mut message = Vec::new();
    match head[0] {
        0 => {
            message.resize(usize::from(u16::from_le_bytes([head[1], head[2]])), 0);
            stream.read_exact(&mut message).unwrap();
        }
        _ => drop(stream.read_to_end(&mut message)),
    }
    (stream, head[0], message)
}

fn announce(addr: SocketAddr, wish: Prepare) -> Early {
    let (opening, message) = first(wish);
    let (stream, admitted, second) = say(addr, &message);
    assert_eq!(admitted, 0);
    let (sealed, welcome) = opening.finish(&second).unwrap();
    let Welcome { answer, .. } = serde_json::from_slice(&welcome).unwrap();
    Early { stream, sealed, answer }
}

fn is_gone(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A recording of a push's announcement begins nothing, tells nothing, and holds one seat until the deadline.
#[test]
fn an_announcement_that_is_said_again_leaves_no_trace_and_tells_nothing() {
    let (dir, source, dest) = scene();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let server = ServeOptions {
        max_connections: 6,
        handshake: Duration::from_secs(2),
        scratch: Some(scratch.clone()),
        ..with_secret("right")
    };
    serving(&dest, server, |addr, said| {
        let (_, heard) = first(wish("a-folder-of-its-own"));
        let began = Instant::now();
        let answers: Vec<_> = (0..4).map(|_| say(addr, &heard)).collect();
        for (n, (_, admitted, answer)) in answers.iter().enumerate() {
            assert_eq!(*admitted, 0, "it was understood");
            for word in [&b"ready"[..], b"token", b"path", b"folder", b"type"] {
                assert!(!answer.windows(word.len()).any(|w| w == word), "{word:?} can be read");
            }
            assert!(answers[..n].iter().all(|a| a.2 != *answer), "each has an answer of its own");
        }
        let nothing = |dir| fs::read_dir(dir).unwrap().count() == 0;
        assert!(nothing(&dest) && nothing(&scratch), "something was made for it");
        // More of them than there are seats of runs, and none is taken.
        let o = SyncOptions {
            secret: Some(secret("right")),
            ..options(addr, Mode::Push, &source, &dir.path().join("run"))
        };
        assert_eq!(run(&o).map(|r| r.end), Ok(RunEnd::Done));
        let runs = said.lock().unwrap().iter().filter(|l| l.contains("a run begins")).count();
        assert_eq!(runs, 1, "{said:?}");
        assert!(answers.into_iter().all(|(stream, ..)| is_gone(stream)));
        assert!(began.elapsed() < Duration::from_secs(10), "they are gone at the deadline");
        assert!(!dest.join("a-folder-of-its-own").exists() && nothing(&scratch));
    });
}

#[test]
fn an_announcement_that_was_changed_is_refused() {
    let (_dir, source, _) = scene();
    let server = ServeOptions { max_rate: 100_000, ..with_secret("right") };
    serving(&source, server, |addr, said| {
        let (_, heard) = first(wish(""));
        for n in [26, 40, 57, 58, 80, heard.len() - 17, heard.len() - 1] {
            let mut bad = heard.clone();
            bad[n] ^= 1;
            let (_, admitted, why) = say(addr, &bad);
            assert_eq!(admitted, 1, "byte {n}");
            assert!(String::from_utf8_lossy(&why).contains("the same secret"), "byte {n}");
        }
        // Another user's name before it, or another length.
        for (n, byte) in [(8, b'x'), (24, heard[24] - 1)] {
            let mut bad = heard.clone();
            bad[n] = byte;
            assert_eq!(say(addr, &bad).1, 1, "byte {n}");
        }
        assert!(!said.lock().unwrap().iter().any(|l| l.contains("a run begins")));
    });
}

/// Longer than what is read of a stranger.
#[test]
fn a_first_message_without_end_is_not_waited_for() {
    let (_dir, source, _) = scene();
    serving(&source, with_secret("right"), |addr, _| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&[&preamble(Kind::Secured, [0; 16])[..], &[0xff, 0xff]].concat()).unwrap();
        let began = Instant::now();
        assert!(is_gone(stream) && began.elapsed() < Duration::from_secs(3));
    });
}

/// Even who has the secret, and the token: the first record is the proof, and a wrong one is none.
#[test]
fn nothing_begins_before_the_first_record_was_opened() {
    let (dir, source, dest) = scene();
    let server = ServeOptions { handshake: Duration::from_secs(2), ..with_secret("right") };
    serving(&dest, server, |addr, said| {
        let begins = || said.lock().unwrap().iter().any(|l| l.contains("a run begins"));
        for wrong in [false, true] {
            let mut early = announce(addr, wish("made/by/it"));
            let Answer::Ready { token, hello, .. } = early.answer else { panic!("{:?}", early.answer) };
            assert!(hello.is_some());
            let mut data = TcpStream::connect(addr).unwrap();
            data.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            data.write_all(&preamble(Kind::Data, from_hex(&token).unwrap())).unwrap();
            data.write_all(&[7; 100]).unwrap();
            if wrong {
                let mut record = Vec::new();
                early.sealed.seal(b"not the next one", &mut record).unwrap();
                record.clear();
                early.sealed.seal(b"but the one behind it", &mut record).unwrap();
                early.stream.write_all(&record).unwrap();
            }
            assert!(is_gone(data) && is_gone(early.stream));
            assert!(!begins() && fs::read_dir(&dest).unwrap().count() == 0);
        }
        let o = options(addr, Mode::Push, &source, dir.path());
        assert_eq!(run(&SyncOptions { secret: Some(secret("right")), ..o }).map(|r| r.end), Ok(RunEnd::Done));
        assert!(begins());
    });
}

/// The answer to the data connection's handshake belongs to the first record: without it there is no data.
#[test]
fn a_run_that_begins_without_its_data_connections_handshake_does_not_begin() {
    let (_dir, _, dest) = scene();
    serving(&dest, with_secret("right"), |addr, _| {
        for hello in [None, Some("00".repeat(48)), Some("zz".to_owned())] {
            let mut early = announce(addr, wish(""));
            let message = serde_json::to_vec(&Ask::Begin { hello }).unwrap();
            let frame = [&(message.len() as u32).to_le_bytes()[..], &[1], &message].concat();
            let mut record = Vec::new();
            early.sealed.seal(&frame, &mut record).unwrap();
            early.stream.write_all(&record).unwrap();
            let mut rest = Vec::new();
            early.stream.read_to_end(&mut rest).unwrap();
            let mut plain = Vec::new();
            early.sealed.open(&rest, &mut plain).unwrap();
            assert!(String::from_utf8_lossy(&plain).contains("refused"));
        }
    });
}

/// Whose announcement is refused is told so, and nobody else.
#[test]
fn a_refusal_rides_in_the_handshake_and_is_not_seen() {
    let (_dir, source, _) = scene();
    serving(&source, with_secret("right"), |addr, _| {
        let early = announce(addr, Prepare { sealed: false, ..wish("") });
        assert!(matches!(early.answer, Answer::Refused { message } if message.contains("--plain-data")));
        // A capture would begin before anybody has shown that he is there.
        let early = announce(addr, Prepare { capture: true, ..wish("") });
        assert!(matches!(early.answer, Answer::Refused { .. }));
        let (_, heard) = first(Prepare { sealed: false, ..wish("") });
        let (_, admitted, answer) = say(addr, &heard);
        assert!(admitted == 0 && !answer.windows(5).any(|w| w == b"plain"));
    });
}
