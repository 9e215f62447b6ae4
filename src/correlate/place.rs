//! A log that began in mid-stream (strace attached to a process that hangs), or that gives no
//! lengths, takes its offsets from the capture at its own host.
//!
//! A read that had to wait found the buffer empty, so its first byte is the first one that had not
//! arrived when it began. Where the log's own counting fits several such reads, one shift places
//! them all; where it does not (reads that it does not show), each is placed by itself.

use super::align::{Flow, dir_of};
use super::stream::Stream;
use crate::model::{AppEvent, AppOp, Ns, RelSeq, Side};

/// Longest waits that must agree.
const WITNESSES: usize = 5;

/// Places one end's log. True when its offsets are those of the capture from now on.
pub(super) fn log(f: &mut Flow, side: Side) -> bool {
    let Some(tap) = f.tap(side) else { return false };
    let Some(log) = f.log(side).map(|l| &l.log).filter(|l| !l.offsets_known) else { return false };
    let incoming = Stream::new(tap, dir_of(side.flip()));
    let outgoing = Stream::new(tap, dir_of(side));
    let mut events = log.events.clone();
    let reads = reads(&mut events, &incoming);
    if !reads && events.iter().any(|e| e.op == AppOp::Read) {
        return false;
    }
    writes(&mut events, &outgoing);
    let view = match side {
        Side::Client => f.client_log.as_mut(),
        Side::Server => f.server_log.as_mut(),
    };
    if let Some(v) = view {
        v.log.events = events;
        v.log.offsets_known = true;
    }
    true
}

/// The byte that a read waited for, if it did.
fn awaited(e: &AppEvent, stream: &Stream<'_>) -> Option<RelSeq> {
    let next = stream.frontier_at(e.start)?;
    match stream.contiguous(next) {
        Some(came) if came.ts <= e.end => (came.ts > e.start).then_some(next),
        // it did not come in time: a read of nothing waited for it until the end
        _ => (e.len == 0).then_some(next),
    }
}

fn reads(events: &mut [AppEvent], stream: &Stream<'_>) -> bool {
    let offset = |x: RelSeq| u64::try_from(x.stream_offset()).ok();
    let mut waits: Vec<(Ns, u64, u64)> = events
        .iter()
        .filter(|e| e.op == AppOp::Read)
        .filter_map(|e| Some((e.end.since(e.start), e.offset, offset(awaited(e, stream)?)?)))
        .collect();
    waits.sort_by_key(|w| std::cmp::Reverse(w.0));
    let Some(&(_, listed, real)) = waits.first() else { return false };
    let by = real.wrapping_sub(listed);
    if waits.iter().take(WITNESSES).all(|w| w.2.wrapping_sub(w.1) == by) {
        shift(events, AppOp::Read, by);
        return true;
    }
    let mut next = 0;
    for e in events.iter_mut().filter(|e| e.op == AppOp::Read) {
        e.offset = awaited(e, stream).and_then(offset).unwrap_or(next);
        next = e.offset.saturating_add(u64::from(e.len));
    }
    true
}

/// A write's first byte is the next one to be sent, if it leaves while the call lasts or right after.
fn writes(events: &mut [AppEvent], stream: &Stream<'_>) {
    /// What the host needs from the call to the tap.
    const OWN_HOST: Ns = Ns::from_millis(2);
    let mut shifts = events.iter().filter(|e| e.op == AppOp::Write && e.len > 0).filter_map(|e| {
        let next = stream.frontier_at(e.start)?;
        let left = stream.contiguous(next)?;
        let now = left.ts > e.start && left.ts <= e.end + OWN_HOST;
        now.then(|| u64::try_from(next.stream_offset()).ok())
            .flatten()
            .map(|real| real.wrapping_sub(e.offset))
    });
    let first = shifts.next();
    let agreed = first.filter(|f| shifts.take(WITNESSES).all(|s| s == *f));
    match agreed {
        Some(by) => shift(events, AppOp::Write, by),
        // without a place, a write tells when its process was busy writing, and nothing of bytes
        None => events.iter_mut().filter(|e| e.op == AppOp::Write).for_each(|e| e.len = 0),
    }
}

fn shift(events: &mut [AppEvent], op: AppOp, by: u64) {
    for e in events.iter_mut().filter(|e| e.op == op) {
        e.offset = e.offset.wrapping_add(by);
    }
}
