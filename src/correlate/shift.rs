//! Moves a connection to another clock and another base of sequence numbers.

use super::clock::Clock;
use crate::model::tcp::TapPosition;
use crate::model::{AppLog, Dir, PerDir, Span, StreamRange, Ts};
use crate::tcp::Connection;

/// A span by another clock, on ours.
pub(super) fn span(s: Span, by: &Clock) -> Span {
    Span { start: by.ours(s.start), end: by.ours(s.end) }
}

fn at(t: &mut Ts, by: &Clock) {
    *t = by.ours(*t);
}

fn opt(t: &mut Option<Ts>, by: &Clock) {
    if let Some(t) = t {
        at(t, by);
    }
}

fn range(r: &mut StreamRange, by: i64) {
    r.start = r.start.plus(by);
    r.end = r.end.plus(by);
}

/// Takes every time from the clock `by` to ours and adds `seq` to every sequence number of each direction.
pub(super) fn connection(c: &mut Connection, by: &Clock, seq: PerDir<i64>) {
    c.span = span(c.span, by);
    for s in &mut c.segments {
        at(&mut s.ts, by);
        s.seq = s.seq.plus(seq[s.dir]);
    }
    for l in &mut c.losses {
        opt(&mut l.sent, by);
        opt(&mut l.repaired, by);
        range(&mut l.range, seq[l.dir]);
    }
    for h in &mut c.holes {
        at(&mut h.birth, by);
        opt(&mut h.death, by);
        range(&mut h.range, seq[h.dir]);
    }
    for s in &mut c.stalls {
        at(&mut s.start, by);
        opt(&mut s.end, by);
        if let Some(r) = &mut s.detail.range {
            range(r, seq[s.dir]);
        }
    }
    for dir in Dir::BOTH {
        c.curves[dir].buckets.iter_mut().for_each(|b| at(&mut b.start, by));
        for a in &mut c.acks[dir] {
            at(&mut a.ts, by);
            a.ack = a.ack.plus(seq[dir]);
        }
        for r in &mut c.rtt[dir] {
            at(&mut r.ts, by);
        }
        for p in &mut c.packets[dir] {
            at(&mut p.ts, by);
        }
        let raw = c.isn[dir].0.wrapping_sub(seq[dir] as u32);
        c.isn[dir].0 = raw;
    }
}

/// Takes every time of a log from the clock `by` to ours.
pub(super) fn log(l: &mut AppLog, by: &Clock) {
    for e in &mut l.events {
        at(&mut e.start, by);
        at(&mut e.end, by);
        opt(&mut e.ready, by);
    }
    for s in &mut l.samples {
        at(&mut s.ts, by);
    }
}

/// Calls the client server and the server client: without a handshake, who is who is a guess, and
/// another capture knows better.
pub(super) fn turn(c: &mut Connection) {
    std::mem::swap(&mut c.client, &mut c.server);
    std::mem::swap(&mut c.tap.rtt_client, &mut c.tap.rtt_server);
    c.tap.position = match c.tap.position {
        TapPosition::ClientHost => TapPosition::ServerHost,
        TapPosition::ServerHost => TapPosition::ClientHost,
        TapPosition::NearClient => TapPosition::NearServer,
        TapPosition::NearServer => TapPosition::NearClient,
        same @ (TapPosition::Middle | TapPosition::Unknown) => same,
    };
    c.segments.iter_mut().for_each(|s| s.dir = s.dir.flip());
    c.losses.iter_mut().for_each(|l| l.dir = l.dir.flip());
    c.holes.iter_mut().for_each(|h| h.dir = h.dir.flip());
    c.stalls.iter_mut().for_each(|s| s.dir = s.dir.flip());
    swap(&mut c.halves);
    swap(&mut c.curves);
    swap(&mut c.acks);
    swap(&mut c.rtt);
    swap(&mut c.isn);
    swap(&mut c.packets);
}

fn swap<T>(p: &mut PerDir<T>) {
    std::mem::swap(&mut p.c2s, &mut p.s2c);
}
