//! Which bytes were lost, where seen from the tap, and which frame repaired them.

use super::acks::Word;
use super::classify::Half;
use super::rtt::RTO_MIN;
use crate::flow::Trace;
use crate::model::tcp::{Cause, Loss, LossWhere, SegmentClass, SegmentRecord, Tap, TapPosition};
use crate::model::{Dir, FlowId, RelSeq, StreamRange};
use std::collections::HashSet;

/// Losses of one direction, in order of bytes.
pub fn find(trace: &Trace, half: &Half, word: &Word, dir: Dir, tap: &Tap) -> Vec<Loss> {
    let flow = trace.known.flow;
    let damaged = damaged(trace, half, dir);
    let mut out: Vec<Loss> = Vec::new();
    let mut push = |l: Loss| {
        // Neighbouring intervals of one segment belong together.
        if let Some(last) = out.iter_mut().rev().take(8).find(|o| {
            o.range.end == l.range.start
                && (o.sent_frame, o.repair_frame, o.location) == (l.sent_frame, l.repair_frame, l.location)
                && (l.sent_frame.is_some() || l.repair_frame.is_some())
        }) {
            last.range.end = l.range.end;
        } else {
            out.push(l);
        }
    };
    // At the receiver's own tap, what was seen and had to be sent again was lost inside that host.
    let receiving = match dir {
        Dir::C2s => TapPosition::ServerHost,
        Dir::S2c => TapPosition::ClientHost,
    };
    let seen_then_lost =
        if tap.position == receiving { LossWhere::ReceivingHost } else { LossWhere::Downstream };

    for (range, carried) in doubted(half).into_iter().flat_map(|r| half.coverage.over(r)) {
        let first = &half.records[carried.first as usize];
        if carried.again.is_empty() && first.class != SegmentClass::Retransmission {
            continue;
        }
        // In the order of sending: a late original was sent before what overtook it.
        let mut copies: Vec<usize> = carried.records().map(|i| i as usize).collect();
        copies.sort_by_key(|&i| half.records[i].class != SegmentClass::Reordered);
        let delivered_known = word.score.has(range);
        let needless = |i: usize| {
            half.needless.get(&(i as u32)).is_some_and(|s| s.covers(range))
                || answers_a_copy(first, &half.records[i])
        };
        let spurious = copies.iter().position(|&i| half.records[i].spurious.is_some() || needless(i));
        let delivered = match spurious {
            // A resend was not needed, so something before it arrived. Where a SACK or duplicate ACKs
            // called for the first resend, the original was missing; where a timer did, it was not.
            Some(s) if copies.get(1).is_some_and(|&i| timer_sent(&half.records[i])) => {
                s.min(1).saturating_sub(1)
            }
            Some(s) => s.saturating_sub(1),
            None => copies.len() - 1,
        };
        let got_through = delivered_known.then(|| &half.records[copies[delivered]]);
        if half.records[copies[0]].class == SegmentClass::Retransmission && spurious != Some(0) {
            push(Loss {
                input: 0,
                flow,
                dir,
                range,
                sent: None,
                sent_frame: None,
                repaired: Some(half.records[copies[0]].ts),
                repair_frame: Some(half.records[copies[0]].frame),
                location: LossWhere::Upstream,
            });
        }
        for &lost in &copies[..delivered] {
            let broken = damaged.contains(&lost);
            let lost = &half.records[lost];
            push(Loss {
                input: 0,
                flow,
                dir,
                range,
                sent: Some(lost.ts),
                sent_frame: Some(lost.frame),
                repaired: got_through.map(|r| r.ts),
                repair_frame: got_through.map(|r| r.frame),
                location: match (broken, beyond_window(trace, word, lost)) {
                    (true, _) => LossWhere::Upstream,
                    (_, true) => LossWhere::ReceivingHost,
                    _ => seen_then_lost,
                },
            });
        }
    }
    for &range in &word.unseen {
        push(missed_by_capture(flow, dir, range));
    }
    out
}

/// Where bytes may have been carried twice, or again, in order and disjoint. An interval of which that is so lies wholly
/// inside a record that was noted.
fn doubted(half: &Half) -> Vec<StreamRange> {
    let mut all: Vec<StreamRange> = half.noted().map(|(_, r)| r.range()).filter(|r| !r.is_empty()).collect();
    all.sort_unstable();
    let mut out: Vec<StreamRange> = Vec::with_capacity(all.len());
    for r in all {
        match out.last_mut() {
            Some(last) if r.start <= last.end => last.end = last.end.max(r.end),
            _ => out.push(r),
        }
    }
    out
}

/// A SYN-ACK sent again sooner than by any timer: the path doubled the SYN that it answers (RFC 9293 §3.10.7.4), and
/// nothing was lost.
pub fn answers_a_copy(first: &SegmentRecord, again: &SegmentRecord) -> bool {
    again.syn && again.dir == Dir::S2c && first.frame != again.frame && again.ts.since(first.ts) < RTO_MIN
}

/// Records whose checksum is wrong although this sender's usually are right: broken on their way to the tap,
/// and dropped by whoever checks next.
fn damaged(trace: &Trace, half: &Half, dir: Dir) -> HashSet<usize> {
    if !trace.damage[dir] {
        return HashSet::new();
    }
    let bad = |i: usize| trace.packets[half.packets[i]].checksum_ok == Some(false);
    (0..half.records.len()).filter(|&i| bad(i)).collect()
}

/// Packets after one that are looked through for the next ACK.
const LOOKED_THROUGH: usize = 256;

/// It reached past what the receiver had granted: the receiver may drop it, and says so at once (RFC 9293 §3.10.7.4). A
/// capture may lack the ACK that granted more; the next one shows that.
fn beyond_window(trace: &Trace, word: &Word, sent: &SegmentRecord) -> bool {
    let edge = |ack: RelSeq, window: u64| Some(ack.plus(i64::try_from(window).ok()?));
    let known = word.points.partition_point(|p| p.ts <= sent.ts);
    let granted = word.points[..known].iter().rev().take(64).filter_map(|p| edge(p.ack, p.window?)).max();
    if granted.is_none_or(|edge| sent.range().end <= edge) {
        return false;
    }
    let after = trace.packets.partition_point(|p| p.frame <= sent.frame);
    let mut soon = trace.packets[after..].iter().take(LOOKED_THROUGH);
    let next = soon.find(|p| p.dir != sent.dir && p.ack.is_some());
    next.and_then(|p| edge(p.ack?, p.window?)).is_none_or(|edge| sent.range().end > edge)
}

fn timer_sent(r: &SegmentRecord) -> bool {
    matches!(r.cause, Some(Cause::Tlp | Cause::Rto))
}

fn missed_by_capture(flow: FlowId, dir: Dir, range: StreamRange) -> Loss {
    Loss {
        input: 0,
        flow,
        dir,
        range,
        sent: None,
        sent_frame: None,
        repaired: None,
        repair_frame: None,
        location: LossWhere::Capture,
    }
}
