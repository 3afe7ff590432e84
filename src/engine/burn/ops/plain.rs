//! The operations in plain burn: the reference for our own kernels.
//!
//! Results hold what the first operand does, f32 or bf16; between, sums and roots are f32.

use std::ops::Range;

use burn::tensor::module::attention as grouped_attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::Adam;
use crate::burn::adamw::{Step, Trained};
use crate::burn::decoder::Heads;
use crate::burn::device;
use crate::burn::packing::Packing;
use crate::burn::rotary::Rotary;

/// As f32, whatever it holds.
pub(crate) fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    narrowed(x, DType::F32)
}

/// As numbers of this type.
pub(crate) fn narrowed<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// Rows of the table.
pub(crate) fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    table.select(0, ids)
}

/// The same where some rows are elsewhere: zeros.
pub(crate) fn known_rows(table: &Tensor<2>, ids: &[Option<usize>]) -> Tensor<2> {
    let device = table.device();
    let known: Vec<f32> = ids.iter().map(|id| f32::from(u8::from(id.is_some()))).collect();
    let known = Tensor::<2>::from_data(TensorData::new(known, [ids.len(), 1]), &device);
    let known = narrowed(known, table.dtype());
    let ids = integers(ids.iter().map(|id| id.unwrap_or(0)), &device);
    table.clone().select(0, ids) * known
}

/// `x · weightᵀ`; the weight is `[outputs, inputs]` as in files.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// Each row divided by its root mean square, times the weight `[1, columns]`.
pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let (x, weight) = (wide(x), wide(weight));
    let mean_square = (x.clone() * x.clone()).mean_dim(1);
    narrowed(x / (mean_square + epsilon).sqrt() * weight, dtype)
}

/// Adds the bias, if there is one, and rotates queries and keys by their position.
pub(crate) fn bias_and_rotate(
    qkv: Tensor<2>,
    bias: Option<Tensor<2>>,
    rotary: &Rotary,
    heads: Heads,
) -> Tensor<2> {
    let ([tokens, width], dtype) = (qkv.dims(), qkv.dtype());
    let turned = heads.query + heads.kv;
    let qkv = match bias {
        Some(bias) => wide(qkv) + wide(bias),
        None => wide(qkv),
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
    narrowed(Tensor::cat(vec![turned, value], 1).reshape([tokens, width]), dtype)
}

/// Causal attention of each sequence of the packing by itself.
///
/// The batch is padded on the right: a causal mask already hides the padding from every real
/// token, and the padding's own rows are dropped.
pub(crate) fn attention(qkv: Tensor<2>, packing: &Packing, heads: Heads) -> Tensor<2> {
    let (device, dtype) = (qkv.device().inner(), qkv.dtype());
    let (sequences, longest) = (packing.ranges().len(), packing.longest());
    let width = heads.query + 2 * heads.kv;
    let qkv = wide(qkv)
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
    let seen = activation::softmax(scores, 3)
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([sequences * longest, heads.query_width()])
        .select(0, packing.places(&device));
    narrowed(seen, dtype)
}

/// The same sequence by sequence, by burn's own attention: on a GPU that is flash attention, forward and
/// backward, which never holds the scores of all pairs.
pub(crate) fn attention_apart(qkv: &Tensor<2>, ranges: &[Range<usize>], heads: Heads) -> Tensor<2> {
    let options = AttentionModuleOptions { is_causal: true, ..AttentionModuleOptions::default() };
    let one = |range: &Range<usize>| {
        let rows = qkv.clone().narrow(0, range.start, range.len());
        let part = |from: usize, count: usize| {
            rows.clone()
                .narrow(1, from * heads.size, count * heads.size)
                .reshape([1, range.len(), count, heads.size])
                .swap_dims(1, 2)
        };
        let query = part(0, heads.query);
        let (key, value) = (part(heads.query, heads.kv), part(heads.query + heads.kv, heads.kv));
        grouped_attention(query, key, value, None, None, options)
            .swap_dims(1, 2)
            .reshape([range.len(), heads.query_width()])
    };
    let mut parts: Vec<Tensor<2>> = ranges.iter().map(one).collect();
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) }
}

/// `silu(gate) * up` of `[gate | up]`.
pub(crate) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    let half = gate_up.dims()[1] / 2;
    let dtype = gate_up.dtype();
    let gate_up = wide(gate_up);
    let gate = gate_up.clone().narrow(1, 0, half);
    let up = gate_up.narrow(1, half, half);
    narrowed(activation::silu(gate) * up, dtype)
}

/// Of each row `-log softmax(row)[target]`, and the gradient of the sum of these times the factors.
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    targets: &[usize],
    factors: &[f32],
) -> (Vec<f64>, Tensor<2>) {
    let (device, rows, dtype) = (logits.device(), targets.len(), logits.dtype());
    let targets = integers(targets.iter().copied(), &device).reshape([rows, 1]);
    let factors = Tensor::<2>::from_data(TensorData::new(factors.to_vec(), [rows, 1]), &device);
    let logarithms = activation::log_softmax(wide(logits), 1);
    let picked = logarithms.clone().gather(1, targets.clone()).neg();
    let losses = device::numbers(picked).into_iter().map(f64::from).collect();
    let gradient = logarithms.exp() * factors.clone();
    let gradient = gradient.scatter(1, targets, factors.neg(), IndexingUpdateOp::Add);
    (losses, narrowed(gradient, dtype))
}

/// Indices as burn takes them.
pub(crate) fn integers(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The sum of squares.
pub(crate) fn square_sum(x: Tensor<2>) -> f64 {
    let x = wide(x);
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
