//! The sum of a window, and windows at 16 places at once, in the vectors of AVX2.
//!
//! Both are chosen at run time and give, bit for bit, what the scalar code next door gives. Sums are kept
//! modulo 2^16, so 16 lanes of 16 bits hold them as they are. Sixteen places follow from one by two prefix
//! sums: with `o` the bytes that leave and `e` those that enter a window of length L,
//!
//! ```text
//! a_i = a + Σ (e_j - o_j)          j = 1 … i
//! b_i = b + Σ (a_j - L · o_j)      j = 1 … i
//! ```
#![allow(unsafe_code)]

use super::super::filter::Filter;
use super::Rolling;
use std::arch::x86_64::*;

/// Places looked at in one step.
const PLACES: usize = 16;

/// `a` and `b` of these bytes; none where the processor can't.
pub(super) fn sum(data: &[u8]) -> Option<(u32, u32)> {
    // SAFETY: the processor has AVX2.
    is_x86_feature_detected!("avx2").then(|| unsafe { sum_avx2(data) })
}

/// Moves the window that begins at `at`, a place that was looked at, to the next one whose sum the filter
/// lets through and `sure` accepts, as long as [`PLACES`] more are left before `to`: where it is, and whether
/// something was found.
pub(super) fn seek(
    window: &mut Rolling,
    data: &[u8],
    at: usize,
    to: usize,
    filter: &Filter,
    sure: impl Fn(u32) -> bool,
) -> Option<(usize, bool)> {
    // SAFETY: the processor has AVX2.
    is_x86_feature_detected!("avx2").then(|| unsafe { seek_avx2(window, data, at, to, filter, sure) })
}

/// Asks for these bytes to be brought near: the processor itself does not look beyond the end of a page.
pub(super) fn prefetch(data: &[u8]) {
    for line in data.chunks(64) {
        // SAFETY: every processor of this kind has it, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

fn load(bytes: [u8; 32]) -> __m256i {
    // SAFETY: both are 32 bytes, and all bits are valid in either.
    unsafe { std::mem::transmute(bytes) }
}

fn load16(bytes: [u8; 16]) -> __m128i {
    // SAFETY: both are 16 bytes, and all bits are valid in either.
    unsafe { std::mem::transmute(bytes) }
}

fn lanes(v: __m256i) -> [u32; 8] {
    // SAFETY: both are 32 bytes, and all bits are valid in either.
    unsafe { std::mem::transmute(v) }
}

#[target_feature(enable = "avx2")]
fn total(v: __m256i) -> u32 {
    lanes(v).into_iter().fold(0, u32::wrapping_add)
}

#[target_feature(enable = "avx2")]
fn sum_avx2(data: &[u8]) -> (u32, u32) {
    let (chunks, rest) = data.as_chunks::<32>();
    let weights = load(std::array::from_fn(|i| 32 - i as u8));
    let (zero, ones) = (_mm256_setzero_si256(), _mm256_set1_epi16(1));
    // Σ x, Σ over the vectors of the Σ x before them, Σ (32 - i)·x within each.
    let (mut plain, mut before, mut within) = (zero, zero, zero);
    for chunk in chunks {
        let x = load(*chunk);
        before = _mm256_add_epi32(before, plain);
        plain = _mm256_add_epi32(plain, _mm256_sad_epu8(x, zero));
        within = _mm256_add_epi32(within, _mm256_madd_epi16(_mm256_maddubs_epi16(x, weights), ones));
    }
    let mut a = total(plain);
    let mut b = total(before).wrapping_mul(32).wrapping_add(total(within));
    for &x in rest {
        a = a.wrapping_add(u32::from(x));
        b = b.wrapping_add(a);
    }
    (a, b)
}

/// Running sums over 16 lanes.
#[target_feature(enable = "avx2")]
fn prefix(v: __m256i, last_of_low: __m256i) -> __m256i {
    let v = _mm256_add_epi16(v, _mm256_slli_si256::<2>(v));
    let v = _mm256_add_epi16(v, _mm256_slli_si256::<4>(v));
    let v = _mm256_add_epi16(v, _mm256_slli_si256::<8>(v));
    // Shifts stay within halves: the upper half still lacks the sum of the lower one.
    let low = _mm256_permute2x128_si256::<0x08>(v, v);
    _mm256_add_epi16(v, _mm256_shuffle_epi8(low, last_of_low))
}

#[target_feature(enable = "avx2")]
fn seek_avx2(
    window: &mut Rolling,
    data: &[u8],
    mut at: usize,
    to: usize,
    filter: &Filter,
    sure: impl Fn(u32) -> bool,
) -> (usize, bool) {
    let len = window.len as usize;
    let (words, factor, shift) = filter.parts();
    let pair = |i: usize| if i.is_multiple_of(2) { 14 } else { 15 };
    let last = load(std::array::from_fn(pair));
    let length = _mm256_set1_epi16(len as i16);
    let factor = _mm256_set1_epi32(factor as i32);
    let (low_5, one) = (_mm256_set1_epi32(31), _mm256_set1_epi32(1));
    let to_word = _mm_cvtsi32_si128(shift as i32);
    let (to_first, to_second) = (_mm_cvtsi32_si128(shift as i32 - 5), _mm_cvtsi32_si128(shift as i32 - 10));
    let mut a = _mm256_set1_epi16(window.a as i16);
    let mut b = _mm256_set1_epi16(window.b as i16);
    while at + PLACES <= to {
        let (Some(out), Some(enter)) = (data[at..].first_chunk::<16>(), data[at + len..].first_chunk::<16>())
        else {
            break;
        };
        let out = _mm256_cvtepu8_epi16(load16(*out));
        let enter = _mm256_cvtepu8_epi16(load16(*enter));
        let sums_a = prefix(_mm256_sub_epi16(enter, out), last);
        let here_a = _mm256_add_epi16(a, sums_a);
        let sums_b = prefix(_mm256_sub_epi16(here_a, _mm256_mullo_epi16(length, out)), last);
        let here_b = _mm256_add_epi16(b, sums_b);
        let mut hits = 0;
        // Lanes 0 to 3 and 8 to 11 of the sixteen, then 4 to 7 and 12 to 15.
        let weak = [_mm256_unpacklo_epi16(here_a, here_b), _mm256_unpackhi_epi16(here_a, here_b)];
        for (half, weak) in weak.iter().enumerate() {
            let hash = _mm256_mullo_epi32(*weak, factor);
            let first = _mm256_sllv_epi32(one, _mm256_and_si256(_mm256_srl_epi32(hash, to_first), low_5));
            let second = _mm256_sllv_epi32(one, _mm256_and_si256(_mm256_srl_epi32(hash, to_second), low_5));
            let bits = _mm256_or_si256(first, second);
            let word = lanes(_mm256_srl_epi32(hash, to_word)).map(|i| words[i as usize] as i32);
            let [w0, w1, w2, w3, w4, w5, w6, w7] = word;
            let word = _mm256_setr_epi32(w0, w1, w2, w3, w4, w5, w6, w7);
            let hit = _mm256_cmpeq_epi32(_mm256_and_si256(word, bits), bits);
            let hit = _mm256_movemask_ps(_mm256_castsi256_ps(hit)) as u32;
            hits |= ((hit & 0xf) | (hit & 0xf0) << 4) << (4 * half);
        }
        while hits != 0 {
            let i = hits.trailing_zeros() as usize;
            let lane = i % 4 + i / 8 * 4;
            let weak = lanes(weak[i / 4 % 2])[lane];
            if sure(weak) {
                (window.a, window.b) = (weak & 0xffff, weak >> 16);
                return (at + i + 1, true);
            }
            hits &= hits - 1;
        }
        // The last lane is where the next sixteen begin. Only this addition waits for the step before.
        a = _mm256_add_epi16(a, _mm256_shuffle_epi8(_mm256_permute4x64_epi64::<0xff>(sums_a), last));
        b = _mm256_add_epi16(b, _mm256_shuffle_epi8(_mm256_permute4x64_epi64::<0xff>(sums_b), last));
        at += PLACES;
    }
    let low = |v: __m256i| lanes(v)[0] & 0xffff;
    (window.a, window.b) = (low(a), low(b));
    (at, false)
}
