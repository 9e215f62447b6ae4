//! Two sums for each block of a basis: a weak one that rolls, a strong one that decides.

use super::rolling::{Rolling, prefetch};
use twox_hash::XxHash3_128;

/// Smallest block size chosen by default, bytes.
pub const MIN_DEFAULT_BLOCK: u32 = 700;
/// The default block size of files from 16 MiB to 1 GiB, bytes: the page of most databases and of the kernel.
pub const PAGE_BLOCK: u32 = 4096;
/// Default block sizes grow beyond this many blocks.
const DEFAULT_BLOCKS: u64 = 1 << 18;
/// Smallest block size that a peer may ask for, bytes.
pub const MIN_BLOCK: u32 = 64;
/// Largest block size, bytes.
pub const MAX_BLOCK: u32 = 256 * 1024;
/// Most blocks of one basis: what lies behind (128 GiB at the largest block size) is sent anew.
pub const MAX_BLOCKS: u32 = 1 << 19;
/// Fewest and most bytes of a strong sum that are sent.
pub const STRONG_LEN: (u8, u8) = (4, 8);

/// Bytes of the next block that are asked for while one is summed.
pub(super) const AHEAD: usize = 4096;

/// Sums of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSum {
    /// [`Rolling`].
    pub weak: u32,
    /// [`Strong::of`].
    pub strong: u64,
}

impl BlockSum {
    /// Of these bytes.
    pub fn of(data: &[u8], strong: Strong) -> BlockSum {
        BlockSum { weak: Rolling::of(data).sum(), strong: strong.of(data) }
    }
}

/// The strong hash of blocks, under the session's random seed. Whoever writes the files can't aim at a
/// match without it. It only finds candidates: BLAKE3 of the whole file decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strong {
    /// One half of XXH3-128.
    Xxh3(u64),
    /// The first bytes of BLAKE3 with a key made from the seed: for a file that was rebuilt wrongly with
    /// the fast one.
    Blake3(u64),
}

impl Strong {
    /// Of these bytes.
    #[inline]
    pub fn of(self, data: &[u8]) -> u64 {
        match self {
            Strong::Xxh3(seed) => XxHash3_128::oneshot_with_seed(seed, data) as u64,
            Strong::Blake3(seed) => {
                let key = blake3::derive_key("syncscope block sums", &seed.to_le_bytes());
                let hash = blake3::keyed_hash(&key, data);
                hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
            }
        }
    }

    /// The seed.
    pub fn seed(self) -> u64 {
        match self {
            Strong::Xxh3(seed) | Strong::Blake3(seed) => seed,
        }
    }
}

/// The default block size of a file of `len` bytes. Up to 16 MiB about its square root, so that the
/// signature and one changed block cost about the same; then a page, which is what programs rewrite; from
/// 1 GiB on a multiple of that, so that the signature fits into memory.
pub fn default_block_size(len: u64) -> u32 {
    let root = len.isqrt().min(u64::from(PAGE_BLOCK)) as u32;
    let pages = len.div_ceil(DEFAULT_BLOCKS * u64::from(PAGE_BLOCK));
    let whole = (pages.saturating_mul(u64::from(PAGE_BLOCK))).min(u64::from(MAX_BLOCK)) as u32;
    if root < PAGE_BLOCK { (root / 8 * 8).max(MIN_DEFAULT_BLOCK) } else { whole }
}

/// The block size for a file of `len` bytes where `wanted` was asked for: larger, where the file would be
/// cut into too many.
pub fn block_size(len: u64, wanted: Option<u32>) -> u32 {
    let least = len.div_ceil(u64::from(MAX_BLOCKS)).min(u64::from(MAX_BLOCK)) as u32;
    wanted.unwrap_or_else(|| default_block_size(len)).max(least)
}

/// How a basis is cut: `n` blocks of `size`, the last one of `rem` if that is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Block size, bytes.
    pub size: u32,
    /// Bytes covered.
    pub len: u64,
}

impl Layout {
    /// Cuts `len` bytes into blocks of `size`, at most [`MAX_BLOCKS`] of them.
    pub fn new(len: u64, size: u32) -> Layout {
        let size = size.max(1);
        Layout { size, len: len.min(u64::from(size) * u64::from(MAX_BLOCKS)) }
    }

    /// How many blocks.
    pub fn count(self) -> u32 {
        self.len.div_ceil(u64::from(self.size.max(1))) as u32
    }

    /// Length of the last block if it is a short one, else 0.
    pub fn rem(self) -> u32 {
        (self.len % u64::from(self.size.max(1))) as u32
    }

    /// Where `count` blocks from `first` on lie: offset and length; none if they are not all there.
    pub fn range(self, first: u32, count: u32) -> Option<(u64, u64)> {
        let end = first.checked_add(count)?;
        if count == 0 || end > self.count() {
            return None;
        }
        let from = u64::from(first) * u64::from(self.size);
        let to = (u64::from(end) * u64::from(self.size)).min(self.len);
        Some((from, to - from))
    }
}

impl Layout {
    /// How many bytes of each strong sum are worth sending. A false match is expected for one file in
    /// about 2^12: with 32 bits of weak sum before it, and 2^blocks · 2^len pairs to compare.
    pub fn strong_len(self) -> u8 {
        let bits = |n: u64| 64 - n.leading_zeros();
        let needed = (bits(self.len) + bits(u64::from(self.count())) + 12).saturating_sub(32);
        (needed.div_ceil(8) as u8).clamp(STRONG_LEN.0, STRONG_LEN.1)
    }
}

/// Sums of all blocks of `data`.
pub fn sums(data: &[u8], block_size: u32, strong: Strong) -> Vec<BlockSum> {
    let size = block_size.max(1) as usize;
    let of = |(i, block): (usize, &[u8])| {
        let next = data.get((i + 1) * size..).unwrap_or_default();
        prefetch(&next[..next.len().min(AHEAD)]);
        BlockSum::of(block, strong)
    };
    data.chunks(size).enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_follow_the_square_root_within_bounds() {
        let cases = [
            (0, 700),
            (490_000, 700),
            (1_000_000, 1000),
            (15 << 20, 3960),
            (16 << 20, 4096),
            (1 << 30, 4096),
            ((1 << 30) + 1, 8192),
            (64 << 30, 262_144),
            (u64::MAX, 262_144),
        ];
        for (len, want) in cases {
            assert_eq!(default_block_size(len), want, "{len} bytes");
        }
    }

    #[test]
    fn layouts_know_their_last_block() {
        let l = Layout::new(10, 3);
        assert_eq!((l.count(), l.rem()), (4, 1));
        assert_eq!(l.range(0, 1), Some((0, 3)));
        assert_eq!(l.range(1, 3), Some((3, 7)));
        assert_eq!(l.range(3, 1), Some((9, 1)));
        assert_eq!(l.range(3, 2), None);
        assert_eq!(l.range(4, 1), None);
        assert_eq!(l.range(1, u32::MAX), None);
        assert_eq!(l.range(0, 0), None);
        assert_eq!(Layout::new(u64::MAX, MAX_BLOCK).count(), MAX_BLOCKS);
    }

    #[test]
    fn a_block_size_that_makes_too_many_blocks_is_raised() {
        assert_eq!(block_size(1 << 20, Some(64)), 64);
        assert_eq!(block_size(1 << 30, Some(64)), 2048);
        assert_eq!(block_size(u64::MAX, Some(64)), MAX_BLOCK);
        assert_eq!(block_size(1 << 20, None), default_block_size(1 << 20));
    }

    #[test]
    fn strong_sums_grow_with_the_pairs_that_they_tell_apart() {
        let len = |len| Layout::new(len, default_block_size(len)).strong_len();
        assert_eq!([0, 1 << 20, 256 << 20, 32 << 30, 1 << 40, u64::MAX].map(len), [4, 4, 4, 5, 5, 5]);
        assert_eq!(Layout::new(1 << 40, 64).strong_len(), 4, "what is not covered does not count");
    }

    #[test]
    fn the_seed_and_the_kind_change_the_strong_sum_only() {
        let sums = [Strong::Xxh3(1), Strong::Xxh3(2), Strong::Blake3(1), Strong::Blake3(2)]
            .map(|s| BlockSum::of(b"zoe", s));
        assert!(sums.iter().all(|s| s.weak == sums[0].weak));
        let distinct: std::collections::BTreeSet<u64> = sums.iter().map(|s| s.strong).collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn the_strong_sum_is_the_xxh3_of_its_authors() {
        for len in [0, 3, 16, 128, 240, 241, 1024, 4096, 70_001] {
            let data: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
            let theirs = xxhash_rust::xxh3::xxh3_128_with_seed(&data, 77) as u64;
            assert_eq!(Strong::Xxh3(77).of(&data), theirs, "{len} bytes");
        }
    }
}
