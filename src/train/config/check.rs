//! Rules between settings: everything that is wrong, all at once.

use super::{Config, LossNormalisation, Method, Packing};

/// Weights that an adapter can stand beside.
pub(super) const TARGETS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What is wrong with `config`; empty if nothing is.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let mut problems = numbers(config);
    let ranks = match config.devices() {
        Ok(devices) => devices.len(),
        Err(why) => {
            problems.push(format!("`train.device`: {why}"));
            1
        }
    };
    problems.extend(batches(config, ranks));
    if config.method == Method::Lora {
        problems.extend(lora(config));
    }
    problems
}

fn numbers(config: &Config) -> Vec<String> {
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
        positive("learning_rate", config.learning_rate),
        ratio("warmup_ratio", config.warmup_ratio),
        positive("epochs", config.epochs),
        positive("steps", config.steps.unwrap_or(1) as f64),
        positive("global_batch", f64::from(config.global_batch)),
        positive("device_batch", f64::from(config.device_batch)),
        ratio("adam_beta1", config.adam_beta1),
        ratio("adam_beta2", config.adam_beta2),
        positive("adam_epsilon", config.adam_epsilon),
        not_negative("weight_decay", config.weight_decay),
        not_negative("max_grad_norm", config.max_grad_norm),
        positive("cutoff_len", f64::from(config.cutoff_len)),
        positive("ranks", f64::from(config.ranks)),
    ];
    let mut problems: Vec<String> = checks.into_iter().flatten().collect();
    if let (Some(warmup), Some(steps)) = (config.warmup_steps, config.steps)
        && warmup > steps
    {
        problems.push(format!("`train.warmup_steps` is {warmup} but there are {steps} steps"));
    }
    problems
}

/// Batches that do not divide.
fn batches(config: &Config, ranks: usize) -> Vec<String> {
    let (batch, held) = (config.global_batch, config.device_batch);
    let mut problems = Vec::new();
    if let LossNormalisation::PerGroup(group) = config.loss_normalisation
        && !batch.is_multiple_of(group)
    {
        problems.push(format!(
            "`train.global_batch` is {batch}, which groups of {group} \
             (`train.loss_normalisation`) do not divide"
        ));
    }
    let in_micros = config.loss_normalisation == LossNormalisation::PerMicro;
    if held > 0 && (in_micros || config.packing == Packing::None) {
        let at_once = held.saturating_mul(u32::try_from(ranks).unwrap_or(u32::MAX));
        if !batch.is_multiple_of(at_once) {
            problems.push(format!(
                "`train.global_batch` is {batch}, which `train.device_batch` {held} on {ranks} \
                 {} does not divide",
                if ranks == 1 { "rank" } else { "ranks" }
            ));
        }
    }
    problems
}

fn lora(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if config.lora_rank == 0 {
        problems.push("`train.lora_rank` is 0 but must be above 0".to_owned());
    }
    if config.lora_alpha.is_nan() || config.lora_alpha <= 0.0 {
        let alpha = config.lora_alpha;
        problems.push(format!("`train.lora_alpha` is {alpha} but must be above 0"));
    }
    if config.lora_targets.is_empty() {
        problems.push("`train.lora_targets` is empty".to_owned());
    }
    for target in config.lora_targets.iter().filter(|name| !TARGETS.contains(&name.as_str())) {
        problems.push(format!(
            "`train.lora_targets` names `{target}`; expected some of {}",
            TARGETS.join(", ")
        ));
    }
    problems
}
