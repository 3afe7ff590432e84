//! Activations in the form that a kernel takes.

use std::borrow::Cow;

use rayon::prelude::*;

use super::path::Path;
use super::simd::BLOCK;
use super::tile::{Activations, Job};
use super::{Kind, Packed};
use crate::burn::ops::kernels::vector::vectorized;

/// Rows that one task converts.
const TASK_ROWS: usize = 16;

/// Rows of activations, converted if need be.
pub(super) enum Prepared<'a> {
    Floats { values: Cow<'a, [f32]>, stride: usize },
    Pairs(Vec<u32>),
    Bytes { quads: Vec<i32>, scales: Vec<f32>, starts: Vec<i32> },
}

impl<'a> Prepared<'a> {
    /// For a weight and the instructions that will multiply it.
    pub(super) fn new(path: Path, weight: &Packed, x: &'a [f32]) -> Self {
        let inputs = weight.inputs();
        match weight.kind() {
            Kind::Int8 => bytes(x, inputs),
            Kind::Bf16Rounded if path.has_bf16_products() => Self::Pairs(pairs(x, inputs)),
            Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::Bf16Rounded if inputs.is_multiple_of(2) => {
                Self::Floats { values: Cow::Borrowed(x), stride: inputs }
            }
            Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::Bf16Rounded => {
                let mut values = vec![0.0; x.len() / inputs * (inputs + 1)];
                let rows = values.chunks_exact_mut(inputs + 1).zip(x.chunks_exact(inputs));
                rows.for_each(|(padded, row)| padded[..inputs].copy_from_slice(row));
                Self::Floats { values: Cow::Owned(values), stride: inputs + 1 }
            }
        }
    }

    /// A job on all rows, still without a panel.
    pub(super) fn job(&self, inputs: usize) -> Job<'_> {
        let (x, x_stride) = match self {
            Self::Floats { values, stride } => (Activations::Floats(values), *stride),
            Self::Pairs(pairs) => (Activations::Pairs(pairs), inputs.div_ceil(2)),
            Self::Bytes { quads, scales, starts } => {
                (Activations::Bytes { quads, scales, starts }, inputs.div_ceil(BLOCK))
            }
        };
        Job { panel: &[], x, x_stride, inputs, first_row: 0, rows: 0 }
    }
}

fn pairs(x: &[f32], inputs: usize) -> Vec<u32> {
    let bits = |value: &f32| u32::from(half::bf16::from_f32(*value).to_bits());
    let pair = |pair: &[f32]| bits(&pair[0]) | pair.get(1).map_or(0, bits) << 16;
    x.chunks_exact(inputs).flat_map(|row| row.chunks(2).map(pair)).collect()
}

fn bytes(x: &[f32], inputs: usize) -> Prepared<'static> {
    let (rows, blocks) = (x.len() / inputs, inputs.div_ceil(BLOCK));
    let mut quads = vec![0; rows * blocks * (BLOCK / 4)];
    let (mut scales, mut starts) = (vec![0.0; rows * blocks], vec![0; rows * blocks]);
    x.par_chunks(TASK_ROWS * inputs)
        .zip(quads.par_chunks_mut(TASK_ROWS * blocks * (BLOCK / 4)))
        .zip(scales.par_chunks_mut(TASK_ROWS * blocks))
        .zip(starts.par_chunks_mut(TASK_ROWS * blocks))
        .for_each(|(((x, quads), scales), starts)| {
            let rows = x.chunks_exact(inputs).zip(quads.chunks_exact_mut(blocks * (BLOCK / 4)));
            let rows = rows.zip(scales.chunks_exact_mut(blocks));
            for (((x, quads), scales), starts) in rows.zip(starts.chunks_exact_mut(blocks)) {
                quantise(x, quads, scales, starts);
            }
        });
    Prepared::Bytes { quads, scales, starts }
}

vectorized! {
    /// Each block of a row divided by a hundred-and-twenty-seventh of its greatest value, and rounded.
    fn quantise(x: &[f32], quads: &mut [i32], scales: &mut [f32], starts: &mut [i32]) {
        let quads = quads.chunks_exact_mut(BLOCK / 4);
        for (((x, quads), scale), start) in x.chunks(BLOCK).zip(quads).zip(scales).zip(starts) {
            let mut values = [0.0_f32; BLOCK];
            values[..x.len()].copy_from_slice(x);
            let mut most = 0.0_f32;
            // Zero, or NaN if a value is NaN or infinite: the outputs must show it.
            let mut none = 0.0_f32;
            for value in values {
                let size = value.abs();
                most = if size > most { size } else { most };
                none += value * 0.0;
            }
            *scale = most / 127.0 + none;
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            let mut rounded = [0_i8; BLOCK];
            let mut sum = 0;
            for (rounded, value) in rounded.iter_mut().zip(values) {
                // Rounds to the nearest: the sum has no digits behind the point.
                const ROUND: f32 = 12_582_912.0;
                let whole = (value * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
                *rounded = whole as i8;
                sum += i32::from(*rounded);
            }
            *start = -128 * sum;
            for (quad, bytes) in quads.iter_mut().zip(rounded.chunks_exact(4)) {
                *quad = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]].map(|b| b as u8));
            }
        }
    }
}
