//! Low-rank adapters: a frozen weight `W` is computed with as `W + alpha / rank * B · A`.
//!
//! The product is added when a block is gathered, and the gradients of `A` and `B` are made of the
//! gradient of the sum, so everything else is as without adapters. `A` begins as PEFT draws it
//! (uniform, as wide as one over the root of its columns), `B` as zeros.

use std::ops::Range;

use burn::tensor::Tensor;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::blocks::Blocks;
use super::store::{Held, Store, Values};
use crate::burn::adamw::Step;
use crate::burn::decoder::DecoderConfig;
use crate::burn::device::{self, Place};
use crate::burn::parameters::{FileTensor, Parameter, Role, file_tensors};
use crate::{Error, Lora, Result};

/// The weights that can have adapters.
const TARGETS: [(&str, Role); 7] = [
    ("q_proj", Role::QueryWeight),
    ("k_proj", Role::KeyWeight),
    ("v_proj", Role::ValueWeight),
    ("o_proj", Role::OutputWeight),
    ("gate_proj", Role::GateWeight),
    ("up_proj", Role::UpWeight),
    ("down_proj", Role::DownWeight),
];

/// One adapted weight.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// The weight in the model's files.
    pub(crate) tensor: FileTensor,
    /// Its parameter, counted from its block's first.
    parameter: usize,
    /// Its rows in that.
    rows: Range<usize>,
}

impl Slot {
    /// The weight among those of its block.
    pub(crate) fn of<'a>(&self, block: &'a Values) -> &'a [f32] {
        &block[self.parameter][self.tensor.elements.clone()]
    }

    /// The same, to be replaced.
    pub(crate) fn of_mut<'a>(&self, block: &'a mut Values) -> &'a mut [f32] {
        &mut block[self.parameter][self.tensor.elements.clone()]
    }
}

/// Which weights are adapted, block by block.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) slots: Vec<Vec<Slot>>,
    rank: usize,
    scale: f64,
}

impl Plan {
    /// # Errors
    /// If a target is unknown, or the rank does not fit the weights.
    pub(crate) fn new(lora: &Lora, config: &DecoderConfig, blocks: &Blocks) -> Result<Self> {
        let bad = |why: String| Err(Error::BadInput(why));
        let role = |name: &String| TARGETS.iter().find(|(known, _)| known == name);
        if let Some(name) = lora.targets.iter().find(|name| role(name).is_none()) {
            let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            return bad(format!("`{name}` is no weight of a layer; {} are", known.join(", ")));
        }
        let roles: Vec<Role> =
            lora.targets.iter().filter_map(role).map(|(_, role)| *role).collect();
        if roles.is_empty() {
            return bad("adapters need a target".to_owned());
        }
        let tensors = file_tensors(config);
        let chosen = |tensor: &&FileTensor| roles.contains(&tensor.role);
        let narrowest = tensors.iter().filter(chosen).flat_map(|tensor| &tensor.shape).min();
        let most = narrowest.copied().unwrap_or(0);
        if !(1..=most).contains(&lora.rank) {
            return bad(format!("adapters of rank {} do not fit; 1 to {most} do", lora.rank));
        }
        let slot = |tensor: &FileTensor, range: &Range<usize>| {
            let columns = tensor.shape[1];
            let rows = tensor.elements.start / columns..tensor.elements.end / columns;
            Slot { tensor: tensor.clone(), parameter: tensor.parameter - range.start, rows }
        };
        let slots = (0..blocks.count()).map(|block| {
            let range = blocks.range(block);
            let own = tensors.iter().filter(chosen);
            let own = own.filter(|tensor| range.contains(&tensor.parameter));
            own.map(|tensor| slot(tensor, &range)).collect()
        });
        Ok(Self { slots: slots.collect(), rank: lora.rank, scale: lora.alpha / lora.rank as f64 })
    }

    /// The parameters of the adapters, two per slot, of the blocks that have some.
    pub(crate) fn parameters(&self) -> Vec<Vec<Parameter>> {
        let pair = |slot: &Slot| {
            let [rows, columns] = [slot.tensor.shape[0], slot.tensor.shape[1]];
            [[self.rank, columns], [rows, self.rank]]
        };
        let of = |slots: &Vec<Slot>| {
            let shapes = slots.iter().flat_map(pair);
            shapes.map(|shape| Parameter { shape, decays: true }).collect()
        };
        self.slots.iter().filter(|slots| !slots.is_empty()).map(of).collect()
    }

    /// Their first values.
    pub(crate) fn values(&self, seed: u64) -> Values {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |(at, one): (usize, Parameter)| {
            let width = 1.0 / (one.shape[1] as f32).sqrt();
            let mut value = |_| match at % 2 {
                0 => random.random_range(-width..width),
                _ => 0.0,
            };
            (0..one.length()).map(&mut value).collect()
        };
        let blocks = self.parameters().into_iter();
        blocks.flat_map(|block| block.into_iter().enumerate()).map(&mut draw).collect()
    }

    /// Where the adapters of a block stand among those that have some.
    pub(crate) fn place(&self, block: usize) -> Option<usize> {
        let before = self.slots[..block].iter().filter(|slots| !slots.is_empty());
        (!self.slots[block].is_empty()).then(|| before.count())
    }
}

/// Frozen weights with adapters.
pub(crate) struct Adapted {
    pub(crate) plan: Plan,
    pub(crate) base: Box<dyn Store>,
    pub(crate) adapters: Box<dyn Store>,
    pub(crate) places: Vec<Place>,
    pub(crate) blocks: Blocks,
}

impl Adapted {
    /// A rank's weights of a block with its adapters added.
    fn merged(
        &self,
        block: usize,
        place: &Place,
        mut weights: Vec<Tensor<2>>,
        adapters: &[Tensor<2>],
    ) -> Vec<Tensor<2>> {
        for (slot, pair) in self.plan.slots[block].iter().zip(adapters.chunks_exact(2)) {
            let [a, b] = [&pair[0], &pair[1]].map(Tensor::clone);
            let weight = &mut weights[slot.parameter];
            let columns = weight.dims()[1];
            let own = weight.clone().narrow(0, slot.rows.start, slot.rows.len());
            let sum = place.kernels.product_added(own, b * self.plan.scale, a, false);
            *weight = weight.clone().slice_assign([slot.rows.clone(), 0..columns], sum);
        }
        weights
    }
}

impl Store for Adapted {
    fn gather(&self, block: usize) -> Vec<Vec<Tensor<2>>> {
        let base = self.base.gather(block);
        let Some(at) = self.plan.place(block) else { return base };
        let ranks = base.into_iter().zip(self.adapters.gather(at)).zip(&self.places);
        ranks.map(|((base, own), place)| self.merged(block, place, base, &own)).collect()
    }

    fn reduce(&mut self, block: usize, gradients: Vec<Option<Vec<Tensor<2>>>>) {
        let Some(at) = self.plan.place(block) else { return };
        let adapters = self.adapters.gather(at);
        let ranks = gradients.into_iter().zip(adapters).zip(&self.places);
        let projected = ranks.map(|((gradients, own), place)| {
            let gradients = gradients?;
            let pairs = self.plan.slots[block].iter().zip(own.chunks_exact(2));
            let of_pair = |(slot, pair): (&Slot, &[Tensor<2>])| {
                let [a, b] = [&pair[0], &pair[1]].map(|one| one.clone() * self.plan.scale);
                let whole = gradients[slot.parameter].clone();
                let whole = whole.narrow(0, slot.rows.start, slot.rows.len());
                let (zeros_a, zeros_b) = (a.zeros_like(), b.zeros_like());
                let kernels = place.kernels;
                let of_a = kernels.product_added(zeros_a, b, whole.clone(), true);
                [of_a, kernels.product_added(zeros_b, whole, a.transpose(), false)]
            };
            Some(pairs.flat_map(of_pair).collect())
        });
        let projected = projected.collect();
        self.adapters.reduce(at, projected);
    }

    fn has_gradients(&self) -> bool {
        self.adapters.has_gradients()
    }

    fn square_sum(&mut self) -> f64 {
        self.adapters.square_sum()
    }

    fn step(&mut self, step: &Step) {
        self.adapters.step(step);
    }

    fn discard(&mut self) {
        self.adapters.discard();
    }

    fn weights(&self, block: usize) -> Values {
        let base = self.base.weights(block);
        let Some(at) = self.plan.place(block) else { return base };
        let place = &self.places[0];
        let tensors = |values: Values, parameters: &[Parameter]| -> Vec<Tensor<2>> {
            let pairs = values.into_iter().zip(parameters);
            pairs.map(|(values, one)| device::matrix(values, one.shape, &place.device)).collect()
        };
        let base = tensors(base, &self.blocks.parameters[self.blocks.range(block)]);
        let own = tensors(self.adapters.weights(at), &self.plan.parameters()[at]);
        let merged = self.merged(block, place, base, &own);
        merged.into_iter().map(device::numbers).collect()
    }

    fn gradients(&self, block: usize) -> Values {
        self.plan.place(block).map_or_else(Vec::new, |at| self.adapters.gradients(at))
    }

    fn moments(&self, block: usize) -> [Values; 2] {
        self.plan.place(block).map_or_else(Default::default, |at| self.adapters.moments(at))
    }

    fn set(&mut self, block: usize, weights: &[Vec<f32>], moments: [&[Vec<f32>]; 2]) {
        self.base.set(block, weights, moments);
    }

    fn adapters(&mut self) -> Option<&mut dyn Store> {
        Some(self.adapters.as_mut())
    }

    fn frozen(&self, block: usize) -> Values {
        self.base.weights(block)
    }

    fn adapter_weights(&self, block: usize) -> Values {
        self.plan.place(block).map_or_else(Vec::new, |at| self.adapters.weights(at))
    }

    fn resumed(&mut self, steps: u64) {
        self.adapters.resumed(steps);
    }

    fn held(&self) -> Held {
        let (base, own) = (self.base.held(), self.adapters.held());
        Held {
            weights: base.weights + own.weights,
            gradients: own.gradients,
            optimizer: own.optimizer,
        }
    }
}
