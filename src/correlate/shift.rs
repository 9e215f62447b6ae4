//! Moves a connection to another clock and another base of sequence numbers.

use crate::model::{AppLog, Dir, Ns, PerDir, Span, StreamRange, Ts};
use crate::tcp::Connection;

fn span(s: &mut Span, by: Ns) {
    s.start += by;
    s.end += by;
}

fn opt(t: &mut Option<Ts>, by: Ns) {
    if let Some(t) = t {
        *t += by;
    }
}

fn range(r: &mut StreamRange, by: i64) {
    r.start = r.start.plus(by);
    r.end = r.end.plus(by);
}

/// Adds `by` to every time and `seq` to every sequence number of each direction.
pub(super) fn connection(c: &mut Connection, by: Ns, seq: PerDir<i64>) {
    span(&mut c.span, by);
    for s in &mut c.segments {
        s.ts += by;
        s.seq = s.seq.plus(seq[s.dir]);
    }
    for l in &mut c.losses {
        opt(&mut l.sent, by);
        opt(&mut l.repaired, by);
        range(&mut l.range, seq[l.dir]);
    }
    for h in &mut c.holes {
        h.birth += by;
        opt(&mut h.death, by);
        range(&mut h.range, seq[h.dir]);
    }
    for s in &mut c.stalls {
        s.start += by;
        opt(&mut s.end, by);
        if let Some(r) = &mut s.detail.range {
            range(r, seq[s.dir]);
        }
    }
    for dir in Dir::BOTH {
        for a in &mut c.acks[dir] {
            a.ts += by;
            a.ack = a.ack.plus(seq[dir]);
        }
        for r in &mut c.rtt[dir] {
            r.ts += by;
        }
        for p in &mut c.packets[dir] {
            p.ts += by;
        }
        let raw = c.isn[dir].0.wrapping_sub(seq[dir] as u32);
        c.isn[dir].0 = raw;
    }
}

/// Adds `by` to every time of a log.
pub(super) fn log(l: &mut AppLog, by: Ns) {
    for e in &mut l.events {
        e.start += by;
        e.end += by;
        opt(&mut e.ready, by);
    }
    for s in &mut l.samples {
        s.ts += by;
    }
}
