//! Ranges of a stream, looked up by the bytes that they hold.

use super::{RelSeq, StreamRange};

/// Ranges that may overlap, by their bytes; each has a number.
#[derive(Clone, Debug, Default)]
pub struct ByByte {
    /// By first byte.
    all: Vec<(StreamRange, usize)>,
    longest: i64,
}

impl ByByte {
    /// Indexes a list; the number of a range is its place in it.
    pub fn new(ranges: impl Iterator<Item = StreamRange>) -> ByByte {
        ByByte::numbered(ranges.enumerate().map(|(i, r)| (r, i)))
    }

    /// Indexes ranges that have numbers of their own.
    pub fn numbered(ranges: impl Iterator<Item = (StreamRange, usize)>) -> ByByte {
        let mut all: Vec<(StreamRange, usize)> = ranges.collect();
        // Mostly in order already.
        all.sort();
        let longest = all.iter().map(|(r, _)| i64::try_from(r.len()).unwrap_or(i64::MAX)).max().unwrap_or(0);
        ByByte { all, longest }
    }

    /// Those that share a byte with `r`.
    pub fn overlapping(&self, r: StreamRange) -> impl Iterator<Item = usize> + '_ {
        let upto = self.all.partition_point(|(s, _)| s.start < r.end);
        let near = self.all[..upto].iter().rev();
        near.take_while(move |(s, _)| s.start.plus(self.longest) > r.start)
            .filter(move |(s, _)| s.overlaps(r))
            .map(|(_, i)| *i)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that hold byte `x`.
    pub fn over(&self, x: RelSeq) -> impl Iterator<Item = usize> + '_ {
        self.overlapping(StreamRange::new(x, x.plus(1)))
    }
}
