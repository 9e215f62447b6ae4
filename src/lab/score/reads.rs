//! Where the time of a slow read went, by the writer's log and the link's, beside the report's budget.

use super::Score;
use super::wire::Wire;
use crate::correlate::sender;
use crate::model::{AppEvent, AppLog, AppOp, Dir, Ns, RelSeq, Side, Span, StreamRange, Ts};
use crate::report::{Budget, ReadReport};
use crate::tcp::ranges::RangeSet;
use std::collections::BTreeMap;

/// A part that is this share of the true largest one is the largest, too, within what clocks allow.
const AS_GOOD: (i64, i64) = (8, 10);

/// A read that returns so long after its first byte was there waited for more.
const INSISTS: Ns = Ns::from_millis(1);

/// One way, prepared for many questions.
pub struct Way<'a> {
    writes: Vec<&'a AppEvent>,
    /// Stream offset → when it was first sent, for each packet's first byte.
    sent: BTreeMap<i64, (i64, Ts)>,
    /// When the stream was whole up to where, and whether a lost copy held it up.
    whole: Vec<(Ts, i64, Held)>,
    transit: Ns,
    /// From the sending of each lost copy to the arrival of a later one.
    repairs: Vec<Span>,
}

/// Why bytes came later than they had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Loss,
    Order,
}

impl<'a> Way<'a> {
    /// `writer`: the log of the side that wrote this way's bytes.
    pub fn new(wire: &Wire, dir: Dir, writer: &'a AppLog) -> Way<'a> {
        let writes = writer.events.iter().filter(|e| e.op == AppOp::Write && e.len > 0).collect();
        let packets = &wire.packets[dir];
        let offsets = |r: StreamRange| (r.start.0.max(1) - 1, r.end.0 - 1);
        let mut sent = BTreeMap::new();
        let mut reached = 0;
        for p in packets.iter().filter(|p| p.len > 0) {
            let (a, b) = offsets(p.range);
            if b > reached {
                sent.insert(a.max(reached), (b, p.sent));
                reached = b;
            }
        }
        let transit = packets.iter().filter_map(|p| Some(p.arrived?.since(p.sent))).min().unwrap_or(Ns::ZERO);
        let repair = |p: &super::wire::Packet| {
            let again = packets.iter().filter(|q| q.copy > p.copy && q.range.overlaps(p.range));
            Some(Span::new(p.sent, again.filter_map(|q| q.arrived).min()?))
        };
        let repairs = packets.iter().filter(|p| p.lost() && p.len > 0).filter_map(repair).collect();
        let mut arrivals: Vec<_> =
            packets.iter().filter(|p| p.len > 0).filter_map(|p| Some((p.arrived?, p))).collect();
        arrivals.sort_by_key(|a| a.0);
        let mut got = RangeSet::default();
        let mut whole = Vec::new();
        let mut prefix = 0i64;
        let mut hole_since: Option<Ts> = None;
        for (at, p) in arrivals {
            got.insert(StreamRange::new(RelSeq(offsets(p.range).0), RelSeq(offsets(p.range).1)));
            let first = got.within(StreamRange::new(RelSeq(0), RelSeq(i64::MAX))).first().copied();
            let now = first.filter(|r| r.start.0 == 0).map_or(0, |r| r.end.0);
            if now > prefix {
                let held = match hole_since {
                    _ if p.copy > 1 => Held::Loss,
                    Some(_) => Held::Order,
                    None => Held::No,
                };
                whole.push((at, now, held));
                prefix = now;
            }
            hole_since = got.reaches_above(RelSeq(prefix)).then(|| hole_since.unwrap_or(at));
        }
        Way { writes, sent, whole, transit, repairs }
    }

    /// The byte that a read of `[offset, offset + len)` waited for: the first one, or, where it insists on
    /// all of them, the last one. Nobody insists who was told that the socket is readable.
    fn awaited(&self, offset: i64, len: u32, end: Ts, told: bool) -> i64 {
        let whole = |o: i64| self.whole.get(self.whole.partition_point(|w| w.1 <= o)).map(|w| w.0);
        let last = offset.saturating_add(i64::from(len.max(1)) - 1);
        match (whole(offset), whole(last)) {
            (Some(a), Some(b)) if !told && b > a + INSISTS && b <= end => last,
            _ => offset,
        }
    }

    /// The parts of a wait for the byte at `offset`.
    fn parts(&self, offset: i64, span: Span) -> Option<Parts> {
        let end_of =
            |e: &AppEvent| i64::try_from(e.offset).unwrap_or(i64::MAX).saturating_add(i64::from(e.len));
        let write = self.writes.get(self.writes.partition_point(|e| end_of(e) <= offset))?;
        let (_, (end, sent)) = self.sent.range(..=offset).next_back()?;
        let whole = self.whole.get(self.whole.partition_point(|w| w.1 <= offset))?;
        if *end <= offset {
            return None;
        }
        let inside = |t: Ts| t.clamp(span.start, span.end);
        let (written, sent, there, whole_at) =
            (inside(write.start), inside(*sent), inside(*sent + self.transit), inside(whole.0));
        let there = there.min(whole_at);
        let late = whole_at.since(there);
        Some(Parts {
            peer_app: written.since(span.start),
            held: sent.since(written).max(Ns::ZERO),
            held_by_repair: self.repairs.iter().any(|r| {
                let both = r.intersect(Span::new(written, sent)).map_or(Ns::ZERO, Span::len);
                both.scaled(2, 1) >= sent.since(written)
            }),
            transit: there.since(sent.max(span.start)).max(Ns::ZERO)
                + if whole.2 == Held::No { late } else { Ns::ZERO },
            loss_recovery: if whole.2 == Held::Loss { late } else { Ns::ZERO },
            reordering: if whole.2 == Held::Order { late } else { Ns::ZERO },
            local: span.end.since(whole_at),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Parts {
    peer_app: Ns,
    held: Ns,
    /// A repair of earlier bytes was under way meanwhile: it may be blamed as well.
    held_by_repair: bool,
    transit: Ns,
    loss_recovery: Ns,
    reordering: Ns,
    local: Ns,
}

impl Parts {
    /// With the report's names; what the sender's TCP held back is one part here, whoever made it wait.
    fn beside(&self, b: &Budget) -> [(&'static str, Ns, Ns); 6] {
        let blamed = if self.held_by_repair { b.loss_recovery } else { Ns::ZERO };
        [
            ("peer-app", self.peer_app, b.peer_app),
            ("held-by-sender", self.held, b.send_queue + b.window + blamed),
            ("transit", self.transit, b.transit),
            ("loss-recovery", self.loss_recovery, b.loss_recovery),
            ("reordering", self.reordering, b.reordering),
            ("local-delivery", self.local, b.local_delivery),
        ]
    }
}

/// Counts the reads of one way. `writer`: the log of the side that wrote its bytes; `reader`: of the other.
pub fn score(
    s: &mut Score,
    wire: &Wire,
    dir: Dir,
    writer: &AppLog,
    reader: Option<&AppLog>,
    reads: &[&ReadReport],
) {
    let told = |offset: u64, len: u32| {
        let mut events = reader.into_iter().flat_map(|log| &log.events);
        events.any(|e| e.op == AppOp::Read && (e.offset, e.len) == (offset, len) && e.ready.is_some())
    };
    let way = Way::new(wire, dir, writer);
    for r in reads {
        let waited = r.end.since(r.start);
        s.read_ns.0 += waited.0.max(0) as u64;
        s.read_ns.1 += r.budget.unknown.0.max(0) as u64;
        if r.budget.total() != waited {
            s.budgets_off += 1;
            s.note(format!(
                "{dir}: the budget of the read at {} adds up to {}, it took {waited}",
                wire.when(r.start),
                r.budget.total()
            ));
        }
        let span = Span::new(r.start, r.end);
        let offset = i64::try_from(r.offset).unwrap_or(i64::MAX);
        let byte = way.awaited(offset, r.len, span.end, told(r.offset, r.len));
        let Some(parts) = way.parts(byte, span).filter(|_| r.len > 0) else { continue };
        let rows = parts.beside(&r.budget);
        let Some(truth) = rows.iter().max_by_key(|p| p.1) else { continue };
        let said = rows.iter().max_by_key(|p| p.2).filter(|p| p.2 > r.budget.unknown);
        let said = match said {
            _ if truth.2 >= truth.1.scaled(AS_GOOD.0, AS_GOOD.1) => truth.0,
            Some(said) => said.0,
            None => "unknown",
        };
        s.reads.add(truth.0, said, 1);
        if said != truth.0 {
            s.note(format!(
                "{dir}: the read at {} of {waited} for byte {offset}: {} {}, the report says {said} ({:?})",
                wire.when(r.start),
                truth.0,
                truth.1,
                r.budget
            ));
        }
    }
}

/// The log of the side that wrote the bytes of `dir`.
pub fn writer<'a>(dir: Dir, client: Option<&'a AppLog>, server: Option<&'a AppLog>) -> Option<&'a AppLog> {
    match sender(dir) {
        Side::Client => client,
        Side::Server => server,
    }
}
