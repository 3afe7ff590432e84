//! The `[train]` section: names as Hugging Face and LLaMA-Factory users know them.

use serde::{Deserialize, Serialize};

use super::schedule::{Plan, Schedule};
use crate::dataset::encode::{Encoding, TemplateName, Truncation};
use crate::engine::{Adam, Device};
use crate::records::Arm;

/// How a run divides its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossNormalisation {
    /// By all trained tokens of the step.
    GlobalTokens,
}

/// Numbers the weights are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
}

/// What happens when loss or gradient is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// The run ends before the update and says where.
    Stop,
    /// The step is left out: a warning names it, and it has no line in `steps.jsonl`.
    Skip,
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of the dataset whose arms are trained on, as `[dataset]` names it.
    pub dataset: String,
    /// Which arms of it, one run each, named like the arm. Default: `["verified"]`.
    pub arms: Vec<Arm>,
    /// Model folder: a name under `models/` of the data folder, or a path. Without weights in it, random
    /// ones are made from its `config.json` and `seed`, and kept there.
    pub model: String,
    /// `cpu` or `cuda:0`.
    pub device: String,
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
    /// Examples that are run at a time. OpenThinker-7B: 1.
    pub device_batch: u32,
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
    /// Longest example in tokens. OpenThinker-7B: 16384.
    pub cutoff_len: u32,
    /// What happens to longer ones: `llama_factory` (cut as published), `drop` or `error`.
    pub truncation: Truncation,
    /// `global_tokens`.
    pub loss_normalisation: LossNormalisation,
    /// `f32`.
    pub precision: Precision,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Decides random weights and the order of the examples. OpenThinker-7B: 42.
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
    /// `stop` or `skip`.
    pub non_finite: NonFinite,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dataset: String::new(),
            arms: vec![Arm::Verified],
            model: String::new(),
            device: "cpu".into(),
            learning_rate: 1e-5,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.1,
            warmup_steps: None,
            epochs: 3.0,
            steps: None,
            global_batch: 96,
            device_batch: 1,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            cutoff_len: 16_384,
            truncation: Truncation::LlamaFactory,
            loss_normalisation: LossNormalisation::GlobalTokens,
            precision: Precision::F32,
            shuffle: true,
            seed: 42,
            template: TemplateName::Qwen25Openthinker,
            train_on_system: false,
            mask_history: false,
            train_on_prompt: false,
            save_every: 100,
            keep_checkpoints: 2,
            non_finite: NonFinite::Stop,
        }
    }
}

impl Config {
    /// Everything that is wrong with it, all at once; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let positive = |name: &str, value: f64| {
            (value.is_nan() || value <= 0.0)
                .then(|| format!("`train.{name}` is {value} but must be above 0"))
        };
        let not_negative = |name: &str, value: f64| {
            (value.is_nan() || value < 0.0)
                .then(|| format!("`train.{name}` is {value} but must not be below 0"))
        };
        let ratio = |name: &str, value: f64| {
            (!(0.0..1.0).contains(&value))
                .then(|| format!("`train.{name}` is {value} but must be at least 0 and below 1"))
        };
        let checks = [
            not_negative("learning_rate", self.learning_rate),
            ratio("warmup_ratio", self.warmup_ratio),
            positive("epochs", self.epochs),
            positive("steps", self.steps.unwrap_or(1) as f64),
            positive("global_batch", f64::from(self.global_batch)),
            positive("device_batch", f64::from(self.device_batch)),
            ratio("adam_beta1", self.adam_beta1),
            ratio("adam_beta2", self.adam_beta2),
            positive("adam_epsilon", self.adam_epsilon),
            not_negative("weight_decay", self.weight_decay),
            not_negative("max_grad_norm", self.max_grad_norm),
            positive("cutoff_len", f64::from(self.cutoff_len)),
            self.device.parse::<Device>().err().map(|why| format!("`train.device`: {why}")),
        ];
        checks.into_iter().flatten().collect()
    }

    /// How its examples become tokens.
    pub fn encoding(&self) -> Encoding {
        Encoding {
            template: self.template,
            cutoff_len: self.cutoff_len as usize,
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
    use super::Config;

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
            ..Config::default()
        };
        let problems = config.problems();
        assert_eq!(problems.len(), 4, "{problems:#?}");
        assert!(Config::default().problems().is_empty());
    }
}
