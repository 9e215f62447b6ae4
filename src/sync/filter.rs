//! Which weak sums a basis may have: a Bloom filter of two bits a sum, both in one word, so that the
//! search touches one line of cache for each place it looks at.

/// The set.
#[derive(Debug)]
pub struct Filter {
    words: Vec<u32>,
    /// Odd; spreads sums: those of text differ in few bits.
    factor: u32,
    /// Bits of the hash below those that choose the word.
    shift: u32,
}

impl Filter {
    /// Words of the smallest and of the largest filter, as powers of 2. The hash has 10 more bits to give.
    const SIZES: (u32, u32) = (6, 19);

    /// For this many sums: 32 to 64 bits each. Who doesn't know the seed can't choose sums that collide.
    pub fn new(sums: u32, seed: u64) -> Filter {
        let bits = u64::from(sums).next_power_of_two().ilog2().clamp(Filter::SIZES.0, Filter::SIZES.1);
        let random = seed.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let factor = (random >> 32) as u32 | 0x8000_0001;
        Filter { words: vec![0; 1 << bits], factor, shift: 32 - bits }
    }

    /// 32 bits that depend on all of a sum.
    pub(super) fn hash(&self, weak: u32) -> u32 {
        weak.wrapping_mul(self.factor)
    }

    fn place(&self, weak: u32) -> (usize, u32) {
        let hash = self.hash(weak);
        let bit = |by: u32| 1 << ((hash >> (self.shift - by)) & 31);
        ((hash >> self.shift) as usize, bit(5) | bit(10))
    }

    /// Adds one.
    pub fn insert(&mut self, weak: u32) {
        let (word, bits) = self.place(weak);
        if let Some(w) = self.words.get_mut(word) {
            *w |= bits;
        }
    }

    /// False: this sum was never added. True: it was, or about one in two hundred times it was not.
    #[inline]
    pub fn may_have(&self, weak: u32) -> bool {
        let (word, bits) = self.place(weak);
        self.words.get(word).is_some_and(|w| w & bits == bits)
    }

    /// The words, the factor that makes a hash of a sum, and by how many bits that is shifted to be the
    /// number of a word.
    pub(super) fn parts(&self) -> (&[u32], u32, u32) {
        (&self.words, self.factor, self.shift)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.words.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_little_else() {
        for n in [1u32, 100, 65_536, 100_000] {
            let mut f = Filter::new(n, 3);
            let sum = |i: u32| i.wrapping_mul(2_654_435_761).rotate_left(11) ^ 0x5bd1_e995;
            (0..n).for_each(|i| f.insert(sum(i)));
            assert!((0..n).all(|i| f.may_have(sum(i))));
            let wrong = (n..n + 100_000).filter(|&i| f.may_have(sum(i))).count();
            assert!(wrong < 800, "{wrong} of 100 000 with {n} in it");
            assert!(f.bytes() <= (8 * n as usize).max(256));
        }
    }
}
