//! What needs no tape: the optimizer and sums, on tensors of the processor in place.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::{Host, dims, host, into_values};
use crate::burn::adamw::{Step, Trained};
use crate::burn::gemm::{Target, View, product};
use crate::burn::ops::kernels::cross_entropy::losses;
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

/// Of each row of logits its loss, and the gradient of their weighted sum in the logits' place.
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    targets: &[usize],
    factors: &[f32],
) -> (Vec<f64>, Tensor<2>) {
    let shape = logits.dims();
    let mut values = into_values(primitive(logits).to_contiguous());
    let losses = losses(&mut values, targets, factors);
    (losses, tensor(host(values, shape)))
}

/// `sum + left · right`, or with the left one turned, in the place of the sum.
pub(crate) fn product_added(
    sum: Tensor<2>,
    left: Tensor<2>,
    right: Tensor<2>,
    turn: bool,
) -> Tensor<2> {
    let [sum, left, right] = [sum, left, right].map(|x| primitive(x).to_contiguous());
    let shape = dims(&sum);
    let mut values = into_values(sum);
    let view = View::whole(left.storage(), dims(&left)[1]);
    let view = if turn { view.transposed() } else { view };
    product(Target::add(&mut values, shape[1]), view, View::whole(right.storage(), shape[1]), 1.0);
    tensor(host(values, shape))
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
