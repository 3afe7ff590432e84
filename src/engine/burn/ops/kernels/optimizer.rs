//! AdamW in one pass.

use super::vector::vectorized;
use crate::burn::adamw::Step;

/// Constants of a step as the kernel takes them.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    root: f32,
    epsilon: f32,
    kept: f32,
    size: f32,
}

impl Factors {
    pub(crate) fn new(step: &Step, decays: bool) -> Self {
        let adam = step.adam;
        Self {
            scale: step.scale as f32,
            beta1: adam.beta1 as f32,
            rest1: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            rest2: (1.0 - adam.beta2) as f32,
            root: (1.0 / step.second_correction().sqrt()) as f32,
            epsilon: adam.epsilon as f32,
            kept: step.kept(decays) as f32,
            size: step.size() as f32,
        }
    }
}

/// Weight and moments of one parameter.
pub(crate) struct Moments<'a> {
    pub(crate) weight: &'a mut [f32],
    pub(crate) first: &'a mut [f32],
    pub(crate) second: &'a mut [f32],
}

vectorized! {
    /// One step, in place.
    fn adamw(moments: Moments<'_>, gradient: &[f32], factors: Factors) {
        let Moments { weight, first, second } = moments;
        let Factors { scale, beta1, rest1, beta2, rest2, root, epsilon, kept, size } = factors;
        let state = weight.iter_mut().zip(first).zip(second);
        for (((weight, first), second), gradient) in state.zip(gradient) {
            let gradient = gradient * scale;
            *first = *first * beta1 + gradient * rest1;
            *second = *second * beta2 + gradient * gradient * rest2;
            *weight = *weight * kept - *first / (second.sqrt() * root + epsilon) * size;
        }
    }
}
