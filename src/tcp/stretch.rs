//! The order of the passes over one stretch of a connection.

use super::acks::{self, Word};
use super::classify::{self, Half};
use super::ranges::any_overlap;
use super::stall::{self, Context};
use super::{RttSample, cause, loss, rtt, spurious};
use crate::flow::hygiene::{self, IdOrder};
use crate::flow::{Packet, Trace, tap};
use crate::model::tcp::{Hole, Loss, Owner, Stall, StallCause, StallDetail, Tap};
use crate::model::{Dir, Ns, PerDir, StreamRange, Ts};

/// A stretch of one connection, analysed, with the packets before and after it that this took.
pub(super) struct Stretch {
    pub trace: Trace,
    pub tap: Tap,
    /// Lowest round trip from the tap to each direction's receiver, up to here.
    pub lowest: PerDir<Option<Ns>>,
    pub halves: PerDir<Half>,
    pub words: PerDir<Word>,
    pub rtt: PerDir<Vec<RttSample>>,
    pub losses: Vec<Loss>,
    pub holes: Vec<Hole>,
    pub stalls: Vec<Stall>,
    /// How the connection ended, as far as this stretch shows: `fin`, `reset`, `open`.
    pub ended: &'static str,
}

impl Stretch {
    /// Runs all passes. `lowest_before`: lowest round trips before these packets. `capture_end`: time stamp of the capture's last frame, of
    /// whatever connection, where this is the connection's last stretch: a wait that is open then is a stall, too.
    pub fn new(mut trace: Trace, lowest_before: PerDir<Option<Ns>>, capture_end: Option<Ts>) -> Stretch {
        let order = IdOrder::learn(&trace);
        hygiene::mark_twins(&mut trace, &order);
        trace.find_ends();

        let rtt = both(|d| rtt::samples(&trace, d));
        let here = |d: Dir| rtt[d].iter().map(|s| s.rtt).filter(|r| r.0 > 0);
        let lowest = both(|d| here(d).chain(lowest_before[d]).min());
        let tap = tap::locate(&trace, lowest);
        // The sender of `d` is the receiver of the other direction.
        let sender_rtt = both(|d| lowest[d.flip()]);

        let mut halves = both(|d| classify::classify(&trace, &order, d, lowest));
        let words = both(|d| acks::listen(&trace, &halves[d], d, lowest[d]));
        for d in Dir::BOTH {
            cause::assign(&trace, &mut halves[d], d, sender_rtt[d], &rtt[d]);
            spurious::label(&trace, &mut halves[d], d);
        }

        let end = Ending::of(&trace, capture_end.is_some());
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

        let mut stalls = Vec::new();
        {
            let cx = Context {
                trace: &trace,
                mss: both(|d| trace.segment_size(d)),
                closings: both(|d| stall::closings(&halves[d])),
                goodbye: both(|d| halves[d].noted().filter(|(_, r)| r.fin).map(|(_, r)| r.ts).min()),
                keep_alives: stall::keep_alives(&halves),
                needed: both(|d| stall::Needed::of(&halves[d])),
                halves: &halves,
                words: &words,
                rtt: &rtt,
                lowest_before,
                sender_rtt,
                sent: PerDir::default(),
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
        let ended = end.word;
        Stretch { trace, tap, lowest, halves, words, rtt, losses, holes, stalls, ended }
    }
}

pub(super) fn both<T>(mut f: impl FnMut(Dir) -> T) -> PerDir<T> {
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
    /// `last`: nothing of the connection comes after this stretch.
    fn of(trace: &'a Trace, last: bool) -> Ending<'a> {
        let fin = trace.known.fin;
        // A reset is obeyed only if it is acceptable (RFC 9293 §3.10.7.3, RFC 5961 §3); what its receiver
        // sends afterwards shows whether it was.
        let newest =
            both(|d| trace.told(d).iter().rposition(|p| p.dir == d && p.carries() && !p.flags.rst()));
        let obeyed = |i: usize, rst: &Packet| newest[rst.dir.flip()].is_none_or(|l| l <= i);
        let reset = trace
            .packets
            .iter()
            .enumerate()
            .filter(|_| last)
            .find(|(i, p)| p.flags.rst() && obeyed(*i, p))
            .map(|(_, p)| p);
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
            flow: trace.known.flow,
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
