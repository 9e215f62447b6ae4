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
use syncscope::decode::decode;
use syncscope::flow::Table;
use syncscope::model::Ts;
use syncscope::tcp::{Connection, Keep, Trackers, analyze};
use traffic::Traffic;

fn whole(source: &mut dyn FrameSource) -> (Vec<Connection>, u64) {
    let (mut table, mut end, mut frames) = (Table::new(), Ts::MIN, 0);
    while let Ok(Some(f)) = source.next_frame() {
        end = end.max(f.ts);
        frames += 1;
        table.push(decode(&f));
    }
    (table.finish().iter().map(|i| analyze(i, end)).collect(), frames)
}

fn in_room(source: &mut dyn FrameSource, room: usize) -> Vec<Connection> {
    let (mut table, mut end, mut trackers) = (Table::bounded(room), Ts::MIN, Trackers::new(Keep::Everything));
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
