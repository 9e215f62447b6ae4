//! The search for blocks of the basis at every offset of the source.
//!
//! ```text
//!  window at `head` ── weak sum ──► bitmap ──► table ──► strong hash ──► block i: copy
//!        ▲                            │ no       │ no        │ no
//!        └── roll by one byte ◄───────┴──────────┴───────────┘
//! ```
//! After a match the next block of the basis is tried first, by its strong hash alone: where nothing
//! changed, nothing rolls. The cost is bounded whatever the files hold: a weak sum that has let
//! [`BAN`] windows through in vain is not looked up again until it matches.

use super::rolling::Rolling;
use super::signature::{BlockSum, Layout, strong};

/// Literals are handed on in pieces of this size, bytes.
pub const LITERAL: usize = 32 * 1024;
/// Vain strong hashes that one weak sum may cost.
const BAN: u8 = 32;

/// One step of rebuilding the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// These bytes, at most [`LITERAL`] of them.
    Literal(Vec<u8>),
    /// `count` blocks of the basis from block `first` on.
    Copy {
        /// First block.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// The sums of a basis, ready to be searched.
#[derive(Debug)]
pub struct Index {
    layout: Layout,
    seed: u64,
    sums: Vec<BlockSum>,
    /// Full blocks in order of (weak, strong, number).
    order: Vec<u32>,
    /// Open addressing by weak sum: 1 + position in `order` of the first block with that sum.
    table: Vec<u32>,
    /// Vain strong hashes, by position in `order`.
    misses: Vec<u8>,
    /// One bit per hashed weak sum.
    filter: Vec<u64>,
}

/// Spreads weak sums: those of text differ in few bits.
#[inline]
fn spread(weak: u32) -> u32 {
    let x = weak.wrapping_mul(0x9e37_79b1);
    x ^ (x >> 15)
}

impl Index {
    /// Of a basis cut as `layout` says. `sums` beyond it are not looked at; missing ones match nothing.
    pub fn new(layout: Layout, seed: u64, sums: Vec<BlockSum>) -> Index {
        let full = layout.count() - u32::from(layout.rem() > 0);
        let full = (full as usize).min(sums.len()) as u32;
        let mut order: Vec<u32> = (0..full).collect();
        order.sort_unstable_by_key(|&i| {
            let s = sums[i as usize];
            (s.weak, s.strong, i)
        });
        let slots = (order.len() * 2).next_power_of_two().max(16);
        let bits = (order.len() * 16).next_power_of_two().clamp(1 << 12, 1 << 23);
        let mut index = Index {
            layout,
            seed,
            sums,
            misses: vec![0; order.len()],
            order,
            table: vec![0; slots],
            filter: vec![0; bits / 64],
        };
        let mut before = None;
        for at in 0..index.order.len() {
            let weak = index.sums[index.order[at] as usize].weak;
            if before == Some(weak) {
                continue;
            }
            before = Some(weak);
            let bit = spread(weak) as usize & (bits - 1);
            index.filter[bit / 64] |= 1 << (bit % 64);
            let mut slot = spread(weak) as usize & (slots - 1);
            while index.table[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            index.table[slot] = at as u32 + 1;
        }
        index
    }

    #[inline]
    fn maybe(&self, weak: u32) -> bool {
        let bit = spread(weak) as usize & (self.filter.len() * 64 - 1);
        self.filter[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// The first block with these sums.
    fn find(&mut self, weak: u32, window: &[u8]) -> Option<u32> {
        let mask = self.table.len() - 1;
        let mut slot = spread(weak) as usize & mask;
        let start = loop {
            let at = self.table[slot].checked_sub(1)? as usize;
            if self.sums[self.order[at] as usize].weak == weak {
                break at;
            }
            slot = (slot + 1) & mask;
        };
        if self.misses[start] >= BAN {
            return None;
        }
        let key = (weak, strong(window, self.seed));
        let sums = &self.sums;
        let tail = &self.order[start..];
        let at = tail.partition_point(|&i| (sums[i as usize].weak, sums[i as usize].strong) < key);
        let hit = tail.get(at).copied().filter(|&i| (sums[i as usize].weak, sums[i as usize].strong) == key);
        self.misses[start] = if hit.is_some() { 0 } else { self.misses[start] + 1 };
        hit
    }

    /// Whether `window` is block `i`, by its strong hash alone.
    fn is_block(&self, i: u32, window: &[u8]) -> bool {
        self.layout.range(i, 1).is_some_and(|r| r.1 == window.len() as u64)
            && self.sums.get(i as usize).is_some_and(|s| s.strong == strong(window, self.seed))
    }
}

/// One source on its way through the search.
#[derive(Debug)]
pub struct Search {
    index: Index,
    /// Source bytes from the first one that is not yet handed on.
    buf: Vec<u8>,
    /// Start of literal bytes in `buf`.
    lit: usize,
    /// Start of the window in `buf`.
    head: usize,
    /// Sum of the window, where known.
    rolling: Option<Rolling>,
    /// The window was looked up in vain and only waits for its next byte.
    tried: bool,
    /// Blocks matched and not yet handed on.
    run: Option<(u32, u32)>,
    /// The block that would continue the last match.
    want: Option<u32>,
}

impl Search {
    /// For one source.
    pub fn new(index: Index) -> Search {
        Search { index, buf: Vec::new(), lit: 0, head: 0, rolling: None, tried: false, run: None, want: None }
    }

    /// How the basis is cut.
    pub fn layout(&self) -> Layout {
        self.index.layout
    }

    /// Takes the next bytes of the source; what is decided is appended to `out`.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<Op>) {
        self.buf.extend_from_slice(data);
        let size = self.index.layout.size as usize;
        while self.head + size <= self.buf.len() {
            if self.tried {
                if self.head + size == self.buf.len() {
                    break;
                }
                self.step(size);
            }
            match self.scan(size) {
                Some(block) => {
                    self.flush_literal(out);
                    self.matched(block, out);
                    self.head += size;
                    self.lit = self.head;
                    self.rolling = None;
                    self.tried = false;
                }
                None => self.tried = true,
            }
            if self.head - self.lit >= LITERAL {
                self.flush_literal(out);
            }
        }
        self.flush_run(out);
        self.buf.drain(..self.lit);
        self.head -= self.lit;
        self.lit = 0;
    }

    /// The source has ended: the rest, which may be the basis' short last block.
    pub fn finish(&mut self, out: &mut Vec<Op>) {
        let (count, rem) = (self.index.layout.count(), self.index.layout.rem() as usize);
        if rem > 0 && self.buf.len() - self.lit >= rem {
            let at = self.buf.len() - rem;
            // Matched windows lie before `lit`, so this one overlaps none of them.
            if self.index.is_block(count - 1, &self.buf[at..]) {
                self.head = at;
                self.flush_literal(out);
                self.matched(count - 1, out);
                self.lit = self.buf.len();
            }
        }
        self.head = self.buf.len();
        self.flush_literal(out);
        self.flush_run(out);
    }

    /// Moves the window by one byte that is there.
    fn step(&mut self, size: usize) {
        if let Some(r) = &mut self.rolling {
            r.roll(self.buf[self.head], self.buf[self.head + size]);
        }
        self.head += 1;
        self.tried = false;
    }

    /// Looks for a match from `head` on, to the last window in the buffer or one literal's length.
    fn scan(&mut self, size: usize) -> Option<u32> {
        if let Some(want) = self.want.take()
            && self.index.is_block(want, &self.buf[self.head..self.head + size])
        {
            return Some(want);
        }
        let last = (self.buf.len() - size).min(self.lit + LITERAL);
        let mut roll = self.rolling.unwrap_or_else(|| Rolling::of(&self.buf[self.head..self.head + size]));
        loop {
            let weak = roll.sum();
            if self.index.maybe(weak) {
                let window = &self.buf[self.head..self.head + size];
                if let Some(block) = self.index.find(weak, window) {
                    return Some(block);
                }
            }
            if self.head >= last {
                break;
            }
            roll.roll(self.buf[self.head], self.buf[self.head + size]);
            self.head += 1;
        }
        self.rolling = Some(roll);
        None
    }

    fn matched(&mut self, block: u32, out: &mut Vec<Op>) {
        match &mut self.run {
            Some((first, count)) if *first + *count == block => *count += 1,
            _ => {
                self.flush_run(out);
                self.run = Some((block, 1));
            }
        }
        self.want = Some(block + 1);
    }

    fn flush_literal(&mut self, out: &mut Vec<Op>) {
        if self.lit == self.head {
            return;
        }
        self.flush_run(out);
        out.extend(self.buf[self.lit..self.head].chunks(LITERAL).map(|c| Op::Literal(c.to_vec())));
        self.lit = self.head;
    }

    fn flush_run(&mut self, out: &mut Vec<Op>) {
        if let Some((first, count)) = self.run.take() {
            out.push(Op::Copy { first, count });
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
    use super::super::signature::sums;
    use super::*;
    use proptest::prelude::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn index(basis: &[u8], size: u32) -> Index {
        Index::new(Layout::new(basis.len() as u64, size), 9, sums(basis, size, 9))
    }

    /// Searches, rebuilds, and counts literal bytes.
    fn literal(source: &[u8], basis: &[u8], size: u32) -> usize {
        let ops = delta(source, index(basis, size));
        let layout = Layout::new(basis.len() as u64, size);
        assert_eq!(apply(&ops, layout, basis).as_deref(), Some(source));
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
        let mut ix = index(&basis, size as u32);
        let source = vec![1u8; 100_000];
        let mut hashed = 0;
        for w in source.windows(size) {
            let weak = Rolling::of(w).sum();
            assert!(ix.maybe(weak));
            let before = ix.misses.clone();
            assert_eq!(ix.find(weak, w), None);
            hashed += usize::from(before != ix.misses);
        }
        assert_eq!(hashed, usize::from(BAN));
        assert_eq!(literal(&source, &basis, size as u32), source.len());
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
            let count = |ops: &[Op]| ops.iter().map(|o| if let Op::Literal(l) = o { l.len() } else { 0 }).sum::<usize>();
            prop_assert_eq!(count(&ops), count(&whole));
        }
    }
}
