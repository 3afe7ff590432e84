//! The JSON of OpenAI's API: requests read field by field, answers written.

mod chat;
mod completion;
mod settings;
mod tokens;

use serde_json::{Value, json};

use super::Card;

pub(super) use chat::Asked as Chat;
pub(super) use completion::{Asked as Completion, Logprobs, Prompt};
pub(super) use settings::Delivery;
pub(super) use tokens::{Detokenize, Tokenize, Tokenized};

/// What stands for minus infinity, which JSON has not; OpenAI's API says -9999 as well.
const LEAST: f32 = -9999.0;

/// Identity of one answer: what every chunk of it repeats.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
}

impl Heading {
    /// A new answer of `model`, whose id begins with `prefix`.
    pub(super) fn new(prefix: &str, object: &'static str, model: &str) -> Self {
        let id = format!("{prefix}-{:032x}", rand::random::<u128>());
        Self { id, object, created: jiff::Timestamp::now().as_second(), model: model.to_owned() }
    }

    /// An answer or a chunk of one with these choices.
    pub(super) fn with(&self, choices: &[Value]) -> Value {
        json!({
            "id": self.id, "object": self.object, "created": self.created, "model": self.model,
            "choices": choices,
        })
    }
}

/// Tokens used.
pub(super) fn usage(prompt_tokens: usize, completion_tokens: usize) -> Value {
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// A model in `/v1/models`.
pub(super) fn model(card: &Card) -> Value {
    let mut model = json!({
        "id": card.name, "object": "model", "created": card.created, "owned_by": "thinkery",
    });
    if let Some(context) = card.context {
        model["max_model_len"] = context.into();
    }
    model
}

/// A logarithm of a probability that JSON can carry.
pub(super) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { LEAST }
}
