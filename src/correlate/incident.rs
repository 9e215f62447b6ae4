//! Puts together what belongs together: one fault, its recovery, its mirror at the second tap, what
//! the other direction felt of it and the reads that waited are one incident.
//!
//! ```text
//!  signs of trouble   ▚loss ▚resent ▚hole ▚stall      each has a time, a direction, a kind
//!  same kind, touching in time ─▶ group ─▶ + quiet stalls and reads that it explains
//! ```

use super::align::{Flow, World};
use super::join::Joined;
use super::repair::{self, is_loss};
use super::timeline::Timeline;
use crate::model::tcp::{
    Cause, Filler, Hole, Loss, LossWhere, Owner, SegmentClass, SegmentRecord, Stall, StallCause,
};
use crate::model::{Dir, FlowId, Ns, Span, StreamRange, Ts};
use crate::report::Evidence;
use crate::tcp::answers_a_copy;

/// A group before it is put into words. Indices are into the report's lists.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Which connection.
    pub flow: FlowId,
    /// The direction that suffered.
    pub dir: Option<Dir>,
    /// It also hit the other direction.
    pub both: bool,
    /// From the first sign to the end of its effect.
    pub span: Span,
    /// It had not ended when the evidence did.
    pub open: bool,
    /// Why.
    pub cause: Option<StallCause>,
    /// Whose move it was.
    pub owner: Option<Owner>,
    /// From the first to the last byte concerned, of [`Group::dir`].
    pub bytes: Option<StreamRange>,
    /// Reads that waited.
    pub reads: Vec<u32>,
    /// Stalls.
    pub stalls: Vec<u32>,
    /// Holes.
    pub holes: Vec<u32>,
    /// Losses.
    pub losses: Vec<u32>,
    /// Data segments sent again in it, spurious ones left out, seen at the better tap.
    pub resent: u32,
    /// Sent again without need.
    pub spurious: u32,
    /// Originals that came late.
    pub late: u32,
    /// Retransmission time-outs of one direction.
    pub timeouts: u32,
    /// A retransmission was lost too.
    pub relost: bool,
    /// Bytes of it were lost between the taps and never came.
    pub unrepaired: bool,
    /// Causes of its retransmissions in order of time.
    pub causes: Vec<Cause>,
    /// What the busy application did.
    pub busy: Option<String>,
    /// Frames that show it.
    pub evidence: Vec<Evidence>,
    /// What a stall found outstanding; for want of better bytes.
    owed: Option<StreamRange>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    #[default]
    Loss,
    Reorder,
    Spike,
    Window,
    Handshake,
    Silent,
    App,
    Other(u8),
}

/// One sign of trouble.
struct Sign {
    dir: Dir,
    span: Span,
    open: bool,
    kind: Kind,
    what: What,
}

enum What {
    Read(u32),
    Stall(u32),
    Hole(u32),
    Loss(u32),
    /// Whether it counts: the other tap may have seen it too.
    Segment(SegmentRecord, bool),
}

impl Group {
    /// True for a stall that is part of the fault, not merely quiet because of it.
    pub fn owns(&self, s: &Stall) -> bool {
        self.cause == Some(s.cause) || kind_of(s.cause).is_some()
    }

    /// A late original was seen, or a repair that was not needed; a wait alone proves no reordering.
    pub fn proven(&self) -> bool {
        self.late > 0 || self.spurious > 0 || !self.holes.is_empty()
    }
}

/// The report's lists that signs come from.
pub struct Lists<'a> {
    /// Losses.
    pub losses: &'a [Loss],
    /// Holes.
    pub holes: &'a [Hole],
    /// Stalls.
    pub stalls: &'a [Stall],
    /// Slow reads.
    pub reads: &'a [Joined],
    /// The threshold of slow reads.
    pub slow: Ns,
}

/// All groups, in order of time.
pub fn groups(w: &World, lists: &Lists<'_>) -> Vec<Group> {
    let mut out = Vec::new();
    let by_flow = Index::new(w.flows.len(), lists);
    for f in &w.flows {
        let mut groups = of_flow(f, lists, &by_flow);
        out.append(&mut groups);
    }
    out.sort_by_key(|g| (g.span.start, g.flow, g.span.end));
    out
}

/// The lists' entries by flow, so that many connections stay cheap.
struct Index {
    losses: Vec<Vec<u32>>,
    holes: Vec<Vec<u32>>,
    stalls: Vec<Vec<u32>>,
    reads: Vec<Vec<u32>>,
}

impl Index {
    fn new(flows: usize, l: &Lists<'_>) -> Index {
        fn sort(flows: usize, ids: impl Iterator<Item = FlowId>) -> Vec<Vec<u32>> {
            let mut out = vec![Vec::new(); flows];
            for (i, id) in ids.enumerate() {
                if let Some(v) = out.get_mut(id.0 as usize) {
                    v.push(u32::try_from(i).unwrap_or(u32::MAX));
                }
            }
            out
        }
        Index {
            losses: sort(flows, l.losses.iter().map(|x| x.flow)),
            holes: sort(flows, l.holes.iter().map(|x| x.flow)),
            stalls: sort(flows, l.stalls.iter().map(|x| x.flow)),
            reads: sort(flows, l.reads.iter().map(|x| x.read.flow)),
        }
    }
}

fn of_flow(f: &Flow, l: &Lists<'_>, index: &Index) -> Vec<Group> {
    let end = f.taps.iter().map(|t| t.conn.span.end).max().unwrap_or_default();
    let rtt = f.transit.c2s.unwrap_or_default() + f.transit.s2c.unwrap_or_default();
    let slack = Ns(rtt.0.saturating_mul(2)).max(Ns::from_millis(20));
    let (mut hard, soft) = signs(f, l, index, end);
    hard.sort_by_key(|s| (s.span.start, s.span.end));
    let mut groups: Vec<Group> = Vec::new();
    // open groups by kind and direction
    let mut latest: std::collections::HashMap<(Kind, Dir), usize> = Default::default();
    for s in hard {
        let again = matches!(&s.what, What::Segment(r, _) if r.cause == Some(Cause::RtoRecovery));
        let slack = if again { slack.max(Ns::from_millis(200)) } else { slack };
        // a connection opens once, whichever of its three packets was lost
        let key = (s.kind, if s.kind == Kind::Handshake { Dir::C2s } else { s.dir });
        let i = match latest.get(&key) {
            Some(&i) if s.span.start <= groups[i].span.end + slack => i,
            _ => {
                groups.push(Group {
                    flow: f.id,
                    dir: Some(s.dir),
                    span: s.span,
                    kind: s.kind,
                    ..Group::default()
                });
                latest.insert(key, groups.len() - 1);
                groups.len() - 1
            }
        };
        add(&mut groups[i], s, l);
    }
    let mut groups = merge(groups, slack);
    for g in &mut groups {
        name(g, l);
    }
    attach(&mut groups, soft, f, l);
    // One delayed acknowledgement with data right behind it is chance; Nagle's algorithm makes a habit
    // of it.
    let delayed = |g: &&Group| g.cause == Some(StallCause::NagleDelayedAck);
    let habit = groups.iter().filter(delayed).count() >= 3;
    groups.retain(|g| g.cause.is_some() && (habit || !delayed(&g)));
    for g in &mut groups {
        g.bytes = g.bytes.or(g.owed);
    }
    groups
}

/// Splits what a flow shows into signs of trouble and quiet times that something else may explain.
fn signs(f: &Flow, l: &Lists<'_>, index: &Index, end: Ts) -> (Vec<Sign>, Vec<Sign>) {
    let mut hard = Vec::new();
    let mut soft = Vec::new();
    let i = f.id.0 as usize;
    let of = |v: &[Vec<u32>]| v.get(i).cloned().unwrap_or_default();
    for n in of(&index.losses) {
        let x = &l.losses[n as usize];
        if x.location == LossWhere::Capture {
            continue;
        }
        let Some(from) = x.sent.or(x.repaired) else { continue };
        let span = Span::new(from, x.repaired.unwrap_or(from));
        let kind = if x.range.start.0 < 1 && x.range.len() <= 1 { Kind::Handshake } else { Kind::Loss };
        hard.push(Sign { dir: x.dir, span, open: false, kind, what: What::Loss(n) });
    }
    let needless: std::collections::HashSet<_> = f
        .taps
        .iter()
        .flat_map(|t| &t.conn.segments)
        .filter(|s| s.spurious.is_some())
        .map(|s| (s.input, s.frame))
        .collect();
    for n in of(&index.holes) {
        let x = &l.holes[n as usize];
        // filled by a repair that was not needed: the original came too
        let needless = x.filler_frame.is_some_and(|n| needless.contains(&(x.input, n)));
        let late = x.filler == Some(Filler::Reordered) || needless;
        let kind = if late { Kind::Reorder } else { Kind::Loss };
        let span = Span::new(x.birth, x.death.unwrap_or(end));
        hard.push(Sign { dir: x.dir, span, open: x.death.is_none(), kind, what: What::Hole(n) });
    }
    for t in &f.taps {
        let hellos = t.conn.segments.iter().filter(|s| s.syn);
        let hellos: std::collections::HashMap<_, _> = hellos.map(|s| ((s.dir, s.frame), s)).collect();
        for s in &t.conn.segments {
            let first = s.of.and_then(|of| hellos.get(&(s.dir, of)));
            let early_answer = s.syn && first.is_some_and(|first| answers_a_copy(first, s));
            if let Some(kind) = kind_of_segment(s).filter(|_| !early_answer) {
                let span = Span::new(s.ts, s.ts);
                let late = s.class == SegmentClass::Reordered;
                let best = if late { f.receiver_tap(s.dir) } else { f.sender_tap(s.dir) };
                let counts = best.or(f.taps.first()).is_some_and(|b| b.input == t.input);
                let what = What::Segment(*s, counts);
                hard.push(Sign { dir: s.dir, span, open: false, kind, what });
            }
        }
    }
    for n in of(&index.stalls) {
        let x = &l.stalls[n as usize];
        let span = Span::new(x.start, x.end.unwrap_or(end));
        let sign = |kind| Sign { dir: x.dir, span, open: x.end.is_none(), kind, what: What::Stall(n) };
        match kind_of(x.cause) {
            Some(kind) => hard.push(sign(kind)),
            None => soft.push(sign(Kind::App)),
        }
    }
    for n in of(&index.reads) {
        let j = &l.reads[n as usize];
        let span = Span::new(j.read.start, j.read.end);
        let lost = j.read.budget.loss_recovery;
        let sign = |kind, span| Sign { dir: j.read.dir, span, open: false, kind, what: What::Read(n) };
        let by_loss = lost.scaled(4, 1) >= span.len() || (lost >= l.slow && lost.0 > 0);
        match kind_of(j.read.cause) {
            _ if by_loss && lost.0 > 0 => hard.push(sign(Kind::Loss, part_span(j, "loss-recovery"))),
            Some(Kind::Reorder) => hard.push(sign(Kind::Reorder, part_span(j, "reordering"))),
            Some(kind) => hard.push(sign(kind, span)),
            None => soft.push(sign(Kind::App, span)),
        }
    }
    (hard, soft)
}

fn part_span(j: &Joined, part: &str) -> Span {
    let mut steps = j.read.steps.iter().filter(|s| s.part == part);
    let first = steps.next().map(|s| s.span);
    first.map_or(Span::new(j.read.start, j.read.end), |s| {
        Span::new(s.start, steps.next_back().map_or(s.end, |l| l.span.end))
    })
}

fn kind_of_segment(s: &SegmentRecord) -> Option<Kind> {
    match (s.class, s.spurious) {
        (SegmentClass::Reordered, _) => Some(Kind::Reorder),
        (SegmentClass::Retransmission, _) if s.syn => Some(Kind::Handshake),
        (SegmentClass::Retransmission, None) => Some(Kind::Loss),
        (SegmentClass::Retransmission, Some(_)) => match s.cause {
            Some(Cause::Rto | Cause::RtoRecovery) => Some(Kind::Spike),
            Some(Cause::Fast | Cause::PartialAck) => Some(Kind::Reorder),
            // a probe that the answer crossed costs nothing
            _ => None,
        },
        _ => None,
    }
}

/// The family of a cause; none: quiet, another thing may explain it.
fn kind_of(c: StallCause) -> Option<Kind> {
    use StallCause::*;
    Some(match c {
        HandshakeLoss => Kind::Handshake,
        c if is_loss(c) => Kind::Loss,
        Reordering => Kind::Reorder,
        DelaySpike => Kind::Spike,
        ZeroWindow | SmallWindow | StuckWindow | Deadlock => Kind::Window,
        Reset => Kind::Other(0),
        PeerSilent => Kind::Silent,
        RateLimit => Kind::Other(1),
        Gap => Kind::Other(2),
        _ => return None,
    })
}

fn add(g: &mut Group, s: Sign, l: &Lists<'_>) {
    g.span = Span { start: g.span.start.min(s.span.start), end: g.span.end.max(s.span.end) };
    g.open |= s.open;
    let main = g.dir == Some(s.dir);
    let bytes = match s.what {
        What::Read(n) => {
            g.reads.push(n);
            let j = &l.reads[n as usize];
            if g.busy.is_none() {
                g.busy.clone_from(&j.busy);
            }
            g.evidence.extend(j.read.evidence.iter().take(8));
            j.bytes
        }
        What::Stall(n) => {
            g.stalls.push(n);
            let x = &l.stalls[n as usize];
            g.evidence.extend(x.evidence.iter().take(8).map(|&frame| Evidence { input: x.input, frame }));
            g.owed = g.owed.or(x.detail.range.filter(|_| main));
            None
        }
        What::Hole(n) => {
            g.holes.push(n);
            let x = &l.holes[n as usize];
            let frames = [Some(x.birth_frame), x.filler_frame];
            g.evidence.extend(frames.into_iter().flatten().map(|frame| Evidence { input: x.input, frame }));
            Some(x.range)
        }
        What::Loss(n) => {
            g.losses.push(n);
            let x = &l.losses[n as usize];
            g.unrepaired |= x.location == LossWhere::Network && x.repaired.is_none();
            let frames = [x.sent_frame, x.repair_frame];
            g.evidence.extend(frames.into_iter().flatten().map(|frame| Evidence { input: x.input, frame }));
            Some(x.range)
        }
        What::Segment(r, counts) => {
            g.evidence.push(Evidence { input: r.input, frame: r.frame });
            if counts {
                count(g, &r);
            }
            Some(r.range())
        }
    };
    if let (true, Some(b)) = (main, bytes) {
        g.bytes = Some(g.bytes.map_or(b, |o| StreamRange::new(o.start.min(b.start), o.end.max(b.end))));
    }
}

fn count(g: &mut Group, r: &SegmentRecord) {
    match (r.class, r.spurious) {
        (SegmentClass::Reordered, _) => g.late += 1,
        (_, Some(_)) => g.spurious += 1,
        _ => {
            g.resent += 1;
            g.causes.extend(r.cause);
            g.relost |= r.resend.is_some_and(|n| n > 1);
        }
    }
    // also where the acknowledgement of the original turned up later: the timer did fire
    g.timeouts += u32::from(r.cause == Some(Cause::Rto));
}

/// Joins groups of one fault that hit both directions: time-outs on both sides, or a stall of one
/// inside that of the other. What a loss beside it explains goes to the loss.
fn merge(groups: Vec<Group>, slack: Ns) -> Vec<Group> {
    let long = |g: &Group| !g.stalls.is_empty() || g.causes.contains(&Cause::Rto);
    let near =
        |o: &Group, g: &Group| o.span.start <= g.span.end + slack && g.span.start <= o.span.end + slack;
    let (losses, others): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(|g| g.kind == Kind::Loss);
    let mut out: Vec<Group> = Vec::new();
    for g in losses {
        let same = |o: &&mut Group| (o.dir != g.dir || o.both) && (long(o) || long(&g)) && near(o, &g);
        match out.iter_mut().rev().take(16).find(same) {
            Some(o) => absorb(o, g),
            None => out.push(g),
        }
    }
    let losses = out.len();
    let mut timeline = Timeline::new(out.iter().map(|o| o.span));
    for g in others {
        let weak = match g.kind {
            Kind::Spike => true,
            Kind::Reorder => !g.proven() || g.reads.is_empty() && g.late < 3,
            _ => false,
        };
        // a peer that got nothing has nothing to answer
        let deaf = |o: &Group| g.kind == Kind::Silent && o.open && o.unrepaired && o.dir == g.dir;
        let stalled = |o: &Group| g.kind != Kind::Spike || !o.stalls.is_empty();
        let candidates = match g.kind {
            Kind::Silent => timeline.near(g.span.start - slack, g.span.end + slack),
            _ if weak => timeline.near(g.span.start - slack, g.span.end + slack),
            _ => Vec::new(),
        };
        let takes = |o: &Group| near(o, &g) && (weak && stalled(o) || deaf(o));
        match candidates.into_iter().filter(|&i| i < losses).find(|&i| takes(&out[i])) {
            Some(i) => {
                absorb(&mut out[i], g);
                timeline.grow(i, out[i].span);
            }
            None => out.push(g),
        }
    }
    out
}

fn absorb(o: &mut Group, g: Group) {
    if o.dir == g.dir {
        o.bytes = match (o.bytes, g.bytes) {
            (Some(a), Some(b)) => Some(StreamRange::new(a.start.min(b.start), a.end.max(b.end))),
            (a, b) => a.or(b),
        };
    } else {
        o.both = true;
        // the direction that lost more is the one that is named
        if g.losses.len() > o.losses.len() {
            o.dir = g.dir;
            o.bytes = g.bytes;
        }
    }
    o.span = Span { start: o.span.start.min(g.span.start), end: o.span.end.max(g.span.end) };
    o.open |= g.open;
    o.reads.extend(g.reads);
    o.stalls.extend(g.stalls);
    o.holes.extend(g.holes);
    o.losses.extend(g.losses);
    o.resent += g.resent;
    o.spurious += g.spurious;
    o.late += g.late;
    o.timeouts = o.timeouts.max(g.timeouts);
    o.causes.extend(g.causes);
    o.relost |= g.relost;
    o.unrepaired |= g.unrepaired;
    o.evidence.extend(g.evidence);
    o.busy = o.busy.take().or(g.busy);
}

/// Decides the one word of a group.
fn name(g: &mut Group, l: &Lists<'_>) {
    let stalls = || g.stalls.iter().filter_map(|&n| l.stalls.get(n as usize));
    let length = |s: &&Stall| s.end.unwrap_or(g.span.end).since(s.start);
    let told =
        stalls().filter(|s| kind_of(s.cause) == Some(g.kind)).max_by_key(|s| (rank(s.cause), length(s)));
    let timeouts = stalls().filter_map(|s| s.detail.timeouts).max().unwrap_or(0);
    g.timeouts = g.timeouts.max(timeouts);
    if let Some(s) = told {
        g.cause = Some(s.cause);
        g.owner = Some(s.owner);
        if s.cause != StallCause::LossFast {
            return;
        }
    }
    let read =
        || g.reads.iter().filter_map(|&n| l.reads.get(n as usize)).max_by_key(|j| j.read.budget.total());
    let (cause, owner) = match g.kind {
        Kind::Loss => {
            let by_segments = repair::by_causes(&g.causes, None, g.relost);
            let by_read = read().map(|j| j.read.cause).filter(|&c| is_loss(c));
            let by_segments = match (by_segments, by_read) {
                // a probe began it: the reader's tap cannot see that, the peer's log can
                (Some(StallCause::LossFast), Some(StallCause::LossTail)) => by_read,
                (s, _) => s,
            };
            let hole =
                g.holes.iter().filter_map(|&n| l.holes.get(n as usize)).max_by_key(|h| h.queued_behind);
            let only_counted =
                g.losses.is_empty() && g.holes.is_empty() && g.reads.is_empty() && g.resent == 0;
            if only_counted {
                return;
            }
            let by_shape = || repair::mechanism(&[], None, hole, &[], None, false);
            let host = !g.losses.is_empty()
                && g.losses.iter().all(|&n| l.losses[n as usize].location == LossWhere::ReceivingHost);
            let cause = if host {
                StallCause::HostDrop
            } else {
                by_segments.or(by_read).or(told.map(|s| s.cause)).unwrap_or_else(by_shape)
            };
            (cause, if host { Owner::ReceiverHost } else { Owner::Network })
        }
        Kind::Reorder => (StallCause::Reordering, Owner::Network),
        Kind::Spike => (StallCause::DelaySpike, Owner::Network),
        Kind::Handshake => (StallCause::HandshakeLoss, Owner::Network),
        Kind::Window | Kind::Silent | Kind::App | Kind::Other(_) => match read() {
            Some(j) => (j.read.cause, j.read.owner),
            None => return,
        },
    };
    g.cause = Some(cause);
    g.owner = Some(owner);
}

/// Of several stalls of one incident, which one names it.
fn rank(c: StallCause) -> u8 {
    use StallCause::*;
    match c {
        MtuBlackHole => 9,
        BlackHole => 8,
        HandshakeLoss => 7,
        HostDrop => 6,
        Deadlock | StuckWindow => 5,
        LossRto => 4,
        BurstLoss => 3,
        LostRetransmission | LossTail | PathMtu | ZeroWindow => 2,
        _ => 1,
    }
}

/// Gives quiet times to the incident that explains them; a busy application becomes one itself.
fn attach(groups: &mut Vec<Group>, soft: Vec<Sign>, f: &Flow, l: &Lists<'_>) {
    let faults = groups.len();
    let mut apps: Vec<Group> = Vec::new();
    let mut timeline = Timeline::new(groups.iter().map(|g| g.span));
    let goodbyes = f
        .taps
        .iter()
        .flat_map(|t| t.conn.segments.iter().filter(|x| x.fin && x.len == 0).map(|x| (t.input, x.dir, x.ts)))
        .collect();
    for s in soft {
        let busy = match &s.what {
            What::Read(n) => by_busy_peer(&l.reads[*n as usize], l.slow),
            What::Stall(n) => by_busy_sender(&l.stalls[*n as usize], s.span, f, &goodbyes),
            _ => None,
        };
        let overlap = |g: &Group| g.span.intersect(s.span).map_or(Ns::ZERO, Span::len);
        let explained = timeline
            .near(s.span.start, s.span.end)
            .into_iter()
            .filter(|&i| i < faults && groups[i].cause.is_some())
            .max_by_key(|&i| overlap(&groups[i]))
            .filter(|&i| overlap(&groups[i]).scaled(2, 1) >= s.span.len().max(Ns(1)));
        let weak = busy.as_ref().is_none_or(|b| b.0 != StallCause::NoData);
        match (explained, busy) {
            (Some(i), _) if weak => {
                let g = &mut groups[i];
                let (span, cause, open) = (g.span, g.cause, g.open);
                add(g, s, l);
                (g.cause, g.open) = (cause, open);
                g.span = Span { start: span.start, end: g.span.end };
                timeline.grow(i, g.span);
            }
            (_, Some(busy)) => {
                let near = |g: &&mut Group| g.dir == Some(s.dir) && g.span.intersect(s.span).is_some();
                if let Some(g) = apps.iter_mut().rev().take(8).find(near) {
                    add(g, s, l);
                    g.busy = g.busy.take().or(busy.1);
                } else {
                    let mut g = Group {
                        flow: f.id,
                        dir: Some(s.dir),
                        span: s.span,
                        kind: Kind::App,
                        cause: Some(busy.0),
                        owner: Some(busy.2),
                        ..Group::default()
                    };
                    add(&mut g, s, l);
                    g.busy = busy.1;
                    apps.push(g);
                }
            }
            (_, None) => {}
        }
    }
    groups.append(&mut apps);
}

/// The quiet time ended with a FIN: an idle connection was closed, nothing was owed.
fn said_goodbye(s: &Stall, goodbyes: &Goodbyes) -> bool {
    s.end.is_some_and(|end| goodbyes.contains(&(s.input, s.dir, end)))
}

/// When FINs without data passed each tap.
type Goodbyes = std::collections::HashSet<(u16, Dir, Ts)>;

type Busy = (StallCause, Option<String>, Owner);

/// A read that waited because the peer's application worked on something else.
fn by_busy_peer(j: &Joined, slow: Ns) -> Option<Busy> {
    if j.read.cause != StallCause::NoData || j.paced {
        return None;
    }
    let held = j.busy.as_deref().is_some_and(|b| b.starts_with("busy"));
    let least = if held { slow } else { Ns(slow.0.saturating_mul(4)).max(Ns::from_millis(500)) };
    (j.peer_worked >= least).then(|| (StallCause::NoData, j.busy.clone(), Owner::SenderApp))
}

/// A quiet (or weakly proven) stall that is somebody's doing.
fn by_busy_sender(s: &Stall, span: Span, f: &Flow, goodbyes: &Goodbyes) -> Option<Busy> {
    use StallCause::*;
    let whole = f.taps.iter().map(|t| t.conn.span.len()).max().unwrap_or_default();
    let long = Ns::from_secs(1).max(Ns(whole.0 / 10));
    match s.cause {
        NoData => {
            let side = super::align::sender(s.dir);
            match f.log(side) {
                Some(v) => {
                    let d = super::peer::Peer::new(&v.log).during(span);
                    let held = d.held.scaled(2, 1) > span.len();
                    let worked = d.worked.scaled(2, 1) > span.len() && d.worked >= Ns::from_millis(500);
                    (held || worked).then_some((NoData, d.busy_with, Owner::SenderApp))
                }
                // without its log, only what is long is worth a word
                None if span.len() >= long && !said_goodbye(s, goodbyes) => Some((NoData, None, s.owner)),
                None => None,
            }
        }
        NagleDelayedAck => Some((NagleDelayedAck, None, s.owner)),
        // a host that was busy for a moment looks the same
        Queueing if span.len() >= Ns::from_millis(200) => Some((Queueing, None, s.owner)),
        CwndLimited | SendBuffer if span.len() >= long => Some((s.cause, None, s.owner)),
        Unknown if s.end.is_none() || span.len() >= long => Some((Unknown, None, s.owner)),
        _ => None,
    }
}
