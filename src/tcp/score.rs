//! The sender's scoreboard as the acknowledgments build it (RFC 2018, RFC 6675): SND.UNA, what is
//! SACKed above it, and what each new ACK adds. SACK blocks accumulate: one segment carries four at
//! most, the scoreboard may have hundreds of holes.

use super::ranges::RangeSet;
use crate::flow::{Packet, Run};
use crate::model::{RelSeq, StreamRange};

/// What the receiver of one direction has confirmed so far.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Next sequence number the receiver expects; none before its first ACK.
    pub una: Option<RelSeq>,
    /// What it holds above that.
    pub sacked: RangeSet,
    /// Duplicate ACKs since the last advance.
    pub dup_acks: u32,
    last_raw_window: Option<u16>,
}

/// What one ACK added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Numbers newly acknowledged that had not been SACKed before.
    pub acked: u64,
    /// Numbers newly SACKed.
    pub sacked: u64,
    /// SND.UNA moved.
    pub advanced: bool,
    /// A duplicate ACK (RFC 5681 §2), or one with new SACK information (RFC 6675 §2).
    pub duplicate: bool,
}

impl News {
    /// Bytes arrived that the sender did not know of.
    #[inline]
    pub fn is_progress(self) -> bool {
        self.acked + self.sacked > 0
    }
}

impl Score {
    /// Takes a packet of the receiver. `nxt`: highest sequence number that the sender was seen to use.
    #[inline]
    pub fn take(&mut self, p: &Packet, nxt: RelSeq) -> News {
        let mut news = News::default();
        let Some(ack) = p.ack else { return news };
        match self.una {
            None => {
                self.una = Some(ack);
                // The first ACK of a capture that began in mid-stream tells where we are, no news.
                news.advanced = ack.0 <= 1;
                news.acked = u64::from(ack.0 == 1);
            }
            Some(una) if ack > una => {
                let more = StreamRange::new(una, ack);
                news.acked = if self.sacked.is_empty() { more.len() } else { self.moved_over(more, p) };
                news.advanced = true;
                self.una = Some(ack);
                self.dup_acks = 0;
            }
            Some(_) => {}
        }
        let una = self.una.unwrap_or(ack);
        for b in p.sacks().iter().filter(|b| b.end > una) {
            news.sacked += self.sacked.insert(StreamRange::new(b.start.max(una), b.end));
        }
        let bare = p.len == 0 && !p.flags.syn() && !p.flags.fin() && !p.flags.rst();
        if bare && ack == una && !news.advanced && nxt > una {
            let same_window = self.last_raw_window == Some(p.raw_window);
            news.duplicate = news.sacked > 0 || (same_window && p.raw_window > 0 && p.dsack().is_none());
            self.dup_acks += u32::from(news.duplicate);
        }
        self.last_raw_window = Some(p.raw_window);
        news
    }

    /// Nothing but what the run says happens in it.
    #[inline]
    pub fn can_pass(&self, run: &Run) -> bool {
        self.una == Some(run.una) && self.sacked.is_empty()
    }

    /// Takes the ACKs of a run, of which `last` is the last one.
    #[inline]
    pub fn pass(&mut self, run: &Run, last: &Packet) {
        self.reach(run.acked, last);
    }

    /// Takes ACKs of a run up to `last`, which acknowledges `ack`.
    #[inline]
    pub fn reach(&mut self, ack: RelSeq, last: &Packet) {
        self.una = Some(ack);
        self.dup_acks = 0;
        self.last_raw_window = Some(last.raw_window);
    }

    /// The ACK moves over `more`; how much of that had not been SACKed.
    fn moved_over(&mut self, more: StreamRange, p: &Packet) -> u64 {
        let acked = self.sacked.missing(more);
        self.sacked.trim_below(more.end);
        self.forget_reneged(more.end, p);
        acked
    }

    /// Whoever held these bytes would have acknowledged them now: dropped again (RFC 2018 §8).
    fn forget_reneged(&mut self, ack: RelSeq, p: &Packet) {
        let reneged = self.sacked.covers(StreamRange::new(ack, ack.plus(1)));
        if reneged && !p.sacks().iter().any(|b| b.start == ack) {
            let until = self.sacked.gaps(StreamRange::new(ack, RelSeq(i64::MAX)));
            let end = until.first().map_or(RelSeq(i64::MAX), |g| g.start);
            self.sacked.remove(StreamRange::new(ack, end));
        }
    }

    /// True when the receiver has confirmed all of `r`.
    pub fn has(&self, r: StreamRange) -> bool {
        let Some(una) = self.una else { return false };
        r.end <= una || self.sacked.covers(StreamRange::new(r.start.max(una), r.end))
    }

    /// The parts of `r` that the receiver has confirmed.
    pub fn parts(&self, r: StreamRange) -> Vec<StreamRange> {
        let below = self.una.map(|una| StreamRange::new(r.start, una.min(r.end))).filter(|b| !b.is_empty());
        below.into_iter().chain(self.sacked.within(r)).collect()
    }

    /// Bytes SACKed above `to`.
    pub fn sacked_above(&self, to: RelSeq) -> u64 {
        self.sacked.count_from(to)
    }

    /// True when something above `to` is SACKed.
    pub fn has_above(&self, to: RelSeq) -> bool {
        self.sacked.reaches_above(to)
    }

    /// One past the highest number that the receiver has confirmed.
    pub fn highest(&self) -> Option<RelSeq> {
        self.una.max(self.sacked.end())
    }
}
