//! Which scripted fault fits a packet. One [`Script`] for all rules of a scenario, so that “the first
//! that fits has it” and the counting of hits live in one place.

use super::conn::Seen;
use super::packet::Header;
use super::scenario::{Action, Flag, Rule};
use crate::model::{Dir, Ns, Ts};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a rule wants of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Do this, on behalf of the named rule.
    Act(Action, Arc<str>),
    /// The packet may belong to a tail of this rule: keep it until that is known.
    Keep(usize),
}

/// All rules, and how far each has come.
#[derive(Debug)]
pub struct Script {
    rules: Vec<State>,
}

#[derive(Debug)]
struct State {
    rule: Rule,
    name: Arc<str>,
    /// Packets that fitted so far (for a tail: tails).
    fitted: u64,
    /// Of these, acted on.
    acted: u64,
    /// For `tail`: the flights that may be about to end.
    flights: BTreeMap<(u32, Dir), Flight>,
}

/// The last segments with new data of one way of a connection.
#[derive(Debug)]
struct Flight {
    last_new: Ts,
    /// Packet number, and whether the link keeps it for this rule.
    last: VecDeque<(u64, bool)>,
}

/// What has been decided about packets that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Their way.
    pub dir: Dir,
    /// When.
    pub at: Ts,
    /// Packets that are dropped, by the named rule.
    pub drop: Vec<u64>,
    /// Packets that may go on.
    pub release: Vec<u64>,
    /// Name of the rule.
    pub name: Arc<str>,
}

impl Script {
    /// `rules` in order of precedence.
    pub fn new(rules: &[Rule]) -> Script {
        let name = |i: usize, r: &Rule| match r.name.as_str() {
            "" => Arc::from(format!("{}", i + 1)),
            name => Arc::from(name),
        };
        let state = |(i, r): (usize, &Rule)| State {
            rule: r.clone(),
            name: name(i, r),
            fitted: 0,
            acted: 0,
            flights: BTreeMap::new(),
        };
        Script { rules: rules.iter().enumerate().map(state).collect() }
    }

    /// The first rule that fits. `now` counts from time 0, none before it.
    pub fn fit(&mut self, now: Option<Ns>, dir: Dir, h: Option<&Header>, seen: Option<&Seen>) -> Option<Hit> {
        for (i, s) in self.rules.iter_mut().enumerate() {
            if s.rule.count.is_some_and(|c| s.acted >= c) || !fits(&s.rule, now, dir, h, seen) {
                continue;
            }
            if s.rule.tail.is_some() {
                if is_new_data(h, seen) {
                    return Some(Hit::Keep(i));
                }
                continue;
            }
            s.fitted += 1;
            if s.fitted >= s.rule.nth {
                s.acted += 1;
                return Some(Hit::Act(s.rule.action, s.name.clone()));
            }
        }
        None
    }

    /// A segment with new data has passed the link's entrance: moves every flight on, and says who
    /// need not be kept any longer. `kept`: the rule that it is kept for.
    pub fn follow(
        &mut self,
        now: Ts,
        dir: Dir,
        conn: u32,
        index: u64,
        kept: Option<usize>,
        out: &mut Vec<Decision>,
    ) {
        for (i, s) in self.rules.iter_mut().enumerate() {
            let Some(tail) = s.rule.tail else { continue };
            let keep = kept == Some(i);
            let flight = match s.flights.get_mut(&(conn, dir)) {
                Some(flight) => flight,
                None if keep => {
                    s.flights.entry((conn, dir)).or_insert(Flight { last_new: now, last: VecDeque::new() })
                }
                None => continue,
            };
            flight.last_new = now;
            flight.last.push_back((index, keep));
            let mut release = Vec::new();
            while flight.last.len() > tail.segments {
                release.extend(flight.last.pop_front().filter(|(_, kept)| *kept).map(|(n, _)| n));
            }
            if flight.last.iter().all(|(_, kept)| !kept) {
                s.flights.remove(&(conn, dir));
            }
            if !release.is_empty() {
                out.push(Decision { dir, at: now, drop: Vec::new(), release, name: s.name.clone() });
            }
        }
    }

    /// When the next tail will be known as such.
    pub fn next_decision(&self) -> Option<Ts> {
        let due = |s: &State| {
            let pause = s.rule.tail?.pause.0;
            s.flights.values().map(|f| f.last_new + pause).min()
        };
        self.rules.iter().filter_map(due).min()
    }

    /// Decides all flights that have paused by `now`.
    pub fn decide(&mut self, now: Ts, out: &mut Vec<Decision>) {
        for s in &mut self.rules {
            let Some(tail) = s.rule.tail else { continue };
            while let Some((key, at)) = s
                .flights
                .iter()
                .map(|(k, f)| (*k, f.last_new + tail.pause.0))
                .filter(|(_, at)| *at <= now)
                .min_by_key(|(k, at)| (*at, *k))
            {
                let Some(flight) = s.flights.remove(&key) else { break };
                let whole = flight.last.len() == tail.segments && flight.last.iter().all(|(_, kept)| *kept);
                let mut hit = whole && s.rule.count.is_none_or(|c| s.acted < c);
                if hit {
                    s.fitted += 1;
                    hit = s.fitted >= s.rule.nth;
                    s.acted += u64::from(hit);
                }
                let kept: Vec<u64> = flight.last.iter().filter(|(_, k)| *k).map(|(n, _)| *n).collect();
                let (drop, release) = if hit { (kept, Vec::new()) } else { (Vec::new(), kept) };
                out.push(Decision { dir: key.1, at, drop, release, name: s.name.clone() });
            }
        }
    }
}

/// Whether a packet carries payload that has not been sent before.
pub fn is_new_data(h: Option<&Header>, seen: Option<&Seen>) -> bool {
    h.is_some_and(|h| h.tcp.is_some() && h.payload > 0) && seen.is_some_and(|s| s.copy == 1)
}

fn fits(r: &Rule, now: Option<Ns>, dir: Dir, h: Option<&Header>, seen: Option<&Seen>) -> bool {
    let time =
        |limit: Option<Ns>, ok: fn(Ns, Ns) -> bool| limit.is_none_or(|l| now.is_some_and(|t| ok(t, l)));
    let flag = |want: Flag| {
        h.and_then(|h| h.tcp).is_some_and(|t| match want {
            Flag::Syn => t.flags.syn(),
            Flag::Fin => t.flags.fin(),
            Flag::Rst => t.flags.rst(),
        })
    };
    let connection = |n: u32| {
        seen.is_some_and(|s| match r.port {
            Some(p) => s.on_port.contains(&(p, n)),
            None => s.number == n,
        })
    };
    let touches = |(from, to): (u64, u64)| {
        seen.and_then(|s| s.bytes).is_some_and(|(a, b)| {
            a < i64::try_from(to).unwrap_or(i64::MAX) && b > i64::try_from(from).unwrap_or(i64::MAX)
        })
    };
    r.dir.is_none_or(|d| d == dir)
        && time(r.after, |t, l| t >= l)
        && time(r.before, |t, l| t < l)
        && r.port.is_none_or(|p| h.is_some_and(|h| h.touches(p)))
        && r.connection.is_none_or(connection)
        && r.carried.is_none_or(|c| seen.is_some_and(|s| s.carried >= c))
        && r.bytes.is_none_or(touches)
        && r.copy.is_none_or(|c| seen.is_some_and(|s| s.copy == c))
        && r.flag.is_none_or(flag)
        && h.map_or(0, |h| h.payload) >= r.min_payload
}
