//! What recording costs: the same transfer over loopback with the recorder on and off, in turn.
//!
//! `cargo bench --bench recording -- [ROUNDS] [MiB]`. Prints the medians, their ratio, the ratio of
//! each pair of neighbours (which a drift of the machine moves less), and how many events there were.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use syncscope::drive::LiveRun;
use syncscope::drive::alive::Vitals;
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

/// Processor time of the calling thread, in seconds.
fn cpu() -> f64 {
    let u = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
    let s = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    s(u.user_time()) + s(u.system_time())
}

fn end(side: Side, socket: TcpStream, to_send: u64, to_get: u64, on: bool) -> (f64, usize) {
    let began = cpu();
    let clock = Clock::new();
    let live = LiveRun::new(side, socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let mut recorder = if on { Recorder::new(clock, &live) } else { Recorder::off(clock, &live) };
    let mut engine = Plain { to_send, to_get, out: vec![1; CHUNK] };
    let options = PumpOptions {
        done: &|| {},
        opened: clock.now(),
        bwlimit: None,
        busy: Vec::new(),
        hold: Vec::new(),
        timeout: Ns::from_secs(30),
        stop: &|| false,
        vitals: &Vitals::default(),
        tick: &mut |_| {},
    };
    assert_eq!(pump(&socket, &mut engine, &mut recorder, options), RunEnd::Done);
    (cpu() - began, live.take().log.events.len())
}

/// How long it took, processor time of both sides, events of both sides.
fn transfer(bytes: u64, on: bool) -> (Duration, f64, usize) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(l.local_addr().unwrap()).unwrap();
    let (b, _) = l.accept().unwrap();
    let began = Instant::now();
    let (client, server) = std::thread::scope(|s| {
        let t = s.spawn(|| end(Side::Server, b, bytes, 0, on));
        (end(Side::Client, a, 0, bytes, on), t.join().unwrap())
    });
    (began.elapsed(), client.0 + server.0, client.1 + server.1)
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
    let (mut times, mut cpus, mut events) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        // Who goes first alternates: what the first leaves behind must not always hit the same one.
        let first = round % 2 == 0;
        let (a, b) = (transfer(bytes, first), transfer(bytes, !first));
        let (on, off) = if first { (a, b) } else { (b, a) };
        events = on.2;
        times.push((on.0.as_secs_f64(), off.0.as_secs_f64()));
        cpus.push((on.1, off.1));
    }
    println!(
        "{rounds} rounds of {mib} MiB over loopback, recording on and off in turn; {events} events a round"
    );
    for (what, pairs) in [("wall clock", times), ("processor ", cpus)] {
        let on = median(pairs.iter().map(|p| p.0).collect());
        let off = median(pairs.iter().map(|p| p.1).collect());
        let each = median(pairs.iter().map(|p| p.0 / p.1).collect());
        println!(
            "{what}  off {:.1} ms ({:.2} GB/s)  on {:.1} ms ({:.2} GB/s)  on/off: of the medians {:.4}, median of pairs {each:.4}",
            off * 1e3,
            bytes as f64 / off / 1e9,
            on * 1e3,
            bytes as f64 / on / 1e9,
            on / off,
        );
    }
}
