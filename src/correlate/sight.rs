//! The same thing seen twice: packets at two taps, bytes at a tap and in an application's log.

use super::align::{Flow, dir_of, sender};
use super::clock::{self, Sighting};
use crate::model::app::ClockOffset;
use crate::model::{AppLog, AppOp, Dir, Ns, RelSeq, Side, Ts};
use crate::tcp::Connection;
use std::collections::{HashMap, HashSet};

/// Adds what both views saw of one direction's packets.
pub(super) fn sightings(near: &Connection, far: &Connection, dir: Dir, out: &mut Vec<Sighting>) {
    let before = out.len();
    let a = near.packets[dir].iter().map(|p| (p.key, p.ts));
    let b = far.packets[dir].iter().map(|p| (p.key, p.ts));
    unique_in_both(a, b, out);
    // Offload cuts and merges data: bytes that were sent once begin at one place.
    let known: HashSet<Ts> = out[before..].iter().map(|s| s.near).collect();
    let starts = |c: &'_ Connection| -> Vec<(RelSeq, Ts)> {
        c.segments.iter().filter(|s| s.dir == dir && s.class.is_copy()).map(|s| (s.seq, s.ts)).collect()
    };
    let mut more = Vec::new();
    unique_in_both(starts(near).into_iter(), starts(far).into_iter(), &mut more);
    out.extend(more.into_iter().filter(|s| !known.contains(&s.near)));
    if out.len() > before + 2 {
        return;
    }
    // Middleboxes rewrite headers: ACK numbers.
    let answers = dir.flip();
    let acks = |c: &'_ Connection| -> Vec<((RelSeq, Option<u64>), Ts)> {
        c.acks[answers].iter().map(|a| ((a.ack, a.window), a.ts)).collect()
    };
    unique_in_both(acks(near).into_iter(), acks(far).into_iter(), out);
}

fn unique_in_both<K: std::hash::Hash + Eq>(
    near: impl Iterator<Item = (K, Ts)>,
    far: impl Iterator<Item = (K, Ts)>,
    out: &mut Vec<Sighting>,
) {
    // (near, far): none = not seen yet, Some(None) = seen twice
    let mut table: HashMap<K, [Option<Option<Ts>>; 2]> = HashMap::new();
    let mut note = |k: K, ts: Ts, which: usize| {
        let slot = &mut table.entry(k).or_default()[which];
        *slot = Some(if slot.is_none() { Some(ts) } else { None });
    };
    near.for_each(|(k, ts)| note(k, ts, 0));
    far.for_each(|(k, ts)| note(k, ts, 1));
    out.extend(table.into_values().filter_map(|[n, f]| Some(Sighting { near: n??, far: f?? })));
}

/// The shortest time on the path one way: measured between two taps, else half the round trip
/// that a tap near one end measured.
pub(super) fn transit(f: &Flow, dir: Dir) -> Option<Ns> {
    if let (Some(from), Some(to)) = (f.sender_tap(dir), f.receiver_tap(dir)) {
        let mut seen = Vec::new();
        sightings(&from.conn, &to.conn, dir, &mut seen);
        let min = seen.iter().map(|s| s.far.since(s.near)).filter(|d| d.0 >= 0).min();
        if min.is_some() {
            return min;
        }
    }
    let round = f.taps.iter().filter_map(|t| {
        let near = t.side?;
        let across = match near {
            Side::Client => t.conn.tap.rtt_server,
            Side::Server => t.conn.tap.rtt_client,
        };
        across.or(t.conn.halves[dir_of(near)].rtt_min).or(t.conn.irtt)
    });
    let any = f.taps.iter().filter_map(|t| t.conn.irtt);
    round.chain(any).min().map(|r| Ns(r.0 / 2))
}

/// A log's clock against the report's, from causality: bytes are written before any tap sees them
/// and read after it has.
pub(super) fn log_clock(f: &Flow, log: &AppLog) -> Option<ClockOffset> {
    let tap = f.taps.first().filter(|t| t.conn.offsets_known && log.offsets_known)?;
    let first_seen = |dir: Dir| -> HashMap<RelSeq, Ts> {
        let mut m = HashMap::new();
        for s in tap.conn.segments.iter().filter(|s| s.dir == dir && s.len > 0 && s.class.is_copy()) {
            m.entry(s.seq).or_insert(s.ts);
        }
        m
    };
    let out = dir_of(log.side);
    let (sent, received) = (first_seen(out), first_seen(out.flip()));
    let at = |e: &crate::model::AppEvent| RelSeq::from_stream_offset(e.offset);
    let writes = log.events.iter().filter(|e| e.op == AppOp::Write && e.len > 0);
    // near = the log's clock: it wrote before the tap saw …
    let there = writes.filter_map(|e| Some(Sighting { near: e.start, far: *sent.get(&at(e))? }));
    let reads = log.events.iter().filter(|e| e.op == AppOp::Read && e.len > 0);
    // … and read after
    let back = reads.filter_map(|e| Some(Sighting { near: e.end, far: *received.get(&at(e))? }));
    clock::offset(there, back, Ns::from_millis(1)).map(clock::flip)
}

/// The reader of a direction.
pub fn reader(dir: Dir) -> Side {
    sender(dir).flip()
}
