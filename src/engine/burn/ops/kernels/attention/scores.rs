//! The scores of a block of queries, and the rows that they are computed from.

#![expect(unsafe_code, reason = "reads and writes tiles by pointer")]

use super::BLOCK;
use crate::burn::ops::kernels::matrix::tile::{
    self, DEPTH, InColumns, InRows, LEFT, PANEL, ROWS, Tile,
};
use crate::burn::ops::kernels::matrix::{Line, place};
use crate::burn::ops::kernels::product::simd::Simd;
use crate::burn::ops::kernels::vector::{dot, exp_all, greatest};

/// Some rows of a matrix: `size` numbers each, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) size: usize,
}

impl<'a> Rows<'a> {
    fn row(self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.size]
    }

    pub(super) fn skip(self, rows: usize) -> Self {
        Self { values: &self.values[rows * self.stride..], ..self }
    }

    /// Packs `count` rows in panels of columns, all rows of a panel together.
    #[inline(always)]
    pub(super) fn panels(self, lines: &mut Vec<Line>, count: usize) -> *const f32 {
        let start = place(lines, self.size.div_ceil(PANEL) * count * PANEL);
        for column in (0..self.size).step_by(PANEL) {
            let columns = column..(column + PANEL).min(self.size);
            for row in 0..count {
                let from = &self.row(row)[columns.clone()];
                // SAFETY: there is room for all panels.
                let to = unsafe {
                    let to = start.add((column / PANEL * count + row) * PANEL);
                    std::slice::from_raw_parts_mut(to, PANEL)
                };
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        }
        start
    }

    /// Packs `count` rows in panels of rows, number by number.
    #[inline(always)]
    pub(super) fn turned(self, lines: &mut Vec<Line>, count: usize) -> *const f32 {
        let start = place(lines, count.div_ceil(PANEL) * self.size * PANEL);
        for first in (0..count).step_by(PANEL) {
            // SAFETY: there is room for all panels.
            let to = unsafe {
                let to = start.add(first * self.size);
                std::slice::from_raw_parts_mut(to, self.size * PANEL)
            };
            for lane in 0..PANEL {
                if first + lane < count {
                    let from = self.row(first + lane).iter();
                    to[lane..].iter_mut().step_by(PANEL).zip(from).for_each(|(to, x)| *to = *x);
                } else {
                    to[lane..].iter_mut().step_by(PANEL).for_each(|to| *to = 0.0);
                }
            }
        }
        start
    }
}

/// Scores of a block of queries: [`DEPTH`] keys of all of them, then the next.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    start: *mut f32,
    /// The block's first query, and how many there are.
    first: usize,
    rows: usize,
}

impl Scores {
    pub(super) fn new(lines: &mut Vec<Line>, first: usize, rows: usize) -> Self {
        let start = place(lines, (first + rows).div_ceil(DEPTH) * BLOCK * LEFT);
        Self { start, first, rows }
    }

    /// Keys that the last query of the tile at this row sees.
    fn seen(self, row: usize) -> usize {
        self.first + (row + ROWS).min(self.rows)
    }

    /// Keys that any query of the block sees.
    fn keys(self) -> usize {
        self.first + self.rows
    }

    /// From a key on, of the query at a row.
    unsafe fn at(self, row: usize, key: usize) -> *mut f32 {
        // SAFETY: the caller asks for what there is.
        unsafe { self.start.add(key / DEPTH * BLOCK * LEFT + row * LEFT + key % DEPTH) }
    }

    /// The keys of a row in pieces that follow each other in memory.
    #[inline(always)]
    pub(super) fn pieces<'a>(self, row: usize, keys: usize) -> impl Iterator<Item = &'a mut [f32]> {
        (0..keys).step_by(DEPTH).map(move |key| {
            let count = (keys - key).min(DEPTH);
            // SAFETY: there are so many keys; every piece is given once in a pass.
            unsafe { std::slice::from_raw_parts_mut(self.at(row, key), count) }
        })
    }

    /// Products of the rows with what is packed in panels of keys.
    #[inline(always)]
    pub(super) unsafe fn multiply<S: Simd, const MOST: usize, const G: usize>(
        self,
        left: &mut Vec<Line>,
        (rows, turned): (Rows<'_>, *const f32),
        scale: f32,
    ) {
        let own = place(left, BLOCK * LEFT);
        for start in (0..rows.size).step_by(DEPTH) {
            let depth = (rows.size - start).min(DEPTH);
            for row in 0..self.rows {
                let from = &rows.row(row)[start..start + depth];
                // SAFETY: there is room for a block of rows.
                unsafe { own.add(row * LEFT).copy_from_nonoverlapping(from.as_ptr(), depth) };
            }
            for key in (0..self.keys()).step_by(PANEL) {
                for row in (0..self.rows).step_by(ROWS).filter(|row| key < self.seen(*row)) {
                    // SAFETY: there are these rows, and panels of all keys.
                    unsafe {
                        let tile = Tile {
                            left: own.add(row * LEFT),
                            left_stride: 0,
                            panel: turned.add(key * rows.size + start * PANEL),
                            depth,
                            out: self.at(row, key),
                            out_stride: LEFT,
                            columns: PANEL,
                            scale,
                            add: start > 0,
                            to: self.at(row, key),
                        };
                        let rows = (self.rows - row).min(ROWS);
                        tile::multiply::<S, InRows, MOST, G>(tile, rows);
                    }
                }
            }
        }
    }

    /// Adds up what is packed in panels of columns, weighted for each query, in the place of `out`.
    #[inline(always)]
    pub(super) unsafe fn gather<S: Simd, const MOST: usize, const G: usize>(
        self,
        (panels, count): (*const f32, usize),
        size: usize,
        (out, out_stride): (*mut f32, usize),
        scale: f32,
    ) {
        for row in (0..self.rows).step_by(ROWS) {
            let seen = self.seen(row);
            for key in (0..seen).step_by(DEPTH) {
                for column in (0..size).step_by(PANEL) {
                    // SAFETY: there are these rows, and panels of all keys.
                    unsafe {
                        let tile = Tile {
                            left: self.at(row, key),
                            left_stride: 0,
                            panel: panels.add(column * count + key * PANEL),
                            depth: (seen - key).min(DEPTH),
                            out: out.add(row * out_stride + column),
                            out_stride,
                            columns: (size - column).min(PANEL),
                            scale,
                            add: key > 0,
                            to: out.add(row * out_stride + column),
                        };
                        let rows = (self.rows - row).min(ROWS);
                        tile::multiply::<S, InRows, MOST, G>(tile, rows);
                    }
                }
            }
        }
    }

    /// Adds to the row of each key the rows of the queries, weighted.
    #[inline(always)]
    pub(super) unsafe fn spread<S: Simd, const MOST: usize, const G: usize>(
        self,
        panels: *const f32,
        size: usize,
        (out, out_stride): (*mut f32, usize),
        scale: f32,
    ) {
        for key in (0..self.keys()).step_by(ROWS) {
            // Queries before the key do not see it.
            let unseen = key.saturating_sub(self.first);
            for column in (0..size).step_by(PANEL) {
                // SAFETY: there are these rows and keys; a tile of keys lies within a part of them or
                // is cut at its end.
                unsafe {
                    let mut first = key;
                    let end = (key + ROWS).min(self.keys());
                    while first < end {
                        let part = end.min((first / DEPTH + 1) * DEPTH);
                        let tile = Tile {
                            left: self.at(unseen, first),
                            left_stride: 0,
                            panel: panels.add((column / PANEL * self.rows + unseen) * PANEL),
                            depth: self.rows - unseen,
                            out: out.add(first * out_stride + column),
                            out_stride,
                            columns: (size - column).min(PANEL),
                            scale,
                            add: true,
                            to: out.add(first * out_stride + column),
                        };
                        tile::multiply::<S, InColumns, MOST, G>(tile, part - first);
                        first = part;
                    }
                }
            }
        }
    }

    /// Softmax of a row over the keys up to its own, not yet divided by the sum. Gives what to
    /// multiply with.
    #[inline(always)]
    pub(super) fn softmax(self, row: usize) -> f32 {
        let keys = self.first + row + 1;
        // Loops, not folds: a closure that is handed on has not the instructions of this function.
        let mut most = f32::NEG_INFINITY;
        for piece in self.pieces(row, keys) {
            let own = greatest(piece);
            most = if own > most { own } else { most };
        }
        let mut total = 0.0;
        for piece in self.pieces(row, keys) {
            total += exp_all(piece, most);
        }
        self.forget(row);
        1.0 / total
    }

    /// Keys that the query of a row does not see become 0, as far as a tile may look.
    #[inline(always)]
    fn forget(self, row: usize) {
        let seen = self.first + row + 1;
        for key in seen..(seen + ROWS).min(self.keys()) {
            // SAFETY: there are these keys.
            unsafe { self.at(row, key).write(0.0) };
        }
    }

    /// From the gradient of the weights to that of the scores; the weights are still to be multiplied
    /// with a factor.
    #[inline(always)]
    pub(super) fn slope(self, weights: Self, row: usize, factor: f32) {
        let keys = self.first + row + 1;
        let both = || self.pieces(row, keys).zip(weights.pieces(row, keys));
        let mut mean = 0.0;
        for (slopes, weights) in both() {
            mean += dot(slopes, weights);
        }
        mean *= factor;
        for (slopes, weights) in both() {
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *weight *= factor;
                *slope = *weight * (*slope - mean);
            }
        }
        self.forget(row);
    }
}
