//! Causal grouped-query attention, sequence by sequence.
//!
//! Rows are `[queries | keys | values]`. Keys and values of a head are packed once; the scores of a
//! block of queries are computed tile by tile up to the last key that the tile sees, so hardly more
//! than half of the square is computed, and memory grows with the length, not with its square.
//! Backward computes the scores again. What a sequence gives does not depend on what stands beside it,
//! nor on threads, nor on the processor.

#![expect(unsafe_code, reason = "heads write columns of one matrix, which are no slices")]

mod scores;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use self::scores::{Rows, Scores};
use super::matrix::Line;
use super::matrix::tile::ROWS;
use super::product::path::Path;
use super::product::simd::{Portable, Simd};
use super::written;
use crate::burn::decoder::Heads;

/// Queries whose scores are computed at a time: whole tiles.
const BLOCK: usize = 16 * ROWS;

fn width(heads: Heads) -> usize {
    heads.query_width() + 2 * heads.kv_width()
}

/// `[tokens, query width]` from `[tokens, width]`.
pub(crate) fn forward(qkv: &[f32], ranges: &[Range<usize>], heads: Heads) -> Vec<f32> {
    let (width, out_width) = (width(heads), heads.query_width());
    written(qkv.len() / width * out_width, |out| {
        clear_gaps(out, out_width, ranges);
        run(Path::best(), (qkv, &[]), out, ranges, heads);
    })
}

/// The gradient of `qkv` for a gradient of the result.
pub(crate) fn backward(
    qkv: &[f32],
    gradient: &[f32],
    ranges: &[Range<usize>],
    heads: Heads,
) -> Vec<f32> {
    written(qkv.len(), |result| {
        clear_gaps(result, width(heads), ranges);
        run(Path::best(), (qkv, gradient), result, ranges, heads);
    })
}

/// Rows of no sequence are 0.
fn clear_gaps(out: &mut [f32], width: usize, ranges: &[Range<usize>]) {
    let mut from = 0;
    for range in ranges {
        out[from * width..range.start * width].fill(0.0);
        from = range.end;
    }
    out[from * width..].fill(0.0);
}

/// One key-value head of one sequence, with the query heads that it serves.
#[derive(Clone, Copy)]
struct Task<'a> {
    qkv: &'a [f32],
    /// Of the result; empty for the result itself.
    gradient: &'a [f32],
    out: *mut f32,
    first: usize,
    length: usize,
    kv: usize,
    heads: Heads,
}

/// Where the tasks write: each its own columns of its own rows.
#[derive(Clone, Copy)]
struct Out(*mut f32);

// SAFETY: no two tasks write the same number.
unsafe impl Sync for Out {}

impl Out {
    fn start(&self) -> *mut f32 {
        self.0
    }
}

fn run(
    path: Path,
    (qkv, gradient): (&[f32], &[f32]),
    out: &mut [f32],
    ranges: &[Range<usize>],
    heads: Heads,
) {
    let (tokens, width) = (ranges.last().map_or(0, |range| range.end), width(heads));
    let out_width = if gradient.is_empty() { heads.query_width() } else { width };
    assert!(Path::available().contains(&path), "the processor has no {path:?}");
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "sequences are apart");
    assert!(qkv.len() >= tokens * width && out.len() >= tokens * out_width, "all have rows");
    assert!(gradient.is_empty() || gradient.len() >= tokens * heads.query_width());
    let out = Out(out.as_mut_ptr());
    // The longest first: they are what the last thread would be waited for.
    let mut order: Vec<&Range<usize>> = ranges.iter().filter(|range| !range.is_empty()).collect();
    order.sort_by_key(|range| std::cmp::Reverse(range.len()));
    let count = order.len() * heads.kv;
    (0..count).into_par_iter().with_max_len(1).for_each(|at| {
        let (range, kv) = (order[at / heads.kv], at % heads.kv);
        let (first, length, out) = (range.start, range.len(), out.start());
        let task = Task { qkv, gradient, out, first, length, kv, heads };
        SCRATCH.with_borrow_mut(|scratch| on(path, task, scratch));
    });
}

fn on(path: Path, task: Task<'_>, scratch: &mut Scratch) {
    // SAFETY: `run` has asserted that the processor has these instructions, and that the matrices
    // have the rows of the sequence.
    unsafe {
        match path {
            Path::Portable => task.compute::<Portable, 4, 1>(scratch),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => x86::avx2(task, scratch),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 => x86::avx512(task, scratch),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::product::{avx2::Avx2, avx512::Avx512};
    use super::{Scratch, Task};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2(task: Task<'_>, scratch: &mut Scratch) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { task.compute::<Avx2, 4, 1>(scratch) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn avx512(task: Task<'_>, scratch: &mut Scratch) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { task.compute::<Avx512, 6, 4>(scratch) }
    }
}

/// Room for what a task packs and computes, which is used again.
#[derive(Default)]
struct Scratch {
    keys: Vec<Line>,
    keys_turned: Vec<Line>,
    values: Vec<Line>,
    values_turned: Vec<Line>,
    left: Vec<Line>,
    block: Vec<Line>,
    weights: Vec<Line>,
    slopes: Vec<Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Task<'_> {
    /// Rows of a head's queries, keys or values, by their first column.
    fn rows(&self, column: usize) -> Rows<'_> {
        let width = width(self.heads);
        let values = &self.qkv[self.first * width + column..];
        Rows { values, stride: width, size: self.heads.size }
    }

    #[inline(always)]
    unsafe fn compute<S: Simd, const MOST: usize, const G: usize>(self, scratch: &mut Scratch) {
        let group = self.heads.query / self.heads.kv;
        for head in self.kv * group..(self.kv + 1) * group {
            let is_first = head == self.kv * group;
            // SAFETY: by the contract of the caller.
            unsafe {
                match self.gradient.is_empty() {
                    true => self.forward::<S, MOST, G>(head, is_first, scratch),
                    false => self.backward::<S, MOST, G>(head, is_first, scratch),
                }
            }
        }
    }

    /// Where the keys and where the values begin in a row.
    fn columns(&self) -> (usize, usize) {
        let key = self.heads.query_width() + self.kv * self.heads.size;
        (key, key + self.heads.kv_width())
    }

    #[inline(always)]
    unsafe fn forward<S: Simd, const MOST: usize, const G: usize>(
        &self,
        head: usize,
        is_first: bool,
        scratch: &mut Scratch,
    ) {
        let (size, (key, value)) = (self.heads.size, self.columns());
        if is_first {
            self.rows(key).turned(&mut scratch.keys_turned, self.length);
            self.rows(value).panels(&mut scratch.values, self.length);
        }
        let turned = scratch.keys_turned.as_ptr().cast();
        let values = (scratch.values.as_ptr().cast(), self.length);
        let (query, width) = (head * size, self.heads.query_width());
        for first in (0..self.length).step_by(BLOCK) {
            let rows = (self.length - first).min(BLOCK);
            let scores = Scores::new(&mut scratch.weights, first, rows);
            let queries = self.rows(query).skip(first);
            // SAFETY: the sequence has these rows, the heads these columns.
            unsafe {
                let out = self.out.add((self.first + first) * width + query);
                scores.multiply::<S, MOST, G>(&mut scratch.left, (queries, turned), scale(size));
                let mut factors = [0.0_f32; BLOCK];
                for (row, factor) in factors.iter_mut().enumerate().take(rows) {
                    *factor = scores.softmax(row);
                }
                scores.gather::<S, MOST, G>(values, size, (out, width), 1.0);
                for (row, factor) in factors.iter().enumerate().take(rows) {
                    let row = std::slice::from_raw_parts_mut(out.add(row * width), size);
                    row.iter_mut().for_each(|value| *value *= factor);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn backward<S: Simd, const MOST: usize, const G: usize>(
        &self,
        head: usize,
        is_first: bool,
        scratch: &mut Scratch,
    ) {
        let (size, (key, value)) = (self.heads.size, self.columns());
        if is_first {
            self.rows(key).turned(&mut scratch.keys_turned, self.length);
            self.rows(key).panels(&mut scratch.keys, self.length);
            self.rows(value).turned(&mut scratch.values_turned, self.length);
            for row in 0..self.length {
                for column in [key, value] {
                    // SAFETY: the sequence has these rows, the heads these columns; they are this
                    // task's alone.
                    unsafe {
                        let to = self.out.add((self.first + row) * width(self.heads) + column);
                        to.write_bytes(0, size);
                    }
                }
            }
        }
        let turned = scratch.keys_turned.as_ptr().cast();
        let values = scratch.values_turned.as_ptr().cast();
        let keys = (scratch.keys.as_ptr().cast(), self.length);
        let (query, width, scale) = (head * size, width(self.heads), scale(size));
        let own = &self.gradient[self.first * self.heads.query_width() + query..];
        let gradient = Rows { values: own, stride: self.heads.query_width(), size };
        for first in (0..self.length).step_by(BLOCK) {
            let rows = (self.length - first).min(BLOCK);
            let weights = Scores::new(&mut scratch.weights, first, rows);
            let slopes = Scores::new(&mut scratch.slopes, first, rows);
            let (queries, gradient) = (self.rows(query).skip(first), gradient.skip(first));
            // SAFETY: the sequence has these rows, the heads these columns.
            unsafe {
                let out = self.out.add(self.first * width);
                let left = &mut scratch.left;
                weights.multiply::<S, MOST, G>(left, (queries, turned), scale);
                slopes.multiply::<S, MOST, G>(left, (gradient, values), 1.0);
                for row in 0..rows {
                    let factor = weights.softmax(row);
                    slopes.slope(weights, row, factor);
                }
                // Keys and values are shared by query heads and by blocks: add. Queries are not.
                let of_queries = (out.add(first * width + query), width);
                slopes.gather::<S, MOST, G>(keys, size, of_queries, scale);
                let panels = queries.panels(&mut scratch.block, rows);
                slopes.spread::<S, MOST, G>(panels, size, (out.add(key), width), scale);
                let panels = gradient.panels(&mut scratch.block, rows);
                weights.spread::<S, MOST, G>(panels, size, (out.add(value), width), 1.0);
            }
        }
    }
}

fn scale(size: usize) -> f32 {
    1.0 / (size as f32).sqrt()
}
