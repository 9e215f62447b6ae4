//! The weak sum that rolls: from the sum of one window follows that of the next in two steps.
//!
//! ```text
//! a(k,l) = Σ X_i                 mod 2^16
//! b(k,l) = Σ (l - i + 1) · X_i   mod 2^16
//! s(k,l) = a + 2^16 · b
//! ```
//! (Tridgell and Mackerras, "The rsync algorithm", 1996.)

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
}
