//! What recording costs: the same transfer over loopback with the recorder on and off, in turn.
//!
//! `cargo bench --bench recording -- [ROUNDS] [MiB]`. Prints the medians, their ratio, the ratio of
//! each pair of neighbours (which a drift of the machine moves less), and how many events there were.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use syncscope::drive::LiveRun;
use syncscope::drive::clock::Clock;
use syncscope::drive::pump::{CHUNK, Engine, PumpOptions, pump};
use syncscope::drive::record::RunEnd;
use syncscope::drive::recorder::{Position, Recorder};
use syncscope::model::{Ns, Side};

/// Moves bytes and does nothing with them: the worst case for the recorder.
struct Plain {
    to_send: u64,
    to_get: u64,
    out: Vec<u8>,
}

impl Engine for Plain {
    fn input(&mut self, bytes: &[u8]) {
        self.to_get -= bytes.len() as u64;
    }
    fn eof(&mut self) {}
    fn work(&mut self) -> Option<Position> {
        None
    }
    fn output(&mut self, max: usize) -> &[u8] {
        let n = self.to_send.min(max.min(CHUNK) as u64) as usize;
        &self.out[..n]
    }
    fn sent(&mut self, n: usize) {
        self.to_send -= n as u64;
    }
    fn wants_input(&self) -> bool {
        true
    }
    fn is_done(&self) -> bool {
        self.to_send == 0 && self.to_get == 0
    }
    fn failure(&self) -> Option<String> {
        None
    }
    fn reading(&self) -> Position {
        Position::default()
    }
    fn writing(&self) -> Position {
        Position::default()
    }
    fn files(&self) -> &[String] {
        &[]
    }
}

fn end(side: Side, socket: TcpStream, to_send: u64, to_get: u64, on: bool) -> usize {
    let clock = Clock::new();
    let live = LiveRun::new(side, socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let mut recorder = if on { Recorder::new(clock, &live) } else { Recorder::off(clock, &live) };
    let mut engine = Plain { to_send, to_get, out: vec![1; CHUNK] };
    let options = PumpOptions {
        opened: clock.now(),
        bwlimit: None,
        busy: Vec::new(),
        hold: Vec::new(),
        timeout: Ns::from_secs(30),
        stop: &|| false,
        life: &AtomicU64::new(0),
        peer_life: &AtomicU64::new(0),
        tick: &mut |_| {},
    };
    assert_eq!(pump(&socket, &mut engine, &mut recorder, options), RunEnd::Done);
    live.take().events.len()
}

fn transfer(bytes: u64, on: bool) -> (Duration, usize) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(l.local_addr().unwrap()).unwrap();
    let (b, _) = l.accept().unwrap();
    let began = Instant::now();
    let events = std::thread::scope(|s| {
        let t = s.spawn(|| end(Side::Server, b, bytes, 0, on));
        end(Side::Client, a, 0, bytes, on) + t.join().unwrap()
    });
    (began.elapsed(), events)
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (rounds, mib) = (numbers.first().copied().unwrap_or(31), numbers.get(1).copied().unwrap_or(1024));
    let bytes = mib << 20;
    transfer(bytes, true);
    let (mut with, mut without, mut pairs, mut events) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        // Who goes first alternates: what the first leaves behind must not always hit the same one.
        let first = round % 2 == 0;
        let (a, b) = (transfer(bytes, first), transfer(bytes, !first));
        let (on, off) = if first { (a, b) } else { (b, a) };
        events = on.1;
        with.push(on.0.as_secs_f64());
        without.push(off.0.as_secs_f64());
        pairs.push(on.0.as_secs_f64() / off.0.as_secs_f64());
    }
    let (on, off) = (median(with), median(without));
    let rate = |s: f64| bytes as f64 / s / 1e9;
    println!("{rounds} rounds of {mib} MiB over loopback, recording on and off in turn");
    println!("off     median {:.1} ms  {:.2} GB/s", off * 1e3, rate(off));
    println!("on      median {:.1} ms  {:.2} GB/s  {events} events on both sides", on * 1e3, rate(on));
    println!("on/off  of the medians {:.4}, median of the pairs {:.4}", on / off, median(pairs));
}
