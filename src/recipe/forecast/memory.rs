//! Bytes of one GPU, by what they are for.
//!
//! Full fine-tuning: each trained number costs what its state layout says, divided over the ranks as
//! far as it is sharded; a micro-batch costs what is kept of its forward pass; one layer at a time is
//! gathered and has a working set; logits exist a chunk at a time. Checked against tables of published
//! and computed configurations in the tests.

use serde::Serialize;

use super::shape::{Shape, mlp, qkv};
use crate::train::{Keep, Memory, Offload, Shard, StateLayout};

/// Tokens of a chunk of logits where the recipe does not say.
pub(super) const LOGITS_CHUNK: u64 = 1_024;

/// CUDA context, NCCL buffers and fragmentation.
const RESERVE_BYTES: u64 = 3 << 30;

/// The process itself: code, tokenizer, examples of a step, buffers of files.
const HOST_BYTES: u64 = 4 << 30;

/// Layers that are gathered at a time: one is computed, the next is under way.
const GATHERED_LAYERS: u64 = 2;

/// Where the bytes of one GPU go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DeviceBytes {
    /// Its shard of the weights.
    pub weights: u64,
    /// Its shard of the gradients.
    pub gradients: u64,
    /// Its shard of master weights, remainders and moments.
    pub optimizer: u64,
    /// What is kept of the forward pass of one micro-batch.
    pub activations: u64,
    /// What one layer's backward pass needs.
    pub working_set: u64,
    /// Logits, their probabilities and gradients, a chunk at a time.
    pub logits: u64,
    /// Gathered layers and their gradients.
    pub gathered: u64,
    /// Everything that is not ours to plan.
    pub reserve: u64,
    /// The sum.
    pub total: u64,
}

impl DeviceBytes {
    /// What they are for, in the order of a plan.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("working set", self.working_set),
            ("logits", self.logits),
            ("gathered", self.gathered),
            ("reserve", self.reserve),
        ]
    }

    /// What a run on the processor takes at its peak. Of the head and the layers only the larger counts:
    /// they are never worked on at the same time.
    pub(super) fn at_peak(memory: &Memory, peak: u64) -> Self {
        let head = memory.logits > memory.working_set + memory.gathered;
        Self {
            weights: memory.weights,
            gradients: memory.gradients,
            optimizer: memory.optimizer,
            activations: memory.activations,
            working_set: if head { 0 } else { memory.working_set },
            logits: if head { memory.logits } else { 0 },
            gathered: if head { 0 } else { memory.gathered },
            reserve: 0,
            total: peak,
        }
    }
}

/// How a model is trained, as far as memory depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) state: StateLayout,
    pub(super) keep: Keep,
    pub(super) shard: Shard,
    pub(super) offload: Offload,
    /// Whether layers compute in bf16; else in f32.
    pub(super) half: bool,
    /// Tokens of a micro-batch.
    pub(super) tokens: u64,
    /// Tokens of a chunk of logits.
    pub(super) chunk: u64,
    /// Numbers of the adapters that are trained in the place of whole weights; 0 if those are.
    pub(super) adapters: u64,
}

/// Bytes per trained number: weight, gradient, the optimizer's. In f32 the master is the weight.
pub(super) fn state_bytes(state: StateLayout, half: bool) -> [u64; 3] {
    let bytes = match state {
        StateLayout::APlus => [2, 4, 12],
        StateLayout::A => [2, 2, 12],
        StateLayout::APrime => [2, 2, 8],
        StateLayout::Dx => [2, 2, 10],
        StateLayout::DPlus => [2, 4, 6],
        StateLayout::D => [2, 2, 6],
        StateLayout::B => [2, 2, 4],
    };
    match (state, half) {
        (StateLayout::APlus | StateLayout::A | StateLayout::APrime, false) => {
            [4, bytes[1], bytes[2] - 4]
        }
        _ => bytes,
    }
}

impl Choice {
    /// Numbers that are kept of a token in a layer.
    fn kept(&self, shape: &Shape) -> u64 {
        match self.keep {
            Keep::Inputs => shape.hidden,
            // The input, what attention gives, the sum of both, and queries, keys and values.
            Keep::Attention => 3 * shape.hidden + qkv(shape),
            Keep::All => 3 * shape.hidden + qkv(shape) + 2 * shape.feed_forward,
        }
    }

    /// Operations that are really done, over the useful ones: what is not kept is computed twice.
    pub(super) fn repeated(&self, shape: &Shape) -> f64 {
        match self.keep {
            Keep::Inputs => 4.0 / 3.0,
            Keep::Attention => 1.0 + mlp(shape) as f64 / shape.matrices() as f64 / 3.0,
            Keep::All => 1.0,
        }
    }

    /// The bytes of each of `ranks` GPUs.
    pub(super) fn device_bytes(&self, shape: &Shape, ranks: u64) -> DeviceBytes {
        let number = if self.half { 2 } else { 4 };
        let [weight, gradient, optimizer] = state_bytes(self.state, self.half);
        let frozen = if self.adapters > 0 { number * shape.parameters() } else { 0 };
        let trained = self.trained(shape);
        let share = |sharded: bool| if sharded { ranks.max(1) } else { 1 };
        let (weights_cut, gradients_cut, optimizer_cut) = match self.shard {
            Shard::None => (false, false, false),
            Shard::Optimizer => (false, false, true),
            Shard::Gradients => (false, true, true),
            Shard::Parameters => (true, true, true),
        };
        let buckets = GATHERED_LAYERS * shape.layer() + shape.table();
        let gathered = [weights_cut, gradients_cut].iter().filter(|cut| **cut).count() as u64;
        let layers_here = match self.offload {
            Offload::Activations => GATHERED_LAYERS,
            Offload::None | Offload::Optimizer => shape.layers,
        };
        let width = 3 * shape.feed_forward + 8 * shape.hidden;
        let mut bytes = DeviceBytes {
            weights: (weight * trained + frozen) / share(weights_cut),
            gradients: gradient * trained / share(gradients_cut),
            optimizer: match self.offload {
                Offload::Optimizer => 0,
                Offload::None | Offload::Activations => optimizer * trained / share(optimizer_cut),
            },
            activations: number * self.tokens * self.kept(shape) * layers_here,
            working_set: number * self.tokens * width,
            logits: 3 * number * self.chunk.min(self.tokens) * shape.vocabulary,
            gathered: number * gathered * buckets,
            reserve: RESERVE_BYTES,
            total: 0,
        };
        bytes.total = bytes.parts().map(|(_, part)| part).iter().sum();
        bytes
    }

    /// Numbers that are trained.
    fn trained(&self, shape: &Shape) -> u64 {
        if self.adapters > 0 { self.adapters } else { shape.parameters() }
    }

    /// Bytes of the host: the model while it is loaded, in f32, or a copy of what a checkpoint writes
    /// (`checkpoint` bytes), and what is offloaded.
    pub(super) fn host_bytes(&self, shape: &Shape, ranks: u64, checkpoint: u64) -> u64 {
        let number = if self.half { 2 } else { 4 };
        let once = checkpoint.max(4 * shape.parameters());
        HOST_BYTES
            + once
            + match self.offload {
                Offload::None => 0,
                Offload::Optimizer => state_bytes(self.state, self.half)[2] * self.trained(shape),
                Offload::Activations => {
                    ranks * number * self.tokens * self.kept(shape) * shape.layers
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::of_model;
    use super::*;

    const GIB: f64 = (1u64 << 30) as f64;

    fn choice(state: StateLayout) -> Choice {
        Choice {
            state,
            keep: Keep::Inputs,
            shard: Shard::Parameters,
            offload: Offload::None,
            half: true,
            tokens: 16_384,
            chunk: LOGITS_CHUNK,
            adapters: 0,
        }
    }

    #[track_caller]
    fn check(model: &str, choice: Choice, gib: f64) {
        let shape = of_model(model).unwrap();
        let total = choice.device_bytes(&shape, 8).total as f64 / GIB;
        assert!((total - gib).abs() < 0.25, "{model} {choice:?}: {total} GiB, computed {gib}");
    }

    #[test]
    fn totals_on_eight_gpus_are_those_of_the_table() {
        let kept = |keep| Choice { keep, ..choice(StateLayout::A) };
        let rows = [
            (StateLayout::APlus, 92.8, 83.1),
            (StateLayout::A, 85.2, 75.5),
            (StateLayout::Dx, 77.6, 67.9),
            (StateLayout::APrime, 69.9, 60.2),
            (StateLayout::DPlus, 69.9, 60.2),
            (StateLayout::D, 62.4, 52.7),
            (StateLayout::B, 54.7, 45.0),
        ];
        for (state, here, offloaded) in rows {
            check("qwen2.5-32b", choice(state), here);
            let offload = Offload::Activations;
            check("qwen2.5-32b", Choice { offload, ..choice(state) }, offloaded);
        }
        check("qwen2.5-14b", choice(StateLayout::A), 46.3);
        check("qwen2.5-14b", choice(StateLayout::APlus), 49.8);
        check("qwen2.5-7b", choice(StateLayout::A), 27.5);
        check("qwen2.5-7b", kept(Keep::All), 70.0);
    }

    #[test]
    fn what_is_kept_of_a_micro_batch_is_that_of_the_table() {
        let rows = [
            ("qwen2.5-7b", [3.06, 13.1, 45.5]),
            ("qwen2.5-14b", [7.5, 33.0, 73.5]),
            ("qwen2.5-32b", [10.0, 44.0, 152.0]),
        ];
        for (model, expected) in rows {
            let shape = of_model(model).unwrap();
            for (keep, expected) in
                [Keep::Inputs, Keep::Attention, Keep::All].into_iter().zip(expected)
            {
                let choice = Choice { keep, ..choice(StateLayout::A) };
                let gib = choice.device_bytes(&shape, 8).activations as f64 / GIB;
                assert!(
                    (gib / expected - 1.0).abs() < 0.01,
                    "{model} {keep}: {gib}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_sharded_is_whole_on_every_gpu() {
        let shape = of_model("qwen2.5-1.5b").unwrap();
        let parameters = shape.parameters();
        let of = |shard| Choice { shard, ..choice(StateLayout::A) }.device_bytes(&shape, 8);
        let states = |bytes: &DeviceBytes| [bytes.weights, bytes.gradients, bytes.optimizer];
        let (all, eighth) =
            ([2, 2, 12].map(|b| b * parameters), [2, 2, 12].map(|b| b * parameters / 8));
        assert_eq!(states(&of(Shard::None)), all);
        assert_eq!(states(&of(Shard::Optimizer)), [all[0], all[1], eighth[2]]);
        assert_eq!(states(&of(Shard::Gradients)), [all[0], eighth[1], eighth[2]]);
        assert_eq!(states(&of(Shard::Parameters)), eighth);
        assert_eq!(of(Shard::None).gathered, 0);
    }

    #[test]
    fn adapters_cost_what_is_trained_and_the_rest_only_its_weights() {
        let shape = of_model("qwen2.5-7b").unwrap();
        let adapters = 20_185_088;
        let lora = crate::train::Lora {
            rank: 8,
            alpha: 16.0,
            targets: crate::train::Config::default().lora_targets,
        };
        assert_eq!(shape.trained(Some(&lora)), adapters, "as PEFT counts them");
        let choice = Choice { adapters, ..choice(StateLayout::APlus) };
        let bytes = choice.device_bytes(&shape, 8);
        assert_eq!(bytes.weights, (2 * adapters + 2 * shape.parameters()) / 8);
        assert_eq!([bytes.gradients, bytes.optimizer], [4, 12].map(|b| b * adapters / 8));
    }
}
