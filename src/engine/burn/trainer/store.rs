//! What the ranks hold between passes: weights, gradients, and the optimizer's state.
//!
//! A block's parameters stand one after the other in one row of numbers, of which each rank holds an
//! equal part where they are sharded. Two stores do the same: `host` in the processor's memory in
//! every layout, `resident` on GPUs in f32.

use burn::tensor::Tensor;

use super::numbers::Kind;
use crate::burn::adamw::Step;
use crate::burn::parameters::Parameter;
use crate::{Precision, Shard, StateLayout};

/// How a store keeps its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    pub(crate) layout: StateLayout,
    pub(crate) shard: Shard,
    pub(crate) precision: Precision,
    pub(crate) seed: u64,
    /// Whether the numbers are trained; those that are not have neither gradient nor state.
    pub(crate) is_trained: bool,
}

impl Keeping {
    /// Whether each rank holds all weights.
    pub(crate) fn whole_weights(self) -> bool {
        self.shard != Shard::Parameters
    }

    /// Whether each rank holds the gradients of all weights.
    pub(crate) fn whole_gradients(self) -> bool {
        matches!(self.shard, Shard::None | Shard::Optimizer)
    }

    /// Whether each rank holds the state of all weights.
    pub(crate) fn whole_state(self) -> bool {
        self.shard == Shard::None
    }
}

/// What a layout keeps of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) weight: Kind,
    pub(crate) moment: Kind,
    pub(crate) gradient: Kind,
}

impl Kinds {
    pub(crate) fn of(layout: StateLayout) -> Self {
        let (weight, moment, gradient) = match layout {
            StateLayout::APlus => (Kind::F32, Kind::F32, Kind::F32),
            StateLayout::A => (Kind::F32, Kind::F32, Kind::Bf16),
            StateLayout::APrime => (Kind::F32, Kind::Bf16, Kind::Bf16),
            StateLayout::Dx => (Kind::Split, Kind::F32, Kind::Bf16),
            StateLayout::DPlus => (Kind::Split, Kind::Bf16, Kind::F32),
            StateLayout::D => (Kind::Split, Kind::Bf16, Kind::Bf16),
            StateLayout::B => (Kind::Bf16, Kind::Bf16, Kind::Bf16),
        };
        Self { weight, moment, gradient }
    }
}

/// One value per parameter of a block.
pub(crate) type Values = Vec<Vec<f32>>;

/// Bytes that the ranks hold, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) weights: u64,
    pub(crate) gradients: u64,
    pub(crate) optimizer: u64,
}

/// Trained numbers of all ranks.
pub(crate) trait Store {
    /// The weights of a block as each rank computes with them.
    fn gather(&self, block: usize) -> Vec<Vec<Tensor<2>>>;

    /// Adds the ranks' gradients of a block; ranks without work have none.
    fn reduce(&mut self, block: usize, gradients: Vec<Option<Vec<Tensor<2>>>>);

    /// Whether anything was added since the last step.
    fn has_gradients(&self) -> bool;

    /// The sum of squares of all gradients.
    fn square_sum(&mut self) -> f64;

    /// One step of AdamW, which clears the gradients.
    fn step(&mut self, step: &Step);

    /// Clears the gradients.
    fn discard(&mut self);

    /// The exact weights of a block.
    fn weights(&self, block: usize) -> Values;

    /// The added gradients of a block.
    fn gradients(&self, block: usize) -> Values;

    /// First and second moments of a block.
    fn moments(&self, block: usize) -> [Values; 2];

    /// Replaces exact weights and moments of a block.
    fn set(&mut self, block: usize, weights: &[Vec<f32>], moments: [&[Vec<f32>]; 2]);

    /// Says that so many steps were done before.
    fn resumed(&mut self, steps: u64);

    /// What the ranks hold.
    fn held(&self) -> Held;

    /// The adapters that are trained in the place of weights, if there are any.
    fn adapters(&mut self) -> Option<&mut dyn Store> {
        None
    }

    /// The weights of a block under the adapters.
    fn frozen(&self, block: usize) -> Values {
        self.weights(block)
    }

    /// The adapters of a block.
    fn adapter_weights(&self, _block: usize) -> Values {
        Vec::new()
    }
}

/// Where the parameters of a block stand in its row of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) parameters: Vec<Parameter>,
    /// Where each begins, and where the last ends.
    pub(crate) bounds: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(parameters: Vec<Parameter>) -> Self {
        let mut bounds = vec![0];
        for parameter in &parameters {
            bounds.push(bounds[bounds.len() - 1] + parameter.length());
        }
        Self { parameters, bounds }
    }

    /// Numbers in the block.
    pub(crate) fn length(&self) -> usize {
        self.bounds[self.bounds.len() - 1]
    }

    /// A row of numbers cut into parameters.
    pub(crate) fn cut(&self, row: &[f32]) -> Values {
        self.bounds.windows(2).map(|bounds| row[bounds[0]..bounds[1]].to_vec()).collect()
    }
}

/// The part of `length` numbers that a rank has.
pub(crate) fn part(length: usize, rank: usize, ranks: usize) -> std::ops::Range<usize> {
    let each = length.div_ceil(ranks);
    (rank * each).min(length)..((rank + 1) * each).min(length)
}
