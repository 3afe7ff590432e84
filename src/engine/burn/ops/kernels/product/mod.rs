//! Products of activations with weights that stay in their type: f32, f16, bf16, or int8.
//!
//! Weights are packed once, when they are loaded: [`PANEL`] outputs side by side, input by input, so
//! that a product reads them from the first byte to the last, and an output is one lane. An output is
//! always summed up in the same order ([`Packed::summed_in`]), in f32 with fused multiply-adds: not depending on how many
//! rows there are, how they are chunked, on the number of threads, or on the instructions that the
//! processor has. (Only [`Kind::Bf16Rounded`] differs between processors.)

mod activations;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod packed;
pub(super) mod path;
pub(super) mod simd;
mod tile;

#[cfg(test)]
mod tests;

pub(crate) use self::packed::{Kind, Packed, Segment};

use self::activations::Prepared;
use self::path::Path;
use self::tile::Job;
use super::vector::{sigmoid, vectorized};
use crate::burn::ops::crew;

/// Outputs that are packed side by side: four registers of AVX-512.
const PANEL: usize = 64;

/// Groups of sixteen outputs in a panel.
const PANEL_GROUPS: usize = 4;

/// Inputs that are summed up by themselves before they are added to an output: long chains of f32
/// lose digits. A panel of so many, 64 KiB of bf16, stays in the second cache for all rows.
const DEPTH: usize = 512;

/// Rows that one task takes: with a panel's weights, what fits the second cache.
const TASK_ROWS: usize = 192;

/// What becomes of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// They are the result.
    Set,
    /// They are added to what is there: a residual.
    Add,
    /// `silu(gate) * up`, of a weight packed as [`Packed::gated`].
    Gate,
}

/// `out = then(x · weightᵀ)`: `x` is `[rows, weight.inputs()]`, `out` `[rows, columns]` where columns
/// are `weight.outputs()`, or half of it for [`Then::Gate`].
pub(crate) fn product(out: &mut [f32], x: &[f32], weight: &Packed, then: Then) {
    product_on(Path::best(), out, x, weight, then);
}

fn product_on(path: Path, out: &mut [f32], x: &[f32], weight: &Packed, then: Then) {
    let rows = x.len() / weight.inputs();
    let gated = then == Then::Gate;
    assert_eq!(gated, weight.is_gated(), "gates are packed as gates");
    let columns = weight.outputs() / if gated { 2 } else { 1 };
    assert_eq!(x.len(), rows * weight.inputs(), "the activations are whole rows");
    assert_eq!(out.len(), rows * columns, "the result has a row for each of the activations");
    if rows == 0 {
        return;
    }
    let prepared = Prepared::new(path, weight, x);
    let job = prepared.job(weight.inputs());
    let panels = if gated { 2 } else { 1 };
    let sums = if gated { 2 } else { 1 + weight.parts().ilog2() as usize };
    let tasks = weight.panels() / panels;
    let target = Target { start: out.as_mut_ptr(), columns };
    let height = rows.min(TASK_ROWS);
    crew::each_with(
        tasks * rows.div_ceil(TASK_ROWS),
        || (vec![0.0; sums * height * PANEL], Vec::new()),
        |(scratch, wide), task| {
            let (panel, first_row) = (task % tasks, task / tasks * TASK_ROWS);
            let rows = (rows - first_row).min(TASK_ROWS);
            let job = Job { first_row, rows, ..job };
            if gated {
                let (first, second) = scratch[..2 * rows * PANEL].split_at_mut(rows * PANEL);
                for (panel, out) in [(2 * panel, &mut *first), (2 * panel + 1, &mut *second)] {
                    out.fill(0.0);
                    let job = Job { panel: weight.panel(panel), ..job };
                    path::run(path, weight.kind(), &job, out, wide);
                }
                gate(first, second);
            } else {
                in_parts(path, weight, &Job { panel: &[], ..job }, (panel, scratch, wide));
            }
            target.take(&scratch[..rows * PANEL], (first_row, panel * PANEL), then);
        },
    );
}

/// A panel's product in the first rows of `scratch`: part by part, and the parts two and two.
fn in_parts(
    path: Path,
    weight: &Packed,
    job: &Job<'_>,
    (panel, scratch, wide): (usize, &mut [f32], &mut Vec<f32>),
) {
    let size = job.rows * PANEL;
    // Sums that wait for their other half.
    let mut open = 0;
    for number in 0..weight.parts() {
        let inputs = weight.part(number);
        let out = &mut scratch[open * size..(open + 1) * size];
        out.fill(0.0);
        let (panel, x) = (weight.panel_from(panel, inputs.start), job.x.skip(inputs.start));
        path::run(path, weight.kind(), &Job { panel, x, inputs: inputs.len(), ..*job }, out, wide);
        open += 1;
        // Each one at the end of its number, read in twos, is a half that is now whole.
        for _ in 0..number.trailing_ones() {
            let (left, right) = scratch[(open - 2) * size..open * size].split_at_mut(size);
            left.iter_mut().zip(right).for_each(|(left, right)| *left += *right);
            open -= 1;
        }
    }
}

/// Where the tasks write: each its own columns of its own rows.
struct Target {
    start: *mut f32,
    columns: usize,
}

#[expect(unsafe_code, reason = "columns of a matrix are no slice that could be split")]
// SAFETY: no two tasks write the same element; `take` is all that is done with the pointer.
unsafe impl Sync for Target {}

impl Target {
    /// Writes a panel to the matrix from this row and column on; columns beyond its end are dropped.
    #[expect(unsafe_code, reason = "columns of a matrix are no slice that could be split")]
    fn take(&self, panel: &[f32], (first_row, column): (usize, usize), then: Then) {
        let width = PANEL.min(self.columns - column);
        for (row, values) in panel.chunks_exact(PANEL).enumerate() {
            let at = (first_row + row) * self.columns + column;
            // SAFETY: the matrix has this row and these columns (`product` asserts its length and
            // gives each task other ones), and it is borrowed for as long as the tasks run.
            let target = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), width) };
            let values = &values[..width];
            match then {
                Then::Set | Then::Gate => target.copy_from_slice(values),
                Then::Add => {
                    for (target, value) in target.iter_mut().zip(values) {
                        *target += value;
                    }
                }
            }
        }
    }
}

vectorized! {
    /// `silu(gate) * up` in the place of the gate.
    fn gate(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate * sigmoid(*gate) * up;
        }
    }
}
