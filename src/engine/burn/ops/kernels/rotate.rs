//! Bias and rotary position of queries, keys and values in one pass.

use rayon::prelude::*;

use super::TASK_ROWS;
use super::vector::vectorized;
use crate::burn::decoder::Heads;
use crate::burn::ops::crew;

/// Cosines and sines, half a head wide, one row per token.
#[derive(Clone, Copy)]
pub(crate) struct Angles<'a> {
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

/// Adds the bias to each row and turns its queries and keys, in place.
pub(crate) fn forward(qkv: &mut [f32], bias: &[f32], angles: Angles<'_>, heads: Heads) {
    let half = heads.size / 2;
    crew::each_chunk(qkv, TASK_ROWS * bias.len(), |task, qkv| {
        let from = task * TASK_ROWS * half;
        let (cos, sin) = (&angles.cos[from..], &angles.sin[from..]);
        turn_rows(qkv, bias, cos, sin, heads);
    });
}

/// Turns the gradient back, in place; gives the gradient of the bias.
pub(crate) fn backward(gradient: &mut [f32], angles: Angles<'_>, heads: Heads) -> Vec<f32> {
    let (half, width) = (heads.size / 2, heads.query_width() + 2 * heads.kv_width());
    let parts: Vec<Vec<f32>> = gradient
        .par_chunks_mut(TASK_ROWS * width)
        .enumerate()
        .map(|(task, gradient)| {
            let from = task * TASK_ROWS * half;
            turn_rows_back(gradient, &angles.cos[from..], &angles.sin[from..], heads)
        })
        .collect();
    let mut of_bias = vec![0.0; width];
    for part in parts {
        of_bias.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    of_bias
}

vectorized! {
    fn turn_rows(qkv: &mut [f32], bias: &[f32], cos: &[f32], sin: &[f32], heads: Heads) {
        let half = heads.size / 2;
        let turned = heads.query_width() + heads.kv_width();
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for (row, (cos, sin)) in qkv.chunks_exact_mut(bias.len()).zip(angles) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
            for head in row[..turned].chunks_exact_mut(heads.size) {
                let (first, second) = head.split_at_mut(half);
                for at in 0..half {
                    let (low, high) = (first[at], second[at]);
                    first[at] = low * cos[at] - high * sin[at];
                    second[at] = high * cos[at] + low * sin[at];
                }
            }
        }
    }
}

vectorized! {
    fn turn_rows_back(gradient: &mut [f32], cos: &[f32], sin: &[f32], heads: Heads) -> Vec<f32> {
        let half = heads.size / 2;
        let turned = heads.query_width() + heads.kv_width();
        let width = turned + heads.kv_width();
        let mut of_bias = vec![0.0_f32; width];
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for (row, (cos, sin)) in gradient.chunks_exact_mut(width).zip(angles) {
            for head in row[..turned].chunks_exact_mut(heads.size) {
                let (first, second) = head.split_at_mut(half);
                for at in 0..half {
                    let (low, high) = (first[at], second[at]);
                    first[at] = low * cos[at] + high * sin[at];
                    second[at] = high * cos[at] - low * sin[at];
                }
            }
            for (sum, value) in of_bias.iter_mut().zip(row) {
                *sum += *value;
            }
        }
        of_bias
    }
}
