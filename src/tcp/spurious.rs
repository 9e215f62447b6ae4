//! Retransmissions that were not needed, with their proof. Needs look-ahead: a later ACK labels the
//! earlier segment.

use super::classify::Half;
use super::score::Score;
use crate::flow::{Packet, Trace, Twin};
use crate::model::tcp::{Cause, SegmentClass, Spurious, SpuriousProof};
use crate::model::{Dir, FrameNo, RelSeq, StreamRange};
use std::collections::BTreeSet;

/// Labels the spurious retransmissions of one direction.
pub fn label(trace: &Trace, half: &mut Half, dir: Dir) {
    if !half.repeats() {
        return;
    }
    let mut score = Score::default();
    let mut next = 0; // first record that has not been sent yet
    // Retransmissions that no ACK has covered yet, by their ends.
    let mut undecided: BTreeSet<(RelSeq, usize)> = BTreeSet::new();
    let mut nxt = RelSeq(0);
    for (packets, run) in trace.pieces(trace.upto[dir]) {
        if let Some(r) = run {
            if r.sender != dir {
                continue;
            }
            let records = half.records_of(&packets);
            if undecided.is_empty()
                && score.can_pass(r)
                && half.are_plain(records.clone())
                && next == records.start
            {
                score.pass(r, &trace.packets[r.last_ack]);
                next = records.end;
                nxt = nxt.max(r.data.end);
                continue;
            }
        }
        for i in packets {
            let p = &trace.packets[i];
            if p.dir == dir {
                while next < half.records.len() && half.packets[next] <= i {
                    let r = half.records[next];
                    if r.class == SegmentClass::Retransmission && !r.range().is_empty() {
                        for part in score.parts(r.range()) {
                            half.needless.entry(next as u32).or_default().insert(part);
                        }
                        if !r.syn && score.has(r.range()) {
                            let proof = Spurious { proof: SpuriousProof::AlreadyAcked, frame: None };
                            half.records[next].spurious.get_or_insert(proof);
                        } else {
                            undecided.insert((r.range().end, next));
                        }
                    }
                    next += 1;
                }
                nxt = nxt.max(p.range().end);
                continue;
            }
            if matches!(p.twin, Twin::Capture(_)) {
                continue;
            }
            score.take(p, nxt);
            let mut covered = Vec::new();
            while let Some((_, k)) =
                undecided.first().copied().filter(|u| score.una.is_some_and(|una| una >= u.0))
            {
                undecided.pop_first();
                covered.push(k);
            }
            eifel(trace, half, &covered, p);
            if let Some(twice) = p.dsack().and_then(|d| duplicate_reported(half, d, next, p.frame)) {
                came_with(half, &covered, twice, p.frame);
            }
        }
    }
}

/// One ACK for a timer's resend and, by its DSACK, for a needless one that was sent later: the path held both up, with
/// all before, and the receiver answered them together (Linux's `tcp_backlog_ack_defer`). A DSACK of the first one was
/// overwritten by that of the second, and the echo is that of a copy that came within the delayed ACK of its original:
/// nothing says that this one repaired a loss.
fn came_with(half: &mut Half, covered: &[usize], twice: usize, ack: FrameNo) {
    for &k in covered.iter().filter(|&&k| k < twice) {
        let r = &mut half.records[k];
        if matches!(r.cause, Some(Cause::Tlp | Cause::Rto | Cause::Unknown)) {
            r.spurious.get_or_insert(Spurious { proof: SpuriousProof::Together, frame: Some(ack) });
        }
    }
}

/// Eifel (RFC 3522): the first ACK that covers a resend echoes an older time stamp. One ACK for several echoes the
/// one that it waited for (RFC 7323 §4.3), so only a stamp older than all of them tells.
fn eifel(trace: &Trace, half: &mut Half, covered: &[usize], ack: &Packet) {
    let Some((_, ecr)) = ack.timestamps.filter(|t| t.1 != 0) else { return };
    let older = |k: &usize| {
        let sent = trace.packets[half.packets[*k]].timestamps;
        sent.is_some_and(|(val, _)| (ecr.wrapping_sub(val) as i32) < 0)
    };
    if !covered.iter().all(older) {
        return;
    }
    for &k in covered {
        if half.records[k].len > 0 {
            let proof = Spurious { proof: SpuriousProof::Eifel, frame: Some(ack.frame) };
            half.records[k].spurious.get_or_insert(proof);
        }
    }
}

/// A DSACK names bytes that arrived twice (RFC 2883). It may answer a probe or a copy that the
/// network made; only what was really sent again, and has no such excuse, is labelled – once all of
/// it has been reported: a resend may repair one half and repeat the other. Returns what is needless by now.
fn duplicate_reported(half: &mut Half, d: StreamRange, sent: usize, frame: FrameNo) -> Option<usize> {
    let explains = |k: &usize| {
        let r = &half.records[*k];
        let same_byte = r.len <= 1 && d.len() <= 1 && r.seq == d.start;
        let answered = matches!(
            r.class,
            SegmentClass::NetworkDuplicate
                | SegmentClass::KeepAlive
                | SegmentClass::WindowProbe
                | SegmentClass::Retransmission
                | SegmentClass::Undecided
        );
        answered && (same_byte || r.range().overlaps(d))
    };
    // The newest resend explains the report, whether labelled before or not.
    let k = (0..sent).rev().take(4096).find(explains)?;
    let r = &mut half.records[k];
    match r.class {
        SegmentClass::Retransmission => {}
        // Its first copy went by before the capture began.
        SegmentClass::Undecided => return Some(k),
        _ => return None,
    }
    if r.spurious.is_none() {
        let bytes = StreamRange::new(r.seq, r.seq.plus(i64::from(r.len)));
        let twice = half.needless.entry(k as u32).or_default();
        twice.insert(d);
        if !twice.covers(bytes) {
            return None;
        }
        r.spurious = Some(Spurious { proof: SpuriousProof::Dsack, frame: Some(frame) });
    }
    Some(k)
}
