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

use self::tile::{DEPTH, InRows, InTiles, LEFT, PANEL, ROWS, Tile};
use super::product::path::Path;
use super::product::simd::{LANES, Portable, Simd};
use crate::burn::views::View;

/// Rows that a task takes: with a part of the depth 200 KiB of the second cache.
const TASK_ROWS: usize = 192;

/// Panels that a task packs at a time: 256 KiB of the second cache.
const PANELS: usize = 4;

/// Numbers of turned columns that are packed at a time, for all tasks: 4 MiB.
const TURNED: usize = 1 << 20;

/// Rows of turned columns that are written at a time: they stay in the first cache.
const TURNED_ROWS: usize = 64;

/// Below this many multiplications a product stays on its thread.
const PARALLEL_MIN: usize = 1 << 20;

/// Adds `left · right` to a matrix that lies row by row.
pub(crate) fn add_product(target: &mut [f32], left: View<'_>, right: View<'_>) {
    assert_eq!(target.len(), left.rows * right.columns, "the target is as large as the product");
    let out = Out { start: target.as_mut_ptr(), stride: right.columns, add: true };
    run(Path::best(), out, left, right);
}

/// `left · right`, row by row.
pub(crate) fn multiplied(left: View<'_>, right: View<'_>) -> Vec<f32> {
    let count = left.rows * right.columns;
    if left.columns == 0 {
        return vec![0.0; count];
    }
    let mut values = Vec::with_capacity(count);
    let out = Out { start: values.as_mut_ptr(), stride: right.columns, add: false };
    run(Path::best(), out, left, right);
    // SAFETY: there is room for them, and the tiles of the first part of the depth, which there is,
    // have written all of them.
    unsafe { values.set_len(count) };
    values
}

/// Where the tiles go. Each task has its own.
#[derive(Clone, Copy)]
struct Out {
    start: *mut f32,
    stride: usize,
    add: bool,
}

// SAFETY: no two tasks write the same number.
unsafe impl Sync for Out {}

/// Sixteen numbers of a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; LANES]);

/// Room for packed numbers, which is used again.
#[derive(Default)]
struct Room {
    left: Vec<Line>,
    right: Vec<Line>,
}

/// A place for so many numbers.
pub(super) fn place(lines: &mut Vec<Line>, numbers: usize) -> *mut f32 {
    let count = numbers.div_ceil(LANES);
    if lines.len() < count {
        lines.resize(count, Line([0.0; LANES]));
    }
    lines.as_mut_ptr().cast()
}

thread_local! {
    /// A thread's room for what its tasks pack, and for what it packs for all tasks.
    static OWN: RefCell<Room> = RefCell::default();
    static SHARED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// A block of the result.
#[derive(Clone, Copy)]
struct Block<'a> {
    out: Out,
    left: View<'a>,
    right: View<'a>,
    /// Panels of all of the depth, if they are packed already.
    packed: Option<Packed>,
    /// Of the result.
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

#[derive(Clone, Copy)]
struct Packed(*const f32);

// SAFETY: it is only read while tasks run.
unsafe impl Sync for Packed {}

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
    let is_turned = right.column_stride != 1;
    let width = match is_turned {
        true => (TURNED / depth / PANEL).max(1) * PANEL,
        false => columns,
    };
    let tasks = threads * rows.div_ceil(threads * TASK_ROWS);
    let height = rows.div_ceil(tasks).next_multiple_of(ROWS);
    let mut shared = SHARED.take();
    for first_column in (0..columns).step_by(width) {
        let columns = (columns - first_column).min(width);
        let block =
            Block { out, left, right, packed: None, first_row: 0, rows, first_column, columns };
        let packed = is_turned.then(|| turned(&mut shared, &block, threads));
        let task = |first_row: usize| {
            let rows = (rows - first_row).min(height);
            OWN.with_borrow_mut(|room| on(path, Block { packed, first_row, rows, ..block }, room));
        };
        match threads {
            1 => (0..rows).step_by(height).for_each(task),
            _ => (0..rows.div_ceil(height)).into_par_iter().for_each(|at| task(at * height)),
        }
    }
    SHARED.set(shared);
}

/// Packs the columns of a block whose numbers follow each other.
fn turned(lines: &mut Vec<Line>, block: &Block<'_>, threads: usize) -> Packed {
    let (right, depth) = (block.right, block.right.rows);
    let size = depth * PANEL;
    let start = place(lines, block.columns.div_ceil(PANEL) * size);
    let panel = |number: usize, lines: &mut [Line]| {
        let first = block.first_column + number * PANEL;
        let count = (block.first_column + block.columns - first).min(PANEL);
        for from in (0..depth).step_by(TURNED_ROWS) {
            let rows = from..(from + TURNED_ROWS).min(depth);
            for lane in 0..PANEL {
                let column = (first + lane) * right.column_stride;
                for row in rows.clone() {
                    let at = row * PANEL + lane;
                    lines[at / LANES].0[at % LANES] = match lane < count {
                        true => right.values[column + row * right.row_stride],
                        false => 0.0,
                    };
                }
            }
        }
    };
    let lines = &mut lines[..block.columns.div_ceil(PANEL) * size / LANES];
    let each = size / LANES;
    match threads {
        1 => (lines.chunks_mut(each).enumerate()).for_each(|(at, lines)| panel(at, lines)),
        _ => (lines.par_chunks_mut(each).enumerate()).for_each(|(at, lines)| panel(at, lines)),
    }
    Packed(start)
}

fn on(path: Path, block: Block<'_>, room: &mut Room) {
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
    use super::{Block, Room, compute};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2(block: Block<'_>, room: &mut Room) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { compute::<Avx2, 4, 1>(block, room) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn avx512(block: Block<'_>, room: &mut Room) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { compute::<Avx512, 6, 4>(block, room) }
    }
}

/// A block: part by part of the depth, panel by panel, tile by tile.
#[inline(always)]
unsafe fn compute<S: Simd, const MOST: usize, const G: usize>(block: Block<'_>, room: &mut Room) {
    let Block { out, left, right, .. } = block;
    let count = left.columns.div_ceil(DEPTH);
    let each = left.columns.div_ceil(count);
    let width = PANELS * PANEL;
    for first in (0..block.columns).step_by(width) {
        let columns = (block.columns - first).min(width);
        let first_column = block.first_column + first;
        for start in (0..left.columns).step_by(each) {
            let depth = start..(start + each).min(left.columns);
            // SAFETY: what is packed has the rows and columns of the block; the tiles are inside it.
            unsafe {
                let rows = block.first_row..block.first_row + block.rows;
                let is_turned = left.column_stride != 1;
                let (own, stride) = match is_turned {
                    true => (pack_left(&mut room.left, left, &rows, &depth), depth.len()),
                    false => (copy_left(&mut room.left, left, &rows, &depth), LEFT),
                };
                let (panels, size) = match block.packed {
                    Some(Packed(panels)) => {
                        let size = left.columns * PANEL;
                        (panels.add(first / PANEL * size + start * PANEL), size)
                    }
                    None => {
                        let columns = first_column..first_column + columns;
                        let panels = pack_right(&mut room.right, right, &columns, &depth);
                        (panels, depth.len() * PANEL)
                    }
                };
                for column in (0..columns).step_by(PANEL) {
                    for row in (0..block.rows).step_by(ROWS) {
                        let at = (block.first_row + row) * out.stride + first_column + column;
                        let tile = Tile {
                            left: own.add(row * stride),
                            panel: panels.add(column / PANEL * size),
                            depth: depth.len(),
                            out: out.start.add(at),
                            out_stride: out.stride,
                            columns: (columns - column).min(PANEL),
                            scale: 1.0,
                            add: out.add || start > 0,
                        };
                        let rows = (block.rows - row).min(ROWS);
                        match is_turned {
                            true => tile::multiply::<S, InTiles, MOST, G>(tile, rows),
                            false => tile::multiply::<S, InRows, MOST, G>(tile, rows),
                        }
                    }
                }
            }
        }
    }
}

/// Packs rows that do not follow each other: tile by tile, the [`ROWS`] of a column side by side.
#[inline(always)]
unsafe fn pack_left(
    lines: &mut Vec<Line>,
    left: View<'_>,
    rows: &Range<usize>,
    depth: &Range<usize>,
) -> *const f32 {
    let start = place(lines, rows.len().next_multiple_of(ROWS) * depth.len());
    let mut to = start;
    for row in rows.clone().step_by(ROWS) {
        let count = (rows.end - row).min(ROWS);
        for at in depth.clone() {
            let from = &left.values[row * left.row_stride + at * left.column_stride..];
            // SAFETY: there is room for all tiles.
            let to_column = unsafe { std::slice::from_raw_parts_mut(to, ROWS) };
            match (count, left.row_stride) {
                (ROWS, 1) => to_column.copy_from_slice(&from[..ROWS]),
                (_, stride) => (0..count).for_each(|row| to_column[row] = from[row * stride]),
            }
            // SAFETY: as above.
            to = unsafe { to.add(ROWS) };
        }
    }
    start
}

/// Copies rows, [`LEFT`] apart.
#[inline(always)]
unsafe fn copy_left(
    lines: &mut Vec<Line>,
    left: View<'_>,
    rows: &Range<usize>,
    depth: &Range<usize>,
) -> *const f32 {
    let start = place(lines, rows.len() * LEFT);
    for (at, row) in rows.clone().enumerate() {
        let from = &left.values[row * left.row_stride + depth.start..][..depth.len()];
        // SAFETY: there is room for all rows.
        unsafe { start.add(at * LEFT).copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    }
    start
}

/// Packs columns that follow each other, panel by panel.
#[inline(always)]
unsafe fn pack_right(
    lines: &mut Vec<Line>,
    right: View<'_>,
    columns: &Range<usize>,
    depth: &Range<usize>,
) -> *const f32 {
    let start = place(lines, columns.len().div_ceil(PANEL) * depth.len() * PANEL);
    let mut to = start;
    for column in columns.clone().step_by(PANEL) {
        let count = (columns.end - column).min(PANEL);
        for row in depth.clone() {
            let from = &right.values[row * right.row_stride + column..][..count];
            // SAFETY: there is room for all panels.
            let to_row = unsafe { std::slice::from_raw_parts_mut(to, PANEL) };
            match count {
                PANEL => to_row.copy_from_slice(&from[..PANEL]),
                _ => {
                    to_row[..count].copy_from_slice(from);
                    to_row[count..].fill(0.0);
                }
            }
            // SAFETY: as above.
            to = unsafe { to.add(PANEL) };
        }
    }
    start
}
