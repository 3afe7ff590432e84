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
    /// Its first row's first number, and how far apart rows are where they are [`InPlace`].
    pub(crate) left: *const f32,
    pub(crate) left_stride: usize,
    /// `depth` times [`PANEL`] numbers.
    pub(crate) panel: *const f32,
    pub(crate) depth: usize,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// Columns of the panel that are in `out`.
    pub(crate) columns: usize,
    pub(crate) scale: f32,
    /// Whether it is added to what is in `to`, as far apart as in `out`.
    pub(crate) add: bool,
    pub(crate) to: *const f32,
}

/// How the left side lies: from row to row, and from one number of a row to the next.
pub(crate) trait Lie {
    const STEP: usize;

    fn row(tile: &Tile) -> usize;
}

/// Rows as the tile says.
pub(crate) struct InPlace;

/// Rows, [`LEFT`] apart.
pub(crate) struct InRows;

/// Rows side by side, [`LEFT`] from one number to the next.
pub(crate) struct InColumns;

/// Rows of a tile side by side, tile by tile.
pub(crate) struct InTiles;

impl Lie for InPlace {
    const STEP: usize = 1;

    #[inline(always)]
    fn row(tile: &Tile) -> usize {
        tile.left_stride
    }
}

impl Lie for InRows {
    const STEP: usize = 1;

    #[inline(always)]
    fn row(_: &Tile) -> usize {
        LEFT
    }
}

impl Lie for InColumns {
    const STEP: usize = LEFT;

    #[inline(always)]
    fn row(_: &Tile) -> usize {
        1
    }
}

impl Lie for InTiles {
    const STEP: usize = ROWS;

    #[inline(always)]
    fn row(_: &Tile) -> usize {
        1
    }
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
                    left: tile.left.add(row * L::row(&tile)),
                    panel: tile.panel.add(column),
                    out: tile.out.add(row * tile.out_stride + column),
                    to: tile.to.wrapping_add(row * tile.out_stride + column),
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

// Counted loops: adapters of iterators (`enumerate`, `skip`, `zip`) were not all inlined in a release
// build with overflow checks, and a sum that is handed to a function leaves its register.
#[expect(clippy::needless_range_loop, reason = "iterators were eight times slower, see above")]
#[inline(always)]
unsafe fn piece<S: Simd, L: Lie, const R: usize, const G: usize>(tile: Tile) {
    // SAFETY: by the contract of `multiply`.
    unsafe {
        let mut sums = [[S::splat(0.0); G]; R];
        let (mut panel, mut left, stride) = (tile.panel, tile.left, L::row(&tile));
        for _ in 0..tile.depth {
            let mut held = [S::load(panel); G];
            for group in 1..G {
                held[group] = S::load(panel.add(group * LANES));
            }
            for row in 0..R {
                let value = S::splat(*left.add(row * stride));
                for group in 0..G {
                    sums[row][group] = S::fused(held[group], value, sums[row][group]);
                }
            }
            panel = panel.add(PANEL);
            left = left.add(L::STEP);
        }
        let scale = S::splat(tile.scale);
        for row in 0..R {
            for group in 0..G {
                sums[row][group] = S::multiply(sums[row][group], scale);
            }
        }
        // Each of these loops is unrolled: sums that are looked up by a number leave the registers.
        if tile.columns < G * LANES {
            let mut values = [[[0.0_f32; LANES]; G]; R];
            for row in 0..R {
                for group in 0..G {
                    S::store(values[row][group].as_mut_ptr(), sums[row][group]);
                }
            }
            for row in 0..R {
                let values = &values[row].as_flattened()[..tile.columns];
                let at = row * tile.out_stride;
                edge(tile.out.add(at), values, tile.add.then(|| tile.to.add(at)));
            }
        } else if tile.add {
            let one = S::splat(1.0);
            for row in 0..R {
                for group in 0..G {
                    let at = row * tile.out_stride + group * LANES;
                    let sum = S::fused(sums[row][group], one, S::load(tile.to.add(at)));
                    S::store(tile.out.add(at), sum);
                }
            }
        } else {
            for row in 0..R {
                for group in 0..G {
                    S::store(tile.out.add(row * tile.out_stride + group * LANES), sums[row][group]);
                }
            }
        }
    }
}

/// Writes some numbers, added to others if there are any.
unsafe fn edge(out: *mut f32, values: &[f32], to: Option<*const f32>) {
    for (at, value) in values.iter().enumerate() {
        // SAFETY: there is room for them in `out`, and as many others.
        unsafe {
            let old = to.map_or(0.0, |to| to.add(at).read());
            out.add(at).write(old + value);
        }
    }
}
