//! Which connection of one capture is which of the other, whatever a middlebox did to its addresses and numbers.
//!
//! Strongest evidence first: packets of equal content (all that TCP wrote; addresses stay out), then addresses with
//! numbers that fit, then payload or time stamps of equal content at a constant distance of sequence numbers.

use super::align::Flow;
use crate::model::{Dir, PerDir, Seq};
use crate::report::PairedBy;
use crate::tcp::Connection;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

/// A connection of the later capture is this flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Index of the flow.
    pub flow: usize,
    /// Client and server are the other way round.
    pub turned: bool,
    /// Why.
    pub by: PairedBy,
    /// What was added to sequence numbers on the way, by direction of the flow.
    pub shift: PerDir<u32>,
}

/// Packets that must agree before addresses do not matter.
const ENOUGH: usize = 3;

/// Finds each connection's flow, none where it is new. No flow is given twice.
pub(super) fn find(flows: &[Flow], conns: &[Connection]) -> Vec<Option<Match>> {
    let mut out: Vec<Option<Match>> = vec![None; conns.len()];
    let mut taken = vec![false; flows.len()];
    if flows.iter().any(|f| !f.taps.is_empty()) {
        settle(&mut out, &mut taken, by_packets(flows, conns));
        by_address(flows, conns, &mut out, &mut taken);
        let ideas = by_content(flows, conns, &out, &taken);
        settle(&mut out, &mut taken, ideas);
    }
    out
}

/// An idea with its weight.
struct Proposal {
    votes: usize,
    conn: usize,
    found: Match,
}

fn settle(out: &mut [Option<Match>], taken: &mut [bool], mut all: Vec<Proposal>) {
    all.sort_by_key(|p| (std::cmp::Reverse(p.votes), p.conn, p.found.flow));
    for p in all {
        if out[p.conn].is_none() && !taken[p.found.flow] {
            out[p.conn] = Some(p.found);
            taken[p.found.flow] = true;
        }
    }
}

/// What is known of a key: where it was seen, as long as that is one place.
fn unique<K: Hash + Eq, V: PartialEq + Copy>(all: impl Iterator<Item = (K, V)>) -> HashMap<K, Option<V>> {
    let mut out: HashMap<K, Option<V>> = HashMap::new();
    for (k, v) in all {
        out.entry(k).and_modify(|e| *e = e.filter(|x| *x == v)).or_insert(Some(v));
    }
    out
}

fn first_views(flows: &[Flow]) -> impl Iterator<Item = (usize, &Connection)> {
    flows.iter().enumerate().filter_map(|(i, f)| f.taps.first().map(|t| (i, &t.conn)))
}

fn by_packets(flows: &[Flow], conns: &[Connection]) -> Vec<Proposal> {
    let known = unique(first_views(flows).flat_map(|(i, c)| {
        Dir::BOTH.into_iter().flat_map(move |d| c.packets[d].iter().map(move |m| (m.key, (i, d))))
    }));
    let mut out = Vec::new();
    for (n, conn) in conns.iter().enumerate() {
        let mut votes: HashMap<(usize, bool), usize> = HashMap::new();
        for d in Dir::BOTH {
            for m in &conn.packets[d] {
                if let Some(Some((flow, dir))) = known.get(&m.key) {
                    *votes.entry((*flow, *dir != d)).or_default() += 1;
                }
            }
        }
        for ((flow, turned), votes) in votes {
            let Some(first) = flows[flow].taps.first() else { continue };
            let same = same_addresses(&flows[flow], conn, turned);
            let same_numbers = first.conn.handshake && conn.handshake && first.conn.isn == conn.isn;
            if votes >= ENOUGH || same || same_numbers {
                let by = if same { PairedBy::Addresses } else { PairedBy::Packets };
                let found = Match { flow, turned, by, shift: PerDir::default() };
                out.push(Proposal { votes, conn: n, found });
            }
        }
    }
    out
}

fn canonical(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip().to_canonical(), a.port())
}

fn same_addresses(f: &Flow, conn: &Connection, turned: bool) -> bool {
    let theirs = (canonical(conn.client), canonical(conn.server));
    let ours = (canonical(f.client), canonical(f.server));
    if turned { ours == (theirs.1, theirs.0) } else { ours == theirs }
}

fn by_address(flows: &[Flow], conns: &[Connection], out: &mut [Option<Match>], taken: &mut [bool]) {
    let mut index: HashMap<(SocketAddr, SocketAddr), Vec<usize>> = HashMap::new();
    for (i, f) in flows.iter().enumerate() {
        index.entry((canonical(f.client), canonical(f.server))).or_default().push(i);
    }
    for (n, conn) in conns.iter().enumerate().filter(|(n, _)| out[*n].is_none()).collect::<Vec<_>>() {
        let (client, server) = (canonical(conn.client), canonical(conn.server));
        let ideas = [((client, server), false), ((server, client), true)];
        let found = ideas.into_iter().find_map(|(key, turned)| {
            let here = index.get(&key).into_iter().flatten().copied();
            here.into_iter().find(|&i| !taken[i] && fits(&flows[i], conn, turned)).map(|i| (i, turned))
        });
        if let Some((flow, turned)) = found {
            taken[flow] = true;
            let shift = PerDir::default();
            out[n] = Some(Match { flow, turned, by: PairedBy::Addresses, shift });
        }
    }
}

/// Two incarnations of one 4-tuple differ in their bases, or lie gigabytes apart.
fn fits(f: &Flow, conn: &Connection, turned: bool) -> bool {
    let Some(first) = f.taps.first() else { return true };
    let both = first.conn.handshake && conn.handshake;
    Dir::BOTH.iter().all(|&d| {
        let theirs = if turned { conn.isn[d.flip()] } else { conn.isn[d] };
        let diff = theirs.diff(first.conn.isn[d]);
        if both { diff == 0 } else { diff.unsigned_abs() < 1 << 30 }
    })
}

/// Votes for a distance of sequence numbers, by direction of the flow.
type Shifts = PerDir<HashMap<u32, usize>>;

fn by_content(flows: &[Flow], conns: &[Connection], done: &[Option<Match>], taken: &[bool]) -> Vec<Proposal> {
    let known = unique(first_views(flows).filter(|(i, _)| !taken[*i]).flat_map(|(i, c)| {
        Dir::BOTH.into_iter().flat_map(move |d| {
            c.packets[d].iter().filter_map(move |m| Some((m.content?, (i, d, m.raw, m.pure_ack))))
        })
    }));
    let mut out = Vec::new();
    for (n, conn) in conns.iter().enumerate().filter(|(n, _)| done[*n].is_none()) {
        let mut votes: HashMap<(usize, bool), Shifts> = HashMap::new();
        for d in Dir::BOTH {
            let own = unique(conn.packets[d].iter().filter_map(|m| Some((m.content?, m.raw))));
            for (content, theirs) in own {
                let (Some(theirs), Some(Some((flow, dir, ours, pure)))) = (theirs, known.get(&content))
                else {
                    continue;
                };
                let shifts = votes.entry((*flow, *dir != d)).or_default();
                *shifts[*dir].entry(distance(theirs.0, ours.0)).or_default() += 1;
                if *pure {
                    *shifts[dir.flip()].entry(distance(theirs.1, ours.1)).or_default() += 1;
                }
            }
        }
        out.extend(votes.into_iter().filter_map(|((flow, turned), shifts)| {
            let best = |d: Dir| {
                let all: usize = shifts[d].values().sum();
                let (shift, votes) = shifts[d].iter().max_by_key(|(s, v)| (**v, **s))?;
                (*votes >= ENOUGH && votes * 10 >= all * 6).then_some((*shift, *votes))
            };
            let (c2s, s2c) = (best(Dir::C2s), best(Dir::S2c));
            let votes = c2s.map_or(0, |b| b.1) + s2c.map_or(0, |b| b.1);
            let shift = PerDir { c2s: c2s.map_or(0, |b| b.0), s2c: s2c.map_or(0, |b| b.0) };
            (votes > 0).then_some(Proposal {
                votes,
                conn: n,
                found: Match { flow, turned, by: PairedBy::Content, shift },
            })
        }));
    }
    out
}

fn distance(theirs: Seq, ours: Seq) -> u32 {
    theirs.0.wrapping_sub(ours.0)
}
