//! Two sums for each block of a basis: a weak one that rolls, a strong one that decides.

use super::rolling::Rolling;

/// Smallest block size chosen by default, bytes.
pub const MIN_DEFAULT_BLOCK: u32 = 700;
/// Smallest block size that a peer may ask for, bytes.
pub const MIN_BLOCK: u32 = 64;
/// Largest block size, bytes.
pub const MAX_BLOCK: u32 = 128 * 1024;
/// Most blocks of one basis: what lies behind (128 GiB at the largest block size) is sent anew.
pub const MAX_BLOCKS: u32 = 1 << 20;

/// Sums of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSum {
    /// [`Rolling`].
    pub weak: u32,
    /// [`strong`].
    pub strong: u64,
}

impl BlockSum {
    /// Of these bytes.
    pub fn of(data: &[u8], seed: u64) -> BlockSum {
        BlockSum { weak: Rolling::of(data).sum(), strong: strong(data, seed) }
    }
}

/// The strong hash of a block: one half of XXH3-128 under the session's random seed. Together with
/// the weak sum a false match has a chance of 2^-96 for each pair; whoever writes the files can't
/// aim at one without the seed. It only finds candidates: BLAKE3 of the whole file decides.
pub fn strong(data: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_128_with_seed(data, seed) as u64
}

/// The default block size of a file of `len` bytes: about its square root, a multiple of 8, so that
/// signature and one changed block cost about the same.
pub fn default_block_size(len: u64) -> u32 {
    let root = len.isqrt().min(u64::from(MAX_BLOCK)) as u32;
    (root / 8 * 8).clamp(MIN_DEFAULT_BLOCK, MAX_BLOCK)
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

/// Sums of all blocks of `data`.
pub fn sums(data: &[u8], block_size: u32, seed: u64) -> Vec<BlockSum> {
    data.chunks(block_size.max(1) as usize).map(|b| BlockSum::of(b, seed)).collect()
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
            (24 << 20, 5016),
            (256 << 20, 16_384),
            (u64::MAX, 131_072),
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
    fn the_seed_changes_the_strong_sum_only() {
        let (x, y) = (BlockSum::of(b"zoe", 1), BlockSum::of(b"zoe", 2));
        assert_eq!(x.weak, y.weak);
        assert_ne!(x.strong, y.strong);
    }
}
