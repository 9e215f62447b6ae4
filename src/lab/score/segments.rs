//! Each packet that passed a tap, beside the record that the report made of it.

use super::Score;
use super::wire::{Sighting, Wire};
use crate::correlate::sender;
use crate::lab::kernel::{Congestion, Kernel};
use crate::model::tcp::{Cause, SegmentClass, SegmentRecord};
use crate::model::{Dir, Ns, RelSeq, Side, StreamRange, Ts};
use crate::tcp::ranges::RangeSet;
use std::collections::{BTreeMap, VecDeque};

/// A tap sees a packet this close to when the link had it, also on a busy machine.
const NEAR: Ns = Ns::from_millis(20);
/// A packet enters the link at most so long after the kernel's trace event for it.
const TRACED: Ns = Ns::from_millis(10);
/// A capture's last frames may have left the link in another order.
const LAST_MOMENT: Ns = Ns::from_millis(1);
/// Linux' lowest time-out is 200 ms; no repair clocked by ACKs waits nearly so long.
const NO_ACK_CLOCK: Ns = Ns::from_millis(150);

/// One way at one tap.
pub struct Matched<'a> {
    /// What passed the tap, in order of time.
    pub sightings: Vec<Sighting>,
    /// The record of each; several have the same one where offload made one packet of them.
    pub records: Vec<Option<&'a SegmentRecord>>,
    /// Records that nothing on the link explains.
    pub extra: Vec<&'a SegmentRecord>,
    /// How much the report's clock is ahead of the link's at this tap.
    pub skew: Ns,
    /// What to add to the report's sequence numbers: 0, unless it did not see the handshake.
    pub shift: i64,
    /// Packets that nobody recorded, since the capture had ended.
    pub beyond: Vec<usize>,
}

impl Matched<'_> {
    /// Without packets that passed after the end of the capture, or in its last moment: nobody recorded them.
    #[must_use]
    pub fn until(mut self, end: Ts) -> Self {
        let seen: Vec<bool> = self
            .sightings
            .iter()
            .zip(&self.records)
            .map(|(s, r)| r.is_some() || s.at + LAST_MOMENT <= end)
            .collect();
        let unseen = self.sightings.iter().zip(&seen).filter(|(_, seen)| !**seen);
        self.beyond = unseen.map(|(s, _)| s.packet).collect();
        let mut keep = seen.iter();
        self.sightings.retain(|_| keep.next().copied().unwrap_or(true));
        let mut keep = seen.iter();
        self.records.retain(|_| keep.next().copied().unwrap_or(true));
        self
    }
}

/// Finds the record of each sighting: same bytes, n-th time; else (offload) the one that covers them then.
pub fn matched<'a>(
    wire: &Wire,
    dir: Dir,
    side: Side,
    alone: bool,
    records: &[&'a SegmentRecord],
) -> Matched<'a> {
    let sightings = wire.sightings(dir, side, alone);
    let shift = shift(wire, dir, &sightings, records);
    let key = |start: RelSeq, len: u32, syn: bool, fin: bool| (start.0, len, syn, fin);
    let mut waiting = BTreeMap::<_, VecDeque<usize>>::new();
    for (i, r) in records.iter().enumerate() {
        waiting.entry(key(r.seq.plus(shift), r.len, r.syn, r.fin)).or_default().push_back(i);
    }
    let mut used = vec![false; records.len()];
    let mut found: Vec<Option<usize>> = Vec::new();
    for s in &sightings {
        let p = &wire.packets[dir][s.packet];
        let queue = waiting.get_mut(&key(p.range.start, p.len, p.syn, p.fin));
        let exact = queue.and_then(|q| {
            let first = *q.front()?;
            near(records[first].ts, s.at).then(|| q.pop_front()).flatten()
        });
        if let Some(u) = exact.and_then(|i| used.get_mut(i)) {
            *u = true;
        }
        found.push(exact);
    }
    // What offload merged: a larger record, not itself a packet of the link.
    for (s, f) in sightings.iter().zip(&mut found).filter(|(_, f)| f.is_none()) {
        let p = &wire.packets[dir][s.packet];
        let covers = |r: &SegmentRecord| {
            let range = r.range();
            let range = StreamRange::new(range.start.plus(shift), range.end.plus(shift));
            range.covers(p.range) && r.len > p.len && near(r.ts, s.at)
        };
        let best = records.iter().enumerate().filter(|(_, r)| covers(r));
        let merged = best.min_by_key(|(_, r)| r.ts.since(s.at).0.abs()).map(|(i, _)| i);
        // A host that stood still took it off the link late.
        let queue = waiting.get_mut(&key(p.range.start, p.len, p.syn, p.fin));
        *f = merged.or_else(|| queue?.pop_front());
        if let Some(u) = f.and_then(|i| used.get_mut(i)) {
            *u = true;
        }
    }
    let mut late: Vec<Ns> =
        sightings.iter().zip(&found).filter_map(|(s, f)| Some(records[(*f)?].ts.since(s.at))).collect();
    late.sort_unstable();
    // A tap sees a packet shortly before the link has it, or shortly after: offload and a busy host only add.
    let few = late.len() / 50;
    let least = if side == sender(dir) { late.len().saturating_sub(1 + few) } else { few };
    Matched {
        shift,
        skew: late.get(least).copied().unwrap_or(Ns::ZERO),
        records: found.iter().map(|f| f.map(|i| records[i])).collect(),
        extra: records.iter().zip(&used).filter(|(_, u)| !**u).map(|(r, _)| *r).collect(),
        sightings,
        beyond: Vec::new(),
    }
}

fn near(a: Ts, b: Ts) -> bool {
    a.since(b).0.abs() < NEAR.0
}

/// What to add to the report's sequence numbers: 0, unless it did not see the handshake and counts from
/// the first packet that it saw.
fn shift(wire: &Wire, dir: Dir, sightings: &[Sighting], records: &[&SegmentRecord]) -> i64 {
    let packet = |s: &Sighting| &wire.packets[dir][s.packet];
    // A report of every segment begins where the capture does.
    if records.iter().any(|r| r.class == SegmentClass::New) {
        let first = sightings.iter().map(packet).find(|p| p.len > 0);
        let said = records.iter().find(|r| r.len > 0);
        return first.zip(said).map_or(0, |(p, r)| p.range.start.0 - r.seq.0);
    }
    let mut votes = BTreeMap::<i64, u32>::new();
    for r in records.iter().filter(|r| r.len > 0).take(64) {
        let from = sightings.partition_point(|s| s.at.since(r.ts) < Ns(-NEAR.0));
        let same = sightings[from..].iter().take_while(|s| s.at.since(r.ts) < NEAR).map(packet);
        for p in same.filter(|p| p.len == r.len) {
            *votes.entry(p.range.start.0 - r.seq.0).or_default() += 1;
        }
    }
    let best = votes.iter().max_by_key(|(shift, n)| (**n, **shift == 0));
    best.map_or(0, |(shift, _)| *shift)
}

/// How a packet sent again is called by who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhySent {
    /// The name, as the kernel's state has it.
    pub cause: Cause,
    /// Every copy before had arrived or was still on its way and did arrive: it was not needed.
    pub needless: bool,
    /// A DSACK for it came back to the sender (RFC 2883).
    pub reported: bool,
}

/// Why each packet of one way was sent again; none for packets that were not, or whose state nobody noted.
pub fn why_sent(wire: &Wire, dir: Dir, kernel: Option<&Kernel>) -> Vec<Option<WhySent>> {
    let packets = &wire.packets[dir];
    let resends = kernel.and_then(|k| k.resends.as_ref());
    let port = if dir == Dir::C2s { wire.ports.0 } else { wire.ports.1 };
    let traced: Vec<_> =
        resends.into_iter().flatten().filter(|r| r.side == sender(dir) && r.sport == port).collect();
    let mut heard: Vec<Ts> = wire.packets[dir.flip()].iter().filter_map(|p| p.arrived).collect();
    heard.sort_unstable();
    let counted = |name: &str| kernel.map_or(0, |k| k.of(sender(dir)).of(name));
    let no_timer = kernel.is_some() && counted("TcpExtTCPTimeouts") == 0;
    let told = counted("IcmpMsgInType3") + counted("Icmp6InPktTooBigs") > 0;
    let dsacks = dsacks(wire, dir);
    let mut arrived = RangeSet::default();
    let mut last_sent: Option<Ts> = None;
    let mut out = Vec::new();
    for p in packets {
        let again = p.copy > 1 && !p.rst;
        out.push(again.then(|| {
            let event = traced.iter().rposition(|r| r.t <= p.sent + Ns::from_micros(100));
            let event = event.filter(|&i| p.sent.since(traced[i].t) < TRACED);
            let state = event.map(|i| traced[i].ca);
            let entered = event.is_some_and(|i| i == 0 || traced[i - 1].ca != Congestion::Loss);
            let before = heard[..heard.partition_point(|t| *t <= p.sent)].last().copied();
            let quiet = |t: Option<Ts>| t.is_none_or(|t| p.sent.since(t) > NO_ACK_CLOCK);
            let timer = quiet(before) && quiet(last_sent);
            let cause = match state {
                _ if p.syn => Cause::Syn,
                // The path said that the segment was too long: that too begins a recovery from loss.
                Some(Congestion::Loss) if no_timer && told => Cause::PathMtu,
                Some(Congestion::Loss) if no_timer => Cause::Unknown,
                // A timer begins it, also where new data went out until then.
                Some(Congestion::Loss) if timer || entered => Cause::Rto,
                Some(Congestion::Loss) => Cause::RtoRecovery,
                Some(Congestion::Recovery) => Cause::Fast,
                Some(Congestion::Open | Congestion::Disorder | Congestion::Cwr) => Cause::Tlp,
                None => Cause::Unknown,
            };
            WhySent {
                cause,
                needless: arrived.covers(p.range),
                reported: dsacks.iter().any(|(at, r)| *at > p.sent && r.overlaps(p.range)),
            }
        }));
        if p.arrived.is_some() {
            arrived.insert(p.range);
        }
        if p.copy > 0 {
            last_sent = Some(p.sent);
        }
    }
    out
}

/// Duplicates that the receiver reported, and when the sender heard of it.
fn dsacks(wire: &Wire, dir: Dir) -> Vec<(Ts, StreamRange)> {
    let reports = wire.packets[dir.flip()].iter().filter_map(|p| Some((p.captured(false)?, p.dsack()?)));
    reports.collect()
}

/// Counts classes, causes and needless resends of one way at one tap. `complete`: the report lists `new`
/// segments, too.
pub fn score(
    s: &mut Score,
    at: &str,
    wire: &Wire,
    dir: Dir,
    m: &Matched<'_>,
    why: &[Option<WhySent>],
    sender_tap: bool,
    complete: bool,
) {
    for (sighting, record) in m.sightings.iter().zip(&m.records) {
        let p = &wire.packets[dir][sighting.packet];
        let truth = sighting.class;
        let Some(r) = record else {
            if !complete && truth == SegmentClass::New {
                continue;
            }
            s.classes.add(truth.as_str(), if complete { "missing" } else { "new" }, 1);
            s.note(format!(
                "{at} {dir}: {} {} at {} is not in the report",
                truth,
                p.range,
                wire.when(sighting.at)
            ));
            continue;
        };
        if !sighting.known {
            continue;
        }
        // A bare SYN or FIN whose first copies never came by may pass for new; what it was is right, too.
        let again = p.copy > 1 && p.probe.is_none() && r.class == SegmentClass::Retransmission;
        let truth = if truth == SegmentClass::New && p.len == 0 && again { r.class } else { truth };
        s.classes.add(truth.as_str(), r.class.as_str(), 1);
        if r.class != truth {
            let needs = if r.class == SegmentClass::Undecided { "undecided" } else { "called" };
            s.note(format!("{at} {dir} #{}: {} {} is {needs} {}", r.frame, truth, p.range, r.class));
        }
        let Some(w) = why.get(sighting.packet).copied().flatten() else { continue };
        if truth != SegmentClass::Retransmission || r.class != SegmentClass::Retransmission {
            continue;
        }
        let table = if sender_tap { &mut s.causes } else { &mut s.causes_behind };
        let said = r.cause.unwrap_or(Cause::Unknown);
        if w.cause != Cause::Unknown {
            let said = same_family(w.cause, said, p.fin && p.len == 0);
            table.add(w.cause.as_str(), said.as_str(), 1);
            if said != w.cause && sender_tap {
                let text = format!(
                    "{at} {dir} #{}: {} was sent again by {}, called {said}",
                    r.frame, p.range, w.cause
                );
                s.note(text);
            }
        }
        if sender_tap && r.resend.is_some_and(|n| u32::from(n) + 1 != p.copy) {
            s.resend_wrong += 1;
            s.note(format!(
                "{at} {dir} #{}: copy {} of {} is resend {:?}",
                r.frame, p.copy, p.range, r.resend
            ));
        }
        let said = r.spurious.is_some();
        // An ACK that was already there, or a time stamp, may prove what no DSACK told.
        s.spurious.truth += u64::from(w.needless && (said || (w.reported && sender_tap)));
        s.spurious.said += u64::from(said);
        s.spurious.right += u64::from(said && w.needless);
        if said && !w.needless {
            s.note(format!("{at} {dir} #{}: {} was needed, called spurious", r.frame, p.range));
        }
        if !said && w.needless && w.reported && sender_tap {
            s.note(format!("{at} {dir} #{}: {} was not needed, and a DSACK said so", r.frame, p.range));
        }
    }
    for r in &m.extra {
        s.classes.add("nothing", r.class.as_str(), 1);
        s.note(format!("{at} {dir} #{}: {} {} never was on the link", r.frame, r.class, r.range()));
    }
}

/// What the kernel calls fast recovery covers partial ACKs, and a FIN is sent again like any segment.
fn same_family(truth: Cause, said: Cause, fin_only: bool) -> Cause {
    match said {
        Cause::PartialAck if truth == Cause::Fast => truth,
        Cause::Fin if fin_only => truth,
        said => said,
    }
}
