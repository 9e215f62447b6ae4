//! The order of the passes, and the numbers of each direction.

use super::acks::{self, Word};
use super::classify::{self, Half};
use super::ranges::any_overlap;
use super::sent::SendClock;
use super::stall::{self, Context};
use super::{CaptureFault, Connection, PacketMark, RttSample, cause, limits, loss, rtt, spurious};
use crate::decode::Segment;
use crate::flow::hygiene::{self, IdOrder};
use crate::flow::{Incarnation, Packet, Trace, Twin, tap};
use crate::model::tcp::{HalfStats, Hole, Owner, SegmentClass, Stall, StallCause, StallDetail};
use crate::model::{Dir, FrameNo, Ns, PerDir, Span, StreamRange, Ts};
use std::collections::HashSet;

/// Analyses one connection incarnation. `capture_end`: time stamp of the capture's last frame, of
/// whatever connection; a wait that is open then is a stall, too.
pub fn analyze(inc: &Incarnation, capture_end: Ts) -> Connection {
    let mut trace = Trace::new(inc);
    let order = IdOrder::learn(&trace);
    let capture_twins = hygiene::mark_twins(&mut trace, &order);

    let rtt = both(|d| rtt::samples(&trace, d));
    let lowest = both(|d| rtt[d].iter().map(|s| s.rtt).filter(|r| r.0 > 0).min());
    let tap = tap::locate(&trace, lowest);
    // The sender of `d` is the receiver of the other direction.
    let sender_rtt = both(|d| lowest[d.flip()]);

    let mut halves = both(|d| classify::classify(&trace, &order, d, lowest));
    let words = both(|d| acks::listen(&trace, &halves[d], d));
    for d in Dir::BOTH {
        cause::assign(&trace, &mut halves[d], d, sender_rtt[d], &rtt[d]);
        spurious::label(&trace, &mut halves[d], d);
    }

    let end = Ending::of(&trace);
    let mut losses = Vec::new();
    let mut holes = Vec::new();
    for d in Dir::BOTH {
        losses.extend(loss::find(&trace, &halves[d], &words[d], d, &tap));
        // What was acknowledged without ever being seen is a hole of the capture, not of the path.
        let missed = &words[d].unseen;
        holes.extend(
            halves[d]
                .holes
                .iter()
                .filter(|h| {
                    // Without a word of the receiver an open gap is the path's or the capture's.
                    h.death.is_some() || words[d].score.una.is_some() && !any_overlap(missed, h.range)
                })
                .copied(),
        );
        holes.extend(words[d].holes.iter().copied());
    }
    // What still arrives after the reset fills no gap, and nobody waits for it.
    let over = |h: &Hole| h.death.is_none() && end.reset.is_some_and(|r| h.birth > r.ts);
    holes.retain(|h| !over(h));
    losses.sort_by_key(|l| (l.sent.or(l.repaired), l.range.start));
    holes.sort_by_key(|h| (h.birth, h.range.start));

    let acks = both(|d| words[d].points.clone());
    let mut stalls = Vec::new();
    {
        let cx = Context {
            trace: &trace,
            mss: both(|d| trace.segment_size(d)),
            closings: both(|d| stall::closings(&halves[d])),
            goodbye: both(|d| halves[d].records.iter().filter(|r| r.fin).map(|r| r.ts).min()),
            keep_alives: stall::keep_alives(&halves),
            needed: both(|d| stall::Needed::of(&halves[d])),
            halves: &halves,
            acks: &acks,
            rtt: &rtt,
            sender_rtt,
            seen: both(|d| trace.packets.iter().any(|p| p.dir == d)),
            sent: both(|d| SendClock::learn(&trace, d)),
            missed: both(|d| words[d].unseen.iter().map(|r| r.len()).sum()),
            tap: &tap,
            capture_end,
            closed: end.word == "fin",
            reset: end.reset.map(|p| p.ts),
        };
        for d in Dir::BOTH {
            stalls.extend(stall::find(&cx, d));
        }
    }
    stalls.extend(end.reset_stall(&trace, &halves, &words));
    stalls.sort_by_key(|s| (s.start, s.end.is_none()));

    let quality = faults(&trace, &halves, &words, capture_twins);
    let offsets_known = trace.syn.c2s && trace.syn.s2c;
    let stats = both(|d| HalfStats {
        limits: limits::split(&trace, &halves[d], d, &rtt[d], sender_rtt[d]),
        ..numbers(&trace, &halves[d], &words[d], &rtt[d], d)
    });
    let span = Span::new(
        trace.packets.iter().map(|p| p.ts).min().unwrap_or_default(),
        trace.packets.iter().map(|p| p.ts).max().unwrap_or_default(),
    );
    // What the file has twice went by once.
    let copies = trace.packets.iter().filter(|p| matches!(p.twin, Twin::Capture(_)));
    let copies: HashSet<FrameNo> = copies.map(|p| p.frame).collect();
    let marks = both(|d| {
        let from_client = |s: &&Segment| (s.src == inc.client) == (d == Dir::C2s);
        let once = inc.segments.iter().filter(|s| !copies.contains(&s.frame));
        once.filter(from_client).map(PacketMark::of).collect()
    });
    let mut segments: Vec<_> = halves.c2s.records.into_iter().chain(halves.s2c.records).collect();
    segments.sort_by_key(|r| r.frame);
    Connection {
        flow: inc.flow,
        client: inc.client,
        server: inc.server,
        tap,
        span,
        handshake: offsets_known,
        ended: end.word,
        irtt: rtt::handshake(&trace.packets),
        halves: stats,
        segments,
        losses,
        holes,
        stalls,
        acks,
        rtt,
        quality,
        offsets_known,
        isn: trace.isn,
        packets: marks,
    }
}

fn both<T>(mut f: impl FnMut(Dir) -> T) -> PerDir<T> {
    PerDir { c2s: f(Dir::C2s), s2c: f(Dir::S2c) }
}

/// What one end sent before its reset may overtake it, but not by more.
const STILL_ON_THE_WAY: Ns = Ns::from_millis(50);

/// How a connection ended.
struct Ending<'a> {
    word: &'static str,
    reset: Option<&'a Packet>,
}

impl<'a> Ending<'a> {
    fn of(trace: &'a Trace) -> Ending<'a> {
        let fin = both(|d| trace.packets.iter().any(|p| p.dir == d && p.flags.fin()));
        // A reset is obeyed only if it is acceptable (RFC 9293 §3.10.7.3, RFC 5961 §3); what its receiver
        // sends afterwards shows whether it was.
        let last = both(|d| trace.packets.iter().rposition(|p| p.dir == d && p.carries() && !p.flags.rst()));
        let obeyed = |i: usize, rst: &Packet| last[rst.dir.flip()].is_none_or(|l| l <= i);
        let reset =
            trace.packets.iter().enumerate().find(|(i, p)| p.flags.rst() && obeyed(*i, p)).map(|(_, p)| p);
        let word = match (reset, fin.c2s && fin.s2c) {
            (_, true) => "fin",
            (Some(_), false) => "reset",
            (None, false) => "open",
        };
        Ending { word, reset: reset.filter(|_| word == "reset") }
    }

    /// A reset that cut off bytes still on their way, or answered a SYN.
    fn reset_stall(&self, trace: &Trace, halves: &PerDir<Half>, words: &PerDir<Word>) -> Option<Stall> {
        let rst = self.reset?;
        let dir = rst.dir.flip();
        let una = words[dir].score.una.unwrap_or_default();
        let unfinished = StreamRange::new(una, halves[dir].nxt);
        // After a goodbye a reset only tidies up.
        let ending = trace.packets.iter().any(|p| p.flags.fin() && p.frame < rst.frame);
        if unfinished.is_empty() && ending {
            return None;
        }
        let others = || trace.packets.iter().filter(|p| p.dir == rst.dir && !p.flags.rst());
        let usual: Vec<u8> = others().map(|p| p.ttl).collect();
        let far = !usual.is_empty() && usual.iter().all(|t| t.abs_diff(rst.ttl) > 2);
        // Who resets has forgotten the connection. IP ID, window and options prove nothing: a host that
        // answers a stray segment writes those of no connection.
        let speaks_on = others().any(|p| p.ts > rst.ts + STILL_ON_THE_WAY && p.carries());
        let foreign = far || speaks_on;
        let refused = halves[dir].nxt.0 <= 1 && words[dir].points.len() <= 1;
        let start = trace
            .packets
            .iter()
            .take_while(|p| p.frame < rst.frame)
            .last()
            .map_or(rst.ts, |p| p.ts.min(rst.ts));
        Some(Stall {
            input: 0,
            flow: trace.flow,
            dir,
            start,
            end: Some(rst.ts),
            // The peer's program hung up or was not there; nobody on the path did.
            owner: match (foreign, refused) {
                (true, _) => Owner::Network,
                (_, true) => Owner::ReceiverHost,
                _ => Owner::ReceiverApp,
            },
            cause: StallCause::Reset,
            detail: StallDetail {
                outstanding: Some(unfinished.len()),
                range: (!unfinished.is_empty()).then_some(unfinished),
                sent_by: Some(if foreign { "middlebox" } else { "peer" }.to_owned()),
                ..StallDetail::default()
            },
            evidence: vec![rst.frame],
            confidence: if foreign || usual.is_empty() { 0.7 } else { 0.85 },
        })
    }
}

/// What this connection shows of the capture's own faults.
fn faults(trace: &Trace, halves: &PerDir<Half>, words: &PerDir<Word>, twins: u64) -> Vec<CaptureFault> {
    let mut out = Vec::new();
    let mut fault = |code, count: u64, message: String| {
        if count > 0 {
            out.push(CaptureFault { code, count, message });
        }
    };
    fault(
        "capture-duplicates",
        twins,
        format!("{twins} packets are in the file twice; the copies are not counted"),
    );
    let missed: u64 = Dir::BOTH.iter().map(|&d| words[d].unseen.iter().map(|r| r.len()).sum::<u64>()).sum();
    let intervals = Dir::BOTH.iter().map(|&d| words[d].unseen.len() as u64).sum();
    fault(
        "capture-drops",
        intervals,
        format!(
            "{missed} bytes in {intervals} places were acknowledged and never captured: the capture lost them, not the network"
        ),
    );
    // A SYN that was never answered is no fault of the capture.
    let unanswered = trace.syn.c2s && !trace.packets.iter().any(|p| p.dir == Dir::S2c);
    let whole = trace.syn.c2s && trace.syn.s2c;
    let mid = u64::from(!(whole || unanswered));
    fault(
        "no-handshake",
        mid,
        "the handshake was not captured: window scale, stream offsets and the first round trip are unknown"
            .to_owned(),
    );
    let seen = both(|d| trace.packets.iter().any(|p| p.dir == d));
    fault(
        "foreign-sacks",
        trace.foreign_sacks,
        format!(
            "{} SACK blocks name bytes outside the window: something on the path renumbers the stream and not its SACKs",
            trace.foreign_sacks
        ),
    );
    fault(
        "one-way",
        u64::from(seen.c2s != seen.s2c && !unanswered),
        "only one direction was captured".to_owned(),
    );
    fault("cut-packets", trace.cut, format!("{} TCP headers were cut by the snap length", trace.cut));
    let late = halves.c2s.after_ack + halves.s2c.after_ack;
    fault(
        "reordered-capture",
        late,
        format!("{late} segments come after their own acknowledgment: the capture's order is not the wire's"),
    );
    let large = |d: Dir| {
        let mss = trace.mss[d.flip()].map_or(1460, u32::from).max(536);
        trace.packets.iter().filter(|p| p.dir == d && p.len > mss).count() as u64
    };
    let oversize = large(Dir::C2s) + large(Dir::S2c);
    fault(
        "offload",
        oversize,
        format!(
            "{oversize} segments are larger than the wire carries (TSO, GSO or GRO): bytes count here, not packets"
        ),
    );
    out
}

fn numbers(trace: &Trace, half: &Half, word: &Word, samples: &[RttSample], dir: Dir) -> HalfStats {
    let mss = u64::from(trace.segment_size(dir).max(1));
    let mut resent = 0;
    let mut resent_mss = 0;
    for r in half.records.iter().filter(|r| r.class == SegmentClass::Retransmission) {
        resent += u64::from(r.len);
        resent_mss += u64::from(r.len).div_ceil(mss).max(1);
    }
    let mut rtts: Vec<Ns> = samples.iter().map(|s| s.rtt).collect();
    rtts.sort_unstable();
    let windows = || word.points.iter().skip(1).filter_map(|p| p.window);
    let controls = half.records.iter().filter(|r| r.syn || r.fin);
    let control_numbers: u64 =
        u64::from(controls.clone().any(|r| r.syn)) + u64::from(controls.clone().any(|r| r.fin));
    let carried: u64 = half.coverage.iter().map(|(r, _)| r.len()).sum();
    HalfStats {
        packets: trace.packets.iter().filter(|p| p.dir == dir && !matches!(p.twin, Twin::Capture(_))).count()
            as u64,
        bytes: carried.saturating_sub(control_numbers),
        bytes_resent: resent,
        resent_mss,
        mss: trace.mss[dir.flip()],
        wscale: trace.wscale[dir],
        sack: trace.sack_permitted[dir],
        timestamps: Some(trace.packets.iter().any(|p| p.dir == dir && p.timestamps.is_some())),
        rtt_min: rtts.first().copied(),
        rtt_p50: rtt::quantile(&rtts, 0.5),
        rtt_p99: rtt::quantile(&rtts, 0.99),
        window_min: windows().min(),
        window_max: windows().max(),
        zero_windows: word.zero_windows,
        dup_acks: word.dup_acks,
        limits: None,
    }
}
