//! A tile of a product of f32 matrices, on whatever [`Simd`] there is.
//!
//! Every number of a tile is a chain of fused multiply-adds in the order of the depth: which
//! instructions compute it, and beside what, changes nothing.

#![expect(unsafe_code, reason = "reads both matrices by pointer in the inner loop")]

use crate::burn::ops::kernels::product::simd::{LANES, Simd};

/// Rows of a tile.
pub(crate) const ROWS: usize = 6;

/// Groups of sixteen columns of a panel: with six rows 24 sums, which leaves registers of AVX-512 for
/// the values of four groups and of one row.
const GROUPS: usize = 4;

/// Columns that are packed side by side.
pub(crate) const PANEL: usize = GROUPS * LANES;

/// Depth that is summed up by itself before it is added. Half of it, which fits the first cache, was
/// slower: what is added is read and written twice as often.
pub(crate) const DEPTH: usize = 256;

/// From row to row of the left side; a cache line more than there are numbers, so that the rows of a
/// tile do not ask for the same places of the cache.
pub(crate) const LEFT: usize = DEPTH + LANES;

/// What a tile is computed from, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Its first row's first number.
    pub(crate) left: *const f32,
    /// `depth` times [`PANEL`] numbers.
    pub(crate) panel: *const f32,
    pub(crate) depth: usize,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// Columns of the panel that are in `out`.
    pub(crate) columns: usize,
    pub(crate) scale: f32,
    /// Whether it is added to what is there.
    pub(crate) add: bool,
}

/// How the left side lies: from row to row, and from one number of a row to the next.
pub(crate) trait Lie {
    const ROW: usize;
    const STEP: usize;
}

/// Rows, [`LEFT`] apart.
pub(crate) struct InRows;

/// Rows side by side, [`LEFT`] from one number to the next.
pub(crate) struct InColumns;

/// Rows of a tile side by side, tile by tile.
pub(crate) struct InTiles;

impl Lie for InRows {
    const ROW: usize = LEFT;
    const STEP: usize = 1;
}

impl Lie for InColumns {
    const ROW: usize = 1;
    const STEP: usize = LEFT;
}

impl Lie for InTiles {
    const ROW: usize = 1;
    const STEP: usize = ROWS;
}

/// A tile of so many rows, at most [`ROWS`], in pieces of `MOST` rows and `G` groups, which divides
/// the groups of a panel.
///
/// # Safety
/// As [`Simd`]; the pointers have what the tile says.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, L: Lie, const MOST: usize, const G: usize>(
    tile: Tile,
    rows: usize,
) {
    for row in (0..rows).step_by(MOST) {
        for group in (0..GROUPS).step_by(G) {
            let column = group * LANES;
            if column >= tile.columns {
                break;
            }
            // SAFETY: the tile has these rows and columns.
            unsafe {
                let part = Tile {
                    left: tile.left.add(row * L::ROW),
                    panel: tile.panel.add(column),
                    out: tile.out.add(row * tile.out_stride + column),
                    columns: tile.columns - column,
                    ..tile
                };
                match (rows - row).min(MOST) {
                    1 => piece::<S, L, 1, G>(part),
                    2 => piece::<S, L, 2, G>(part),
                    3 => piece::<S, L, 3, G>(part),
                    4 => piece::<S, L, 4, G>(part),
                    5 => piece::<S, L, 5, G>(part),
                    _ => piece::<S, L, ROWS, G>(part),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn piece<S: Simd, L: Lie, const R: usize, const G: usize>(tile: Tile) {
    // SAFETY: by the contract of `multiply`.
    unsafe {
        let mut sums = [[S::splat(0.0); G]; R];
        let (mut panel, mut left) = (tile.panel, tile.left);
        for _ in 0..tile.depth {
            let mut held = [S::load(panel); G];
            for (group, held) in held.iter_mut().enumerate().skip(1) {
                *held = S::load(panel.add(group * LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = *left.add(row * L::ROW);
                let value = S::splat(value);
                for (sum, held) in sums.iter_mut().zip(&held) {
                    *sum = S::fused(*held, value, *sum);
                }
            }
            panel = panel.add(PANEL);
            left = left.add(L::STEP);
        }
        // Each of these loops is unrolled: sums that are looked up by a number leave the registers.
        let scale = S::splat(tile.scale);
        for sums in &mut sums {
            *sums = sums.map(|sum| S::multiply(sum, scale));
        }
        if tile.columns < G * LANES {
            let mut values = [[[0.0_f32; LANES]; G]; R];
            for (values, sum) in values.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                S::store(values.as_mut_ptr(), *sum);
            }
            for (row, values) in values.iter().enumerate() {
                let values = values.as_flattened();
                edge(tile.out.add(row * tile.out_stride), &values[..tile.columns], tile.add);
            }
        } else if tile.add {
            for (row, sums) in sums.iter().enumerate() {
                for (group, sum) in sums.iter().enumerate() {
                    S::add_to(tile.out.add(row * tile.out_stride + group * LANES), *sum);
                }
            }
        } else {
            for (row, sums) in sums.iter().enumerate() {
                for (group, sum) in sums.iter().enumerate() {
                    S::store(tile.out.add(row * tile.out_stride + group * LANES), *sum);
                }
            }
        }
    }
}

/// Writes or adds some numbers.
unsafe fn edge(out: *mut f32, values: &[f32], add: bool) {
    for (at, value) in values.iter().enumerate() {
        // SAFETY: there is room for them in `out`.
        unsafe {
            let old = if add { out.add(at).read() } else { 0.0 };
            out.add(at).write(old + value);
        }
    }
}
