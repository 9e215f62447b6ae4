//! The live capture, on loopback.

use crate::drain;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use syncscope::capture::CaptureError;
use syncscope::capture::live::{Expected, LiveCapture, LiveOptions, probe};
use syncscope::decode::{Decoded, decode};
use syncscope::model::LinkType;

/// Bytes of each direction that a capture file holds, each counted once, by source port.
fn stream_bytes(path: &Path) -> BTreeMap<u16, u64> {
    let (frames, fault, _) = drain(std::fs::File::open(path).unwrap());
    assert_eq!(fault, None);
    let mut seen: BTreeMap<u16, BTreeMap<u32, u32>> = BTreeMap::new();
    let mut isn = BTreeMap::new();
    for f in &frames {
        let Decoded::Tcp(s) = decode(&f.frame()) else {
            panic!("frame {} is not TCP: {:?}", f.no, decode(&f.frame()))
        };
        assert!(!s.cut, "frame {}: headers are cut", f.no);
        if s.flags.syn() {
            isn.insert(s.src.port(), s.seq);
        }
        if s.len > 0 {
            let at = s.seq.diff(isn[&s.src.port()].plus(1)) as u32;
            let end = seen.entry(s.src.port()).or_default().entry(at).or_default();
            *end = (*end).max(at + s.len);
        }
    }
    let count = |ranges: BTreeMap<u32, u32>| {
        let (mut total, mut reached) = (0u64, 0u32);
        for (start, end) in ranges {
            total += u64::from(end.saturating_sub(start.max(reached)));
            reached = reached.max(end);
        }
        total
    };
    seen.into_iter().map(|(port, ranges)| (port, count(ranges))).collect()
}

/// A capture, or none where this machine does not allow it.
fn start(test: &str, options: LiveOptions) -> Option<LiveCapture> {
    match LiveCapture::start(options) {
        Ok(c) => Some(c),
        Err(e @ CaptureError::Permission { .. }) => {
            crate::real::skip::skip(test, &e.to_string());
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// `up` bytes to a server on loopback and `down` bytes back, over one connection that then stays
/// open; the two addresses as the client sees them.
fn transfer(listener: &TcpListener, up: usize, down: usize) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let echo = std::thread::spawn(move || {
        let mut buf = vec![0; up];
        server.read_exact(&mut buf).unwrap();
        server.write_all(&vec![2; down]).unwrap();
        server
    });
    client.write_all(&vec![1; up]).unwrap();
    let mut buf = vec![0; down];
    client.read_exact(&mut buf).unwrap();
    (client, echo.join().unwrap())
}

#[test]
fn a_live_capture_stopped_at_once_still_has_every_byte() {
    const TEST: &str = "a_live_capture_stopped_at_once_still_has_every_byte";
    const UP: usize = 6 << 20;
    const DOWN: usize = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    for device in [Some("lo".to_owned()), None] {
        for round in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
            options.device = device.clone();
            options.filter = format!("tcp port {port}");
            let Some(capture) = start(TEST, options) else { return };
            let (client, _server) = transfer(&listener, UP, DOWN);
            let (a, b) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let acked = Expected { acked: UP as u64, ..Expected::bytes(a, b, UP as u64) };
            let summary = capture.stop(&[acked, Expected::bytes(b, a, DOWN as u64)]).unwrap();
            assert_eq!(summary.missing, [], "{device:?} round {round}");
            assert!(summary.complete);
            assert!(summary.dropped == 0 && summary.received >= summary.frames);
            let link = if device.is_some() { LinkType::ETHERNET } else { LinkType::SLL2 };
            assert_eq!(summary.link, link);
            let bytes = stream_bytes(&summary.path);
            assert_eq!((bytes[&a.port()], bytes[&b.port()]), (UP as u64, DOWN as u64));
            let (frames, _, notes) = drain(std::fs::File::open(&summary.path).unwrap());
            assert_eq!((frames.len() as u64, notes.dropped, notes.cut_at), (summary.frames, Some(0), None));
            assert!(frames.iter().any(|f| f.ts % 1000 != 0), "nanoseconds");
            assert!(frames.iter().all(|f| f.data.len() <= 160));
        }
    }
}

#[test]
fn a_live_capture_says_what_is_missing() {
    const TEST: &str = "a_live_capture_says_what_is_missing";
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
    options.device = Some("lo".to_owned());
    options.filter = format!("tcp port {}", listener.local_addr().unwrap().port());
    options.patience = Duration::from_millis(300);
    let Some(capture) = start(TEST, options) else { return };
    let (client, server) = transfer(&listener, 1000, 1000);
    let (a, b) = (client.local_addr().unwrap(), client.peer_addr().unwrap());

    // The file can be read while it grows, at most 200 ms behind.
    let begun = Instant::now();
    while drain(std::fs::File::open(capture.path()).unwrap()).0.len() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(3), "nothing is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(capture.running() && capture.counts().frames >= 5);

    drop((client, server));
    let begun = Instant::now();
    let closed = Expected { fin: true, ..Expected::bytes(a, b, 1000) };
    let summary = capture.stop(&[closed, Expected::bytes(b, a, 5000)]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300), "it waits for what may still come");
    assert!(!summary.complete);
    let said: Vec<String> = summary.missing.iter().map(ToString::to_string).collect();
    assert_eq!(said, [format!("{b} to {a}: 1000 of 5000 bytes captured")]);
}

#[test]
fn a_live_capture_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
    options.device = Some("lo".to_owned());
    let Some(capture) = start("a_live_capture_that_cannot_start_says_why", options.clone()) else { return };
    drop(capture);
    assert_eq!((probe(Some("lo")), probe(None)), (Ok(LinkType::ETHERNET), Ok(LinkType::SLL2)));
    let why = |o: &LiveOptions| LiveCapture::start(o.clone()).unwrap_err();

    let wrong = why(&LiveOptions { filter: "tcp prot 80".to_owned(), ..options.clone() });
    assert!(
        matches!(&wrong, CaptureError::Live { message, .. } if message.contains("“tcp prot 80” is wrong")),
        "{wrong}"
    );
    let nowhere = why(&LiveOptions { device: Some("nosuch0".to_owned()), ..options.clone() });
    assert!(
        matches!(&nowhere, CaptureError::Live { device, message } if device == "nosuch0" && message.contains("lo")),
        "{nowhere}"
    );
    let unwritable = why(&LiveOptions { path: dir.path().join("no/such/folder.pcapng"), ..options });
    assert!(matches!(unwritable, CaptureError::Io { .. }), "{unwritable}");
}
