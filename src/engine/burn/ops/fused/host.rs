//! What needs no tape: the optimizer and sums, on tensors of the processor in place.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::Host;
use crate::burn::adamw::{Step, Trained};
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
