//! The `[train]` section: names as Hugging Face and LLaMA-Factory users know them.

mod check;
mod kinds;

use serde::{Deserialize, Serialize};

use super::batches::Walk;
use super::schedule::{Plan, Schedule};
use crate::dataset::encode::{Encoding, TemplateName, Truncation};
use crate::engine::{Adam, Device, Keep, Lora, Offload, Precision, Shard, StateLayout, Training};
use crate::records::Arm;

pub use kinds::{LossNormalisation, Method, NonFinite, Packing};

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of the dataset whose arms are trained on, as `[dataset]` names it, or the hash of one.
    pub dataset: String,
    /// Which arms of it, one run each, named like the arm. Default: `["verified"]`.
    pub arms: Vec<Arm>,
    /// Model folder: a name under `models/` of the data folder, or a path. Without weights in it, random
    /// ones are made from its `config.json` and `seed`, and kept there.
    pub model: String,
    /// `cpu`, `cuda:0`, or several GPUs: `cuda:0,1,2,3`.
    pub device: String,
    /// Ranks that a step is spread over. On the processor each is a virtual device; on GPUs there is
    /// one rank for each that is named. Default: 1. OpenThinker-7B: 32.
    pub ranks: u32,
    /// Peak learning rate. OpenThinker-7B: 1e-5.
    pub learning_rate: f64,
    /// `cosine`, `linear` or `constant`. OpenThinker-7B: cosine.
    pub schedule: Schedule,
    /// Part of all steps that the learning rate rises for. OpenThinker-7B: 0.1.
    pub warmup_ratio: f64,
    /// Steps that the learning rate rises for; takes the place of `warmup_ratio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// Passes over the dataset. OpenThinker-7B: 3.
    pub epochs: f64,
    /// Optimizer steps; takes the place of `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Examples per optimizer step. OpenThinker-7B: 96.
    pub global_batch: u32,
    /// Examples per micro-batch and rank where `packing` is `none`. OpenThinker-7B: 1.
    pub device_batch: u32,
    /// `step` (the step's examples are spread by what they cost, without padding) or `none`. Either
    /// way they do not see each other, and loss and gradients are the same. OpenThinker-7B: none.
    pub packing: Packing,
    /// Decay of AdamW's first moment. OpenThinker-7B: 0.9.
    pub adam_beta1: f64,
    /// Decay of AdamW's second moment. OpenThinker-7B: 0.999.
    pub adam_beta2: f64,
    /// Added to the root of the second moment. OpenThinker-7B: 1e-8.
    pub adam_epsilon: f64,
    /// Decoupled weight decay; never on biases and norms. OpenThinker-7B: 0.
    pub weight_decay: f64,
    /// Global norm that gradients are clipped to; 0 = off. OpenThinker-7B: 1.
    pub max_grad_norm: f64,
    /// Longest example in tokens. Default: 16384, or the model's positions if these are fewer.
    /// OpenThinker-7B: 16384.
    pub cutoff_len: u32,
    /// What happens to longer ones: `llama_factory` (cut as published), `drop` or `error`.
    pub truncation: Truncation,
    /// `global_tokens`, `per_group:K` or `per_micro`. OpenThinker-7B: `per_group:3`, on 32 ranks.
    pub loss_normalisation: LossNormalisation,
    /// What weights are rounded to before they are computed with: `bf16` or `f32`. Activations and
    /// gradients are computed in f32 either way. Default: `f32`. OpenThinker-7B: `bf16`.
    pub precision: Precision,
    /// What is kept of each trained number between steps: `A+` (18 bytes with bf16 weights), `A` (16),
    /// `DX` (14), `A'` or `D+` (12), `D` (10), `B` (8). Default: `A+`. OpenThinker-7B: `A`.
    pub state: StateLayout,
    /// What is kept of a forward pass, the rest being computed again: `inputs`, `attention` or `all`.
    pub keep: Keep,
    /// What ranks divide among themselves: `parameters` (ZeRO-3), `gradients`, `optimizer` or `none`.
    /// OpenThinker-7B: `parameters`.
    pub shard: Shard,
    /// What lies in the host's memory: `none`, `optimizer` or `activations`. OpenThinker-7B:
    /// `optimizer`.
    pub offload: Offload,
    /// Rows of logits that exist at a time, in tokens; 0 = chosen by the vocabulary.
    pub logits_chunk: u32,
    /// `full` (every weight) or `lora`. OpenThinker-7B: `full`.
    pub method: Method,
    /// Rank of the adapters. LLaMA-Factory: 8.
    pub lora_rank: u32,
    /// Adapters are scaled by `lora_alpha / lora_rank`. LLaMA-Factory: twice the rank.
    pub lora_alpha: f64,
    /// Weights that have one. LLaMA-Factory: all seven of a layer.
    pub lora_targets: Vec<String>,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Decides random weights, the order of the examples, and how states round. OpenThinker-7B: 42.
    pub seed: u64,
    /// How a conversation becomes tokens. OpenThinker-7B: `qwen25_openthinker`.
    pub template: TemplateName,
    /// Whether the row's own system prompt is in front of the question; else the template's.
    pub train_on_system: bool,
    /// Whether only the last turn of a conversation is trained on.
    pub mask_history: bool,
    /// Whether the question is trained on as well.
    pub train_on_prompt: bool,
    /// Steps between checkpoints; 0 = only at the end. OpenThinker-7B: 100.
    pub save_every: u64,
    /// How many of the newest checkpoints are kept; 0 = all.
    pub keep_checkpoints: u32,
    /// Steps of the checkpoint to go back to. Later ones are deleted and their steps made again, each
    /// time a run is started with it; without it, a run goes on from its newest. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_from: Option<u64>,
    /// `stop` or `skip`.
    pub non_finite: NonFinite,
    /// Steps that are computed a second time the plain way, on a few examples, before a run begins:
    /// one rank, f32, nothing packed, sharded or cut into chunks. 0 = none.
    pub certificate_steps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dataset: String::new(),
            arms: vec![Arm::Verified],
            model: String::new(),
            device: "cpu".into(),
            ranks: 1,
            learning_rate: 1e-5,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.1,
            warmup_steps: None,
            epochs: 3.0,
            steps: None,
            global_batch: 96,
            device_batch: 1,
            packing: Packing::Step,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            cutoff_len: 16_384,
            truncation: Truncation::LlamaFactory,
            loss_normalisation: LossNormalisation::GlobalTokens,
            precision: Precision::F32,
            state: StateLayout::APlus,
            keep: Keep::Inputs,
            shard: Shard::Parameters,
            offload: Offload::None,
            logits_chunk: 0,
            method: Method::Full,
            lora_rank: 8,
            lora_alpha: 16.0,
            lora_targets: check::TARGETS.map(str::to_owned).to_vec(),
            shuffle: true,
            seed: 42,
            template: TemplateName::Qwen25Openthinker,
            train_on_system: false,
            mask_history: false,
            train_on_prompt: false,
            save_every: 100,
            keep_checkpoints: 2,
            resume_from: None,
            non_finite: NonFinite::Stop,
            certificate_steps: 2,
        }
    }
}

impl Config {
    /// Everything that is wrong with it, all at once; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        check::problems(self)
    }

    /// One device per rank.
    ///
    /// # Errors
    /// Naming the word that is no device, or the ranks that have none.
    pub fn devices(&self) -> Result<Vec<Device>, String> {
        let mut devices: Vec<Device> = Vec::new();
        for word in self.device.split(',').map(str::trim) {
            // `cuda:0,1` as `cuda:0,cuda:1`.
            let number = word.parse::<usize>().ok().filter(|_| !devices.is_empty());
            devices.push(match number {
                Some(index) => Device::Cuda(index),
                None => word.parse()?,
            });
        }
        let ranks = self.ranks.max(1) as usize;
        match devices.as_slice() {
            [one] => Ok(vec![*one; ranks]),
            several if several.contains(&Device::Cpu) => {
                Err("the processor is named once; `train.ranks` says how many ranks it is".into())
            }
            several if ranks > 1 && ranks != several.len() => {
                Err(format!("{} GPUs are named but `train.ranks` is {ranks}", several.len()))
            }
            _ => Ok(devices),
        }
    }

    /// How the engine is to train.
    pub fn training(&self) -> Training {
        let lora = || Lora {
            rank: self.lora_rank as usize,
            alpha: self.lora_alpha,
            targets: self.lora_targets.clone(),
        };
        Training {
            adam: self.adam(),
            state: self.state,
            shard: self.shard,
            keep: self.keep,
            offload: self.offload,
            precision: self.precision,
            logits_chunk: (self.logits_chunk > 0).then_some(self.logits_chunk as usize),
            lora: (self.method == Method::Lora).then(lora),
            seed: self.seed,
        }
    }

    /// How its examples become tokens, of which there are `cutoff_len` at most.
    pub fn encoding(&self, cutoff_len: u32) -> Encoding {
        Encoding {
            template: self.template,
            cutoff_len: cutoff_len as usize,
            truncation: self.truncation,
            train_on_system: self.train_on_system,
            mask_history: self.mask_history,
            train_on_prompt: self.train_on_prompt,
        }
    }

    /// The optimizer's constants.
    pub fn adam(&self) -> Adam {
        Adam {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
        }
    }

    /// How it walks through so many examples.
    pub fn walk(&self, examples: usize) -> Walk {
        let group = match self.loss_normalisation {
            LossNormalisation::PerGroup(group) => Some(group as usize),
            LossNormalisation::GlobalTokens | LossNormalisation::PerMicro => None,
        };
        let batch = self.global_batch as usize;
        Walk { examples, batch, shuffle: self.shuffle, seed: self.seed, group }
    }

    /// The schedule, given how many steps one pass over the data takes.
    pub fn schedule(&self, steps_per_epoch: u64) -> Plan {
        let steps = match self.steps {
            Some(steps) => steps,
            None => (self.epochs * steps_per_epoch as f64).ceil().max(1.0) as u64,
        };
        let warmup_steps = match self.warmup_steps {
            Some(steps) => steps,
            None => (self.warmup_ratio * steps as f64).ceil() as u64,
        };
        Plan { peak: self.learning_rate, schedule: self.schedule, warmup_steps, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, LossNormalisation, Method, Packing};
    use crate::engine::Device;

    #[test]
    fn the_published_run_has_3561_steps_and_357_of_warm_up() {
        let plan = Config::default().schedule(1_187);
        assert_eq!((plan.steps, plan.warmup_steps), (3_561, 357));
    }

    #[test]
    fn steps_take_the_place_of_epochs_and_ratios() {
        let config = Config { steps: Some(20), warmup_steps: Some(2), ..Config::default() };
        let plan = config.schedule(7);
        assert_eq!((plan.steps, plan.warmup_steps), (20, 2));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let config = Config {
            global_batch: 0,
            adam_beta2: 1.0,
            device: "gpu".into(),
            epochs: f64::NAN,
            learning_rate: 0.0,
            ranks: 0,
            ..Config::default()
        };
        let problems = config.problems();
        assert_eq!(problems.len(), 6, "{problems:#?}");
        assert!(Config::default().problems().is_empty());
    }

    #[track_caller]
    fn check(config: &Config, expected: &str) {
        assert_eq!(config.problems().join("; "), expected);
    }

    #[test]
    fn batches_that_do_not_divide_are_refused() {
        let ten = Config { global_batch: 10, ..Config::default() };
        let groups = LossNormalisation::PerGroup(3);
        check(
            &Config { loss_normalisation: groups, ..ten.clone() },
            "`train.global_batch` is 10, which groups of 3 (`train.loss_normalisation`) do not \
             divide",
        );
        let unpacked = Config { packing: Packing::None, device_batch: 2, ranks: 2, ..ten.clone() };
        check(
            &unpacked,
            "`train.global_batch` is 10, which `train.device_batch` 2 on 2 ranks does not divide",
        );
        check(&Config { packing: Packing::Step, ..unpacked }, "");
        check(&ten, "");
    }

    #[test]
    fn adapters_are_checked_only_where_there_are_any() {
        let none = Config { lora_rank: 0, lora_targets: vec!["head".into()], ..Config::default() };
        check(&none, "");
        let problems = Config { method: Method::Lora, ..none }.problems();
        assert_eq!(problems.len(), 2, "{problems:#?}");
    }

    #[test]
    fn devices_are_ranks() {
        let devices = |device: &str, ranks| {
            Config { device: device.into(), ranks, ..Config::default() }.devices()
        };
        assert_eq!(devices("cpu", 4).unwrap(), [Device::Cpu; 4]);
        assert_eq!(devices("cuda:0,1", 1).unwrap(), [Device::Cuda(0), Device::Cuda(1)]);
        assert_eq!(devices("cuda:2, cuda:3", 2).unwrap(), [Device::Cuda(2), Device::Cuda(3)]);
        for (device, ranks) in [("cpu,cuda:0", 1), ("cuda:0,1", 3), ("0", 1), ("", 1)] {
            assert!(devices(device, ranks).is_err(), "{device} {ranks}");
        }
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        let text = "packing = \"none\"\nloss_normalisation = \"per_group:3\"\nstate = \"A'\"\n\
                    precision = \"bf16\"\nkeep = \"attention\"\nshard = \"optimizer\"\n\
                    offload = \"activations\"\nmethod = \"lora\"\nranks = 8\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.loss_normalisation, LossNormalisation::PerGroup(3));
        let value = serde_json::to_value(&config).unwrap();
        assert_eq!((&value["state"], &value["packing"]), (&"A'".into(), &"none".into()));
        assert_eq!(value["loss_normalisation"], "per_group:3");
        assert_eq!(serde_json::from_value::<Config>(value).unwrap(), config);
        for bad in ["per_group:0", "per_group", "per_step"] {
            assert!(bad.parse::<LossNormalisation>().unwrap_err().contains("expected"), "{bad}");
        }
    }
}
