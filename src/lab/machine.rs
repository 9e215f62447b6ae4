//! The link itself: one pure state machine. Packets go in with the time at which they did; they come
//! out with the time at which they must, and everyone's fate is told.
//!
//! ```text
//!  push ─▶ black-out ─▶ rules ─▶ mtu ─▶ loss ─▶ burst ─▶ policer ─▶ queue+rate ─▶ delay+jitter ─┬▶ fifo ─┬▶ pop
//!             │           │ └─┐   │ └─┐  │        │         │           │                       └▶ late ─┘   │
//!             │           │   └───│───┴──│────────│── forged│: RST, ICMP│───────────────────────────▶ ┘      │
//!             └───────────┴───────┴──────┴────────┴─────────┴───────────┴──▶ dropped ──▶ next_fate ◀─────────┘
//! ```
//!
//! Every random decision is a hash of (seed, way, kind of decision, number of the packet), so the same
//! packets meet the same fate whenever they come, and an impairment that is added never shifts another's dice.

use super::conn::{Connections, Seen};
use super::fate::{Cause, Fate, What};
use super::forge;
use super::packet::Header;
use super::rule::{Decision, Hit, Script, is_new_data};
use super::scenario::{Action, Link, Policer, ResetTo, Scenario, Zero};
use crate::model::{Dir, Ns, PerDir, Ts};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A packet that leaves the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub due: Ts,
    /// Which way it goes.
    pub dir: Dir,
    /// Its number among the packets of this way, from 0.
    pub index: u64,
    /// How often it arrives: 1, or 2 for a duplicate.
    pub times: u8,
    /// The packet, from its IP header on.
    pub packet: Vec<u8>,
}

/// The state of the link.
#[derive(Debug)]
pub struct Machine {
    scenario: Scenario,
    zero: Option<Ts>,
    conns: Connections,
    script: Script,
    ways: PerDir<Way>,
    fates: VecDeque<Fate>,
    decisions: Vec<Decision>,
}

#[derive(Debug)]
struct Way {
    next_index: u64,
    in_burst: bool,
    /// Until when the line is busy with what it has taken.
    line_free: Ts,
    /// When the policer's bucket will be full again.
    full_again: Ts,
    /// Nothing that keeps its order leaves before.
    floor: Ts,
    fifo: VecDeque<Item>,
    late: BinaryHeap<Reverse<Late>>,
}

#[derive(Debug)]
struct Item {
    index: u64,
    due: Ts,
    kept: bool,
    fate: Fate,
    packet: Vec<u8>,
}

#[derive(Debug)]
struct Late(Item);

impl PartialEq for Late {
    fn eq(&self, o: &Late) -> bool {
        (self.0.due, self.0.index) == (o.0.due, o.0.index)
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, o: &Late) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Late {
    fn cmp(&self, o: &Late) -> std::cmp::Ordering {
        (self.0.due, self.0.index).cmp(&(o.0.due, o.0.index))
    }
}

/// Kinds of random decisions; the numbers are part of what makes a seed reproducible.
#[derive(Clone, Copy)]
enum Dice {
    Loss = 1,
    BurstTurn = 2,
    BurstLoss = 3,
    Jitter = 4,
    Reorder = 5,
    Duplicate = 6,
    Corrupt = 7,
    CorruptBit = 8,
}

impl Machine {
    /// An empty link that came up at `start`.
    pub fn new(scenario: &Scenario, start: Ts) -> Machine {
        let ports = scenario.rules.iter().filter(|r| r.connection.is_some()).filter_map(|r| r.port);
        let way = || Way {
            next_index: 0,
            in_burst: false,
            line_free: Ts::MIN,
            full_again: Ts::MIN,
            floor: Ts::MIN,
            fifo: VecDeque::new(),
            late: BinaryHeap::new(),
        };
        Machine {
            zero: (scenario.zero == Zero::Start).then_some(start),
            conns: Connections::new(ports),
            script: Script::new(&scenario.rules),
            ways: PerDir { c2s: way(), s2c: way() },
            scenario: scenario.clone(),
            fates: VecDeque::new(),
            decisions: Vec::new(),
        }
    }

    /// When time 0 of the scenario was, if it has been.
    pub fn zero(&self) -> Option<Ts> {
        self.zero
    }

    /// A packet (from its IP header on) enters at `now`. Time must not go back between calls.
    pub fn push(&mut self, now: Ts, dir: Dir, mut packet: Vec<u8>) {
        self.decide(now);
        let header = Header::read(&packet);
        self.start_clock(now, header.as_ref());
        let t = self.zero.map(|zero| now - zero);
        let seen = header.as_ref().and_then(|h| self.conns.see(dir, h));
        let way = &mut self.ways[dir];
        let index = way.next_index;
        way.next_index += 1;
        let mut fate = Fate::entered(now, dir, index, header.as_ref(), packet.len());
        fate.conn = seen.as_ref().map(|s| s.number);
        fate.copy = seen.as_ref().map_or(0, |s| s.copy);
        let dice = Roller { seed: self.scenario.seed, dir, index };
        let link = self.scenario.link(dir);
        let burst_loss = way.step_burst(link, dice);

        let mut hold = None;
        let mut corrupt = dice.chance(Dice::Corrupt, link.corrupt.0).then_some(Cause::Corrupt);
        let mut kept = None;
        let mut forged = Vec::new();
        if t.is_some_and(|t| link.blackout.iter().any(|w| w.holds(t))) {
            fate.suffer(What::Dropped, Cause::Blackout);
        } else {
            match self.script.fit(t, dir, header.as_ref(), seen.as_ref()) {
                Some(Hit::Act(Action::Reset(to), name)) => {
                    fate.suffer(What::Dropped, Cause::Rule(name.clone()));
                    if to != ResetTo::Sender {
                        forged.extend(header.as_ref().and_then(forge::reset_onwards).map(|p| (dir, p)));
                    }
                    if to != ResetTo::Receiver {
                        forged.extend(header.as_ref().and_then(forge::reset_back).map(|p| (dir.flip(), p)));
                    }
                }
                Some(Hit::Act(Action::Drop, name)) => fate.suffer(What::Dropped, Cause::Rule(name)),
                Some(Hit::Act(Action::Corrupt, name)) => corrupt = Some(Cause::Rule(name)),
                Some(Hit::Act(Action::Duplicate, name)) => {
                    fate.suffer(What::Duplicated, Cause::Rule(name));
                    fate.arrivals = 2;
                }
                Some(Hit::Act(action, name)) => {
                    fate.suffer(What::Held, Cause::Rule(name));
                    hold = Some(action);
                }
                Some(Hit::Keep(rule)) => kept = Some(rule),
                None => {}
            }
        }
        if fate.fate != What::Dropped {
            if let Some(mtu) = link.mtu.filter(|m| packet.len() > usize::from(*m)) {
                fate.suffer(What::Dropped, Cause::Mtu);
                let error = header.as_ref().filter(|_| link.icmp);
                let error = error.and_then(|h| forge::too_big(&packet, h, mtu));
                forged.extend(error.map(|p| (dir.flip(), p)));
            } else if dice.chance(Dice::Loss, link.loss.0) {
                fate.suffer(What::Dropped, Cause::Loss);
            } else if burst_loss {
                fate.suffer(What::Dropped, Cause::Burst);
            } else if link.policer.is_some_and(|p| !way.conforms(now, p, packet.len() as u64)) {
                fate.suffer(What::Dropped, Cause::Policer);
            }
        }
        let departs = match link.rate {
            Some(rate) if fate.fate != What::Dropped => {
                match way.take_line(now, rate, link, packet.len() as u64) {
                    Some(end) => end,
                    None => {
                        fate.suffer(What::Dropped, Cause::Queue);
                        now
                    }
                }
            }
            _ => now,
        };
        if let Some(cause) = corrupt.filter(|_| fate.fate != What::Dropped)
            && dice.flip_a_bit(&mut packet)
        {
            fate.suffer(What::Corrupted, cause);
        }
        for (to, packet) in forged {
            self.forge(&fate, now, to, packet);
        }
        let keeps_order = self.route(departs, index, fate, hold, kept.is_some(), packet, dice);
        if is_new_data(header.as_ref(), seen.as_ref()) {
            let conn = seen.map_or(0, |s: Seen| s.number);
            let kept = kept.filter(|_| keeps_order);
            self.script.follow(now, dir, conn, index, kept, &mut self.decisions);
            self.apply_decisions();
        }
    }

    /// Gives a packet its due time and puts it where it waits for it; false: it does not wait in order.
    fn route(
        &mut self,
        departs: Ts,
        index: u64,
        mut fate: Fate,
        hold: Option<Action>,
        kept: bool,
        packet: Vec<u8>,
        dice: Roller,
    ) -> bool {
        if fate.fate == What::Dropped {
            self.fates.push_back(fate);
            return false;
        }
        let link = self.scenario.link(dice.dir);
        let way = &mut self.ways[dice.dir];
        let jitter = Ns((dice.unit(Dice::Jitter) * link.jitter.0.0 as f64) as i64);
        let mut due = departs + link.delay.0 + jitter;
        let mut late = hold.is_some();
        match hold {
            Some(Action::HoldFor(d)) => due += d,
            Some(Action::HoldUntil(t)) => due = due.max(self.zero.map_or(due, |zero| zero + t)),
            _ => {}
        }
        if let Some(reorder) = link.reorder
            && dice.chance(Dice::Reorder, reorder.share.0)
        {
            fate.suffer(What::Reordered, Cause::Reorder);
            due += reorder.extra.0;
            late = true;
        }
        if dice.chance(Dice::Duplicate, link.duplicate.0) {
            fate.suffer(What::Duplicated, Cause::Duplicate);
            fate.arrivals = 2;
        }
        let item = Item { index, due, kept: kept && !late, fate, packet };
        if late {
            way.late.push(Reverse(Late(item)));
        } else {
            way.fifo.push_back(item);
        }
        !late
    }

    /// Sends off a packet that a box half-way makes because of another one.
    fn forge(&mut self, of: &Fate, now: Ts, dir: Dir, packet: Vec<u8>) {
        let half = |d: Dir| Ns(self.scenario.link(d).delay.0.0 / 2);
        let due = now + half(of.dir) + half(dir);
        let header = Header::read(&packet);
        let mut fate = Fate::entered(now, dir, of.index, header.as_ref(), packet.len());
        fate.conn = of.conn;
        fate.suffer(What::Forged, of.cause.clone());
        let item = Item { index: of.index, due, kept: false, fate, packet };
        self.ways[dir].late.push(Reverse(Late(item)));
    }

    /// When [`Machine::pop`] will have something, unless more is pushed before.
    pub fn next_due(&self) -> Option<Ts> {
        Dir::BOTH.iter().filter_map(|d| self.ways[*d].next_due()).chain(self.script.next_decision()).min()
    }

    /// The next packet that leaves at or before `now`.
    pub fn pop(&mut self, now: Ts) -> Option<Delivery> {
        self.decide(now);
        let dir = Dir::BOTH
            .into_iter()
            .filter_map(|d| self.ways[d].next_due().filter(|due| *due <= now).map(|due| (due, d)))
            .min()?
            .1;
        let way = &mut self.ways[dir];
        let late_first = match (way.late.peek(), way.fifo_due()) {
            (Some(Reverse(Late(l))), Some(due)) => l.due < due,
            (late, _) => late.is_some(),
        };
        let item = if late_first {
            way.late.pop().map(|Reverse(Late(item))| item)?
        } else {
            let due = way.fifo_due()?;
            way.floor = due;
            let mut item = way.fifo.pop_front()?;
            item.due = due;
            item
        };
        let mut fate = item.fate;
        fate.due = Some(item.due);
        let times = fate.arrivals;
        self.fates.push_back(fate);
        Some(Delivery { due: item.due, dir, index: item.index, times, packet: item.packet })
    }

    /// The next fate that has been decided.
    pub fn next_fate(&mut self) -> Option<Fate> {
        self.fates.pop_front()
    }

    /// The link goes down: what is still on its way never arrives.
    pub fn stop(&mut self) {
        for dir in Dir::BOTH {
            let way = &mut self.ways[dir];
            let late = std::mem::take(&mut way.late).into_sorted_vec();
            let waiting = way.fifo.drain(..).chain(late.into_iter().rev().map(|Reverse(Late(item))| item));
            for mut item in waiting {
                item.fate.suffer(What::Dropped, Cause::Stopped);
                self.fates.push_back(item.fate);
            }
        }
    }

    /// Packets that are on their way.
    pub fn in_flight(&self) -> usize {
        Dir::BOTH.iter().map(|d| self.ways[*d].fifo.len() + self.ways[*d].late.len()).sum()
    }

    fn start_clock(&mut self, now: Ts, header: Option<&Header>) {
        if self.zero.is_none() {
            let starts = header.is_some_and(|h| match self.scenario.run.port {
                Some(port) => h.touches(port),
                None => matches!(h.proto, 1 | 6 | 17 | 58),
            });
            self.zero = starts.then_some(now);
        }
    }

    fn decide(&mut self, now: Ts) {
        if self.script.next_decision().is_some_and(|at| at <= now) {
            self.script.decide(now, &mut self.decisions);
            self.apply_decisions();
        }
    }

    fn apply_decisions(&mut self) {
        for d in self.decisions.drain(..) {
            let way = &mut self.ways[d.dir];
            if way.fifo.front().is_some_and(|i| i.kept) {
                // What waits behind a kept packet has waited until now.
                way.floor = way.floor.max(d.at);
            }
            let fifo = &mut way.fifo;
            for index in d.release {
                let at = fifo.partition_point(|i| i.index < index);
                if let Some(item) = fifo.get_mut(at).filter(|i| i.index == index) {
                    item.kept = false;
                    item.due = item.due.max(d.at);
                }
            }
            for index in d.drop {
                let at = fifo.partition_point(|i| i.index < index);
                if fifo.get(at).is_some_and(|i| i.index == index)
                    && let Some(mut item) = fifo.remove(at)
                {
                    item.fate.suffer(What::Dropped, Cause::Rule(d.name.clone()));
                    self.fates.push_back(item.fate);
                }
            }
        }
    }
}

impl Way {
    fn fifo_due(&self) -> Option<Ts> {
        self.fifo.front().filter(|i| !i.kept).map(|i| i.due.max(self.floor))
    }

    fn next_due(&self) -> Option<Ts> {
        let late = self.late.peek().map(|Reverse(Late(i))| i.due);
        self.fifo_due().into_iter().chain(late).min()
    }

    /// Moves the two-state loss process on by one packet; true: it loses this one.
    fn step_burst(&mut self, link: &Link, dice: Roller) -> bool {
        let Some(b) = link.burst else { return false };
        let turn = if self.in_burst { b.r.0 } else { b.p.0 };
        self.in_burst ^= dice.chance(Dice::BurstTurn, turn);
        dice.chance(Dice::BurstLoss, if self.in_burst { b.bad.0 } else { b.good.0 })
    }

    /// Takes `len` bytes out of the policer's bucket; false: there are not so many.
    fn conforms(&mut self, now: Ts, policer: Policer, len: u64) -> bool {
        let full_again = self.full_again.max(now) + policer.rate.time_for(len);
        let fits = full_again - now <= policer.rate.time_for(policer.burst.0);
        if fits {
            self.full_again = full_again;
        }
        fits
    }

    /// Puts `len` bytes on the line behind what it has; when its last bit has left, or none if the queue is full.
    fn take_line(&mut self, now: Ts, rate: super::units::Rate, link: &Link, len: u64) -> Option<Ts> {
        let begins = self.line_free.max(now);
        let backlog = (begins - now).0 as u128 * u128::from(rate.0) / 8_000_000_000;
        let default = (rate.bytes_per_second() / 10).max(15_000);
        let room = link.queue.map_or(default, |q| q.0);
        if backlog > 0 && backlog + u128::from(len) > u128::from(room) {
            return None;
        }
        self.line_free = begins + rate.time_for(len);
        Some(self.line_free)
    }
}

/// The dice of one packet.
#[derive(Clone, Copy)]
struct Roller {
    seed: u64,
    dir: Dir,
    index: u64,
}

impl Roller {
    fn hash(self, dice: Dice) -> u64 {
        let mut key = [0u8; 10];
        key[0] = dice as u8;
        key[1] = self.dir as u8;
        key[2..].copy_from_slice(&self.index.to_le_bytes());
        xxh3_64_with_seed(&key, self.seed)
    }

    /// Evenly spread over `[0, 1)`.
    fn unit(self, dice: Dice) -> f64 {
        (self.hash(dice) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(self, dice: Dice, share: f64) -> bool {
        share > 0.0 && self.unit(dice) < share
    }

    /// Behind the IP header, so that the packet still finds its way and the transport checksum is wrong.
    /// False: there is nothing behind it.
    fn flip_a_bit(self, packet: &mut [u8]) -> bool {
        let from = Header::read(packet).map_or(0, |h| h.ip_len).min(packet.len());
        let bits = (packet.len() - from) as u64 * 8;
        if bits > 0 {
            let bit = self.hash(Dice::CorruptBit) % bits;
            packet[from + (bit / 8) as usize] ^= 1 << (bit % 8);
        }
        bits > 0
    }
}

#[cfg(test)]
mod tests;
