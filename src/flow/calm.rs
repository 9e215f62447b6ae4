//! Runs of packets in which nothing happens: one side sends data in order, the other acknowledges more and more of it.
//!
//! ```text
//! data ──┐  data  data  ACK  data  data  ACK  data  ACK │ dup ACK, SACK, resend, gap, pause, window …
//!        └── a run: every pass goes over it at once ────┘
//! ```
//!
//! Most packets of a transfer are such. That nothing happens is proved once, here; each pass then only looks whether it
//! had settled before, and takes what it counts. A packet in doubt ends the run, and is looked at by every pass.

use super::trace::{NEAR, Packet, reach_of};
use crate::decode::Segment;
use crate::model::{Dir, Ns, PerDir, RelSeq, Seq, StreamRange, Ts};
use std::ops::Range;

/// Shorter runs are not worth a word.
const SHORTEST: usize = 6;
/// A longer silence may be a time-out's (`TCP_RTO_MIN` of Linux).
const SILENCE: Ns = Ns::from_millis(200);

/// A run. All of its data are in order and longer than a byte, each ACK is without data and advances, nothing is or
/// was SACKed above it, no window is closed, and time stamps do not go backwards. The packet of the sender before it is
/// such data, too, with the same acknowledgment and window.
#[derive(Clone, Debug)]
pub struct Run {
    /// Who sends the data.
    pub sender: Dir,
    /// Its packets.
    pub packets: Range<usize>,
    /// Its data.
    pub data: StreamRange,
    /// How many packets carry them.
    pub segments: usize,
    /// Longest payload.
    pub largest: u32,
    /// Next number expected by the receiver before the run.
    pub una: RelSeq,
    /// The same behind it.
    pub acked: RelSeq,
    /// The first packet of the receiver.
    pub first_ack: usize,
    /// The last one.
    pub last_ack: usize,
    /// The last packet of the sender.
    pub last_data: usize,
    /// One past the highest number sent when the last ACK came.
    pub nxt_at_ack: RelSeq,
    /// Longest time from one ACK to the next, or from the last one to the end.
    pub longest: Ns,
    /// What the IP IDs of each side do, from its packet before the run on.
    pub ids: PerDir<Ids>,
}

impl Run {
    /// Takes packet `i`, the next of it, which `dir` sent after having sent `before`: where it ends, and what it
    /// acknowledges.
    #[inline]
    fn grow(&mut self, i: usize, before: &Side, dir: Dir, (end, ack): (RelSeq, RelSeq), s: &Segment) {
        if dir == self.sender {
            self.data.end = end;
            self.segments += 1;
            self.largest = self.largest.max(s.len);
            self.last_data = i;
        } else {
            if self.first_ack == usize::MAX {
                self.first_ack = i;
            } else {
                self.longest = self.longest.max(s.ts.since(before.ts));
            }
            self.last_ack = i;
            self.nxt_at_ack = self.data.end;
            self.acked = ack;
        }
        self.packets.end = i + 1;
        let ids = &mut self.ids[dir];
        if *ids != Ids::Other {
            *ids = ids.and(before.ip_id, s.ip_id);
        }
    }

    /// Packets of the receiver.
    pub fn acks(&self) -> usize {
        self.packets.len() - self.segments
    }
}

/// IP IDs of one side within a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// No packet so far.
    #[default]
    Unknown,
    /// There are none, or all are zero.
    Absent,
    /// Each is one more than the one before, and none is zero.
    ByOne,
    /// Anything else.
    Other,
}

impl Ids {
    fn and(self, before: Option<u16>, id: Option<u16>) -> Ids {
        let step = match (before.filter(|&b| b != 0), id.filter(|&i| i != 0)) {
            (None, None) => Ids::Absent,
            (Some(b), Some(i)) if i == b.wrapping_add(1) => Ids::ByOne,
            _ => Ids::Other,
        };
        if self == Ids::Unknown || self == step { step } else { Ids::Other }
    }
}

/// What one side has sent so far.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// One past its highest number.
    nxt: Option<RelSeq>,
    /// The highest acknowledgment of it.
    una: Option<RelSeq>,
    /// Up to here something was out of order or SACKed.
    unsettled: RelSeq,
    /// Acknowledgment, window, IP ID and time of its newest packet.
    ack: Option<RelSeq>,
    raw_window: u16,
    ip_id: Option<u16>,
    ts: Ts,
}

impl Side {
    fn is_settled(&self) -> bool {
        self.una.is_some_and(|u| u >= self.unsettled)
    }
}

/// Finds runs while packets are numbered.
#[derive(Debug, Default)]
pub(super) struct Finder {
    sides: PerDir<Side>,
    newest: Option<Ts>,
    now: Option<Run>,
    runs: Vec<Run>,
    /// None is wanted.
    off: bool,
}

/// What a segment of a run is numbered and scaled by, of its sender and of the other side.
pub(super) struct Scale {
    /// Raw sequence number that relative 0 stands for.
    pub isn: (Seq, Seq),
    /// The highest number of each stream so far, and the largest window granted for it where that counts.
    pub newest: (RelSeq, RelSeq),
    pub widest: (u64, u64),
    /// Window scale of the sender; none: unknown.
    pub shift: Option<u8>,
}

impl Scale {
    #[inline]
    fn is_near(number: RelSeq, newest: RelSeq, widest: u64) -> bool {
        let behind = newest.0 - number.0;
        behind >= 0 && (behind <= i64::from(NEAR) || behind <= i64::from(reach_of(widest)))
    }
}

impl Finder {
    /// One that finds none.
    pub fn off() -> Finder {
        Finder { off: true, ..Finder::default() }
    }

    /// Adds the packet that the next segment is, where a run is open and it goes on: the same as by looking at all that
    /// might be wrong with it.
    #[inline]
    pub fn go_on(&mut self, packets: &mut Vec<Packet>, s: &Segment, dir: Dir, by: &Scale) -> bool {
        let Some(run) = &mut self.now else { return false };
        let (mine, theirs) = match dir {
            Dir::C2s => (&mut self.sides.c2s, &mut self.sides.s2c),
            Dir::S2c => (&mut self.sides.s2c, &mut self.sides.c2s),
        };
        let (Some(seq), Some(una)) = (mine.nxt, theirs.una) else { return false };
        let ahead = s.ack.diff(by.isn.1.plus(una.0 as u32));
        let plain = s.flags.0 & 0x17 == 0x10
            && s.window > 0
            && s.options.sack.is_empty()
            && s.seq == by.isn.0.plus(seq.0 as u32)
            && self.newest.is_some_and(|t| s.ts >= t)
            && Scale::is_near(seq, by.newest.0, by.widest.0);
        let sends = run.sender == dir;
        let goes_on = plain
            && if sends {
                s.len > 1 && ahead == 0 && s.window == mine.raw_window && s.ts.since(mine.ts) < SILENCE
            } else {
                s.len == 0 && ahead > 0
            };
        let ack = una.plus(i64::from(ahead));
        if !goes_on || Some(ack) > theirs.nxt || !Scale::is_near(ack, by.newest.1, by.widest.1) {
            return false;
        }
        let end = seq.plus(i64::from(s.len));
        run.grow(packets.len(), mine, dir, (end, ack), s);
        let window = by.shift.map(|k| u64::from(s.window) << k.min(14));
        packets.push(Packet::of(s, dir, StreamRange { start: seq, end }, Some(ack), window));
        mine.nxt = Some(end);
        theirs.una = Some(ack);
        (mine.ack, mine.raw_window, mine.ip_id, mine.ts) = (Some(ack), s.window, s.ip_id, s.ts);
        self.newest = Some(s.ts);
        true
    }

    /// Takes packet `i`, which segment `s` is.
    #[inline]
    pub fn take(&mut self, i: usize, p: &Packet, s: &Segment) {
        let (dir, other) = (p.dir, p.dir.flip());
        let (mine, theirs) = match dir {
            Dir::C2s => (&mut self.sides.c2s, &mut self.sides.s2c),
            Dir::S2c => (&mut self.sides.s2c, &mut self.sides.c2s),
        };
        // Of FIN, SYN, RST and ACK only the last.
        let plain = p.flags.0 & 0x17 == 0x10 && s.options.sack.is_empty() && p.raw_window > 0;
        let plain = plain && mine.nxt == Some(p.seq) && self.newest.is_none_or(|t| p.ts >= t);
        let same_word = p.ack == mine.ack && p.raw_window == mine.raw_window;
        let in_order = plain && p.len > 1 && same_word && p.ack == theirs.una && theirs.una <= theirs.nxt;
        let in_order = in_order && mine.is_settled() && mine.una <= mine.nxt && p.ts.since(mine.ts) < SILENCE;
        let advances =
            plain && p.len == 0 && theirs.is_settled() && p.ack > theirs.una && p.ack <= theirs.nxt;
        let end = p.range().end;

        match &mut self.now {
            Some(run) if in_order && run.sender == dir || advances && run.sender == other => {
                run.grow(i, mine, dir, (end, p.ack.unwrap_or_default()), s);
            }
            now => {
                if let Some(run) = now.take() {
                    close(&mut self.runs, run, self.newest, theirs, mine, dir);
                }
                // The first one stands before the run.
                *now = mine.una.filter(|_| in_order && !self.off).map(|una| Run {
                    sender: dir,
                    packets: i + 1..i + 1,
                    data: StreamRange::new(end, end),
                    segments: 0,
                    largest: p.len,
                    una,
                    acked: una,
                    first_ack: usize::MAX,
                    last_ack: usize::MAX,
                    last_data: i,
                    nxt_at_ack: end,
                    longest: Ns::ZERO,
                    ids: PerDir::default(),
                });
            }
        }

        if p.seq > mine.nxt.unwrap_or(p.seq) || p.carries() && mine.nxt.is_some_and(|n| p.seq < n) {
            mine.unsettled = mine.unsettled.max(end);
        }
        for b in p.sacks() {
            theirs.unsettled = theirs.unsettled.max(b.end);
        }
        mine.nxt = mine.nxt.max(Some(end));
        theirs.una = theirs.una.max(p.ack);
        (mine.ack, mine.raw_window, mine.ip_id, mine.ts) = (p.ack, p.raw_window, p.ip_id, p.ts);
        self.newest = Some(p.ts);
    }

    /// The runs, in order.
    pub fn finish(mut self) -> Vec<Run> {
        if let Some(run) = self.now.take() {
            let (c, s) = (self.sides.c2s, self.sides.s2c);
            close(&mut self.runs, run, self.newest, &s, &c, Dir::C2s);
        }
        self.runs
    }
}

/// Keeps a run that is worth it. `newest`: time of its last packet; `mine` is what `dir` has sent, `theirs` the other.
fn close(runs: &mut Vec<Run>, mut run: Run, newest: Option<Ts>, theirs: &Side, mine: &Side, dir: Dir) {
    if run.packets.len() < SHORTEST || run.segments == 0 || run.first_ack == usize::MAX {
        return;
    }
    let receiver = if run.sender == dir { theirs } else { mine };
    let rest = newest.map_or(Ns::ZERO, |t| t.since(receiver.ts));
    run.longest = run.longest.max(rest);
    runs.push(run);
}
