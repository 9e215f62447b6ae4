//! The weak sum that rolls: from the sum of one window follows that of the next in two steps.
//!
//! ```text
//! a(k,l) = Σ X_i                 mod 2^16
//! b(k,l) = Σ (l - i + 1) · X_i   mod 2^16
//! s(k,l) = a + 2^16 · b
//! ```
//! (Tridgell and Mackerras, "The rsync algorithm", 1996.)

use super::filter::Filter;

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Says that these bytes are needed soon; where they are is all that changes.
#[inline]
pub(super) fn prefetch(data: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    avx2::prefetch(data);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

/// The sum of one window of fixed length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rolling {
    // Kept modulo 2^32: 2^16 divides it, so cutting at the end is the same.
    a: u32,
    b: u32,
    len: u32,
}

impl Rolling {
    /// Of these bytes.
    pub fn of(data: &[u8]) -> Rolling {
        #[cfg(target_arch = "x86_64")]
        if let Some((a, b)) = avx2::sum(data) {
            return Rolling { a, b, len: data.len() as u32 };
        }
        Rolling::scalar(data)
    }

    /// The same without vectors.
    pub fn scalar(data: &[u8]) -> Rolling {
        let (mut a, mut b) = (0u32, 0u32);
        for chunk in data.chunks(16) {
            // b after n bytes = b + n·a + Σ (n - i)·x_i: the bytes no longer wait for each other.
            let n = chunk.len() as u32;
            let (mut sum, mut weighted) = (0u32, 0u32);
            for (i, &x) in chunk.iter().enumerate() {
                sum += u32::from(x);
                weighted += (n - i as u32) * u32::from(x);
            }
            b = b.wrapping_add(n.wrapping_mul(a)).wrapping_add(weighted);
            a = a.wrapping_add(sum);
        }
        Rolling { a, b, len: data.len() as u32 }
    }

    /// Moves the window that begins at `at` in `data` along, to the first place before or at `to`
    /// whose sum `filter` lets through and `sure` accepts: its begin. None: the window is at `to` and
    /// nothing was found. The place where it stands is looked at, too. All windows must lie in `data`.
    pub fn seek(
        &mut self,
        data: &[u8],
        at: usize,
        to: usize,
        filter: &Filter,
        sure: impl Fn(u32) -> bool,
    ) -> Option<usize> {
        if filter.may_have(self.sum()) && sure(self.sum()) {
            return Some(at);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some((at, found)) = avx2::seek(self, data, at, to, filter, &sure) {
            return if found { Some(at) } else { self.seek_scalar(data, at, to, filter, sure) };
        }
        self.seek_scalar(data, at, to, filter, sure)
    }

    /// As [`Rolling::seek`] without vectors, but for the first place.
    fn seek_scalar(
        &mut self,
        data: &[u8],
        mut at: usize,
        to: usize,
        filter: &Filter,
        sure: impl Fn(u32) -> bool,
    ) -> Option<usize> {
        let len = self.len as usize;
        let (leaving, entering) = (data.get(at..to)?, data.get(at + len..to + len)?);
        for (&out, &enter) in leaving.iter().zip(entering) {
            self.roll(out, enter);
            at += 1;
            if filter.may_have(self.sum()) && sure(self.sum()) {
                return Some(at);
            }
        }
        None
    }

    /// Moves the window by one byte: `out` leaves it, `enter` comes in.
    #[inline]
    pub fn roll(&mut self, out: u8, enter: u8) {
        self.a = self.a.wrapping_sub(u32::from(out)).wrapping_add(u32::from(enter));
        self.b = self.b.wrapping_sub(self.len.wrapping_mul(u32::from(out))).wrapping_add(self.a);
    }

    /// The sum `a + 2^16 · b`.
    #[inline]
    pub fn sum(self) -> u32 {
        (self.a & 0xffff) | (self.b << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::noise::noise;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn by_definition(x: &[u8]) -> u32 {
        let m = 1u64 << 16;
        let l = x.len() as u64;
        let a = x.iter().map(|&v| u64::from(v)).sum::<u64>() % m;
        let b = x.iter().enumerate().map(|(i, &v)| (l - i as u64) * u64::from(v)).sum::<u64>() % m;
        (a + m * b) as u32
    }

    #[test]
    fn the_sum_is_the_one_of_the_definition() {
        let data: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in [0, 1, 2, 15, 16, 17, 700, 4096, 70_000] {
            assert_eq!(Rolling::of(&data[..len]).sum(), by_definition(&data[..len]), "{len} bytes");
        }
        assert_eq!(Rolling::of(&vec![255; 131_072]).sum(), by_definition(&vec![255; 131_072]));
    }

    #[test]
    fn rolling_gives_what_starting_afresh_gives() {
        let data: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
        for len in [1, 3, 16, 700] {
            let mut r = Rolling::of(&data[..len]);
            for k in 0..data.len() - len {
                assert_eq!(r.sum(), Rolling::of(&data[k..k + len]).sum(), "window of {len} at {k}");
                r.roll(data[k], data[k + len]);
            }
        }
    }

    #[test]
    fn vectors_give_the_sums_of_the_scalar_code_at_every_length() {
        let data = noise(1, 1200);
        for len in 0..data.len() {
            assert_eq!(Rolling::of(&data[..len]), Rolling::scalar(&data[..len]), "{len} bytes");
        }
        let white = vec![255; 1 << 18];
        assert_eq!(Rolling::of(&white).sum(), Rolling::scalar(&white).sum());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn vectors_stop_where_the_scalar_code_stops(
            seed in any::<u64>(),
            len in prop_oneof![1usize..200, Just(4096), Just(65_536), Just(65_537)],
            places in 0usize..700,
            marked in proptest::collection::vec(0usize..700, 0..20),
            low in any::<bool>(),
        ) {
            let mut data = noise(seed, len + places);
            if low {
                data.iter_mut().for_each(|x| *x &= 1); // few different sums: many stops
            }
            let mut filter = Filter::new(marked.len() as u32, seed);
            let mut sure = std::collections::BTreeSet::new();
            for (i, at) in marked.iter().enumerate().filter(|m| *m.1 <= places) {
                let sum = Rolling::of(&data[*at..at + len]).sum();
                filter.insert(sum);
                if i % 3 > 0 {
                    sure.insert(sum);
                }
            }
            let sure = |sum| sure.contains(&sum);
            let (mut fast, mut slow) = (Rolling::of(&data[..len]), Rolling::scalar(&data[..len]));
            let mut at = 0;
            loop {
                let found = fast.seek(&data, at, places, &filter, sure);
                let expected = if filter.may_have(slow.sum()) && sure(slow.sum()) {
                    Some(at)
                } else {
                    slow.seek_scalar(&data, at, places, &filter, sure)
                };
                prop_assert_eq!(found, expected);
                prop_assert_eq!(fast.sum(), slow.sum());
                let Some(here) = found.filter(|&p| p < places) else { break };
                prop_assert_eq!(fast.sum(), Rolling::scalar(&data[here..here + len]).sum());
                fast.roll(data[here], data[here + len]);
                slow.roll(data[here], data[here + len]);
                at = here + 1;
            }
        }
    }
}
