//! The search for blocks of the basis at every offset of the source.
//!
//! ```text
//!  after a match   the next block of the basis, by its strong hash alone: where nothing changed, nothing rolls
//!  if not          the one behind it, one block on: changed in place
//!  if not          every offset: weak sum ──► filter ──► tables ──► strong hash ──► block
//!  1 MiB in vain   one block's length of offsets, a growing gap, one block's length, …
//! ```
//! A match is extended backwards as far as the bytes before it are not yet handed on: what lies in a gap is
//! found from its far end. Only shared pieces shorter than the gap are lost, and only where nothing matched
//! for 1 MiB before them ([`Search::full`] looks at every offset instead).
//!
//! The time is linear in the length of the source, whatever the files hold: windows with the weak sum of a
//! block that match nothing are paid from a credit that grows with the bytes looked at; while it is used up, a block is
//! stepped over.

use super::index::Index;
use super::rolling::{Rolling, prefetch};
use super::signature::{AHEAD, Layout};

/// Literals are handed on in pieces of at least this size, unless a match or the end comes first, bytes.
pub const LITERAL: usize = 32 * 1024;
/// Matched blocks are handed on at the latest when they come to this many bytes.
const RUN: u64 = 1 << 20;
/// Every offset is looked at for this many bytes after a match.
const PATIENCE: usize = 1 << 20;
/// The largest gap: so many blocks, but at most so many bytes.
const GAP_BLOCKS: usize = 16;
/// See [`GAP_BLOCKS`].
const GAP_BYTES: usize = 1 << 20;
/// Credit for each byte that is looked at, in bytes of vain hashing.
const INCOME: usize = 4;
/// What a look-up costs beside the hash.
const LOOKUP: usize = 16;

/// What a search finds, in the order of the source.
pub trait Sink {
    /// These bytes.
    fn literal(&mut self, bytes: &[u8]);
    /// `count` blocks of the basis from block `first` on.
    fn copy(&mut self, first: u32, count: u32);
}

/// One step of rebuilding the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// These bytes.
    Literal(Vec<u8>),
    /// `count` blocks of the basis from block `first` on.
    Copy {
        /// First block.
        first: u32,
        /// How many.
        count: u32,
    },
}

impl Sink for Vec<Op> {
    fn literal(&mut self, bytes: &[u8]) {
        self.push(Op::Literal(bytes.to_vec()));
    }

    fn copy(&mut self, first: u32, count: u32) {
        self.push(Op::Copy { first, count });
    }
}

/// How the places to look at are chosen; each with bytes left.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Every(usize),
    Gap(usize),
    Burst(usize),
}

/// One source on its way through the search.
#[derive(Debug)]
pub struct Search {
    index: Index,
    full: bool,
    /// Source bytes that are not yet handed on, where they are not in the piece at hand.
    carry: Vec<u8>,
    /// Where the window begins, from the first byte that is not handed on.
    head: usize,
    pace: Pace,
    /// The gap before or after this burst, bytes; 0 where every offset is looked at.
    gap: usize,
    credit: usize,
    vain: u64,
    /// Blocks matched and not yet handed on.
    run: Option<(u32, u32)>,
    /// The block that would continue the last match.
    want: Option<u32>,
}

/// What a look at a stretch of offsets came to.
enum Look {
    Match(usize, u32),
    Nothing,
    /// No credit is left for the window here.
    Spent(usize),
}

impl Search {
    /// For one source.
    pub fn new(index: Index) -> Search {
        let mut s = Search {
            index,
            full: false,
            carry: Vec::new(),
            head: 0,
            pace: Pace::Every(PATIENCE),
            gap: 0,
            credit: 0,
            vain: 0,
            run: None,
            // A file that is touched begins as its basis does.
            want: Some(0),
        };
        s.credit = s.most_credit();
        s
    }

    /// Looks at every offset, however long nothing matches.
    #[must_use]
    pub fn full(mut self, on: bool) -> Search {
        self.full = on;
        self
    }

    /// How the basis is cut.
    pub fn layout(&self) -> Layout {
        self.index.layout()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.carry.capacity()
    }

    /// Bytes of windows that had the weak sum of a block and were hashed in vain.
    pub fn vain(&self) -> u64 {
        self.vain
    }

    fn size(&self) -> usize {
        self.index.layout().size as usize
    }

    fn most_credit(&self) -> usize {
        64 * self.size()
    }

    /// Takes the next bytes of the source.
    pub fn push(&mut self, data: &[u8], sink: &mut impl Sink) {
        let mut data = data;
        if !self.carry.is_empty() {
            // As many bytes as it takes until nothing is held back but bytes of this piece.
            let (old, head) = (self.carry.len(), data.len().min(self.held() + LITERAL + 3 * self.size()));
            self.carry.extend_from_slice(&data[..head]);
            let mut carry = std::mem::take(&mut self.carry);
            let done = self.search(&carry, false, sink);
            if done < old {
                carry.drain(..done);
                if head < data.len() {
                    carry.extend_from_slice(&data[head..]);
                    let done = self.search(&carry, false, sink);
                    carry.drain(..done);
                }
                self.carry = carry;
                return;
            }
            data = &data[done - old..];
            carry.clear();
            self.carry = carry;
        }
        let done = self.search(data, false, sink);
        self.carry.extend_from_slice(&data[done..]);
    }

    /// The source has ended: the rest, which may be the basis' short last block.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let carry = std::mem::take(&mut self.carry);
        let done = self.search(&carry, true, sink);
        let rest = &carry[done..];
        let (count, rem) = (self.layout().count(), self.layout().rem() as usize);
        // Matched windows lie before `rest`, so this one overlaps none of them.
        let at =
            rest.len().checked_sub(rem).filter(|&at| rem > 0 && self.index.is_block(count - 1, &rest[at..]));
        self.literal(&rest[..at.unwrap_or(rest.len())], sink);
        if at.is_some() {
            self.matched(count - 1, 1, sink);
        }
        self.flush_run(sink);
        self.head = 0;
    }

    /// Bytes before the window that are not handed on, because a match may reach back to them.
    fn held(&self) -> usize {
        if self.gap > 0 { self.gap + self.size() } else { 0 }
    }

    /// Looks at all windows in `data`, which begins with the first byte that is not handed on. How many
    /// bytes are handed on now.
    fn search(&mut self, data: &[u8], end: bool, sink: &mut impl Sink) -> usize {
        let size = self.size();
        let (mut lit, mut head) = (0, self.head);
        while head + size <= data.len() {
            if let Some(want) = self.want {
                let next = data.get(head + size..).unwrap_or_default();
                prefetch(&next[..next.len().min(size).min(AHEAD)]);
                if self.index.is_block(want, &data[head..head + size]) {
                    // Nothing is held back while a block is wanted, but before the first match.
                    self.literal(&data[lit..head], sink);
                    self.matched(want, 1, sink);
                    head += size;
                    lit = head;
                    continue;
                }
                if head + 2 * size > data.len() && !end {
                    break;
                }
                self.want = None;
                if let Some(next) = data.get(head + size..head + 2 * size)
                    && self.index.is_block(want + 1, next)
                    && !matches!(self.look(data, head, head), Look::Match(..))
                {
                    self.literal(&data[lit..head + size], sink);
                    self.matched(want + 1, 1, sink);
                    head += 2 * size;
                    lit = head;
                    continue;
                }
            }
            let last = data.len() - size;
            let left = match self.pace {
                Pace::Gap(left) => {
                    let step = left.min(data.len() - head);
                    head += step;
                    self.pace = if step < left { Pace::Gap(left - step) } else { Pace::Burst(size) };
                    continue;
                }
                Pace::Every(left) | Pace::Burst(left) => left,
            };
            let to = last.min(head + left.min(LITERAL.max(4 * size)) - 1);
            match self.look(data, head, to) {
                Look::Match(at, block) => {
                    let (at, first) = self.back(data, lit, at, block);
                    self.literal(&data[lit..at], sink);
                    self.matched(first, block - first + 1, sink);
                    head = at + (block - first + 1) as usize * size;
                    lit = head;
                }
                Look::Nothing => {
                    self.looked(to + 1 - head);
                    head = to + 1;
                }
                Look::Spent(at) => {
                    let next = (at + size).min(data.len());
                    self.looked(next - head);
                    head = next;
                }
            }
            let held = self.held();
            if head - lit >= LITERAL + held {
                self.literal(&data[lit..head - held], sink);
                lit = head - held;
            }
        }
        self.head = head - lit;
        lit
    }

    /// Counts bytes in vain.
    fn looked(&mut self, bytes: usize) {
        self.credit = (self.credit + INCOME * bytes).min(self.most_credit());
        let size = self.size();
        let most = (GAP_BLOCKS * size).min(GAP_BYTES.max(4 * size));
        self.pace = match self.pace {
            Pace::Every(left) if self.full => Pace::Every(left),
            Pace::Every(left) | Pace::Burst(left) if bytes < left => match self.pace {
                Pace::Every(_) => Pace::Every(left - bytes),
                _ => Pace::Burst(left - bytes),
            },
            _ => {
                self.gap = (self.gap + size / 2 + 1).min(most);
                Pace::Gap(self.gap)
            }
        };
    }

    /// Looks at the windows that begin from `from` to `to`.
    fn look(&mut self, data: &[u8], from: usize, to: usize) -> Look {
        let size = self.size();
        let mut window = Rolling::of(&data[from..from + size]);
        let mut at = from;
        loop {
            let Some(here) = self.index.seek(&mut window, data, at, to) else { return Look::Nothing };
            at = here;
            if self.credit < size + LOOKUP {
                return Look::Spent(at);
            }
            if let Some(block) = self.index.find(window.sum(), &data[at..at + size]) {
                return Look::Match(at, block);
            }
            self.credit -= size + LOOKUP;
            self.vain += size as u64;
            if at == to {
                return Look::Nothing;
            }
            window.roll(data[at], data[at + size]);
            at += 1;
        }
    }

    /// The begin of the match that ends with `block` at `at`, if it reaches back to `least`.
    fn back(&self, data: &[u8], least: usize, mut at: usize, mut block: u32) -> (usize, u32) {
        let size = self.size();
        while at - least >= size && block > 0 && self.index.is_block(block - 1, &data[at - size..at]) {
            at -= size;
            block -= 1;
        }
        (at, block)
    }

    fn matched(&mut self, block: u32, count: u32, sink: &mut impl Sink) {
        match &mut self.run {
            Some((first, n)) if *first + *n == block => *n += count,
            _ => {
                self.flush_run(sink);
                self.run = Some((block, count));
            }
        }
        if self.run.is_some_and(|(_, n)| u64::from(n) * self.size() as u64 >= RUN) {
            self.flush_run(sink);
        }
        self.want = Some(block + count);
        (self.pace, self.gap) = (Pace::Every(PATIENCE), 0);
    }

    fn literal(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if !bytes.is_empty() {
            self.flush_run(sink);
            sink.literal(bytes);
        }
    }

    fn flush_run(&mut self, sink: &mut impl Sink) {
        if let Some((first, count)) = self.run.take() {
            sink.copy(first, count);
        }
    }
}

/// The whole search in memory.
pub fn delta(source: &[u8], index: Index) -> Vec<Op> {
    let mut out = Vec::new();
    let mut search = Search::new(index);
    search.push(source, &mut out);
    search.finish(&mut out);
    out
}

/// Rebuilds a source from its basis; none if an operation points outside of the basis.
pub fn apply(ops: &[Op], layout: Layout, basis: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for op in ops {
        match op {
            Op::Literal(l) => out.extend_from_slice(l),
            Op::Copy { first, count } => {
                let (from, len) = layout.range(*first, *count)?;
                out.extend_from_slice(basis.get(from as usize..(from + len) as usize)?);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::signature::{MAX_BLOCK, Strong};
    use super::*;
    use crate::sync::noise::noise;
    use proptest::prelude::*;

    fn index(basis: &[u8], size: u32) -> Index {
        Index::of(basis, size, Strong::Xxh3(9))
    }

    /// Searches, rebuilds, and counts literal bytes.
    fn literal(source: &[u8], basis: &[u8], size: u32) -> usize {
        let ops = delta(source, index(basis, size));
        let layout = Layout::new(basis.len() as u64, size);
        assert_eq!(apply(&ops, layout, basis).as_deref(), Some(source));
        literal_of(&ops)
    }

    fn literal_of(ops: &[Op]) -> usize {
        ops.iter().map(|o| if let Op::Literal(l) = o { l.len() } else { 0 }).sum()
    }

    #[test]
    fn what_is_there_is_not_sent() {
        let basis = noise(1, 200_123);
        let cut = |at: usize, with: &[u8]| [&basis[..at], with, &basis[at..]].concat();
        assert_eq!(literal(&basis, &basis, 700), 0);
        assert_eq!(literal(&cut(0, b"x"), &basis, 700), 1);
        assert_eq!(literal(&cut(100_100, b"x"), &basis, 700), 1); // between two blocks
        assert_eq!(literal(&cut(100_200, b"x"), &basis, 700), 701);
        assert_eq!(literal(&cut(basis.len(), b"tail"), &basis, 700), 623 + 4); // the short last block moved
        assert_eq!(literal(&basis[..150_000], &basis, 700), 150_000 % 700);
        assert_eq!(literal(&basis[1..], &basis, 700), 699);
        assert_eq!(literal(&[], &basis, 700), 0);
        assert_eq!(literal(&basis, &[], 700), basis.len());
        let swapped = [&basis[100_100..200_200 - 700], &basis[..100_100]].concat();
        assert!(literal(&swapped, &basis, 700) < 700);
    }

    #[test]
    fn the_short_last_block_matches_at_the_end_only() {
        let basis = noise(2, 2000); // blocks of 700, 700, 600
        assert_eq!(literal(&[b"new", &basis[1400..]].concat(), &basis, 700), 3);
        assert_eq!(literal(&[&basis[1400..], b"new".as_slice()].concat(), &basis, 700), 603);
        assert_eq!(literal(&basis[1400..], &basis, 700), 0);
    }

    #[test]
    fn equal_blocks_become_one_run() {
        let ops = delta(&[7; 64 * 100], index(&[7; 64 * 100], 64));
        assert_eq!(ops, [Op::Copy { first: 0, count: 100 }]);
    }

    #[test]
    fn a_basis_made_to_collide_costs_no_more_than_its_length() {
        // Blocks with equal weak and different strong sums, and a source whose every window has that weak sum.
        let size = 1024usize;
        let (mut basis, mut block) = (Vec::new(), vec![1u8; size]);
        for i in 0..500 {
            block.fill(1);
            // (+1, -1, -1, +1) keeps a and b.
            for (d, v) in [(0, 2), (1, 0), (2, 0), (3, 2)] {
                block[i + d] = v;
            }
            basis.extend_from_slice(&block);
        }
        let source = vec![1u8; 3_000_000];
        let mut search = Search::new(index(&basis, size as u32)).full(true);
        let mut ops = Vec::new();
        source.chunks(70_000).for_each(|piece| search.push(piece, &mut ops));
        search.finish(&mut ops);
        assert_eq!(literal_of(&ops), source.len());
        let most = (INCOME * source.len() + 64 * size) as u64;
        assert!(search.vain() > 0 && search.vain() <= most, "{} bytes hashed in vain", search.vain());
    }

    #[test]
    fn what_lies_in_a_gap_is_found_from_its_far_end() {
        let basis = noise(1, 4_000_000);
        for at in [1_700_000, 1_723_456, 2_000_000] {
            // Nothing for more than a MiB, then the second half of the basis.
            let source = [noise(2, at), basis[2_000_100..].to_vec()].concat();
            assert_eq!(literal(&source, &basis, 1000), at + 900, "{at} new bytes");
        }
    }

    #[test]
    fn the_full_search_finds_what_is_shorter_than_a_gap() {
        let basis = noise(1, 1_000_000);
        let source = [noise(2, 3_000_000), basis[5000..7000].to_vec(), noise(3, 1_000_000)].concat();
        let found = |full| {
            let (mut search, mut ops) = (Search::new(index(&basis, 1000)).full(full), Vec::new());
            search.push(&source, &mut ops);
            search.finish(&mut ops);
            assert_eq!(apply(&ops, Layout::new(1_000_000, 1000), &basis).as_deref(), Some(&source[..]));
            source.len() - literal_of(&ops)
        };
        assert_eq!((found(true), found(false)), (2000, 0));
    }

    #[test]
    fn memory_does_not_grow_with_the_source() {
        for (block, most) in [(700u32, 700_000), (4096, 800_000), (MAX_BLOCK, 8_000_000)] {
            let basis = noise(1, 2 << 20);
            let mut search = Search::new(index(&basis, block));
            let mut ops = Vec::new();
            for i in 0..100 {
                search.push(&noise(i + 7, 256 * 1024), &mut ops);
                ops.clear();
                assert!(search.bytes() < most + search.index.bytes(), "{} with {block}", search.bytes());
            }
        }
    }

    #[test]
    fn far_from_any_match_the_size_of_the_pieces_does_not_matter() {
        let basis = noise(1, 2_000_000);
        let mut source = noise(2, 2_500_000);
        for (at, from, len) in [(1_300_000, 10, 90_000), (1_700_123, 500_000, 9_000), (2_100_000, 7, 50_000)]
        {
            source[at..at + len].copy_from_slice(&basis[from..from + len]);
        }
        let whole = delta(&source, index(&basis, 1000));
        for piece in [999, 4096, 262_144] {
            let (mut search, mut ops) = (Search::new(index(&basis, 1000)), Vec::new());
            source.chunks(piece).for_each(|p| search.push(p, &mut ops));
            search.finish(&mut ops);
            assert_eq!(apply(&ops, search.layout(), &basis).as_deref(), Some(&source[..]));
            assert_eq!(literal_of(&ops), literal_of(&whole), "pieces of {piece}");
        }
        assert!(literal_of(&whole) < source.len() - 130_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_pieces_of_the_source_give_the_same_result(
            pieces in proptest::collection::vec((0usize..3000, 0usize..900, any::<bool>()), 0..12),
            chops in proptest::collection::vec(1usize..800, 1..8),
            size in prop_oneof![Just(1u32), Just(3), Just(64), Just(100)],
        ) {
            let basis = noise(3, 3000);
            let mut source = Vec::new();
            for (at, len, new) in pieces {
                let piece = if new { noise(at as u64 + 77, len) } else { basis[at..(at + len).min(3000)].to_vec() };
                source.extend(piece);
            }
            let layout = Layout::new(3000, size);
            let whole = delta(&source, index(&basis, size));
            prop_assert_eq!(apply(&whole, layout, &basis).unwrap(), source.clone());
            let mut search = Search::new(index(&basis, size));
            let mut ops = Vec::new();
            let (mut rest, mut i) = (&source[..], 0);
            while !rest.is_empty() {
                let n = chops[i % chops.len()].min(rest.len());
                search.push(&rest[..n], &mut ops);
                rest = &rest[n..];
                i += 1;
            }
            search.finish(&mut ops);
            prop_assert_eq!(apply(&ops, layout, &basis).unwrap(), source.clone());
            // Where tiny blocks spend the credit for vain hashes, the pieces decide when a look is worth it again.
            let (a, b) = (literal_of(&ops), literal_of(&whole));
            prop_assert!(a == b || size < 64 && a.abs_diff(b) <= 64 + b / 10, "{} and {}", a, b);
        }
    }
}
