//! The gated feed-forward's middle: `silu(gate) * up`, where each row is `[gate | up]`.

use rayon::prelude::*;

use super::vector::{sigmoid, vectorized};
use super::{TASK_ROWS, written};
use crate::burn::ops::crew;

/// `width` is that of the result.
pub(crate) fn forward(gate_up: &[f32], width: usize) -> Vec<f32> {
    let task = TASK_ROWS * width;
    written(gate_up.len() / 2, |y| {
        crew::each_chunk(y, task, |number, y| {
            forward_rows(y, &gate_up[2 * number * task..][..2 * y.len()], width);
        });
    })
}

/// The gradient of `[gate | up]`.
pub(crate) fn backward(gate_up: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    let task = TASK_ROWS * width;
    written(gate_up.len(), |result| {
        let inputs = gate_up.par_chunks(task * 2).zip(gradient.par_chunks(task));
        result.par_chunks_mut(task * 2).zip(inputs).for_each(|(result, (gate_up, gradient))| {
            backward_rows(result, gate_up, gradient, width);
        });
    })
}

vectorized! {
    fn forward_rows(y: &mut [f32], gate_up: &[f32], width: usize) {
        for (y, row) in y.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
            let (gate, up) = row.split_at(width);
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                *y = gate * sigmoid(*gate) * up;
            }
        }
    }
}

vectorized! {
    fn backward_rows(result: &mut [f32], gate_up: &[f32], gradient: &[f32], width: usize) {
        let rows = gate_up.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
        for (result, (row, gradient)) in result.chunks_exact_mut(2 * width).zip(rows) {
            let (gate, up) = row.split_at(width);
            let (of_gate, of_up) = result.split_at_mut(width);
            let inputs = gate.iter().zip(up).zip(gradient);
            for ((of_gate, of_up), ((gate, up), gradient)) in
                of_gate.iter_mut().zip(of_up).zip(inputs)
            {
                let sigmoid = sigmoid(*gate);
                let silu = gate * sigmoid;
                *of_up = gradient * silu;
                *of_gate = gradient * up * (sigmoid + silu * (1.0 - sigmoid));
            }
        }
    }
}
