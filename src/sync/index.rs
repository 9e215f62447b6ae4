//! The sums of a basis, ready to be searched.
//!
//! ```text
//!   weak sum ──► filter ──► weak table ──► strong hash ──► strong table ──► block
//!              1 of 200 goes on │ exact        │ under a random seed
//! ```
//! The tables are made when first needed: a source that is the basis, block by block, never needs them.
//! Whatever the sums are, a look-up takes a bounded number of steps: equal weak sums share one slot, and
//! strong sums depend on a seed that the author of the files does not know. Slots are probed at most
//! [`PROBES`] times; a block that finds none is not found later, which costs bytes, never time.

use super::filter::Filter;
use super::rolling::Rolling;
use super::signature::{BlockSum, Layout, Strong};

/// Slots looked at before giving up. With three of four slots taken, chance needs this many for fewer than
/// one block in a million.
const PROBES: usize = 96;

/// Sums, and what finds them.
#[derive(Debug)]
pub struct Index {
    layout: Layout,
    strong: Strong,
    /// The bits of a strong sum that were sent.
    mask: u64,
    weak: Vec<u32>,
    strongs: Vec<u64>,
    tables: Option<Tables>,
}

#[derive(Debug)]
struct Tables {
    filter: Filter,
    /// 1 + the first block with this weak sum; 0: free.
    by_weak: Vec<u32>,
    /// 1 + the first block with these sums; 0: free.
    by_both: Vec<u32>,
}

/// Sums for which there is room at once.
const FIRST: usize = 64 * 1024;

impl Index {
    /// Of a basis cut as `layout` says, whose sums are to come: all bits of the strong ones.
    pub fn new(layout: Layout, strong: Strong) -> Index {
        Index::truncated(layout, strong, 8)
    }

    /// As [`Index::new`], with strong sums of which only this many bytes are known.
    pub fn truncated(layout: Layout, strong: Strong, strong_len: u8) -> Index {
        // The peer says how many will come; memory is taken as they do.
        let count = (layout.count() as usize).min(FIRST);
        Index {
            layout,
            strong,
            mask: u64::MAX >> (64 - 8 * u32::from(strong_len.clamp(1, 8))),
            weak: Vec::with_capacity(count),
            strongs: Vec::with_capacity(count),
            tables: None,
        }
    }

    /// Of a basis in memory.
    pub fn of(basis: &[u8], block_size: u32, strong: Strong) -> Index {
        let mut index = Index::new(Layout::new(basis.len() as u64, block_size), strong);
        index.extend(super::signature::sums(basis, block_size, strong));
        index
    }

    /// Adds the next blocks' sums. Those behind the layout's end are not looked at.
    pub fn extend(&mut self, sums: impl IntoIterator<Item = BlockSum>) {
        let room = self.layout.count() as usize - self.weak.len();
        for s in sums.into_iter().take(room) {
            // Twice the room each time, but never more than there are blocks.
            if self.weak.len() == self.weak.capacity() {
                let left = self.layout.count() as usize - self.weak.len();
                let more = left.min(self.weak.len().max(1));
                self.weak.reserve_exact(more);
                self.strongs.reserve_exact(more);
            }
            self.weak.push(s.weak);
            self.strongs.push(s.strong & self.mask);
        }
        self.tables = None;
    }

    /// How the basis is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How many blocks' sums are there.
    pub fn known(&self) -> u32 {
        self.weak.len() as u32
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let tables = |t: &Tables| t.filter.bytes() + 4 * (t.by_weak.capacity() + t.by_both.capacity());
        4 * self.weak.capacity() + 8 * self.strongs.capacity() + self.tables.as_ref().map_or(0, tables)
    }

    /// Whether `window` is block `i`, by its strong hash alone.
    #[inline]
    pub fn is_block(&self, i: u32, window: &[u8]) -> bool {
        self.layout.range(i, 1).is_some_and(|r| r.1 == window.len() as u64)
            && self.strongs.get(i as usize).is_some_and(|&s| s == self.strong.of(window) & self.mask)
    }

    /// The first place from `at` to `to` in `data` where the window, which stands at `at`, has the weak sum
    /// of some full block.
    pub fn seek(&mut self, window: &mut Rolling, data: &[u8], at: usize, to: usize) -> Option<usize> {
        self.tables();
        let t = self.tables.as_ref()?;
        let known = |weak| t.probe(&t.by_weak, weak, |block| self.weak.get(block) == Some(&weak)).is_ok();
        window.seek(data, at, to, &t.filter, known)
    }

    /// The first block with this weak sum and the strong sum of `window`.
    pub fn find(&mut self, weak: u32, window: &[u8]) -> Option<u32> {
        self.tables();
        let strong = self.strong.of(window) & self.mask;
        let t = self.tables.as_ref()?;
        let same =
            |block: usize| self.strongs.get(block) == Some(&strong) && self.weak.get(block) == Some(&weak);
        t.probe(&t.by_both, both(weak, strong), same).ok()
    }

    fn tables(&mut self) -> &Tables {
        let (weak, strongs, layout, seed) = (&self.weak, &self.strongs, self.layout, self.strong.seed());
        self.tables.get_or_insert_with(|| Tables::new(weak, strongs, layout, seed))
    }
}

impl Tables {
    fn new(weak: &[u32], strongs: &[u64], layout: Layout, seed: u64) -> Tables {
        let full = (layout.count() - u32::from(layout.rem() > 0)) as usize;
        let full = full.min(weak.len());
        let slots = (full + full / 3).max(8);
        let mut t = Tables {
            filter: Filter::new(full as u32, seed),
            by_weak: vec![0; slots],
            by_both: vec![0; slots],
        };
        for (i, (&w, &s)) in weak.iter().zip(strongs).take(full).enumerate() {
            if let Err(Some(free)) = t.probe(&t.by_weak, w, |block| weak.get(block) == Some(&w)) {
                take(&mut t.by_weak, free, i);
                t.filter.insert(w);
            }
            let same = |block: usize| strongs.get(block) == Some(&s) && weak.get(block) == Some(&w);
            if let Err(Some(free)) = t.probe(&t.by_both, both(w, s), same) {
                take(&mut t.by_both, free, i);
            }
        }
        t
    }

    /// The block that is meant, or the slot that is free for it, if one is near.
    #[inline]
    fn probe(&self, table: &[u32], key: u32, meant: impl Fn(usize) -> bool) -> Result<u32, Option<usize>> {
        let hash = self.filter.hash(key);
        let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b);
        let mut slot = ((u64::from(hash) * table.len() as u64) >> 32) as usize;
        for _ in 0..PROBES {
            match table.get(slot) {
                Some(0) => return Err(Some(slot)),
                Some(&entry) if meant(entry as usize - 1) => return Ok(entry - 1),
                Some(_) => slot += 1,
                None => slot = 0,
            }
        }
        Err(None)
    }
}

fn take(table: &mut [u32], slot: usize, block: usize) {
    if let Some(s) = table.get_mut(slot) {
        *s = block as u32 + 1;
    }
}

/// Both sums in one number.
fn both(weak: u32, strong: u64) -> u32 {
    (strong ^ (strong >> 32)) as u32 ^ weak.rotate_left(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(sums: &[BlockSum]) -> Index {
        let mut index = Index::new(Layout::new(sums.len() as u64, 1), Strong::Xxh3(0));
        index.extend(sums.iter().copied());
        index
    }

    #[test]
    fn an_index_takes_at_most_32_bytes_a_block() {
        for blocks in [1000u64, 65_536, 65_537, 300_000] {
            let sum = |i: u64| BlockSum { weak: (i * 2_654_435_761) as u32, strong: i << 20 };
            let mut ix = index(&(0..blocks).map(sum).collect::<Vec<_>>());
            ix.tables();
            assert!(ix.bytes() <= 32 * blocks as usize, "{} bytes for {blocks} blocks", ix.bytes());
        }
    }

    #[test]
    fn hardly_a_block_is_without_a_slot() {
        let strong = Strong::Xxh3(5);
        let sums: Vec<_> = (0..200_000u32)
            .map(|i| BlockSum::of(&i.wrapping_mul(0x9e37_79b1).to_le_bytes(), strong))
            .collect();
        let mut ix = index(&sums);
        let t = ix.tables();
        let taken = t.by_both.iter().filter(|&&s| s > 0).count();
        assert!(taken >= 199_990, "{taken} of 200 000");
    }

    #[test]
    fn sums_made_to_collide_are_looked_up_in_bounded_steps() {
        // All weak sums equal, then all strong ones too: no chain grows.
        let mut ix = index(&(0..100_000).map(|i| BlockSum { weak: 7, strong: i }).collect::<Vec<_>>());
        assert_eq!(ix.find(7, b"x"), None);
        assert_eq!(ix.tables().by_weak.iter().filter(|&&s| s > 0).count(), 1);
        let mut ix = index(&vec![BlockSum { weak: 7, strong: 9 }; 100_000]);
        assert_eq!(ix.tables().by_both.iter().filter(|&&s| s > 0).count(), 1);
    }
}
