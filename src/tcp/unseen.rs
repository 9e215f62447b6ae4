//! Copies that died before the tap, told by their sender's own count of packets (its IP IDs).
//!
//! A tap near the receiver never sees the first copies of a lost flight. What comes by after the
//! time-out follows the old bytes without a gap and looks like new data after a pause:
//!
//! ```text
//! sent  17:A 18:B 19:C  (lost)   20:C (TLP, lost)   21:A (RTO)   22:B  23:C   24:D new
//! seen  16:…                                        21:A         22:B  23:C   24:D
//! ```
//! Four IDs are missing before 21. One or two of them were the timer's own copies, so at least two
//! segments of the flight are sent again from 21 on, and at most four.

use super::rtt::RTO_MIN;
use crate::flow::Packet;
use crate::model::tcp::{Cause, SegmentClass};
use crate::model::{Ns, RelSeq, StreamRange, Ts};
use std::collections::VecDeque;

/// Segments whose sizes tell how many packets an unseen piece took.
const RECENT: usize = 16;
/// Payload that every path takes (RFC 791 §3.1, less headers with options).
const SHORTEST_MTU: u32 = 500;
/// So many segments may belong to a flight that nobody counted.
const FLIGHT: u32 = 64;
/// A receiver may hold its ACK for so long (Linux), and the go-back is clocked by ACKs.
pub const DELAYED_ACK: Ns = Ns::from_millis(50);

/// Packets of one direction that were sent and did not come by.
#[derive(Debug)]
pub struct Unseen {
    mss: u32,
    /// Payload sizes of the newest segments.
    sizes: VecDeque<u32>,
    again: Option<GoBack>,
    /// So many packets that began at this number died, and their resends have not come yet.
    ahead: Option<(RelSeq, u32)>,
    /// The same, or they were resends. What came before them came by at this time.
    doubt: Option<(RelSeq, u32, Ts)>,
}

/// A sender that repeats, in order, what the tap never saw.
#[derive(Debug)]
struct GoBack {
    /// Packets that are certainly still to be repeated.
    sure: u32,
    /// Packets that may be.
    most: u32,
    /// Its newest segment.
    last: Ts,
    /// Records between the two bounds.
    doubtful: Vec<u32>,
    /// The time-out itself is proven.
    proven: bool,
    /// New data followed without a pause.
    over: bool,
    /// It reaches up to here, however many packets that takes.
    until: Option<RelSeq>,
    /// What made the sender repeat, where the count tells.
    cause: Option<Cause>,
}

impl GoBack {
    fn begins(sure: u32, most: u32, at: Ts) -> GoBack {
        GoBack {
            sure,
            most,
            last: at,
            doubtful: Vec::new(),
            proven: true,
            over: false,
            until: None,
            cause: None,
        }
    }
}

/// To where `missing` packets reached that died at the start of `data`, if they were too long for the path and
/// are repeated in shorter segments (RFC 1191 §6.4). Their ends still show:
///
/// ```text
/// lost   1448        1448        1448        three packets
/// again  1248   200  1248   1248   400       two runs that end short, of one packet and of two
/// ```
pub fn cut_shorter<'a>(
    data: impl Iterator<Item = &'a Packet> + Clone,
    mss: u32,
    missing: u32,
) -> Option<RelSeq> {
    let cut =
        data.clone().take(FLIGHT as usize).map(|p| p.len).max().filter(|&l| l < mss && l >= SHORTEST_MTU)?;
    let (mut run, mut packets) = (0, 0);
    let mut end = None;
    for p in data.take(4 * FLIGHT as usize) {
        if end.is_some_and(|e| e != p.seq) {
            return None;
        }
        end = Some(p.range().end);
        run += p.len;
        if p.len == cut {
            continue;
        }
        let whole = run.is_multiple_of(mss);
        packets += run.div_ceil(mss);
        // Only the last may have been shorter than the others, and each was longer than what passes.
        if packets > missing || !whole && packets < missing || run <= cut * run.div_ceil(mss) {
            return None;
        }
        if packets == missing {
            return end;
        }
        run = 0;
    }
    None
}

impl Unseen {
    /// `mss`: the largest segment that this direction may send.
    pub fn new(mss: u32) -> Unseen {
        Unseen {
            mss: mss.max(1),
            sizes: VecDeque::with_capacity(RECENT),
            again: None,
            ahead: None,
            doubt: None,
        }
    }

    /// The largest segment.
    pub fn mss(&self) -> u32 {
        self.mss
    }

    /// A data segment came by.
    pub fn saw(&mut self, len: u32) {
        if len > 0 {
            if self.sizes.len() == RECENT {
                self.sizes.pop_front();
            }
            self.sizes.push_back(len.min(self.mss));
        }
    }

    /// Data segments of these lengths came by.
    pub fn saw_all(&mut self, lens: impl ExactSizeIterator<Item = u32>) {
        let skip = lens.len().saturating_sub(RECENT);
        lens.skip(skip).for_each(|l| self.saw(l));
    }

    /// Nothing is known or suspected to be missing.
    pub fn is_settled(&self) -> bool {
        self.again.is_none() && self.ahead.is_none() && self.doubt.is_none()
    }

    /// Packets that one segment took on the wire: offload joins several, each with its own ID.
    pub fn on_the_wire(&self, len: u32) -> u32 {
        len.div_ceil(self.mss).max(1)
    }

    /// Packets that so many bytes take where they are cut as the newest ones were.
    pub fn packets(&self, bytes: u64) -> u32 {
        let mut sizes: Vec<u32> = self.sizes.iter().copied().collect();
        sizes.sort_unstable();
        let usual = sizes.get(sizes.len() / 2).copied().unwrap_or(self.mss).max(1);
        u32::try_from(bytes.div_ceil(u64::from(usual))).unwrap_or(u32::MAX).max(1)
    }

    /// A time-out's resend came by, `missing` packets and a `pause` after the packet before it.
    pub fn timed_out(&mut self, missing: u32, pause: Ns, len: u32, at: Ts) {
        // The timer doubles: so many copies of the first segment fit into the pause, and a tail loss
        // probe may have gone before them (RFC 6298 §5.5, RFC 8985 §7.2).
        let fit = pause.0.max(0) / RTO_MIN.0 + 1;
        let timers = fit.checked_ilog2().unwrap_or(0);
        let done = self.packets(u64::from(len));
        let sure = missing.saturating_sub(timers).saturating_sub(done);
        let most = missing.saturating_sub(done);
        self.again = Some(GoBack::begins(sure, most, at));
    }

    /// From here to `until` packets that were too long are repeated.
    pub fn too_long(&mut self, until: RelSeq, at: Ts) {
        let cause = Some(Cause::PathMtu);
        self.again = Some(GoBack { until: Some(until), cause, ..GoBack::begins(0, 0, at) });
    }

    /// `packets` that began at `from` died and will be repeated; 0: none did.
    pub fn died_ahead(&mut self, from: RelSeq, packets: u32) {
        self.ahead = (packets > 0).then_some((from, packets));
    }

    /// `packets` died behind the newest data, which came by at `top` and ended at `from`: more new data or resends.
    pub fn maybe_died_ahead(&mut self, from: RelSeq, packets: u32, top: Ts) {
        self.doubt = (packets > 0).then_some((from, packets, top));
    }

    /// What comes next may be what died behind the newest data, if a round trip has passed since.
    fn is_doubtful(&mut self, r: StreamRange, at: Ts, rtt: Ns) -> bool {
        let Some((_, packets, top)) = self.doubt.take_if(|d| d.0 <= r.start).filter(|d| d.0 == r.start)
        else {
            return false;
        };
        let late = at.since(top) >= rtt;
        let left = packets.saturating_sub(self.packets(r.len()));
        self.doubt = (late && left > 0).then_some((r.end, left, top));
        late
    }

    /// What came by looks like a time-out's resend, without a count that proves it.
    pub fn maybe_timed_out(&mut self, at: Ts) {
        self.again = Some(GoBack { proven: false, ..GoBack::begins(0, FLIGHT, at) });
    }

    /// These bytes were sent again, too, and did not come by.
    pub fn skip(&mut self, r: StreamRange) {
        let cost = self.packets(r.len());
        if let Some(g) = self.again.as_mut() {
            g.most = g.most.saturating_sub(cost);
            g.sure = g.sure.saturating_sub(cost);
        }
    }

    /// A sender repeats what the tap never saw, or may do so.
    pub fn repeats(&self) -> bool {
        self.again.is_some()
    }

    /// A segment that is as large as any.
    pub fn is_full(&self, len: u32) -> bool {
        len >= self.mss
    }

    /// What the next segment in sequence is, and what made its sender repeat it. `quiet`: time after which a
    /// go-back would have gone on.
    pub fn next(&mut self, id: u32, r: StreamRange, at: Ts, quiet: Ns) -> (SegmentClass, Option<Cause>) {
        if let Some((_, packets)) = self.ahead.take_if(|a| a.0 <= r.start).filter(|a| a.0 == r.start) {
            // Resends that were sent later have arrived (RFC 8985 §6.2).
            let cause = Some(Cause::Fast);
            self.again = Some(GoBack { cause, ..GoBack::begins(packets, packets, at) });
        }
        let goes_back = |g: &GoBack| !g.over && at.since(g.last) <= quiet + DELAYED_ACK;
        if !self.again.as_ref().is_some_and(goes_back) {
            let doubtful = self.is_doubtful(r, at, quiet.scaled(2, 3));
            return (if doubtful { SegmentClass::Undecided } else { SegmentClass::New }, None);
        }
        let cost = self.packets(r.len());
        let Some(g) = self.again.as_mut() else { return (SegmentClass::New, None) };
        if let Some(until) = g.until {
            g.over = r.end > until;
            g.last = at;
            let class = if g.over { SegmentClass::New } else { SegmentClass::Retransmission };
            return (class, g.cause.filter(|_| !g.over));
        }
        if g.most < cost {
            // It sends on. New bytes at hand would have gone out before any repeated ones (F-RTO, RFC 5682 §3.1)
            // and left a gap: so there was nothing to repeat but what is certain.
            g.over = true;
            return (SegmentClass::New, None);
        }
        g.last = at;
        g.most -= cost;
        if g.sure >= cost {
            g.sure -= cost;
            return (SegmentClass::Retransmission, g.cause);
        }
        g.sure = 0;
        g.doubtful.push(id);
        (SegmentClass::Undecided, None)
    }

    /// Ends a go-back that paused, left a gap or went on with new data, and hands over the records that this
    /// leaves decided, with their class.
    pub fn settle(&mut self, at: Option<Ts>, quiet: Ns) -> (Vec<u32>, SegmentClass) {
        let ends = |g: &GoBack| g.over || at.is_none_or(|t| t.since(g.last) > quiet + DELAYED_ACK);
        match self.again.take_if(|g| ends(g)) {
            Some(g) if g.proven && g.over => (g.doubtful, SegmentClass::New),
            // It had nothing new to send.
            Some(g) if g.proven => (g.doubtful, SegmentClass::Retransmission),
            _ => (Vec::new(), SegmentClass::Undecided),
        }
    }

    /// The same where nothing counts the packets: a probe waits two round trips, or as long as a delayed ACK
    /// more (RFC 8985 §7.2).
    pub fn maybe_probe(&self, pause: Ns, rtt: Ns) -> SegmentClass {
        let due = pause >= rtt.scaled(3, 2) && pause <= rtt.scaled(5, 2) + RTO_MIN + DELAYED_ACK;
        if due { SegmentClass::Undecided } else { SegmentClass::New }
    }

    /// Beyond a gap and after a pause: the last segment again (a tail loss probe), or the first copy?
    /// `missing`: packets that did not come by between the two.
    pub fn beyond(&self, gap: StreamRange, missing: u32) -> SegmentClass {
        let bytes = gap.len();
        let full = bytes.div_ceil(u64::from(self.mss));
        let usual = u64::from(self.packets(bytes)).max(full);
        let smallest = u64::from(self.sizes.iter().copied().min().unwrap_or(self.mss).max(1));
        let most = bytes.div_ceil(smallest);
        let whole = bytes.is_multiple_of(u64::from(self.mss)) && usual == full;
        match u64::from(missing) {
            n if n <= usual => SegmentClass::New,
            n if n > most || whole => SegmentClass::Retransmission,
            _ => SegmentClass::Undecided,
        }
    }
}
