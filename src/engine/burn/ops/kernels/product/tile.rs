//! A panel of weights times rows of activations, on whatever [`Simd`] there is.
//!
//! A tile of `ROWS` rows and `GROUPS` times sixteen outputs stays in registers while the inputs go
//! by. The tile changes nothing in the numbers: an output is the sum over parts of [`DEPTH`] inputs
//! of chains of fused multiply-adds, in order.

#![expect(unsafe_code, reason = "reads weights and activations by pointer in the inner loop")]

use std::ops::Range;

use super::simd::{BLOCK, LANES, Simd};
use super::{DEPTH, PANEL, PANEL_GROUPS};

/// What a panel's kernel is given.
///
/// `panel` holds all inputs of [`PANEL`] outputs; row `r` of `x` begins at `r * x_stride` (in numbers, pairs or blocks)
/// and has `inputs` numbers (rounded up to whole pairs or blocks, the rest zeros); row `r` of `out` begins at
/// `r * PANEL` and is added to.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) panel: &'a [u8],
    pub(super) x: Activations<'a>,
    pub(super) x_stride: usize,
    pub(super) inputs: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
}

/// Activations in the form that a kernel takes.
#[derive(Clone, Copy)]
pub(super) enum Activations<'a> {
    /// As they are.
    Floats(&'a [f32]),
    /// Rounded to bf16, two in a word.
    Pairs(&'a [u32]),
    /// Rounded to bytes, four in a word, with a scale and `-128 * sum` per block.
    Bytes { quads: &'a [i32], scales: &'a [f32], starts: &'a [i32] },
}

impl Activations<'_> {
    /// Without the first inputs of the first row; whole pairs or blocks of them.
    pub(super) fn skip(self, inputs: usize) -> Self {
        match self {
            Self::Floats(x) => Self::Floats(&x[inputs..]),
            Self::Pairs(x) => Self::Pairs(&x[inputs / 2..]),
            Self::Bytes { quads, scales, starts } => Self::Bytes {
                quads: &quads[inputs / 4..],
                scales: &scales[inputs / BLOCK..],
                starts: &starts[inputs / BLOCK..],
            },
        }
    }
}

/// A type that weights are kept in and computed with as f32.
pub(super) trait Element {
    /// Bytes of sixteen outputs' two inputs.
    const PAIR_BYTES: usize;

    /// One of the two inputs.
    ///
    /// # Safety
    /// As [`Simd`]; `from` has that many bytes.
    unsafe fn half<S: Simd, const SECOND: bool>(from: *const u8) -> S::Floats;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Element for F32 {
    const PAIR_BYTES: usize = 128;

    #[inline(always)]
    unsafe fn half<S: Simd, const SECOND: bool>(from: *const u8) -> S::Floats {
        // SAFETY: by the contract.
        unsafe { S::load(from.cast::<f32>().add(if SECOND { LANES } else { 0 })) }
    }
}

impl Element for F16 {
    const PAIR_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn half<S: Simd, const SECOND: bool>(from: *const u8) -> S::Floats {
        // SAFETY: by the contract.
        unsafe { S::f16_half::<SECOND>(from) }
    }
}

impl Element for Bf16 {
    const PAIR_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn half<S: Simd, const SECOND: bool>(from: *const u8) -> S::Floats {
        // SAFETY: by the contract.
        unsafe { S::bf16_half::<SECOND>(from) }
    }
}

/// Splits rows into tiles of nearly the same height, `most` at most.
#[inline(always)]
pub(super) fn tiles(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |tile| {
        let (start, end) = (tile * rows / count, (tile + 1) * rows / count);
        (start, end - start)
    })
}

/// Rows from which on a part of a panel is widened to f32 once, and not again for every tile.
const WIDEN_ROWS: usize = 24;

/// Adds the product of a panel of `E` with rows of f32 to `out`.
///
/// # Safety
/// As [`Simd`]; the job's slices are as long as it says, `out` has `rows * PANEL` numbers.
#[inline(always)]
pub(super) unsafe fn exact<S: Simd, E: Element, const ROWS: usize, const GROUPS: usize>(
    job: &Job<'_>,
    out: &mut [f32],
    wide: &mut Vec<f32>,
) {
    let Activations::Floats(x) = job.x else { unreachable!("floats are prepared for floats") };
    let pairs = job.inputs.div_ceil(2);
    assert!(job.panel.len() >= pairs * PANEL_GROUPS * E::PAIR_BYTES);
    assert!(x.len() >= (job.first_row + job.rows - 1) * job.x_stride + 2 * pairs);
    assert!(out.len() >= job.rows * PANEL);
    let widens = job.rows >= WIDEN_ROWS && E::PAIR_BYTES < F32::PAIR_BYTES;
    for start in (0..pairs).step_by(DEPTH / 2) {
        let count = (pairs - start).min(DEPTH / 2);
        let weights = &job.panel[start * PANEL_GROUPS * E::PAIR_BYTES..];
        // SAFETY: inside the slices, as asserted.
        unsafe {
            let x = x.as_ptr().add(job.first_row * job.x_stride + 2 * start);
            let part = Tile {
                weights: weights.as_ptr(),
                x,
                x_stride: job.x_stride,
                count,
                out: out.as_mut_ptr(),
                ahead: weights.as_ptr().wrapping_add(count * PANEL_GROUPS * E::PAIR_BYTES),
            };
            if widens {
                widen::<S, E>(wide, weights, count);
                let part = Tile { weights: wide.as_ptr().cast(), ..part };
                exact_part::<S, F32, ROWS, GROUPS>(part, job.rows);
            } else {
                exact_part::<S, E, ROWS, GROUPS>(part, job.rows);
            }
        }
    }
}

/// The first pairs of a panel as f32.
#[inline(always)]
unsafe fn widen<S: Simd, E: Element>(wide: &mut Vec<f32>, weights: &[u8], pairs: usize) {
    wide.resize(DEPTH * PANEL, 0.0);
    assert!(weights.len() >= pairs * PANEL_GROUPS * E::PAIR_BYTES && 2 * pairs <= DEPTH);
    for at in 0..pairs * PANEL_GROUPS {
        // SAFETY: inside the slices, as asserted.
        unsafe {
            let (from, to) = (weights.as_ptr().add(at * E::PAIR_BYTES), 2 * at * LANES);
            S::store(wide.as_mut_ptr().add(to), E::half::<S, false>(from));
            S::store(wide.as_mut_ptr().add(to + LANES), E::half::<S, true>(from));
        }
    }
}

/// All tiles of some pairs of a panel, `ROWS` high at most, which is 6 at most.
#[inline(always)]
unsafe fn exact_part<S: Simd, E: Element, const ROWS: usize, const GROUPS: usize>(
    part: Tile<f32>,
    rows: usize,
) {
    let count = rows.div_ceil(ROWS);
    for (number, (row, height)) in tiles(rows, ROWS).enumerate() {
        for group in (0..PANEL_GROUPS).step_by(GROUPS) {
            // SAFETY: the part has these rows and groups.
            unsafe {
                let tile = Tile {
                    weights: part.weights.add(group * E::PAIR_BYTES),
                    x: part.x.add(row * part.x_stride),
                    out: part.out.add(row * PANEL + group * LANES),
                    ..part
                };
                let lines = lines::<E>(number, count);
                match height {
                    1 => exact_tile::<S, E, 1, GROUPS>(tile, lines),
                    2 => exact_tile::<S, E, 2, GROUPS>(tile, lines),
                    3 => exact_tile::<S, E, 3, GROUPS>(tile, lines),
                    4 => exact_tile::<S, E, 4, GROUPS>(tile, lines),
                    5 => exact_tile::<S, E, 5, GROUPS>(tile, lines),
                    _ => exact_tile::<S, E, 6, GROUPS>(tile, lines),
                }
            }
        }
    }
}

/// What a tile is computed from: `count` pairs or blocks, rows of `x` that many `x_stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Tile<X> {
    pub(super) weights: *const u8,
    pub(super) x: *const X,
    pub(super) x_stride: usize,
    pub(super) count: usize,
    pub(super) out: *mut f32,
    /// The weights that will be read next, where they are asked for ahead of time.
    pub(super) ahead: *const u8,
}

/// Tiles of a part that ask for the weights of the next one; with more, computing takes longer than
/// reading.
const TILES_AHEAD: usize = 4;

/// Which of the next part's cache lines a tile asks for at each pair. A single tile reads as fast as
/// memory gives; of several only the first would, while memory rests during the others.
fn lines<E: Element>(tile: usize, tiles: usize) -> Range<usize> {
    let all = PANEL_GROUPS * E::PAIR_BYTES / CACHE_LINE;
    match tiles {
        2..=TILES_AHEAD => tile * all / tiles..(tile + 1) * all / tiles,
        _ => 0..0,
    }
}

#[inline(always)]
unsafe fn exact_tile<S: Simd, E: Element, const ROWS: usize, const GROUPS: usize>(
    tile: Tile<f32>,
    lines: Range<usize>,
) {
    // SAFETY: the caller has checked that all of it lies inside its slices.
    unsafe {
        let mut sums = [[S::splat(0.0); GROUPS]; ROWS];
        let (mut weights, mut x, mut ahead) = (tile.weights, tile.x, tile.ahead);
        for _ in 0..tile.count {
            for line in lines.clone() {
                S::prefetch(ahead.wrapping_add(line.wrapping_mul(CACHE_LINE)));
            }
            add_input::<S, E, ROWS, GROUPS, false>(&mut sums, weights, x, tile.x_stride);
            add_input::<S, E, ROWS, GROUPS, true>(&mut sums, weights, x.add(1), tile.x_stride);
            weights = weights.wrapping_add(PANEL_GROUPS * E::PAIR_BYTES);
            x = x.wrapping_add(2);
            ahead = ahead.wrapping_add(PANEL_GROUPS * E::PAIR_BYTES);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (group, sum) in sums.iter().enumerate() {
                S::add_to(tile.out.add(row * PANEL + group * LANES), *sum);
            }
        }
    }
}

/// Adds one input of a pair to all sums. One after the other, so that no more registers are needed
/// than there are: with both at once, tiles of AVX-512 went through the stack and took twice as long.
#[inline(always)]
unsafe fn add_input<
    S: Simd,
    E: Element,
    const ROWS: usize,
    const GROUPS: usize,
    const SECOND: bool,
>(
    sums: &mut [[S::Floats; GROUPS]; ROWS],
    weights: *const u8,
    x: *const f32,
    x_stride: usize,
) {
    // SAFETY: the caller has checked that all of it lies inside its slices.
    unsafe {
        // All of them, the first again: `skip` was compiled as calls in some builds, which pushed the
        // sums to the stack and took three times as long.
        let mut held = [E::half::<S, SECOND>(weights); GROUPS];
        for (group, held) in held.iter_mut().enumerate() {
            *held = E::half::<S, SECOND>(weights.add(group * E::PAIR_BYTES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // Checked by the caller: a check here would be one for every few instructions.
            let x = S::splat(*x.add(row.wrapping_mul(x_stride)));
            for (sum, held) in sums.iter_mut().zip(&held) {
                *sum = S::fused(*held, x, *sum);
            }
        }
    }
}

/// Bytes that memory gives at a time.
const CACHE_LINE: usize = 64;

/// Bytes of a block's scales, and of a block, of one panel in int8.
pub(super) const SCALE_BYTES: usize = 2 * PANEL;
pub(super) const BLOCK_BYTES: usize = SCALE_BYTES + PANEL * BLOCK;

/// Adds the product of a panel of int8 with rows of int8 to `out`. Within a block the sums are whole
/// numbers and so exact.
///
/// # Safety
/// As [`exact`].
#[inline(always)]
pub(super) unsafe fn int8<S: Simd, const ROWS: usize, const GROUPS: usize>(
    job: &Job<'_>,
    out: &mut [f32],
) {
    let Activations::Bytes { quads, scales, starts } = job.x else {
        unreachable!("bytes are prepared for bytes")
    };
    let blocks = job.inputs.div_ceil(BLOCK);
    let x_end = (job.first_row + job.rows - 1) * job.x_stride + blocks;
    assert!(job.panel.len() >= blocks * BLOCK_BYTES && out.len() >= job.rows * PANEL);
    assert!(quads.len() >= x_end * (BLOCK / 4));
    assert!(scales.len() >= x_end && starts.len() >= x_end);
    for start in (0..blocks).step_by(DEPTH / BLOCK) {
        let count = (blocks - start).min(DEPTH / BLOCK);
        for (row, height) in tiles(job.rows, ROWS) {
            for group in (0..PANEL_GROUPS).step_by(GROUPS) {
                // SAFETY: inside the slices, as asserted.
                unsafe {
                    let x = (job.first_row + row) * job.x_stride + start;
                    let tile = Tile {
                        weights: job.panel.as_ptr().add(start * BLOCK_BYTES),
                        x: quads.as_ptr().add(x * (BLOCK / 4)),
                        x_stride: job.x_stride,
                        count,
                        out: out.as_mut_ptr().add(row * PANEL + group * LANES),
                        ahead: std::ptr::null(),
                    };
                    let (scales, starts) = (scales.as_ptr().add(x), starts.as_ptr().add(x));
                    match height {
                        1 => int8_tile::<S, 1, GROUPS>(tile, scales, starts, group),
                        2 => int8_tile::<S, 2, GROUPS>(tile, scales, starts, group),
                        3 => int8_tile::<S, 3, GROUPS>(tile, scales, starts, group),
                        4 => int8_tile::<S, 4, GROUPS>(tile, scales, starts, group),
                        5 => int8_tile::<S, 5, GROUPS>(tile, scales, starts, group),
                        _ => int8_tile::<S, 6, GROUPS>(tile, scales, starts, group),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn int8_tile<S: Simd, const ROWS: usize, const GROUPS: usize>(
    tile: Tile<i32>,
    scales: *const f32,
    starts: *const i32,
    first_group: usize,
) {
    // SAFETY: the caller has checked that all of it lies inside its slices.
    unsafe {
        let mut sums = [[S::splat(0.0); GROUPS]; ROWS];
        for block in 0..tile.count {
            let weights = tile.weights.add(block * BLOCK_BYTES);
            let bytes = weights.add(SCALE_BYTES + first_group * 4 * LANES);
            let mut dots = [[S::dots(0); GROUPS]; ROWS];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [S::dots(*starts.add(row * tile.x_stride + block)); GROUPS];
            }
            for quad in 0..BLOCK / 4 {
                let bytes = bytes.add(quad * 4 * PANEL);
                for group in 0..GROUPS {
                    let weights = S::bytes(bytes.add(group * 4 * LANES));
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let block = row.wrapping_mul(tile.x_stride).wrapping_add(block);
                        let at = block.wrapping_mul(BLOCK / 4).wrapping_add(quad);
                        dots[group] = S::dot(dots[group], weights, *tile.x.add(at));
                    }
                }
            }
            for group in 0..GROUPS {
                let of_weights = S::bf16(weights.add(2 * (first_group + group) * LANES));
                for (row, (sums, dots)) in sums.iter_mut().zip(&dots).enumerate() {
                    let of_x = S::splat(*scales.add(row * tile.x_stride + block));
                    let scale = S::multiply(of_weights, of_x);
                    let dot = S::finish(dots[group]);
                    sums[group] = S::fused(dot, scale, sums[group]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (group, sum) in sums.iter().enumerate() {
                S::add_to(tile.out.add(row * PANEL + group * LANES), *sum);
            }
        }
    }
}
