//! Files to compare, the same in every run.

use super::noise::noise;

/// One byte before it.
pub fn inserted(base: &[u8]) -> Vec<u8> {
    [&[42], base].concat()
}

/// A new half, then the second half of the basis, moved by some bytes.
pub fn half(base: &[u8], seed: u64) -> Vec<u8> {
    let mut out = noise(seed, base.len() / 2);
    out.extend_from_slice(&base[base.len() / 2 + 1234..]);
    out
}

/// In each MiB 64 KiB of the basis, from elsewhere, and the rest new.
pub fn sparse(base: &[u8], seed: u64) -> Vec<u8> {
    let mut out = noise(seed, base.len());
    let n = base.len() >> 20;
    for i in 0..n {
        let (to, from) = ((i << 20) + 300_001, (((i * 7 + 3) % n) << 20) + 11_111);
        out[to..to + 65_536].copy_from_slice(&base[from..from + 65_536]);
    }
    out
}

/// Zeros with one other byte in each block's length, at a place that moves.
pub fn nearly_zeros(len: usize, size: u32) -> Vec<u8> {
    let mut out = vec![0; len];
    for (i, block) in out.chunks_exact_mut(size as usize).enumerate() {
        block[i * 31 % size as usize] = 1 + (i % 255) as u8;
    }
    out
}

/// Blocks whose weak sum is that of all ones, and whose strong sums all differ.
pub fn equal_sums(len: usize, size: u32) -> Vec<u8> {
    let mut out = vec![1; len];
    for (i, block) in out.chunks_exact_mut(size as usize).enumerate() {
        // +1 -1 -1 +1 keeps both halves of the sum; where, counts in two digits.
        let places = size as usize / 8;
        for at in [i % places * 4, size as usize / 2 + i / places % places * 4] {
            for (d, v) in [2, 0, 0, 2].into_iter().enumerate() {
                block[at + d] = v;
            }
        }
    }
    out
}

/// The same bytes again and again.
pub fn periodic(len: usize, period: usize) -> Vec<u8> {
    noise(5, period).into_iter().cycle().take(len).collect()
}
