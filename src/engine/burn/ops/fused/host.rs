//! What needs no tape: the optimizer, the cache, and sums, on tensors of the processor in place.

use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{Host, dims, host};
use crate::burn::adamw::{Step, Trained};
use crate::burn::decoder::Heads;
use crate::burn::ops::Past;
use crate::burn::ops::kernels::attention::{self, Remembered};
use crate::burn::ops::kernels::optimizer::{self, Factors, Moments};

fn primitive(tensor: Tensor<2>) -> Host {
    let tensor = tensor.try_into_primitive::<Flex>();
    tensor.expect("fused operations are called on tensors of the processor only")
}

fn tensor(primitive: Host) -> Tensor<2> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// The sum of squares.
pub(crate) fn square_sum(x: Tensor<2>) -> f64 {
    optimizer::square_sum(primitive(x).to_contiguous().storage())
}

/// One step of AdamW.
pub(crate) fn adamw(old: Trained, gradient: Tensor<2>, decays: bool, step: &Step) -> Trained {
    let mut parts = [old.weight, old.first, old.second].map(primitive);
    let gradient = primitive(gradient).to_contiguous();
    let [weight, first, second] = parts.each_mut().map(Host::storage_mut::<f32>);
    let moments = Moments { weight, first, second };
    optimizer::adamw(moments, gradient.storage(), Factors::new(step, decays));
    let [weight, first, second] = parts.map(tensor);
    Trained { weight, first, second }
}

/// Overwrites rows of a cache with columns of new rows, from `column` on.
pub(crate) fn write_rows(cache: &mut Tensor<2>, rows: &[usize], new: &Tensor<2>, column: usize) {
    let new = primitive(new.clone()).to_contiguous();
    let ([_, new_width], width) = (dims(&new), cache.dims()[1]);
    cache.inplace(|cache| {
        let mut cache = primitive(cache);
        let values = cache.storage_mut::<f32>();
        for (row, new) in rows.iter().zip(new.storage::<f32>().chunks_exact(new_width)) {
            let target = &mut values[row * width..(row + 1) * width];
            target.copy_from_slice(&new[column..column + width]);
        }
        tensor(cache)
    });
}

/// One query per sequence against what a cache remembers of it.
pub(crate) fn attend_past(
    qkv: Tensor<2>,
    cache: (&Tensor<2>, &Tensor<2>),
    past: &Past,
    heads: Heads,
) -> Tensor<2> {
    let qkv = primitive(qkv).to_contiguous();
    let (keys, values) = (primitive(cache.0.clone()), primitive(cache.1.clone()));
    let ([rows, width], out_width) = (dims(&qkv), heads.query_width());
    let mut out = vec![0.0; rows * out_width];
    let (qkv, keys, values): (&[f32], &[f32], &[f32]) =
        (qkv.storage(), keys.storage(), values.storage());
    let of_row = |row: usize, out: &mut [f32]| {
        let start = past.starts[row] * heads.kv_width();
        let seen = start..start + past.lengths[row] * heads.kv_width();
        let past = Remembered { keys: &keys[seen.clone()], values: &values[seen] };
        attention::attend_past(out, &qkv[row * width..row * width + out_width], past, heads);
    };
    out.par_chunks_mut(out_width).enumerate().for_each(|(row, out)| of_row(row, out));
    tensor(host(out, [rows, out_width]))
}
