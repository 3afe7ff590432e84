//! Products of f32 matrices that change from call to call: training's.
//!
//! Weights of a model that only answers are packed once (`product`); here both sides are new each
//! time, so packing is a part of the work: the right side's columns stand side by side in panels, and
//! the left side is read as it lies, or packed too where its rows do not. A number of the result is
//! the sum over parts of [`DEPTH`] of chains in order: it does not depend on how many rows and columns
//! are computed with it, nor on threads, nor on the processor.

#![expect(unsafe_code, reason = "tasks write tiles of one matrix, which are no slices")]

pub(super) mod tile;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use self::tile::{DEPTH, InPlace, InRows, InTiles, LEFT, PANEL, ROWS, Tile};
use super::product::path::Path;
use super::product::simd::{LANES, Portable, Simd};
use super::written;
use crate::burn::views::View;

/// Rows that a task takes: with a part of the depth 400 KiB of the second cache.
const TASK_ROWS: usize = 384;

/// Numbers of the right side that are packed at a time, for all tasks: 4 MiB. The left side is read
/// again for each.
const PACKED: usize = 1 << 20;

/// Rows of columns that are written at a time: they stay in the first cache.
const TURNED_ROWS: usize = 64;

/// Numbers that are copied at once where a tile's rows stand side by side: no fewer than [`ROWS`]. So
/// many columns are packed before the next tile: they stay in the first cache.
const WIDE: usize = 8;

/// Rows so many numbers apart, or a multiple, ask for the same places of the caches: copied they do not.
const FAR: usize = 1024;

/// Below this many multiplications a product stays on its thread.
const PARALLEL_MIN: usize = 1 << 20;

/// Adds `left · right` to a matrix that lies row by row.
pub(crate) fn add_product(target: &mut [f32], left: View<'_>, right: View<'_>) {
    assert_eq!(target.len(), left.rows * right.columns, "the target is as large as the product");
    let start = target.as_mut_ptr();
    let out = Out { start, stride: right.columns, to: start };
    run(Path::best(), out, left, right);
}

/// `left · right`, row by row.
pub(crate) fn multiplied(left: View<'_>, right: View<'_>) -> Vec<f32> {
    let count = left.rows * right.columns;
    if left.columns == 0 {
        return vec![0.0; count];
    }
    fresh(left, right, std::ptr::null())
}

/// `sum + left · right`, row by row.
pub(crate) fn multiplied_added(sum: &[f32], left: View<'_>, right: View<'_>) -> Vec<f32> {
    assert_eq!(sum.len(), left.rows * right.columns, "the sum is as large as the product");
    match left.columns {
        0 => sum.to_vec(),
        _ => fresh(left, right, sum.as_ptr()),
    }
}

/// A product of some depth, added to what is there or to nothing.
fn fresh(left: View<'_>, right: View<'_>, to: *const f32) -> Vec<f32> {
    written(left.rows * right.columns, |values| {
        let out = Out { start: values.as_mut_ptr(), stride: right.columns, to };
        run(Path::best(), out, left, right);
    })
}

/// Where the tiles go. Each task has its own.
#[derive(Clone, Copy)]
struct Out {
    start: *mut f32,
    stride: usize,
    /// What they are added to, or null.
    to: *const f32,
}

// SAFETY: no two tasks write the same number.
unsafe impl Sync for Out {}

/// Sixteen numbers of a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; LANES]);

/// A place for so many numbers.
pub(super) fn place(lines: &mut Vec<Line>, numbers: usize) -> *mut f32 {
    let count = numbers.div_ceil(LANES);
    if lines.len() < count {
        // What was there is given back before, and no more is taken than is asked for.
        lines.clear();
        lines.shrink_to_fit();
        lines.reserve_exact(count);
        lines.resize(count, Line([0.0; LANES]));
    }
    lines.as_mut_ptr().cast()
}

thread_local! {
    /// A thread's room for the rows that its tasks pack, and for what it packs for all tasks.
    static OWN: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static SHARED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// A block of the result.
#[derive(Clone, Copy)]
struct Block<'a> {
    out: Out,
    left: View<'a>,
    /// Panels of all of the depth, of the block's columns.
    panels: Panels,
    /// Of the result.
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

/// Numbers of the right side.
#[derive(Clone, Copy)]
struct Panels(*const f32);

// SAFETY: they are only read while tasks run.
unsafe impl Sync for Panels {}

fn run(path: Path, out: Out, left: View<'_>, right: View<'_>) {
    assert!(Path::available().contains(&path), "the processor has no {path:?}");
    assert_eq!(left.columns, right.rows, "the inner sizes of a product agree");
    assert!(left.is_inside() && right.is_inside(), "the operands lie inside their slices");
    let (rows, columns, depth) = (left.rows, right.columns, left.columns);
    if rows == 0 || columns == 0 || depth == 0 {
        return;
    }
    let threads = match rows * columns * depth < PARALLEL_MIN {
        true => 1,
        false => rayon::current_num_threads(),
    };
    let width = (PACKED / depth / PANEL).max(1) * PANEL;
    let tasks = threads * rows.div_ceil(threads * TASK_ROWS);
    let height = rows.div_ceil(tasks).next_multiple_of(ROWS);
    let mut shared = SHARED.take();
    for first_column in (0..columns).step_by(width) {
        let columns = (columns - first_column).min(width);
        let panels = packed(&mut shared, right, first_column..first_column + columns, threads);
        let block = Block { out, left, panels, first_row: 0, rows, first_column, columns };
        let task = |first_row: usize| {
            let rows = (rows - first_row).min(height);
            OWN.with_borrow_mut(|own| on(path, Block { first_row, rows, ..block }, own));
        };
        match threads {
            1 => (0..rows).step_by(height).for_each(task),
            _ => (0..rows.div_ceil(height)).into_par_iter().for_each(|at| task(at * height)),
        }
    }
    SHARED.set(shared);
}

/// Packs columns of the right side, panel by panel.
fn packed(lines: &mut Vec<Line>, right: View<'_>, columns: Range<usize>, threads: usize) -> Panels {
    let each = right.rows * PANEL / LANES;
    let start = place(lines, columns.len().div_ceil(PANEL) * right.rows * PANEL);
    let panel = |number: usize, lines: &mut [Line]| {
        let first = columns.start + number * PANEL;
        let columns = first..columns.end.min(first + PANEL);
        match right.column_stride {
            1 => pack_columns(lines, right, columns),
            _ => pack_turned(lines, right, columns),
        }
    };
    let lines = &mut lines[..columns.len().div_ceil(PANEL) * each];
    match threads {
        1 => (lines.chunks_mut(each).enumerate()).for_each(|(at, lines)| panel(at, lines)),
        _ => (lines.par_chunks_mut(each).enumerate()).for_each(|(at, lines)| panel(at, lines)),
    }
    Panels(start)
}

/// Packs a panel of columns that follow each other.
fn pack_columns(lines: &mut [Line], right: View<'_>, columns: Range<usize>) {
    for (row, to) in lines.chunks_exact_mut(PANEL / LANES).enumerate() {
        let from = &right.values[row * right.row_stride..][columns.clone()];
        for (group, to) in to.iter_mut().enumerate() {
            let from = &from[(group * LANES).min(from.len())..];
            match from.first_chunk() {
                Some(from) => to.0 = *from,
                None => {
                    to.0[..from.len()].copy_from_slice(from);
                    to.0[from.len()..].fill(0.0);
                }
            }
        }
    }
}

/// Packs a panel of columns whose numbers follow each other.
fn pack_turned(lines: &mut [Line], right: View<'_>, columns: Range<usize>) {
    for from in (0..right.rows).step_by(TURNED_ROWS) {
        let rows = from..(from + TURNED_ROWS).min(right.rows);
        for lane in 0..PANEL {
            let column = (columns.start + lane) * right.column_stride;
            for row in rows.clone() {
                let at = row * PANEL + lane;
                lines[at / LANES].0[at % LANES] = match lane < columns.len() {
                    true => right.values[column + row * right.row_stride],
                    false => 0.0,
                };
            }
        }
    }
}

fn on(path: Path, block: Block<'_>, room: &mut Vec<Line>) {
    // SAFETY: `run` has asserted that the processor has these instructions, and that the matrices lie
    // inside their slices.
    unsafe {
        match path {
            Path::Portable => compute::<Portable, 4, 1>(block, room),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => x86::avx2(block, room),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 => x86::avx512(block, room),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::product::{avx2::Avx2, avx512::Avx512};
    use super::{Block, Line, compute};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2(block: Block<'_>, room: &mut Vec<Line>) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { compute::<Avx2, 4, 1>(block, room) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn avx512(block: Block<'_>, room: &mut Vec<Line>) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { compute::<Avx512, 6, 4>(block, room) }
    }
}

/// How the left side is read.
#[derive(Clone, Copy)]
enum Way {
    /// Packed in tiles: its rows do not follow each other.
    Tiles,
    /// Rows copied closer to each other.
    Copy,
    /// As it lies.
    InPlace,
}

impl Way {
    fn of(left: View<'_>) -> Self {
        match (left.column_stride, left.row_stride % FAR) {
            (1, 0) => Self::Copy,
            (1, _) => Self::InPlace,
            _ => Self::Tiles,
        }
    }
}

/// A block: part by part of the depth, panel by panel, tile by tile.
#[inline(always)]
unsafe fn compute<S: Simd, const MOST: usize, const G: usize>(
    block: Block<'_>,
    room: &mut Vec<Line>,
) {
    let Block { out, left, .. } = block;
    let each = left.columns.div_ceil(left.columns.div_ceil(DEPTH));
    let rows = block.first_row..block.first_row + block.rows;
    let way = Way::of(left);
    for start in (0..left.columns).step_by(each) {
        let depth = start..(start + each).min(left.columns);
        let (own, size) = match way {
            Way::Tiles => pack_left(room, left, &rows, &depth),
            Way::Copy => (copy_left(room, left, &rows, &depth), ROWS * LEFT),
            Way::InPlace => {
                let at = rows.start * left.row_stride + start;
                (left.values.as_ptr().wrapping_add(at), ROWS * left.row_stride)
            }
        };
        let next = Next::after(left, &rows, &depth);
        let tiles = block.columns.div_ceil(PANEL) * block.rows.div_ceil(ROWS);
        let mut tile_number = 0;
        for column in (0..block.columns).step_by(PANEL) {
            for row in (0..block.rows).step_by(ROWS) {
                // SAFETY: by the contract of the caller.
                unsafe { next.ask::<S>(tile_number, tiles) };
                tile_number += 1;
                // SAFETY: what is packed has the rows and columns of the block; the tiles are inside it.
                unsafe {
                    let at = (block.first_row + row) * out.stride + block.first_column + column;
                    let tile = Tile {
                        left: own.add(row / ROWS * size),
                        left_stride: left.row_stride,
                        panel: block.panels.0.add(column * left.columns + start * PANEL),
                        depth: depth.len(),
                        out: out.start.add(at),
                        out_stride: out.stride,
                        columns: (block.columns - column).min(PANEL),
                        scale: 1.0,
                        add: start > 0 || !out.to.is_null(),
                        to: match start {
                            0 => out.to.wrapping_add(at),
                            _ => out.start.add(at),
                        },
                    };
                    let rows = (block.rows - row).min(ROWS);
                    match way {
                        Way::Tiles => tile::multiply::<S, InTiles, MOST, G>(tile, rows),
                        Way::Copy => tile::multiply::<S, InRows, MOST, G>(tile, rows),
                        Way::InPlace => tile::multiply::<S, InPlace, MOST, G>(tile, rows),
                    }
                }
            }
        }
    }
}

/// What of the left side is packed after a part: as many rows of the next part of the depth, or of the
/// first if it was the last. A thread asks for it while it computes, so that packing finds it in the
/// second cache.
struct Next {
    start: *const f32,
    /// Pieces that follow each other in memory, how far apart they are, and the numbers of each.
    pieces: usize,
    stride: usize,
    length: usize,
}

impl Next {
    fn after(left: View<'_>, rows: &Range<usize>, depth: &Range<usize>) -> Self {
        let (rows, depth) = match depth.end < left.columns {
            true => (rows.clone(), depth.end..(depth.end + depth.len()).min(left.columns)),
            false => (rows.end..(rows.end + rows.len()).min(left.rows), 0..depth.len()),
        };
        let at = rows.start * left.row_stride + depth.start * left.column_stride;
        let start = left.values.as_ptr().wrapping_add(at);
        match left.column_stride == 1 {
            true => {
                let (pieces, length) = (rows.len(), depth.len());
                Self { start, pieces, stride: left.row_stride, length }
            }
            false => {
                let (pieces, length) = (depth.len(), rows.len() * left.row_stride);
                Self { start, pieces, stride: left.column_stride, length }
            }
        }
    }

    /// Asks for the part of it that belongs to one of `tiles` tiles.
    #[inline(always)]
    unsafe fn ask<S: Simd>(&self, tile: usize, tiles: usize) {
        for piece in tile * self.pieces / tiles..(tile + 1) * self.pieces / tiles {
            let line = self.start.wrapping_add(piece * self.stride);
            for at in (0..self.length).step_by(LANES) {
                // SAFETY: by the contract of the caller; a line may lie anywhere.
                unsafe { S::prefetch(line.wrapping_add(at).cast()) };
            }
        }
    }
}

/// Packs rows that do not follow each other: tile by tile, the [`ROWS`] of a column side by side. Gives
/// how far apart tiles are, too.
#[inline(always)]
fn pack_left(
    lines: &mut Vec<Line>,
    left: View<'_>,
    rows: &Range<usize>,
    depth: &Range<usize>,
) -> (*const f32, usize) {
    let size = ROWS * depth.len() + LANES;
    let count = rows.len().div_ceil(ROWS) * size;
    let start = place(lines, count);
    // SAFETY: there is room for so many.
    let to = unsafe { std::slice::from_raw_parts_mut(start, count) };
    for from in (0..depth.len()).step_by(WIDE) {
        let part = from..(from + WIDE).min(depth.len());
        for (tile, row) in rows.clone().step_by(ROWS).enumerate() {
            let (to, rows) = (&mut to[tile * size..], row..rows.end.min(row + ROWS));
            pack_tile(to, left, &rows, (depth.start, &part));
        }
    }
    (start, size)
}

/// Packs a part of a tile, which begins at `to`.
#[inline(always)]
fn pack_tile(
    to: &mut [f32],
    left: View<'_>,
    rows: &Range<usize>,
    (first, part): (usize, &Range<usize>),
) {
    let (start, step) =
        (rows.start * left.row_stride + first * left.column_stride, left.column_stride);
    let is_inside = start + (part.end - 1) * step + WIDE <= left.values.len()
        && (part.end - 1) * ROWS + WIDE <= to.len();
    if left.row_stride == 1 && rows.len() == ROWS && is_inside {
        for at in part.clone() {
            // A register at once: what is too much is overwritten by what follows.
            // SAFETY: the last ones are inside, so all are.
            unsafe {
                let from = left.values.as_ptr().add(start + at * step).cast::<[f32; WIDE]>();
                to.as_mut_ptr()
                    .add(at * ROWS)
                    .cast::<[f32; WIDE]>()
                    .write_unaligned(from.read_unaligned());
            }
        }
        return;
    }
    for at in part.clone() {
        let (to, from) = (&mut to[at * ROWS..], &left.values[start + at * step..]);
        (0..rows.len()).for_each(|row| to[row] = from[row * left.row_stride]);
    }
}

/// Copies rows, [`LEFT`] apart.
#[inline(always)]
fn copy_left(
    lines: &mut Vec<Line>,
    left: View<'_>,
    rows: &Range<usize>,
    depth: &Range<usize>,
) -> *const f32 {
    let count = rows.len() * LEFT;
    let start = place(lines, count);
    // SAFETY: there is room for so many.
    let to = unsafe { std::slice::from_raw_parts_mut(start, count) };
    for (row, to) in rows.clone().zip(to.chunks_exact_mut(LEFT)) {
        let from = &left.values[row * left.row_stride + depth.start..][..depth.len()];
        to[..from.len()].copy_from_slice(from);
    }
    start
}
