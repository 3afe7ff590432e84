//! Asks a model, local or remote, and takes its answer apart.
//!
//! Answers; does not remember: the store is its callers' business.

pub mod answer;
pub mod defaults;
pub mod local;
pub mod prompt;
pub mod remote;
pub mod template;
pub mod thought;
pub mod tokenizer;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// Who says something in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

impl Role {
    /// As it is written in conversations.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }
}

/// One question to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation so far; ends with a user's turn.
    pub messages: Vec<Message>,
    /// 0 is greedy.
    pub temperature: f32,
    /// Probability mass to sample from; 1 is all.
    pub top_p: f32,
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// Same request and seed, same answer, where the model can promise it.
    pub seed: u64,
}

/// A model's answer, thought and solution apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The whole text as generated, tags included.
    pub text: String,
    /// The thought, without its tags; empty if there is none.
    pub reasoning: String,
    /// What follows the thought, without tags.
    pub solution: String,
    /// Whether the model finished or ran into `max_tokens`.
    pub finish_reason: crate::engine::FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
}

/// A model that can be asked. Blocking: whoever needs sockets keeps a runtime to itself.
pub trait Model: Send + Sync {
    /// Its name, for records.
    fn name(&self) -> &str;

    /// Asks everything in `requests`, at most `in_flight` at a time, and hands each answer to `sink`
    /// with its index as soon as it is there, in any order. Ends early when `sink` breaks.
    ///
    /// # Errors
    /// If the model is gone for good; errors of single requests go to `sink`.
    fn answer_many(
        &self,
        requests: &[Request],
        in_flight: usize,
        sink: &mut dyn FnMut(usize, anyhow::Result<Answer>) -> ControlFlow<()>,
    ) -> anyhow::Result<()>;
}
