//! A connection analysed stretch by stretch, in bounded memory, is told as if it had been analysed whole; on any
//! number of threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod real;
#[path = "bench/traffic.rs"]
mod traffic;

use syncscope::capture::file::{open, open_reader};
use syncscope::capture::{CaptureError, FrameSource};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::correlate::CaptureInput;
use syncscope::decode::{Decoded, Segment, TcpFlags, decode};
use syncscope::drive::random::Random;
use syncscope::flow::trace::Known;
use syncscope::flow::{Incarnation, Table, Trace, View};
use syncscope::model::{Ns, Seq, Ts};
use syncscope::tcp::{Connection, Keep, Tracker, Trackers, analyze};
use traffic::Traffic;

fn whole(source: &mut dyn FrameSource) -> (Vec<Connection>, u64) {
    let (mut table, mut end, mut frames) = (Table::new(), Ts::MIN, 0);
    while let Ok(Some(f)) = source.next_frame() {
        end = end.max(f.ts);
        frames += 1;
        table.push(decode(&f));
    }
    (table.finish().iter().map(|i| one_by_one(i, end)).collect(), frames)
}

/// Every packet is looked at by every pass.
fn one_by_one(inc: &Incarnation, end: Ts) -> Connection {
    let mut t = Tracker::new(inc, Keep::Everything).one_by_one();
    t.take(inc.clone());
    t.finish(end)
}

fn in_room(source: &mut dyn FrameSource, room: usize) -> Vec<Connection> {
    tracked(source, room, Trackers::new(Keep::Everything))
}

fn tracked(source: &mut dyn FrameSource, room: usize, mut trackers: Trackers) -> Vec<Connection> {
    let (mut table, mut end) = (Table::bounded(room), Ts::MIN);
    while let Ok(Some(f)) = source.next_frame() {
        end = end.max(f.ts);
        table.push(decode(&f));
        while let Some(batch) = table.batch() {
            trackers.take(batch);
        }
    }
    for rest in table.finish() {
        trackers.finish(rest, Some(end));
    }
    let mut all = trackers.into_connections();
    all.sort_by_key(|c| c.flow);
    all
}

fn made(t: Traffic) -> Vec<u8> {
    let mut out = Vec::new();
    traffic::write(t, &mut out).unwrap();
    out
}

fn source(bytes: &[u8]) -> Box<dyn FrameSource> {
    open_reader("made", std::io::Cursor::new(bytes.to_vec())).unwrap()
}

/// What differs; nothing where both tell the same.
fn differences(a: &Connection, b: &Connection) -> Vec<String> {
    let mut out = Vec::new();
    fn lists<T: PartialEq + std::fmt::Debug>(out: &mut Vec<String>, what: &str, a: &[T], b: &[T]) {
        let only = |x: &[T], y: &[T]| x.iter().find(|i| !y.contains(i)).map(|i| format!("{i:?}"));
        if a != b {
            let (more, less) = (only(a, b), only(b, a));
            out.push(format!(
                "{what}: {} and {}; only whole {more:?}, only in stretches {less:?}",
                a.len(),
                b.len()
            ));
        }
    }
    lists(&mut out, "segments", &a.segments, &b.segments);
    lists(&mut out, "losses", &a.losses, &b.losses);
    lists(&mut out, "holes", &a.holes, &b.holes);
    lists(&mut out, "stalls", &a.stalls, &b.stalls);
    for (d, x, y) in [("c2s", &a.halves.c2s, &b.halves.c2s), ("s2c", &a.halves.s2c, &b.halves.s2c)] {
        let mut y = y.clone();
        // What set the pace is judged within each stretch.
        y.limits.clone_from(&x.limits);
        if *x != y {
            out.push(format!("{d}: {x:?} and {y:?}"));
        }
    }
    if (a.ended, a.handshake, a.span, a.irtt, a.isn) != (b.ended, b.handshake, b.span, b.irtt, b.isn) {
        out.push("name and shape".to_owned());
    }
    out
}

fn check(name: &str, a: &[Connection], b: &[Connection]) -> usize {
    assert_eq!(a.len(), b.len(), "{name}");
    let mut wrong = 0;
    for (x, y) in a.iter().zip(b) {
        for d in differences(x, y) {
            wrong += 1;
            println!("{name} flow {}: {d}", x.flow.0);
        }
    }
    wrong
}

#[test]
fn long_connections_are_told_as_if_whole() {
    for loss in [0, 10, 50, 200] {
        let bytes = made(Traffic { flows: 3, packets: 120_000, loss, snaplen: 96, each: 0 });
        let (a, _) = whole(&mut *source(&bytes));
        let b = in_room(&mut *source(&bytes), 1 << 16);
        assert_eq!(check(&format!("loss {loss}"), &a, &b), 0);
    }
}

#[test]
fn where_room_is_short_little_is_told_otherwise() {
    for (room, most) in [(12_000, 4), (3_000, 12)] {
        let bytes = made(Traffic { flows: 3, packets: 60_000, loss: 50, snaplen: 96, each: 0 });
        let (a, _) = whole(&mut *source(&bytes));
        let b = in_room(&mut *source(&bytes), room);
        let wrong = check(&format!("room {room}"), &a, &b);
        assert!(wrong <= most, "{wrong} differences");
    }
}

#[test]
fn many_short_connections_are_put_away_and_told_in_full() {
    let bytes = made(Traffic { flows: 50, packets: 60_000, loss: 50, snaplen: 96, each: 40 });
    let (a, _) = whole(&mut *source(&bytes));
    let b = in_room(&mut *source(&bytes), 4_000);
    assert!(a.len() > 1_000, "{} connections", a.len());
    assert_eq!(check("short", &a, &b), 0);
}

#[test]
fn real_captures_are_told_as_if_whole() {
    let Some(dir) = real::captures("real_captures_are_told_as_if_whole") else { return };
    let (mut compared, mut differ) = (0, 0);
    for row in real::rows(&dir) {
        let path = dir.join(&row["path"]);
        let Ok(mut s) = open(&path) else { continue };
        let (a, frames) = whole(&mut *s);
        let Ok(mut s) = open(&path) else { continue };
        let b = in_room(&mut *s, 1 << 16);
        assert_eq!(check(&format!("{} ({frames} frames)", path.display()), &a, &b), 0);
        let Ok(mut s) = open(&path) else { continue };
        let c = in_room(&mut *s, 200);
        compared += 1;
        differ += usize::from(check(&format!("{} in little room", path.display()), &a, &c) > 0);
    }
    println!("{differ} of {compared} differ where only 200 segments may wait");
    assert!(differ * 6 <= compared, "{differ} of {compared} differ in little room");
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let bytes = made(Traffic { flows: 9, packets: 60_000, loss: 50, snaplen: 96, each: 5_000 });
    let read = |jobs| -> Result<CaptureInput, CaptureError> {
        read_capture(&mut *source(&bytes), None, Reading { keep: Keep::Evidence, jobs })
    };
    let one = read(1).unwrap();
    assert!(one.connections.len() > 9);
    for jobs in [2, 3, 8] {
        assert_eq!(read(jobs).unwrap(), one, "{jobs} threads");
    }
}

/// How many packets of a connection are in runs in which nothing happens, and how many there are.
fn in_runs(inc: &Incarnation) -> (usize, usize) {
    let known = Known::nothing(inc.flow, inc.client, inc.server);
    let trace = Trace::new(known, View { old: &[], new: &inc.segments }, false);
    (trace.runs.iter().map(|r| r.packets.len()).sum(), inc.segments.len())
}

#[test]
fn what_is_passed_at_once_is_told_as_if_looked_at_one_by_one() {
    for (loss, least) in [(0, 95), (10, 85), (50, 60), (200, 20)] {
        let bytes = made(Traffic { flows: 3, packets: 60_000, loss, snaplen: 96, each: 0 });
        let (mut table, mut source_) = (Table::new(), source(&bytes));
        while let Ok(Some(f)) = source_.next_frame() {
            table.push(decode(&f));
        }
        for inc in table.finish() {
            let (runs, all) = in_runs(&inc);
            assert!(runs * 100 >= all * least, "loss {loss}: {runs} of {all} packets are in runs");
            assert!(analyze(&inc, Ts::MAX) == one_by_one(&inc, Ts::MAX), "loss {loss}");
        }
        for room in [1 << 16, 12_000, 3_000] {
            for keep in [Keep::Everything, Keep::Evidence] {
                let at_once = tracked(&mut *source(&bytes), room, Trackers::new(keep));
                let slowly = tracked(&mut *source(&bytes), room, Trackers::new(keep).one_by_one());
                assert!(at_once == slowly, "loss {loss}, room {room}, {keep:?}");
            }
        }
    }
}

#[test]
fn real_captures_are_told_alike_at_once_and_one_by_one() {
    let Some(dir) = real::captures("real_captures_are_told_alike_at_once_and_one_by_one") else { return };
    let (mut runs, mut all) = (0, 0);
    for row in real::rows(&dir) {
        let path = dir.join(&row["path"]);
        let Ok(mut s) = open(&path) else { continue };
        let (mut table, mut end) = (Table::new(), Ts::MIN);
        while let Ok(Some(f)) = s.next_frame() {
            end = end.max(f.ts);
            table.push(decode(&f));
        }
        for inc in table.finish() {
            let (r, n) = in_runs(&inc);
            (runs, all) = (runs + r, all + n);
            assert!(analyze(&inc, end) == one_by_one(&inc, end), "{} flow {}", path.display(), inc.flow.0);
        }
    }
    println!("{runs} of {all} packets are in runs");
    assert!(runs * 10 >= all, "{runs} of {all} packets are in runs");
}

/// Does to some segments what networks, captures and forgers do.
fn spoil(segments: &mut Vec<Segment>, random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        let i = random.below(segments.len() as u64) as usize;
        let later = (i + 1 + random.below(40) as usize).min(segments.len() - 1);
        let some = random.next();
        let numbers = 1 + (some % 3_000) as u32;
        let s = &mut segments[i];
        match random.below(24) {
            0 => drop(segments.remove(i)),
            1 => {
                let copy = *s;
                segments.insert(later, copy);
            }
            2 => segments.swap(i, later),
            3 => {
                let most = [3_000_000_000, 300_000_000, 80_000_000][(some % 3) as usize];
                segments[i..].iter_mut().for_each(|s| s.ts += Ns((some % most) as i64));
            }
            4 => s.ts += Ns((some % 60_000_000) as i64 - 30_000_000),
            5 => s.ack = s.ack.plus(numbers),
            6 => s.ack = Seq(s.ack.0.wrapping_sub(numbers)),
            7 => s.seq = s.seq.plus(numbers),
            8 => s.seq = Seq(s.seq.0.wrapping_sub(numbers)),
            9 => s.window = 0,
            10 => s.window = some as u16,
            11 => s.ip_id = [None, Some(0), Some(some as u16)][(some % 3) as usize],
            12 => s.options.timestamps = None,
            13 => s.options.sack.push(s.ack.plus(numbers), s.ack.plus(numbers + 1448)),
            14 => s.flags = TcpFlags(s.flags.0 ^ 1 << (some % 6)),
            15 => s.len = [0, 1, 700, 2896, 60_000][(some % 5) as usize],
            16 => s.checksum_ok = Some(false),
            17 => s.ttl = 3,
            18 => (s.src, s.dst) = (s.dst, s.src),
            19 => {
                segments[i..later].iter_mut().for_each(|s| s.window = s.window.wrapping_sub(numbers as u16))
            }
            20 => segments[i..later].iter_mut().for_each(|s| s.ip_id = s.ip_id.map(|id| id.wrapping_add(3))),
            21 => segments.iter_mut().for_each(|s| s.ip_id = None),
            22 => segments.iter_mut().for_each(|s| s.ip_id = s.ip_id.map(|id| id.wrapping_mul(0x9e37))),
            _ => drop(segments.drain(i..later)),
        }
        if segments.len() < 50 {
            return;
        }
    }
}

#[test]
fn spoilt_captures_are_told_alike_at_once_and_one_by_one() {
    let mut random = Random::new(7);
    for loss in [0, 0, 50, 300] {
        let bytes = made(Traffic { flows: 1, packets: 1_200, loss, snaplen: 96, each: 0 });
        let mut whole = Vec::new();
        let mut source = source(&bytes);
        while let Ok(Some(f)) = source.next_frame() {
            if let Decoded::Tcp(s) = decode(&f) {
                whole.push(s);
            }
        }
        for round in 0..150 {
            // Some begin in mid-stream.
            let begin = if round % 3 == 0 { 200 + random.below(50) as usize } else { 0 };
            let mut segments = whole[begin..].to_vec();
            spoil(&mut segments, &mut random);
            let (client, server) = (whole[0].src, whole[0].dst);
            let inc = Incarnation { flow: Default::default(), client, server, segments, icmp: Vec::new() };
            for end in [inc.segments[inc.segments.len() - 1].ts, Ts::MAX] {
                let (a, b) = (analyze(&inc, end), one_by_one(&inc, end));
                assert!(a == b, "loss {loss}, round {round}: {:?}", differences(&b, &a));
            }
        }
    }
}
