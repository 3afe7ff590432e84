//! Root-mean-square norm over rows.

use rayon::prelude::*;

use super::vector::{add_scaled, dot, vectorized};
use super::{TASK_ROWS, written};
use crate::burn::ops::crew;

/// `y = x / sqrt(mean(x²) + epsilon) * weight`, row by row.
pub(crate) fn forward(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let task = TASK_ROWS * weight.len();
    written(x.len(), |y| {
        crew::each_chunk(y, task, |number, y| {
            forward_rows(y, &x[number * task..][..y.len()], weight, epsilon);
        });
    })
}

/// The gradients of `x` and of the weight for a gradient of `y`.
pub(crate) fn backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let task = TASK_ROWS * weight.len();
    let mut parts: Vec<Vec<f32>> = Vec::new();
    let of_x = written(x.len(), |of_x| {
        let inputs = x.par_chunks(task).zip(gradient.par_chunks(task));
        let tasks = of_x.par_chunks_mut(task).zip(inputs);
        let ran =
            tasks.map(|(of_x, (x, gradient))| backward_rows(of_x, x, gradient, weight, epsilon));
        ran.collect_into_vec(&mut parts);
    });
    let mut of_weight = vec![0.0; weight.len()];
    for part in parts {
        add_scaled(&mut of_weight, &part, 1.0);
    }
    (of_x, of_weight)
}

vectorized! {
    fn forward_rows(y: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        let width = weight.len();
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let inverse = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                *y = x * inverse * weight;
            }
        }
    }
}

vectorized! {
    fn backward_rows(
        of_x: &mut [f32],
        x: &[f32],
        gradient: &[f32],
        weight: &[f32],
        epsilon: f32,
    ) -> Vec<f32> {
        let width = weight.len();
        let mut of_weight = vec![0.0_f32; width];
        let mut weighted = vec![0.0_f32; width];
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (of_x, (x, gradient)) in of_x.chunks_exact_mut(width).zip(rows) {
            let inverse = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for at in 0..width {
                weighted[at] = gradient[at] * weight[at];
                of_weight[at] += gradient[at] * x[at] * inverse;
            }
            let factor = dot(&weighted, x) * inverse * inverse / width as f32;
            for at in 0..width {
                of_x[at] = (weighted[at] - x[at] * factor) * inverse;
            }
        }
        of_weight
    }
}
