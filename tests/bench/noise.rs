//! Random bytes, and the same with some pages changed: the same in every run.

/// Bytes without a pattern.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// This share of its 4 KiB pages is new.
pub fn pages(base: &[u8], share: f64, seed: u64) -> Vec<u8> {
    let mut out = base.to_vec();
    let pages = base.len() / 4096;
    let fresh = noise(seed, 4096 * (pages as f64 * share) as usize);
    let mut x = seed | 1;
    for page in fresh.chunks(4096) {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (x >> 33) as usize % pages * 4096;
        out[at..at + 4096].copy_from_slice(page);
    }
    out
}
