//! Rotary embedding in `config.json`: `rope_theta` with `rope_scaling` (transformers 4) or
//! `rope_parameters` (5).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::burn::rotary::{Rope, Scaling};

/// The base where a configuration names none, as in transformers.
const THETA: f64 = 10_000.0;

/// Where YaRN's ramp begins and ends, in turns over the original context, as in transformers.
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

/// `rope_scaling` or `rope_parameters`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct HfRope {
    pub(super) rope_theta: Option<f64>,
    // Old files say `type`, some both.
    rope_type: Option<String>,
    #[serde(rename = "type")]
    old_type: Option<String>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f64>,
}

impl HfRope {
    /// The scaling, for a model whose `max_position_embeddings` is `context`.
    pub(super) fn scaling(&self, context: usize) -> Result<Scaling, String> {
        if self.partial_rotary_factor.is_some_and(|part| part != 1.0) {
            return Err("`config.json`: partial rotary embedding is not supported".to_owned());
        }
        match self.rope_type.as_ref().or(self.old_type.as_ref()).map_or("default", String::as_str) {
            "default" => Ok(Scaling::None),
            "llama3" => self.llama3(context),
            "yarn" => self.yarn(context),
            kind => Err(format!(
                "`config.json`: rotary scaling `{kind}` is not supported; known: default, llama3, \
                 yarn"
            )),
        }
    }

    fn llama3(&self, context: usize) -> Result<Scaling, String> {
        let needed = |value: Option<f64>, name| needed("llama3", value, name);
        let low_frequency = needed(self.low_freq_factor, "low_freq_factor")?;
        let high_frequency = needed(self.high_freq_factor, "high_freq_factor")?;
        if low_frequency >= high_frequency {
            return Err(format!(
                "`config.json`: rotary scaling `llama3` has `low_freq_factor` {low_frequency}, \
                 which is not below `high_freq_factor` {high_frequency}"
            ));
        }
        Ok(Scaling::Llama3 {
            factor: needed(self.factor, "factor")?,
            low_frequency,
            high_frequency,
            original: self.original("llama3", context)?,
        })
    }

    fn yarn(&self, context: usize) -> Result<Scaling, String> {
        let original = self.original("yarn", context)?;
        let factor = match self.factor {
            Some(factor) => needed("yarn", Some(factor), "factor")?,
            // DeepSeek's files leave it out.
            None => context as f64 / original as f64,
        };
        let set = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let attention = match (self.attention_factor, set(self.mscale), set(self.mscale_all_dim)) {
            (Some(attention), _, _) => needed("yarn", Some(attention), "attention_factor")?,
            (None, Some(one), Some(all)) => attention(factor, one) / attention(factor, all),
            (None, _, _) => attention(factor, 1.0),
        };
        Ok(Scaling::Yarn {
            factor,
            beta_fast: set(self.beta_fast).unwrap_or(BETA_FAST),
            beta_slow: set(self.beta_slow).unwrap_or(BETA_SLOW),
            original,
            attention,
            truncate: self.truncate.unwrap_or(true),
        })
    }

    fn original(&self, kind: &str, context: usize) -> Result<usize, String> {
        let Some(original) = self.original_max_position_embeddings else { return Ok(context) };
        Ok(needed(kind, Some(original), "original_max_position_embeddings")? as usize)
    }
}

fn needed(kind: &str, value: Option<f64>, name: &str) -> Result<f64, String> {
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(value) => Err(format!(
            "`config.json`: rotary scaling `{kind}` has `{name}` {value}, which is not above 0"
        )),
        None => Err(format!("`config.json`: rotary scaling `{kind}` has no `{name}`")),
    }
}

/// How much sharper attention is over a context that is so many times longer (YaRN, eq. 22).
fn attention(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// The base and the scaling that a configuration names.
pub(super) fn read(
    theta: Option<f64>,
    nested: Option<&HfRope>,
    context: usize,
) -> Result<Rope, String> {
    let theta = nested.and_then(|rope| rope.rope_theta).or(theta).unwrap_or(THETA);
    if !(theta.is_finite() && theta > 1.0) {
        return Err(format!("`config.json`: `rope_theta` is {theta}, which is not above 1"));
    }
    let scaling = nested.map_or(Ok(Scaling::None), |rope| rope.scaling(context))?;
    Ok(Rope { theta, scaling })
}

/// `rope_scaling` as version 4 writes it.
pub(super) fn written(scaling: &Scaling) -> Value {
    match scaling {
        Scaling::None => Value::Null,
        Scaling::Llama3 { factor, low_frequency, high_frequency, original } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_frequency,
            "high_freq_factor": high_frequency, "original_max_position_embeddings": original,
        }),
        Scaling::Yarn { factor, beta_fast, beta_slow, original, attention, truncate } => json!({
            "rope_type": "yarn", "factor": factor, "beta_fast": beta_fast,
            "beta_slow": beta_slow, "original_max_position_embeddings": original,
            "attention_factor": attention, "truncate": truncate,
        }),
    }
}

/// Positions that a model is good for: YaRN's files keep the original context in
/// `max_position_embeddings` and mean `factor` times as many, as vLLM reads them.
pub(super) fn context(stated: usize, scaling: &Scaling) -> usize {
    match scaling {
        Scaling::Yarn { factor, original, .. } => {
            stated.max((*original as f64 * factor).round() as usize)
        }
        Scaling::None | Scaling::Llama3 { .. } => stated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much sharper attention is, of a model stretched 40 times.
    #[track_caller]
    fn check(fields: &Value, expected: f64) {
        let mut scaling = json!({
            "rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096,
        });
        scaling.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let nested = serde_json::from_value(scaling).unwrap();
        let Scaling::Yarn { attention, .. } = read(None, Some(&nested), 163_840).unwrap().scaling
        else {
            panic!("not yarn")
        };
        assert!((attention - expected).abs() < 1e-12, "{fields}: {attention}");
    }

    #[test]
    fn attention_is_sharpened_as_the_configuration_says_or_the_factor() {
        let alone = 0.1 * 40.0_f64.ln() + 1.0;
        check(&json!({}), alone);
        check(&json!({ "attention_factor": 1.25 }), 1.25);
        check(&json!({ "attention_factor": 1.25, "mscale": 0.7, "mscale_all_dim": 0.7 }), 1.25);
        // DeepSeek's: one for the angles, one for the scores, as transformers divides them.
        check(&json!({ "mscale": 1.0, "mscale_all_dim": 1.0 }), 1.0);
        let part = 0.1 * 0.707 * 40.0_f64.ln() + 1.0;
        check(&json!({ "mscale": 1.0, "mscale_all_dim": 0.707 }), alone / part);
        check(&json!({ "mscale": 0.707, "mscale_all_dim": 1.0 }), part / alone);
        check(&json!({ "mscale": 0.707 }), alone);
        check(&json!({ "mscale": 0.707, "mscale_all_dim": 0.0 }), alone);
        check(&json!({ "factor": 1.0 }), 1.0);
    }
}
