//! What a report needs of long logs, chosen while they are read: memory does not grow with the run.
//!
//! Without captures a report rests on the slow reads, on what the other end did meanwhile, on the slowest read of each
//! bucket of the series, and on counts. Of each of these so many are kept that the report is the same as that of the
//! whole logs; where there are more, the slowest.

use super::clock::Clock;
use super::series::Grid;
use crate::model::app::ClockOffset;
use crate::model::{AppEvent, AppLog, AppOp, Ns, Side, Span, Ts};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Slow reads that are kept of a log.
pub const SLOW: usize = 4096;
/// Events of the other end that are kept of what it did meanwhile.
pub const MEANWHILE: usize = 16_384;

/// What a log held before it was thinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Events.
    pub events: u64,
    /// Of these, reads.
    pub reads: u64,
    /// Of these, slow ones.
    pub slow: u64,
    /// From the first event's start to the last one's end.
    pub span: Option<Span>,
}

impl Whole {
    /// Of a log that is all there; slow reads are not counted.
    pub fn of(log: &AppLog) -> Whole {
        let start = log.events.iter().map(|e| e.start).min();
        let end = log.events.iter().map(|e| e.end).max();
        Whole {
            events: log.events.len() as u64,
            reads: log.events.iter().filter(|e| e.op == AppOp::Read).count() as u64,
            slow: 0,
            span: start.zip(end).map(|(start, end)| Span::new(start, end)),
        }
    }
}

/// Reads a log from its beginning: each event, then the rest of it.
pub type Reader<'a, E> = dyn FnMut(&mut dyn FnMut(AppEvent)) -> Result<AppLog, E> + 'a;

/// Thins the logs of both ends of one connection; each is read twice. `clock` is the server's minus the client's.
pub fn thin<E>(
    logs: &mut [Box<Reader<'_, E>>],
    clock: Option<ClockOffset>,
    slow: Ns,
) -> Result<Vec<(AppLog, Whole)>, E> {
    let mut first = Vec::with_capacity(logs.len());
    for log in logs.iter_mut() {
        let mut seen =
            First { slow: Most::new(SLOW), whole: Whole::default(), least: slow.max(Ns(1)), next: 0 };
        let rest = log(&mut |e| seen.take(e))?;
        first.push((rest, seen.whole, seen.slow.into_map()));
    }
    // The first log's clock is the report's.
    let zero = first.first().map(|f| f.0.side);
    let by = |side: Side| match (clock, zero) {
        (Some(c), Some(zero)) if zero != side => match side {
            Side::Server => Clock::from(c),
            Side::Client => Clock::from(super::clock::flip(c)),
        },
        _ => Clock::default(),
    };
    let spans =
        first.iter().filter_map(|(log, whole, _)| Some(super::shift::span(whole.span?, &by(log.side))));
    let all = spans.reduce(|a, b| Span { start: a.start.min(b.start), end: a.end.max(b.end) });
    let grid = Grid::over(all.unwrap_or_default());
    let mut thinned = Vec::with_capacity(logs.len());
    for (i, log) in logs.iter_mut().enumerate() {
        let Some((own, whole, kept)) = first.get(i) else { continue };
        let there = first.iter().find(|f| f.0.side != own.side);
        let ours = by(own.side);
        let mut second = Second {
            clock: ours,
            grid: &grid,
            slowest: BTreeMap::new(),
            offsets: there.map(|t| t.2.values().map(|e| e.offset).collect()).unwrap_or_default(),
            written: BTreeMap::new(),
            waits: there.map(|t| waits(t.2.values(), &by(t.0.side))).unwrap_or_default(),
            meanwhile: Most::new(MEANWHILE),
            next: 0,
        };
        second.offsets.sort_unstable();
        let rest = log(&mut |e| second.take(e))?;
        let mut events = kept.clone();
        events.extend(second.slowest.into_values());
        events.extend(second.written);
        events.extend(second.meanwhile.into_map());
        thinned.push((AppLog { events: events.into_values().collect(), ..rest }, *whole));
    }
    Ok(thinned)
}

/// When the other end's reads waited, on the report's clock, in order and apart from each other.
fn waits<'a>(reads: impl Iterator<Item = &'a AppEvent>, clock: &Clock) -> Vec<Span> {
    let mut all: Vec<Span> = reads.map(|e| super::shift::span(Span::new(e.start, e.end), clock)).collect();
    all.sort_by_key(|s| s.start);
    let mut out: Vec<Span> = Vec::with_capacity(all.len());
    for s in all {
        match out.last_mut() {
            Some(last) if s.start <= last.end => last.end = last.end.max(s.end),
            _ => out.push(s),
        }
    }
    out
}

/// The longest of many, with their place in the log.
struct Most {
    room: usize,
    heap: BinaryHeap<Reverse<(Ns, u64)>>,
    events: BTreeMap<u64, AppEvent>,
}

impl Most {
    fn new(room: usize) -> Most {
        Most { room, heap: BinaryHeap::new(), events: BTreeMap::new() }
    }

    fn take(&mut self, length: Ns, place: u64, e: AppEvent) {
        if self.heap.len() == self.room {
            let Some(mut least) = self.heap.peek_mut() else { return };
            if least.0.0 >= length {
                return;
            }
            self.events.remove(&least.0.1);
            *least = Reverse((length, place));
        } else {
            self.heap.push(Reverse((length, place)));
        }
        self.events.insert(place, e);
    }

    fn into_map(self) -> BTreeMap<u64, AppEvent> {
        self.events
    }
}

/// What the first reading looks for.
struct First {
    slow: Most,
    whole: Whole,
    least: Ns,
    next: u64,
}

impl First {
    fn take(&mut self, e: AppEvent) {
        let place = self.next;
        self.next += 1;
        self.whole.events += 1;
        let span = self.whole.span.unwrap_or(Span { start: e.start, end: e.end });
        self.whole.span = Some(Span { start: span.start.min(e.start), end: span.end.max(e.end) });
        if e.op == AppOp::Read {
            self.whole.reads += 1;
            let took = e.end.since(e.start);
            if took >= self.least {
                self.whole.slow += 1;
                self.slow.take(took, place, e);
            }
        }
    }
}

/// What the second reading looks for, once it is known what the other end waited for.
struct Second<'a> {
    clock: Clock,
    grid: &'a Grid,
    /// Of each bucket, with its place.
    slowest: BTreeMap<usize, (u64, AppEvent)>,
    /// First bytes that the other end waited for, in order.
    offsets: Vec<u64>,
    /// The writes that handed them over.
    written: BTreeMap<u64, AppEvent>,
    waits: Vec<Span>,
    meanwhile: Most,
    next: u64,
}

impl Second<'_> {
    fn take(&mut self, e: AppEvent) {
        let place = self.next;
        self.next += 1;
        if e.op == AppOp::Read
            && let Some(bucket) = self.grid.bucket(self.clock.ours(e.end))
        {
            let slowest = self.slowest.entry(bucket).or_insert((place, e));
            if e.end.since(e.start) > slowest.1.end.since(slowest.1.start) {
                *slowest = (place, e);
            }
        }
        if e.op == AppOp::Write && e.len > 0 {
            let from = self.offsets.partition_point(|o| *o < e.offset);
            if self.offsets.get(from).is_some_and(|o| *o < e.offset + u64::from(e.len)) {
                self.written.insert(place, e);
            }
        }
        let (start, end) = (self.clock.ours(e.start), self.clock.ours(e.end));
        let length = self.overlap(start, end);
        if length > Ns::ZERO {
            self.meanwhile.take(length, place, e);
        }
    }

    /// How much of this time the other end waited.
    fn overlap(&self, start: Ts, end: Ts) -> Ns {
        let from = self.waits.partition_point(|w| w.end <= start);
        let during = self.waits.get(from..).unwrap_or_default().iter().take_while(|w| w.start < end);
        during.map(|w| w.end.min(end).since(w.start.max(start))).sum()
    }
}
