//! Sets and maps of byte intervals: the arithmetic under the scoreboard. Never “same sequence
//! number, same length”: offload and resegmentation cut the same bytes differently.

use crate::model::{RelSeq, StreamRange};
use std::collections::BTreeMap;

/// A set of sequence numbers, kept as disjoint, non-adjacent intervals. The highest one lies beside the tree: mostly it
/// is the only one, or the one that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    top: Option<StreamRange>,
    /// Those below, by their starts; empty where there is no `top`.
    low: BTreeMap<RelSeq, RelSeq>,
    /// How many numbers are in it.
    total: u64,
}

impl RangeSet {
    /// Adds an interval; returns how many numbers were not in it before.
    pub fn insert(&mut self, r: StreamRange) -> u64 {
        if r.is_empty() {
            return 0;
        }
        let Some(top) = &mut self.top else {
            (self.top, self.total) = (Some(r), r.len());
            return r.len();
        };
        if r.start >= top.start {
            // Most ACKs repeat blocks, or let the last one grow.
            if r.end <= top.end {
                return 0;
            }
            let fresh = if r.start <= top.end {
                let grown = StreamRange::new(top.end, r.end);
                top.end = r.end;
                grown
            } else {
                let before = std::mem::replace(top, r);
                self.low.insert(before.start, before.end);
                r
            };
            self.total += fresh.len();
            return fresh.len();
        }
        let (mut start, mut end) = (r.start, r.end);
        let mut had = 0;
        if let Some((&s, &e)) = self.low.range(..=start).next_back().filter(|(_, e)| **e >= start) {
            if e >= end {
                return 0;
            }
            had += StreamRange::new(start, e).len();
            start = s;
            self.low.remove(&s);
        }
        while let Some((&s, &e)) = self.low.range(start..=end).next() {
            had += r.intersect(StreamRange::new(s, e)).map_or(0, StreamRange::len);
            end = end.max(e);
            self.low.remove(&s);
        }
        if end >= top.start {
            had += r.intersect(*top).map_or(0, StreamRange::len);
            *top = StreamRange::new(start, end.max(top.end));
        } else {
            self.low.insert(start, end);
        }
        self.total += r.len() - had;
        r.len() - had
    }

    /// Takes an interval out.
    pub fn remove(&mut self, r: StreamRange) {
        let Some(top) = self.top.take_if(|_| !r.is_empty()) else { return };
        let all = &mut self.low;
        all.insert(top.start, top.end);
        if let Some((&s, &e)) = all.range(..r.start).next_back().filter(|(_, e)| **e > r.start) {
            all.insert(s, r.start);
            self.total -= StreamRange::new(r.start, e.min(r.end)).len();
            if e > r.end {
                all.insert(r.end, e);
            }
        }
        while let Some((&s, &e)) = all.range(r.start..r.end).next() {
            all.remove(&s);
            self.total -= StreamRange::new(s, e.min(r.end)).len();
            if e > r.end {
                all.insert(r.end, e);
            }
        }
        self.top = all.pop_last().map(|(s, e)| StreamRange::new(s, e));
    }

    /// Forgets everything below `to`.
    pub fn trim_below(&mut self, to: RelSeq) {
        let Some(top) = &mut self.top else { return };
        if to >= top.end {
            *self = RangeSet::default();
            return;
        }
        while let Some((&s, &e)) = self.low.first_key_value().filter(|(s, _)| **s < to) {
            self.low.remove(&s);
            self.total -= StreamRange::new(s, e.min(to)).len();
            if e > to {
                self.low.insert(to, e);
            }
        }
        if to > top.start {
            self.total -= StreamRange::new(top.start, to).len();
            top.start = to;
        }
    }

    /// The intervals that may share a number with `r`, in order, and perhaps one before them.
    fn near(&self, r: StreamRange) -> impl Iterator<Item = StreamRange> + '_ {
        let tree = (!self.low.is_empty()).then(|| {
            let before = self.low.range(..r.start).next_back();
            before.into_iter().chain(self.low.range(r.start..r.end))
        });
        let low = tree.into_iter().flatten().map(|(&s, &e)| StreamRange::new(s, e));
        low.chain(self.top.filter(|t| t.start < r.end))
    }

    /// How many numbers of `r` are not in it.
    pub fn missing(&self, r: StreamRange) -> u64 {
        r.len() - self.near(r).filter_map(|i| i.intersect(r)).map(StreamRange::len).sum::<u64>()
    }

    /// True when the whole interval is in it.
    #[inline]
    pub fn covers(&self, r: StreamRange) -> bool {
        let inside = |top: StreamRange| match r.start >= top.start {
            true => r.end <= top.end,
            false => self.low.range(..=r.start).next_back().is_some_and(|(_, &e)| e >= r.end),
        };
        r.is_empty() || self.top.is_some_and(inside)
    }

    /// The parts of `r` that are not in it, in order.
    pub fn gaps(&self, r: StreamRange) -> Vec<StreamRange> {
        let mut out = Vec::new();
        let mut at = r.start;
        for i in self.near(r) {
            if i.start > at {
                out.push(StreamRange::new(at, i.start));
            }
            at = at.max(i.end);
        }
        if at < r.end {
            out.push(StreamRange::new(at, r.end));
        }
        out
    }

    /// The parts of `r` that are in it, in order.
    pub fn within(&self, r: StreamRange) -> Vec<StreamRange> {
        self.near(r).filter_map(|i| i.intersect(r)).collect()
    }

    /// How many numbers at or above `from` are in it.
    pub fn count_from(&self, from: RelSeq) -> u64 {
        let Some(top) = self.top else { return 0 };
        if from >= top.start {
            return StreamRange::new(from, top.end).len();
        }
        let len = |(&s, &e): (&RelSeq, &RelSeq)| StreamRange::new(s, e).len();
        let (mut below, mut above) = (self.low.range(..from).rev(), self.low.range(from..));
        let (mut under, mut sum) = (0, top.len());
        if let Some((&s, &e)) = below.next() {
            sum += StreamRange::new(from, e).len();
            under += StreamRange::new(s, e.min(from)).len();
        }
        // From both sides at once: holes are mostly mended at one of the two ends.
        loop {
            match above.next() {
                Some(r) => sum += len(r),
                None => return sum,
            }
            match below.next() {
                Some(r) => under += len(r),
                None => return self.total - under,
            }
        }
    }

    /// True when something at or above `from` is in it.
    #[inline]
    pub fn reaches_above(&self, from: RelSeq) -> bool {
        self.end().is_some_and(|e| e > from)
    }

    /// The intervals, in order.
    pub fn iter(&self) -> impl Iterator<Item = StreamRange> + '_ {
        self.low.iter().map(|(&s, &e)| StreamRange::new(s, e)).chain(self.top)
    }

    /// One past the highest number, if any.
    #[inline]
    pub fn end(&self) -> Option<RelSeq> {
        self.top.map(|t| t.end)
    }

    /// True when nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top.is_none()
    }
}

/// True when one of `sorted` (in order, disjoint) shares a number with `r`.
pub fn any_overlap(sorted: &[StreamRange], r: StreamRange) -> bool {
    sorted.get(sorted.partition_point(|s| s.end <= r.start)).is_some_and(|s| s.overlaps(r))
}

/// Records that one interval remembers beside the first. No sender repeats a byte that often before it
/// gives up; a forged capture may, and every list of copies would grow with every other.
const COPIES: usize = 64;

/// Intervals that lie together: most are added at the end, and what comes late is put in without moving them all.
const CHUNK: usize = 256;

/// Which segments carried which bytes: for every interval, the records that covered it, in the
/// order in which the tap saw them.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// In order and disjoint; no chunk is empty.
    chunks: Vec<Vec<Carried>>,
    /// One past the highest number; none carried yet.
    end: Option<RelSeq>,
}

/// One interval of a [`Coverage`].
#[derive(Clone, Debug)]
pub struct Carried {
    start: RelSeq,
    end: RelSeq,
    /// The record that carried it first.
    pub first: u32,
    /// The records that carried it again: the first [`COPIES`] less one, and the newest.
    pub again: Vec<u32>,
}

impl Carried {
    fn once(r: StreamRange, id: u32) -> Carried {
        Carried { start: r.start, end: r.end, first: id, again: Vec::new() }
    }

    fn range(&self) -> StreamRange {
        StreamRange::new(self.start, self.end)
    }

    /// The newest record.
    pub fn last(&self) -> u32 {
        self.again.last().copied().unwrap_or(self.first)
    }

    /// All records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::once(self.first).chain(self.again.iter().copied())
    }
}

impl Coverage {
    /// Notes that record `id` carried `r`.
    pub fn add(&mut self, r: StreamRange, id: u32) {
        if r.is_empty() {
            return;
        }
        let beyond = self.end.is_none_or(|e| r.start >= e);
        self.end = self.end.max(Some(r.end));
        if beyond {
            match self.chunks.last_mut() {
                Some(last) if last.len() < CHUNK => last.push(Carried::once(r, id)),
                _ => {
                    let mut last = Vec::with_capacity(CHUNK);
                    last.push(Carried::once(r, id));
                    self.chunks.push(last);
                }
            }
            return;
        }
        self.split(r.start);
        self.split(r.end);
        let mut at = r.start;
        let mut fresh = Vec::new();
        let (chunk, mut i) = self.seek(r.start);
        for all in &mut self.chunks[chunk..] {
            for c in all[i..].iter_mut().take_while(|c| c.start < r.end) {
                if c.start > at {
                    fresh.push(StreamRange::new(at, c.start));
                }
                if c.again.len() == COPIES {
                    c.again.pop();
                }
                c.again.push(id);
                at = c.end;
            }
            if all.last().is_none_or(|c| c.start >= r.end) {
                break;
            }
            i = 0;
        }
        if at < r.end {
            fresh.push(StreamRange::new(at, r.end));
        }
        for g in fresh {
            self.put(Carried::once(g, id));
        }
    }

    /// Where the first interval is that begins at `x` or later.
    fn seek(&self, x: RelSeq) -> (usize, usize) {
        let chunk = self.chunks.partition_point(|c| c.last().is_some_and(|l| l.start < x));
        (chunk, self.chunks.get(chunk).map_or(0, |c| c.partition_point(|c| c.start < x)))
    }

    /// The place before.
    fn before(&self, (chunk, i): (usize, usize)) -> Option<(usize, usize)> {
        match i.checked_sub(1) {
            Some(i) => Some((chunk, i)),
            None => chunk.checked_sub(1).map(|c| (c, self.chunks[c].len() - 1)),
        }
    }

    fn put(&mut self, new: Carried) {
        let (chunk, i) = self.seek(new.start);
        let (chunk, i) = match self.chunks.len() {
            0 => {
                self.chunks.push(Vec::new());
                (0, 0)
            }
            n if chunk == n => (n - 1, self.chunks[n - 1].len()),
            _ => (chunk, i),
        };
        let all = &mut self.chunks[chunk];
        all.insert(i, new);
        if all.len() > 2 * CHUNK {
            let rest = all.split_off(CHUNK);
            self.chunks.insert(chunk + 1, rest);
        }
    }

    fn split(&mut self, at: RelSeq) {
        let Some((chunk, i)) = self.before(self.seek(at)) else { return };
        let c = &mut self.chunks[chunk][i];
        if c.end > at {
            let tail = Carried { start: at, ..c.clone() };
            c.end = at;
            self.put(tail);
        }
    }

    /// The intervals that overlap `r`, clipped to it.
    pub fn over(&self, r: StreamRange) -> impl Iterator<Item = (StreamRange, &Carried)> {
        let here = self.seek(r.start);
        let (chunk, i) = self.before(here).unwrap_or(here);
        let first = self.chunks.get(chunk).map_or(&[][..], |c| &c[i..]);
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default().iter().flatten();
        let all = first.iter().chain(rest).take_while(move |c| c.start < r.end);
        all.filter_map(move |c| Some((c.range().intersect(r)?, c)))
    }

    /// All intervals, in order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (StreamRange, &Carried)> {
        self.chunks.iter().flatten().map(|c| (c.range(), c))
    }

    /// The parts of `r` that nobody carried.
    pub fn gaps(&self, r: StreamRange) -> Vec<StreamRange> {
        let mut at = r.start;
        let mut out = Vec::new();
        let here = self.seek(r.start);
        let (chunk, i) = self.before(here).unwrap_or(here);
        let first = self.chunks.get(chunk).map_or(&[][..], |c| &c[i..]);
        let rest = self.chunks.get(chunk + 1..).unwrap_or_default();
        for c in first.iter().chain(rest.iter().flatten()) {
            if c.start >= r.end {
                break;
            }
            if c.start > at {
                out.push(StreamRange::new(at, c.start));
            }
            at = at.max(c.end);
        }
        if at < r.end {
            out.push(StreamRange::new(at, r.end));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(a: i64, b: i64) -> StreamRange {
        StreamRange::new(RelSeq(a), RelSeq(b))
    }

    #[test]
    fn a_set_joins_what_touches_and_counts_what_is_new() {
        let mut s = RangeSet::default();
        assert_eq!(s.insert(r(10, 20)), 10);
        assert_eq!(s.insert(r(30, 40)), 10);
        assert_eq!(s.insert(r(15, 35)), 10);
        assert_eq!(s.gaps(r(0, 50)), [r(0, 10), r(40, 50)]);
        assert_eq!(s.insert(r(0, 50)), 20);
        s.trim_below(RelSeq(45));
        assert_eq!(s.count_from(RelSeq(0)), 5);
        assert!(s.covers(r(45, 50)) && !s.covers(r(44, 50)));
    }

    #[test]
    fn coverage_splits_where_resends_cut_differently() {
        let mut c = Coverage::default();
        c.add(r(0, 100), 1);
        c.add(r(200, 300), 2);
        c.add(r(50, 250), 3);
        let got: Vec<_> = c.iter().map(|(r, c)| (r, c.records().collect::<Vec<_>>())).collect();
        assert_eq!(
            got,
            [
                (r(0, 50), vec![1]),
                (r(50, 100), vec![1, 3]),
                (r(100, 200), vec![3]),
                (r(200, 250), vec![2, 3]),
                (r(250, 300), vec![2]),
            ]
        );
        assert_eq!(c.gaps(r(290, 310)), [r(300, 310)]);
    }

    proptest::proptest! {
        /// Enough intervals, in any order, that chunks are split.
        #[test]
        fn coverage_knows_who_carried_each_byte(ops in proptest::collection::vec((0i64..3000, 1i64..9), 1..2500)) {
            let mut c = Coverage::default();
            let mut bytes = vec![Vec::new(); 3010];
            for (id, (a, n)) in ops.into_iter().enumerate() {
                c.add(r(a, a + n), id as u32);
                bytes[a as usize..(a + n) as usize].iter_mut().for_each(|b| b.push(id as u32));
            }
            let mut told = vec![Vec::new(); 3010];
            let mut at = RelSeq(i64::MIN);
            for (range, carried) in c.iter() {
                assert!(range.start >= at && !range.is_empty());
                at = range.end;
                for b in range.start.0..range.end.0 { told[b as usize] = carried.records().collect(); }
            }
            assert_eq!(told, bytes);
            let near: Vec<_> = c.over(r(100, 140)).map(|(range, _)| range).collect();
            let all: Vec<_> = c.iter().filter_map(|(range, _)| range.intersect(r(100, 140))).collect();
            assert_eq!(near, all);
        }

        #[test]
        fn a_set_agrees_with_a_bitmap(ops in proptest::collection::vec((0i64..64, 0i64..20, proptest::bool::weighted(0.3)), 1..40), probe in (0i64..64, 0i64..30)) {
            let mut s = RangeSet::default();
            let mut bits = [false; 128];
            for (a, n, out) in ops {
                if out {
                    s.remove(r(a, a + n));
                    bits[a as usize..(a + n) as usize].fill(false);
                    continue;
                }
                let mut fresh = 0;
                for b in &mut bits[a as usize..(a + n) as usize] { fresh += u64::from(!*b); *b = true; }
                assert_eq!(s.insert(r(a, a + n)), fresh);
            }
            let (a, n) = probe;
            let window = &bits[a as usize..(a + n) as usize];
            assert_eq!(s.covers(r(a, a + n)), window.iter().all(|b| *b));
            let missing: u64 = s.gaps(r(a, a + n)).iter().map(|g| g.len()).sum();
            assert_eq!(missing, window.iter().filter(|b| !**b).count() as u64);
            assert_eq!(s.count_from(RelSeq(a)), bits[a as usize..].iter().filter(|b| **b).count() as u64);
        }
    }
}
