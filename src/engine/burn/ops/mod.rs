//! The operations of a decoder.
//!
//! Each is written twice: in plain burn operations ([`plain`]), which run and differentiate on
//! every device, and as one pass over memory with a backward by hand ([`fused`]) for the
//! processor. Tests hold the two together. GPUs have theirs in `cuda`, held to the plain ones by
//! `thinkery gpu-check`; what they have no kernels for is plain.

mod crew;
pub(crate) mod device_pages;
pub(crate) mod fused;
pub(crate) mod held;
mod kernels;
mod pages;
pub(crate) mod plain;

pub(crate) use self::crew::Crew;
pub(crate) use self::kernels::optimizer::{Factors, Moments, adamw};
pub(crate) use self::kernels::product::{Kind, Packed, Segment};
pub(crate) use self::pages::{Pages, Span};

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::adamw::{Step, Trained};
use super::decoder::Heads;
use super::packing::Packing;
use super::rotary::Rotary;
use crate::cuda;

/// Which of them are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Plain burn, on any device: what the others are held to.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the others to it"))]
    Plain,
    /// Our own, on the processor only.
    Fused,
    /// Our own and libraries', on a GPU only.
    Cuda(cuda::Ops),
}

impl Kernels {
    /// Rows of the table.
    pub(crate) fn embedding(self, table: Tensor<2>, packing: &Packing) -> Tensor<2> {
        match self {
            Self::Plain | Self::Cuda(_) => {
                let ids = packing.ids(&table.device().inner());
                plain::embedding(table, ids)
            }
            Self::Fused => fused::embedding(table, packing.shared_ids()),
        }
    }

    /// Some rows of a matrix, each at most once.
    pub(crate) fn rows(self, x: Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let all = rows.len() == x.dims()[0] && rows.iter().enumerate().all(|(at, row)| at == *row);
        match self {
            Self::Plain | Self::Cuda(_) if all => x,
            Self::Plain | Self::Cuda(_) => {
                let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
                let data = TensorData::new(rows.clone(), [rows.len()]);
                let rows = Tensor::<1, Int>::from_data(data, &x.device().inner());
                x.select(0, rows)
            }
            Self::Fused => fused::embedding(x, rows.into()),
        }
    }

    /// `x · weightᵀ`; the weight is `[outputs, inputs]` as in files.
    pub(crate) fn linear(self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::linear(x, weight),
            Self::Cuda(own) => own.linear(x, weight),
            Self::Fused => fused::linear(x, weight),
        }
    }

    /// `sum + x · weightᵀ`.
    pub(crate) fn linear_added(self, sum: Tensor<2>, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => sum + self.linear(x, weight),
            Self::Cuda(own) => own.linear_added(sum, x, weight),
            Self::Fused => fused::linear_added(sum, x, weight),
        }
    }

    /// Each row divided by its root mean square, times the weight `[1, columns]`.
    pub(crate) fn rms_norm(self, x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
        match self {
            Self::Plain => plain::rms_norm(x, weight, epsilon),
            Self::Cuda(own) => own.rms_norm(x, weight, epsilon),
            Self::Fused => fused::rms_norm(x, weight, epsilon),
        }
    }

    /// Adds the bias, if there is one, and rotates queries and keys by their position.
    pub(crate) fn bias_and_rotate(
        self,
        qkv: Tensor<2>,
        bias: Option<Tensor<2>>,
        rotary: &Rotary,
        heads: Heads,
    ) -> Tensor<2> {
        match self {
            Self::Plain => plain::bias_and_rotate(qkv, bias, rotary, heads),
            Self::Cuda(own) => own.bias_and_rotate(qkv, bias, rotary, heads),
            Self::Fused => {
                // The kernel adds it on its way: nothing to save without one.
                let none = || Tensor::zeros([1, qkv.dims()[1]], &qkv.device().inner());
                let bias = bias.unwrap_or_else(none);
                fused::bias_and_rotate(qkv, bias, rotary, heads)
            }
        }
    }

    /// Causal attention of each sequence of the packing by itself.
    pub(crate) fn attention(self, qkv: Tensor<2>, packing: &Packing, heads: Heads) -> Tensor<2> {
        match self {
            Self::Plain => plain::attention(qkv, packing, heads),
            Self::Cuda(_) => plain::attention_apart(&qkv, packing.ranges(), heads),
            Self::Fused => fused::attention(qkv, packing.shared_ranges(), heads),
        }
    }

    /// `silu(gate) * up` of `[gate | up]`.
    pub(crate) fn swiglu(self, gate_up: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::swiglu(gate_up),
            Self::Cuda(own) => own.swiglu(gate_up),
            Self::Fused => fused::swiglu(gate_up),
        }
    }

    /// Of each row of logits `-log softmax(row)[target]`, and the gradient of the sum of these times
    /// the rows' factors. On no tape.
    pub(crate) fn cross_entropy(
        self,
        logits: Tensor<2>,
        targets: &[usize],
        factors: &[f32],
    ) -> (Vec<f64>, Tensor<2>) {
        match self {
            Self::Plain | Self::Cuda(_) => plain::cross_entropy(logits, targets, factors),
            Self::Fused => fused::cross_entropy(logits, targets, factors),
        }
    }

    /// `left · right`. On no tape.
    pub(crate) fn product(self, left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain | Self::Cuda(_) => {
                let (shape, dtype) = ([left.dims()[0], right.dims()[1]], left.dtype());
                let zeros = Tensor::zeros(shape, (&left.device(), dtype));
                self.product_added(zeros, left, right, false)
            }
            Self::Fused => fused::product(left, right),
        }
    }

    /// `left · right`, or with the left one turned, added to what there is. On no tape.
    pub(crate) fn product_added(
        self,
        sum: Tensor<2>,
        left: Tensor<2>,
        right: Tensor<2>,
        turn: bool,
    ) -> Tensor<2> {
        match self {
            Self::Plain => {
                let left = if turn { left.transpose() } else { left };
                let dtype = sum.dtype();
                sum + plain::narrowed(left.matmul(right), dtype)
            }
            Self::Cuda(own) => own.product_added(sum, left, right, turn),
            Self::Fused => fused::product_added(sum, left, right, turn),
        }
    }

    /// Rows of gradients added to the rows of a table that they belong to. On no tape.
    pub(crate) fn rows_added(
        self,
        table: Tensor<2>,
        gradient: Tensor<2>,
        rows: &[usize],
    ) -> Tensor<2> {
        match self {
            Self::Plain | Self::Cuda(_) => {
                let rows = plain::integers(rows.iter().copied(), &table.device());
                let gradient = plain::narrowed(gradient, table.dtype());
                table.select_assign(0, rows, gradient, IndexingUpdateOp::Add)
            }
            Self::Fused => fused::rows_added(table, gradient, rows),
        }
    }

    /// One step of AdamW, on tensors that nobody reads afterwards. On no tape.
    pub(crate) fn adamw(
        self,
        old: Trained,
        gradient: Tensor<2>,
        decays: bool,
        step: &Step,
    ) -> Trained {
        match self {
            Self::Plain | Self::Fused => plain::adamw(old, gradient, decays, step),
            Self::Cuda(own) => own.adamw(old, gradient, decays, step),
        }
    }

    /// A number whose gradient for `y` is `gradient`, to pull that through the tape.
    pub(crate) fn dot(self, y: Tensor<2>, gradient: Tensor<2>) -> Tensor<1> {
        match self {
            Self::Plain | Self::Cuda(_) => (y * gradient.autodiff()).sum(),
            Self::Fused => fused::dot(y, gradient),
        }
    }
}
