//! The operations in plain burn: the reference for our own kernels, and what GPUs run.

use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::Adam;
use crate::burn::adamw::{Step, Trained};
use crate::burn::decoder::Heads;
use crate::burn::device;
use crate::burn::packing::Packing;
use crate::burn::rotary::Rotary;

/// Rows of the table.
pub(crate) fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    table.select(0, ids)
}

/// The same where some rows are elsewhere: zeros.
pub(crate) fn known_rows(table: &Tensor<2>, ids: &[Option<usize>]) -> Tensor<2> {
    let device = table.device();
    let known: Vec<f32> = ids.iter().map(|id| f32::from(u8::from(id.is_some()))).collect();
    let known = Tensor::<2>::from_data(TensorData::new(known, [ids.len(), 1]), &device);
    let ids = integers(ids.iter().map(|id| id.unwrap_or(0)), &device);
    table.clone().select(0, ids) * known
}

/// `x · weightᵀ`; the weight is `[outputs, inputs]` as in files.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// Each row divided by its root mean square, times the weight `[1, columns]`.
pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let mean_square = (x.clone() * x.clone()).mean_dim(1);
    x / (mean_square + epsilon).sqrt() * weight
}

/// Adds the bias, if there is one, and rotates queries and keys by their position.
pub(crate) fn bias_and_rotate(
    qkv: Tensor<2>,
    bias: Option<Tensor<2>>,
    rotary: &Rotary,
    heads: Heads,
) -> Tensor<2> {
    let [tokens, width] = qkv.dims();
    let turned = heads.query + heads.kv;
    let qkv = match bias {
        Some(bias) => qkv + bias,
        None => qkv,
    };
    let qkv = qkv.reshape([tokens, width / heads.size, heads.size]);
    let half = heads.size / 2;
    let first = qkv.clone().slice([0..tokens, 0..turned, 0..half]);
    let second = qkv.clone().slice([0..tokens, 0..turned, half..heads.size]);
    let value = qkv.slice([0..tokens, turned..turned + heads.kv, 0..heads.size]);
    let (cos, sin) = (rotary.cos.clone().unsqueeze_dim(1), rotary.sin.clone().unsqueeze_dim(1));
    let low = first.clone() * cos.clone() - second.clone() * sin.clone();
    let high = second * cos + first * sin;
    let turned = Tensor::cat(vec![low, high], 2);
    Tensor::cat(vec![turned, value], 1).reshape([tokens, width])
}

/// Causal attention of each sequence of the packing by itself.
///
/// The batch is padded on the right: a causal mask already hides the padding from every real
/// token, and the padding's own rows are dropped.
pub(crate) fn attention(qkv: Tensor<2>, packing: &Packing, heads: Heads) -> Tensor<2> {
    let device = qkv.device().inner();
    let (sequences, longest) = (packing.ranges().len(), packing.longest());
    let width = heads.query + 2 * heads.kv;
    let qkv = qkv
        .select(0, packing.padded_rows(&device))
        .reshape([sequences, longest, width, heads.size])
        .swap_dims(1, 2);
    let part = |from: usize, count: usize| qkv.clone().narrow(1, from, count);
    let query = part(0, heads.query);
    let shared = heads.query / heads.kv;
    let repeat = |kv: Tensor<4>| {
        kv.unsqueeze_dim::<5>(2)
            .expand([sequences, heads.kv, shared, longest, heads.size])
            .reshape([sequences, heads.query, longest, heads.size])
    };
    let key = repeat(part(heads.query, heads.kv));
    let value = repeat(part(heads.query + heads.kv, heads.kv));
    let hidden: Tensor<2, Bool> = Tensor::tril_mask([longest, longest], 0, &device);
    let scores = query.matmul(key.transpose()) * (1.0 / (heads.size as f64).sqrt());
    let scores = scores.mask_fill(hidden.unsqueeze::<4>(), f32::NEG_INFINITY);
    activation::softmax(scores, 3)
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([sequences * longest, heads.query_width()])
        .select(0, packing.places(&device))
}

/// `silu(gate) * up` of `[gate | up]`.
pub(crate) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    let half = gate_up.dims()[1] / 2;
    let gate = gate_up.clone().narrow(1, 0, half);
    let up = gate_up.narrow(1, half, half);
    activation::silu(gate) * up
}

/// Of each row `-log softmax(row)[target]`, and the gradient of the sum of these times the factors.
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    targets: &[usize],
    factors: &[f32],
) -> (Vec<f64>, Tensor<2>) {
    let (device, rows) = (logits.device(), targets.len());
    let targets = integers(targets.iter().copied(), &device).reshape([rows, 1]);
    let factors = Tensor::<2>::from_data(TensorData::new(factors.to_vec(), [rows, 1]), &device);
    let logarithms = activation::log_softmax(logits, 1);
    let picked = logarithms.clone().gather(1, targets.clone()).neg();
    let losses = device::numbers(picked).into_iter().map(f64::from).collect();
    let gradient = logarithms.exp() * factors.clone();
    (losses, gradient.scatter(1, targets, factors.neg(), IndexingUpdateOp::Add))
}

/// Overwrites rows of a cache with columns of new rows, from `column` on.
pub(crate) fn write_rows(cache: &mut Tensor<2>, rows: &[usize], new: &Tensor<2>, column: usize) {
    let new = new.clone().narrow(1, column, cache.dims()[1]);
    let rows = integers(rows.iter().copied(), &new.device());
    cache.inplace(|cache| cache.select_assign(0, rows, new, IndexingUpdateOp::Assign));
}

/// Indices as burn takes them.
pub(crate) fn integers(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The sum of squares.
pub(crate) fn square_sum(x: Tensor<2>) -> f64 {
    f64::from((x.clone() * x).sum().into_scalar::<f32>())
}

/// One step of AdamW.
pub(crate) fn adamw(old: Trained, gradient: Tensor<2>, decays: bool, step: &Step) -> Trained {
    let Adam { beta1, beta2, epsilon, .. } = step.adam;
    let gradient = gradient * step.scale;
    let first = old.first * beta1 + gradient.clone() * (1.0 - beta1);
    let second = old.second * beta2 + gradient.clone() * gradient * (1.0 - beta2);
    let root = second.clone().sqrt() / step.second_correction().sqrt() + epsilon;
    let kept = old.weight * step.kept(decays);
    Trained { weight: kept - first.clone() / root * step.size(), first, second }
}
