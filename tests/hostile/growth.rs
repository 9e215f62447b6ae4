//! Twice the packets take twice the time, whatever the packets are.

use super::mutate::Rng;
use super::packets::{ACK, MSS, P, SYN, handshake};
use super::run::{capture, report, shown};
use nix::time::{ClockId, clock_gettime};
use syncscope::decode::Segment;

/// Segments of one connection, in order.
#[derive(Default)]
struct Script {
    out: Vec<Segment>,
}

impl Script {
    fn new() -> Script {
        let mut s = Script::default();
        handshake().into_iter().for_each(|p| s.put(p, &[]));
        s
    }

    fn put(&mut self, p: P, sacks: &[(u32, u32)]) {
        let n = self.out.len();
        self.out.push(p.segment(n, 4000, sacks));
    }
}

fn at(i: usize) -> u32 {
    1 + MSS * i as u32
}

/// One transfer, 1 % lost, each repaired a round trip after its SACKs.
fn lossy(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    let (mut una, mut held) = (0, Vec::<(usize, usize)>::new());
    for i in 0..n / 2 {
        let ms = 30.0 + i as f64 * 0.1;
        s.put(P::data(ms, at(i)), &[]);
        let lost = i % 100 == 50;
        if lost {
            continue;
        }
        match held.last_mut() {
            Some(h) if h.1 == i => h.1 = i + 1,
            Some(_) => held.push((i, i + 1)),
            None if una == i => una = i + 1,
            None => held.push((i, i + 1)),
        }
        if i % 100 == 90 && !held.is_empty() {
            s.put(P::data(ms + 0.05, at(una)), &[]);
            una = held.remove(0).1;
        }
        let sacks: Vec<_> = held.iter().rev().take(3).map(|h| (at(h.0), at(h.1))).collect();
        s.put(P::ack(ms + 0.06, at(una)), &sacks);
    }
    s.out
}

/// Every second segment lost: thousands of holes open at once, repaired one by one.
fn holes(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    let count = n / 4;
    for i in 0..count {
        let ms = 30.0 + i as f64 * 0.1;
        s.put(P::data(ms, at(2 * i + 1)), &[]);
        s.put(P::ack(ms + 0.05, at(0)), &[(at(2 * i + 1), at(2 * i + 2))]);
    }
    for i in 0..count {
        let ms = 3000.0 + count as f64 * 0.1 + i as f64 * 0.1;
        s.put(P::data(ms, at(2 * i)), &[]);
        s.put(P::ack(ms + 0.05, at(2 * i + 2)), &[]);
    }
    s.out
}

/// As before, but all was sent and seen: only the SACKs tell of the holes, the newest repaired first.
fn sacked_holes(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    let count = n / 5;
    for i in 0..2 * count {
        s.put(P::data(30.0 + i as f64 * 0.1, at(i)), &[]);
    }
    let from = 100.0 + count as f64 * 0.2;
    for i in 0..count {
        s.put(P::ack(from + i as f64 * 0.1, at(0)), &[(at(2 * i + 1), at(2 * i + 2))]);
    }
    let from = from + 100.0 + count as f64 * 0.1;
    for i in (0..count).rev() {
        let ms = from + (count - i) as f64 * 0.1;
        s.put(P::data(ms, at(2 * i)), &[]);
        s.put(P::ack(ms + 0.05, at(0)), &[(at(2 * i), at(2 * i + 1))]);
    }
    s.out
}

/// Connections of six packets.
fn many(n: usize) -> Vec<Segment> {
    let mut out = Vec::new();
    for c in 0..n / 6 {
        let [a, b, d] = handshake();
        for (k, p) in
            [a, b, d, P::data(21.0, 1), P::ack(41.0, 1 + MSS), P::ack(42.0, 1 + MSS)].iter().enumerate()
        {
            let mut s = p.segment(out.len(), 1024 + (c % 60_000) as u16, &[]);
            s.ts.0 += (c as i64 * 10 + k as i64) * 1_000_000;
            // the same ports again: another life
            s.seq.0 = s.seq.0.wrapping_add((c / 60_000) as u32 * 100_000);
            out.push(s);
        }
    }
    out
}

/// Every packet twice in the file.
fn doubled(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    for i in 0..n / 4 {
        let ms = 30.0 + i as f64 * 0.1;
        for (p, k) in [
            (P::data(ms, at(i)), 0),
            (P::data(ms + 0.01, at(i)), 0),
            (P::ack(ms, at(i)), 1),
            (P::ack(ms + 0.01, at(i)), 1),
        ] {
            s.put(p, &[]);
            s.out.last_mut().unwrap().checksum = (2 * i + k) as u16;
        }
    }
    s.out
}

/// One packet and its copies on the network, each reported by a DSACK.
fn echoed(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    for i in 0..n / 3 {
        let ms = 30.0 + i as f64 * 0.4;
        for k in [0.0, 0.01] {
            s.put(P::data(ms + k, at(i)), &[]);
            s.out.last_mut().unwrap().checksum = i as u16;
        }
        s.put(P::ack(ms + 0.2, at(i + 1)), &[(at(i), at(i + 1))]);
    }
    s.out
}

fn random(n: usize) -> Vec<Segment> {
    let mut rng = Rng::new(7);
    let mut s = Script::new();
    for i in 0..n {
        let mut p = P::data(30.0 + i as f64 * 0.1, rng.next() as u32);
        p.client = rng.one_in(2);
        p.ack = rng.next() as u32;
        let left = p.ack.wrapping_add(rng.below(1 << 28) as u32);
        s.put(p, &[(left, left.wrapping_add(rng.below(1 << 16) as u32))]);
    }
    s.out
}

/// Random numbers inside one window: resends, overlaps and gaps at once.
fn shuffled(n: usize) -> Vec<Segment> {
    let mut rng = Rng::new(8);
    let mut s = Script::new();
    for i in 0..n / 2 {
        let ms = 30.0 + i as f64 * 0.1;
        s.put(P::data(ms, 1 + rng.below(n * 1000) as u32), &[]);
        let left = 1 + rng.below(n * 1000) as u32;
        s.put(P::ack(ms + 0.05, 1), &[(left, left + 700)]);
    }
    s.out
}

/// One segment, again and again; `every`: milliseconds between.
fn again(n: usize, every: f64, answered: bool) -> Vec<Segment> {
    let mut s = Script::new();
    s.put(P::data(30.0, at(0)), &[]);
    s.put(P::data(30.1, at(1)), &[]);
    for i in 0..n / 2 {
        let ms = 400.0 + i as f64 * every;
        s.put(P::data(ms, at(0)), &[]);
        if answered {
            s.put(P::ack(ms + every / 2.0, at(0)), &[(at(1), at(2))]);
        } else {
            s.put(P::data(ms + every / 2.0, at(1)), &[]);
        }
    }
    s.out
}

/// A pause before every segment, a time-out in every second.
fn stalls(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    for i in 0..n / 4 {
        let ms = 1000.0 + i as f64 * 2000.0;
        s.put(P::data(ms, at(i)), &[]);
        s.put(P::data(ms + 300.0, at(i)), &[]);
        s.put(P::ack(ms + 320.0, at(i + 1)), &[]);
        let mut p = P::ack(ms + 330.0, at(i + 1));
        p.window = if i % 2 == 0 { 0 } else { 60_000 };
        s.put(p, &[]);
    }
    s.out
}

/// One unacknowledged transfer whose every segment is sent again, then one ACK for all.
fn all_again(n: usize) -> Vec<Segment> {
    let mut s = Script::new();
    for round in 0..2 {
        for i in 0..n / 2 {
            s.put(P::data(30.0 + round as f64 * n as f64 + i as f64 * 0.1, at(i)), &[]);
        }
    }
    s.put(P::ack(30.0 + 2.0 * n as f64, at(n / 2)), &[]);
    s.out
}

/// SYNs of one 4-tuple, the same or each with another number.
fn syns(n: usize, step: u32) -> Vec<Segment> {
    (0..n)
        .map(|i| {
            let p =
                P { ms: i as f64, client: true, flags: SYN, seq: i as u32 * step, ack: 0, len: 0, window: 1 };
            p.segment(i, 4000, &[])
        })
        .collect()
}

/// SYN-ACKs only: who connected is asked again for each.
fn syn_acks(n: usize) -> Vec<Segment> {
    (0..n)
        .map(|i| {
            let flags = SYN | ACK;
            P { ms: i as f64, client: false, flags, seq: 9, ack: 1, len: 0, window: 1 }.segment(i, 4000, &[])
        })
        .collect()
}

type Make = fn(usize) -> Vec<Segment>;

const KINDS: [(&str, Make, usize); 17] = [
    ("lossy", lossy, 10_000),
    ("holes", holes, 5_000),
    ("sacked holes", sacked_holes, 5_000),
    ("many connections", many, 10_000),
    ("doubled", doubled, 10_000),
    ("echoed", echoed, 10_000),
    ("random", random, 5_000),
    ("shuffled", shuffled, 5_000),
    ("one segment again, answered", |n| again(n, 0.1, true), 5_000),
    ("one segment again, slowly", |n| again(n, 500.0, true), 5_000),
    ("one segment again, unanswered", |n| again(n, 0.1, false), 5_000),
    ("one segment again, timed out", |n| again(n, 500.0, false), 5_000),
    ("stalls", stalls, 5_000),
    ("all again", all_again, 10_000),
    ("SYNs", |n| syns(n, 0), 10_000),
    ("lives", |n| syns(n, 7), 5_000),
    ("SYN-ACKs", syn_acks, 10_000),
];

/// Four times the packets: linear is 4, quadratic is 16.
const STEEP: f64 = 8.0;

/// Processor time of this thread: other tests and builds do not count.
fn cpu() -> f64 {
    let t = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9
}

fn seconds(make: Make, n: usize) -> f64 {
    let segments = make(n);
    let from = cpu();
    let r = report(vec![capture(segments)], Vec::new());
    shown(&r).unwrap();
    cpu() - from
}

#[test]
fn four_times_the_packets_take_no_more_than_about_four_times_as_long() {
    let only = std::env::var("SYNCSCOPE_GROWTH").unwrap_or_default();
    let scale: usize = std::env::var("SYNCSCOPE_GROWTH_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut steep = Vec::new();
    for (name, make, n) in KINDS.iter().filter(|k| k.0.contains(&only)) {
        let n = n * scale;
        // What disturbs a measurement only makes it longer.
        let (mut small, mut large) = (seconds(*make, n), seconds(*make, 4 * n));
        for _ in 0..2 {
            if large > STEEP * small.max(0.01) {
                (small, large) = (small.min(seconds(*make, n)), large.min(seconds(*make, 4 * n)));
            }
        }
        println!("{name:32} {n:7} {small:8.3} s   {:7} {large:8.3} s   ×{:.1}", 4 * n, large / small);
        if large > STEEP * small.max(0.01) {
            steep.push(format!("{name}: ×{:.1}", large / small));
        }
    }
    assert!(steep.is_empty(), "{steep:?}");
}
