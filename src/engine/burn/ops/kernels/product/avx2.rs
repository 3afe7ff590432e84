//! AVX2, FMA and F16C: two registers for sixteen lanes, sixteen registers.

#![expect(unsafe_code, reason = "vector instructions take pointers")]

use std::arch::x86_64::*;

use super::simd::Simd;

/// A processor with AVX2, FMA and F16C (since 2013).
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

impl Simd for Avx2 {
    type Floats = [__m256; 2];
    /// Four outputs each; two sums side by side are still to be added.
    type Dots = [__m256i; 4];
    /// Four outputs each, of 16 bits.
    type Bytes = [__m256i; 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> [__m256; 2] {
        // SAFETY: the processor has AVX2, by the contract; so below.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn multiply(left: [__m256; 2], right: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe { [_mm256_mul_ps(left[0], right[0]), _mm256_mul_ps(left[1], right[1])] }
    }

    #[inline(always)]
    unsafe fn fused(left: [__m256; 2], right: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe {
            [_mm256_fmadd_ps(left[0], right[0], sum[0]), _mm256_fmadd_ps(left[1], right[1], sum[1])]
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [__m256; 2] {
        // SAFETY: there are sixteen, by the contract.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, values: [__m256; 2]) {
        // SAFETY: there are sixteen, by the contract.
        unsafe {
            _mm256_storeu_ps(target, values[0]);
            _mm256_storeu_ps(target.add(8), values[1]);
        }
    }

    #[inline(always)]
    unsafe fn add_to(target: *mut f32, values: [__m256; 2]) {
        for (part, values) in values.into_iter().enumerate() {
            // SAFETY: there are sixteen, by the contract.
            unsafe {
                let target = target.add(8 * part);
                _mm256_storeu_ps(target, _mm256_add_ps(_mm256_loadu_ps(target), values));
            }
        }
    }

    #[inline(always)]
    unsafe fn bf16_half<const HIGH: bool>(from: *const u8) -> [__m256; 2] {
        // SAFETY: there are sixteen words, by the contract.
        unsafe {
            let mask = _mm256_set1_epi32(-0x1_0000);
            two(from).map(|words| {
                _mm256_castsi256_ps(match HIGH {
                    true => _mm256_and_si256(words, mask),
                    false => _mm256_slli_epi32::<16>(words),
                })
            })
        }
    }

    #[inline(always)]
    unsafe fn f16_half<const HIGH: bool>(from: *const u8) -> [__m256; 2] {
        // SAFETY: there are sixteen words, by the contract.
        unsafe {
            let mask = _mm256_set1_epi32(0xffff);
            two(from).map(|words| {
                halves(match HIGH {
                    true => _mm256_srli_epi32::<16>(words),
                    false => _mm256_and_si256(words, mask),
                })
            })
        }
    }

    #[inline(always)]
    unsafe fn bf16(from: *const u8) -> [__m256; 2] {
        // SAFETY: there are sixteen, by the contract.
        unsafe {
            let wide = |from: *const u8| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            [wide(from), wide(from.add(16))]
        }
    }

    #[inline(always)]
    unsafe fn dots(start: i32) -> [__m256i; 4] {
        // SAFETY: as above. Of two neighbours, which are added in the end, one begins at `start`.
        unsafe { [_mm256_set1_epi64x(i64::from(start as u32)); 4] }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [__m256i; 4] {
        // SAFETY: there are sixty-four, by the contract.
        unsafe {
            let four = |from: *const u8| _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast()));
            [four(from), four(from.add(16)), four(from.add(32)), four(from.add(48))]
        }
    }

    #[inline(always)]
    unsafe fn dot(mut sums: [__m256i; 4], weights: [__m256i; 4], x: i32) -> [__m256i; 4] {
        // SAFETY: as above.
        unsafe {
            let x = _mm256_cvtepi8_epi16(_mm_set1_epi32(x));
            for (sums, weights) in sums.iter_mut().zip(weights) {
                *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(weights, x));
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn finish(sums: [__m256i; 4]) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe {
            let eight = |left, right| {
                let mixed = _mm256_hadd_epi32(left, right);
                _mm256_cvtepi32_ps(_mm256_permute4x64_epi64::<0b11_01_10_00>(mixed))
            };
            [eight(sums[0], sums[1]), eight(sums[2], sums[3])]
        }
    }
}

/// Sixteen words.
#[inline(always)]
unsafe fn two(from: *const u8) -> [__m256i; 2] {
    // SAFETY: there are sixteen words and the processor has AVX2, by the contract.
    unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
}

/// Eight f16 in the low halves of eight words.
#[inline(always)]
unsafe fn halves(words: __m256i) -> __m256 {
    // SAFETY: the processor has AVX2 and F16C, by the contract.
    unsafe {
        let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi32(words, words));
        _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
    }
}
