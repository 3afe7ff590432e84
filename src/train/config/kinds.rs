//! Settings that are one of a few words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a run divides its loss. Written `global_tokens`, `per_group:K` or `per_micro`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossNormalisation {
    /// By all trained tokens of the step.
    GlobalTokens,
    /// The mean over groups of so many examples, each divided by its own trained tokens: what
    /// transformers 4.46.1 does where a rank accumulates so many. OpenThinker: 3, on 32 ranks; the
    /// order of the examples and the steps' number are then those of that run, too.
    PerGroup(u32),
    /// The mean over micro-batches of `device_batch` examples.
    PerMicro,
}

impl fmt::Display for LossNormalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GlobalTokens => f.write_str("global_tokens"),
            Self::PerGroup(examples) => write!(f, "per_group:{examples}"),
            Self::PerMicro => f.write_str("per_micro"),
        }
    }
}

impl FromStr for LossNormalisation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let group = text.strip_prefix("per_group:").and_then(|k| k.parse().ok());
        match (text, group) {
            ("global_tokens", _) => Ok(Self::GlobalTokens),
            ("per_micro", _) => Ok(Self::PerMicro),
            (_, Some(examples)) if examples > 0 => Ok(Self::PerGroup(examples)),
            _ => Err(format!(
                "`{text}` is no loss normalisation; expected `global_tokens`, `per_group:3` or \
                 `per_micro`"
            )),
        }
    }
}

impl Serialize for LossNormalisation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LossNormalisation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How the examples of a step are put into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// By what they cost, up to `cutoff_len` tokens, so that all ranks work equally long.
    Step,
    /// `device_batch` of them at a time.
    None,
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

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every weight.
    #[default]
    Full,
    /// Low-rank adapters beside some of them, merged when the model is written.
    Lora,
}
