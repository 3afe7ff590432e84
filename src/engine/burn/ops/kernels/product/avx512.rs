//! AVX-512: sixteen lanes in a register, thirty-two registers.

#![expect(unsafe_code, reason = "vector instructions take pointers")]

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};
use super::tile::{Activations, Job, Tile, tiles};
use super::{DEPTH, PANEL, PANEL_GROUPS};

/// Bytes of two inputs of a panel's outputs in bf16.
const PAIR_BYTES: usize = 4 * PANEL;

/// A processor with AVX-512 F, BW, VL and VNNI (all since 2019, and AMD's since 2022).
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

impl Simd for Avx512 {
    type Floats = __m512;
    type Dots = __m512i;
    type Bytes = __m512i;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the processor has AVX-512, by the contract; so below.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn multiply(left: __m512, right: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(left, right) }
    }

    #[inline(always)]
    unsafe fn fused(left: __m512, right: __m512, sum: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: there are sixteen, by the contract.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, values: __m512) {
        // SAFETY: there are sixteen, by the contract.
        unsafe { _mm512_storeu_ps(target, values) }
    }

    #[inline(always)]
    unsafe fn add_to(target: *mut f32, values: __m512) {
        // SAFETY: there are sixteen, by the contract.
        unsafe { _mm512_storeu_ps(target, _mm512_add_ps(_mm512_loadu_ps(target), values)) }
    }

    #[inline(always)]
    unsafe fn bf16_half<const HIGH: bool>(from: *const u8) -> __m512 {
        // SAFETY: there are sixteen words, by the contract.
        unsafe {
            let words = _mm512_loadu_si512(from.cast());
            _mm512_castsi512_ps(match HIGH {
                true => _mm512_and_si512(words, _mm512_set1_epi32(-0x1_0000)),
                false => _mm512_slli_epi32::<16>(words),
            })
        }
    }

    #[inline(always)]
    unsafe fn f16_half<const HIGH: bool>(from: *const u8) -> __m512 {
        // SAFETY: there are sixteen words, by the contract.
        unsafe {
            let words = _mm512_loadu_si512(from.cast());
            let words = if HIGH { _mm512_srli_epi32::<16>(words) } else { words };
            _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words))
        }
    }

    #[inline(always)]
    unsafe fn bf16(from: *const u8) -> __m512 {
        // SAFETY: there are sixteen, by the contract.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(line: *const u8) {
        // SAFETY: a prefetch reads nothing that anybody could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }

    #[inline(always)]
    unsafe fn dots(start: i32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(start) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        // SAFETY: there are sixty-four, by the contract.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m512i, weights: __m512i, x: i32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(x)) }
    }

    #[inline(always)]
    unsafe fn finish(sums: __m512i) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
}

/// Adds the product of a panel of bf16 with rows rounded to bf16 to `out`, by the instruction that
/// multiplies two pairs of bf16 and adds both.
///
/// # Safety
/// The processor has AVX512-BF16.
#[inline(always)]
pub(super) unsafe fn rounded<const ROWS: usize, const GROUPS: usize>(
    job: &Job<'_>,
    out: &mut [f32],
) {
    let pairs = job.inputs.div_ceil(2);
    let Activations::Pairs(x) = job.x else { unreachable!("pairs are prepared for bf16") };
    assert!(job.panel.len() >= pairs * PAIR_BYTES && out.len() >= job.rows * PANEL);
    assert!(x.len() >= (job.first_row + job.rows - 1) * job.x_stride + pairs);
    for start in (0..pairs).step_by(DEPTH / 2) {
        let count = (pairs - start).min(DEPTH / 2);
        for (row, height) in tiles(job.rows, ROWS) {
            for group in (0..PANEL_GROUPS).step_by(GROUPS) {
                // SAFETY: inside the slices, as asserted.
                unsafe {
                    let tile = Tile {
                        weights: job.panel.as_ptr().add(start * PAIR_BYTES + group * 4 * LANES),
                        x: x.as_ptr().add((job.first_row + row) * job.x_stride + start),
                        x_stride: job.x_stride,
                        count,
                        out: out.as_mut_ptr().add(row * PANEL + group * LANES),
                        ahead: std::ptr::null(),
                    };
                    match height {
                        1 => rounded_tile::<1, GROUPS>(tile),
                        2 => rounded_tile::<2, GROUPS>(tile),
                        3 => rounded_tile::<3, GROUPS>(tile),
                        4 => rounded_tile::<4, GROUPS>(tile),
                        5 => rounded_tile::<5, GROUPS>(tile),
                        _ => rounded_tile::<6, GROUPS>(tile),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn rounded_tile<const ROWS: usize, const GROUPS: usize>(tile: Tile<u32>) {
    // SAFETY: the caller has checked that all of it lies inside its slices, and the processor.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); GROUPS]; ROWS];
        let (mut weights, mut x) = (tile.weights, tile.x);
        for _ in 0..tile.count {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(*x.add(row.wrapping_mul(tile.x_stride)) as i32);
                for (group, sum) in sums.iter_mut().enumerate() {
                    let weights = _mm512_loadu_si512(weights.add(group * 4 * LANES).cast());
                    let (weights, x) = (bf16_of(weights), bf16_of(x));
                    *sum = _mm512_dpbf16_ps(*sum, weights, x);
                }
            }
            (weights, x) = (weights.wrapping_add(PAIR_BYTES), x.wrapping_add(1));
        }
        for (row, sums) in sums.iter().enumerate() {
            for (group, sum) in sums.iter().enumerate() {
                Avx512::add_to(tile.out.add(row * PANEL + group * LANES), *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn bf16_of(words: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of any content.
    unsafe { std::mem::transmute(words) }
}
