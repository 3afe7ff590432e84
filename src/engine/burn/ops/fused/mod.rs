//! The operations as burn's processor backend takes them: kernels of our own with a backward by
//! hand, on the tape like any operation of burn.

mod backward;
mod host;

use std::ops::Range;
use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

pub(crate) use self::host::{cross_entropy, product, product_added, rows_added};

use super::kernels::matrix::{multiplied, multiplied_added};
use super::kernels::rotate::Angles;
use super::kernels::{attention as attention_kernel, gated, norm, rotate};
use crate::burn::decoder::Heads;
use crate::burn::rotary::Rotary;
use crate::burn::views::View;

/// The operations that stand on the tape. Everything is f32.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Fused: Backend {
    fn own_rows(x: FloatTensor<Self>, rows: Arc<[usize]>) -> FloatTensor<Self>;

    fn own_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    fn own_linear_added(
        sum: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn own_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32)
    -> FloatTensor<Self>;

    fn own_turn(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self>;

    fn own_attention(
        qkv: FloatTensor<Self>,
        ranges: Arc<[Range<usize>]>,
        heads: Heads,
    ) -> FloatTensor<Self>;

    fn own_gated(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;

    fn own_dot(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Rows of a table; a row may be asked for again and again.
pub(crate) fn embedding(table: Tensor<2>, rows: Arc<[usize]>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Fused>::own_rows(table.into_dispatch(), rows))
}

pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let out = <Dispatch as Fused>::own_linear(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(out)
}

/// `sum + x · weightᵀ` in one pass.
pub(crate) fn linear_added(sum: Tensor<2>, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as Fused>::own_linear_added(sum.into_dispatch(), x, weight);
    Tensor::from_dispatch(out)
}

pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Fused>::own_norm(x, weight, epsilon as f32))
}

pub(crate) fn bias_and_rotate(
    qkv: Tensor<2>,
    bias: Tensor<2>,
    rotary: &Rotary,
    heads: Heads,
) -> Tensor<2> {
    let (cos, sin) = (rotary.cos.clone().into_dispatch(), rotary.sin.clone().into_dispatch());
    let (qkv, bias) = (qkv.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Fused>::own_turn(qkv, bias, cos, sin, heads))
}

pub(crate) fn attention(qkv: Tensor<2>, ranges: Arc<[Range<usize>]>, heads: Heads) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Fused>::own_attention(qkv.into_dispatch(), ranges, heads))
}

pub(crate) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Fused>::own_gated(gate_up.into_dispatch()))
}

/// A number, 0, whose gradient for `y` is `gradient`: nothing is multiplied.
pub(crate) fn dot(y: Tensor<2>, gradient: Tensor<2>) -> Tensor<1> {
    let out = <Dispatch as Fused>::own_dot(y.into_dispatch(), gradient.into_dispatch());
    Tensor::from_dispatch(out)
}

type Host = FloatTensor<Flex>;

pub(super) fn host<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Host {
    Host::from_data(TensorData::new(values, shape))
}

pub(super) fn dims(x: &Host) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// The values of a tensor that nobody else holds, without a copy.
pub(super) fn into_values(x: Host) -> Vec<f32> {
    x.into_data().try_into_vec().expect("every tensor of the engine is f32")
}

impl Fused for Flex {
    fn own_rows(x: Host, rows: Arc<[usize]>) -> Host {
        let (x, [_, width]) = (x.to_contiguous(), dims(&x));
        let values: &[f32] = x.storage();
        let mut out = Vec::with_capacity(rows.len() * width);
        for row in rows.iter() {
            out.extend_from_slice(&values[row * width..(row + 1) * width]);
        }
        host(out, [rows.len(), width])
    }

    fn own_linear(x: Host, weight: Host) -> Host {
        let ([rows, depth], [columns, _]) = (dims(&x), dims(&weight));
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let weight = View::whole(weight.storage(), depth).transposed();
        host(multiplied(View::whole(x.storage(), depth), weight), [rows, columns])
    }

    fn own_linear_added(sum: Host, x: Host, weight: Host) -> Host {
        let (shape, depth) = (dims(&sum), dims(&weight)[1]);
        let (sum, x, weight) = (sum.to_contiguous(), x.to_contiguous(), weight.to_contiguous());
        let (x, weight) = (View::whole(x.storage(), depth), View::whole(weight.storage(), depth));
        host(multiplied_added(sum.storage(), x, weight.transposed()), shape)
    }

    fn own_norm(x: Host, weight: Host, epsilon: f32) -> Host {
        let (x, weight, shape) = (x.to_contiguous(), weight.to_contiguous(), dims(&x));
        host(norm::forward(x.storage(), weight.storage(), epsilon), shape)
    }

    fn own_turn(qkv: Host, bias: Host, cos: Host, sin: Host, heads: Heads) -> Host {
        let shape = dims(&qkv);
        let mut values = into_values(qkv);
        let angles = Angles { cos: cos.storage(), sin: sin.storage() };
        rotate::forward(&mut values, bias.to_contiguous().storage(), angles, heads);
        host(values, shape)
    }

    fn own_attention(qkv: Host, ranges: Arc<[Range<usize>]>, heads: Heads) -> Host {
        let (qkv, [tokens, _]) = (qkv.to_contiguous(), dims(&qkv));
        host(
            attention_kernel::forward(qkv.storage(), &ranges, heads),
            [tokens, heads.query_width()],
        )
    }

    fn own_gated(gate_up: Host) -> Host {
        let (gate_up, [rows, width]) = (gate_up.to_contiguous(), dims(&gate_up));
        host(gated::forward(gate_up.storage(), width / 2), [rows, width / 2])
    }
    fn own_dot(_y: Host, _gradient: Host) -> Host {
        host(vec![0.0], [1])
    }
}
