//! Sequence numbers: 32 bits on the wire, 64 bits once unwrapped (RFC 9293 §3.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A raw 32-bit sequence number. Deliberately not `Ord`: order exists only near a reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// Signed distance `self - other` modulo 2^32, in `-2^31 .. 2^31`.
    #[inline]
    pub fn diff(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// `self + n` modulo 2^32.
    #[must_use]
    #[inline]
    pub fn plus(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}

/// A sequence number relative to the connection's initial one and unwrapped: SYN is 0, the first
/// byte of data is 1, as Wireshark numbers them. Where the handshake was not captured, the first
/// sequence number seen is 1. Negative: before the first one seen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct RelSeq(pub i64);

impl RelSeq {
    /// The relative number that `raw` stands for, chosen nearest to `near` (±2^31).
    #[inline]
    pub fn unwrap_near(raw: Seq, isn: Seq, near: RelSeq) -> RelSeq {
        let near_raw = Seq(isn.0.wrapping_add(near.0 as u32));
        RelSeq(near.0.saturating_add(i64::from(raw.diff(near_raw))))
    }

    /// `self + n`.
    #[must_use]
    #[inline]
    pub fn plus(self, n: i64) -> RelSeq {
        RelSeq(self.0.saturating_add(n))
    }

    /// Offset of this byte in the application's stream: sequence number 1 is byte 0.
    pub fn stream_offset(self) -> i64 {
        self.0.saturating_sub(1)
    }

    /// The sequence number of an application stream offset.
    pub fn from_stream_offset(offset: u64) -> RelSeq {
        RelSeq(i64::try_from(offset).unwrap_or(i64::MAX).saturating_add(1))
    }
}

impl fmt::Display for RelSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A half-open interval of relative sequence numbers `[start, end)`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct StreamRange {
    /// First number inside.
    pub start: RelSeq,
    /// First number after.
    pub end: RelSeq,
}

impl StreamRange {
    /// An interval; `end` before `start` gives an empty one.
    #[inline]
    pub fn new(start: RelSeq, end: RelSeq) -> StreamRange {
        StreamRange { start, end: end.max(start) }
    }

    /// How many sequence numbers it holds.
    #[inline]
    pub fn len(self) -> u64 {
        self.end.0.saturating_sub(self.start.0).max(0) as u64
    }

    /// True when it holds none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// True when both share at least one number.
    #[inline]
    pub fn overlaps(self, o: StreamRange) -> bool {
        self.start < o.end && o.start < self.end
    }

    /// True when `o` lies wholly inside.
    #[inline]
    pub fn covers(self, o: StreamRange) -> bool {
        self.start <= o.start && o.end <= self.end
    }

    /// The shared part, if any.
    #[inline]
    pub fn intersect(self, o: StreamRange) -> Option<StreamRange> {
        let r = StreamRange { start: self.start.max(o.start), end: self.end.min(o.end) };
        (!r.is_empty()).then_some(r)
    }
}

/// As `start:end`, like tcpdump.
impl fmt::Display for StreamRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwrapping_crosses_zero_both_ways() {
        let isn = Seq(0xffff_fff0);
        let near = RelSeq(0x0f);
        assert_eq!(RelSeq::unwrap_near(Seq(0x0000_0005), isn, near), RelSeq(0x15));
        assert_eq!(RelSeq::unwrap_near(Seq(0xffff_fff1), isn, RelSeq(0x20)), RelSeq(1));
    }

    #[test]
    fn unwrapping_follows_streams_past_four_gigabytes() {
        let isn = Seq(7);
        let mut near = RelSeq(0);
        let mut raw = isn;
        for _ in 0..10 {
            raw = raw.plus(1 << 30);
            near = RelSeq::unwrap_near(raw, isn, near);
        }
        assert_eq!(near, RelSeq(10 << 30));
    }
}
