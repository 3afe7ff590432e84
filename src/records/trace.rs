//! A trace: one teacher's thought and solution for one question.

use serde::{Deserialize, Serialize};

use super::{QuestionId, TraceId};

/// Why a model stopped, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It ran into the token limit.
    Length,
    /// The provider filtered the answer.
    ContentFilter,
    /// It was cut off or gave another reason.
    Other,
}

impl FinishReason {
    /// The name used in SQL and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Other => "other",
        }
    }

    /// The reason called `name` on the wire; anything unknown is [`Self::Other`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "content_filter" => Self::ContentFilter,
            _ => Self::Other,
        }
    }
}

/// What came over the wire for one request, kept before anybody parses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What was asked.
    pub question_id: QuestionId,
    /// Which of the samples of this question, from 0.
    pub sample: u32,
    /// The model's name as the endpoint knows it.
    pub model: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// HTTP status; 0 if the connection failed before one came.
    pub status: u16,
    /// The body as received; for a stream the bytes so far.
    pub body: Vec<u8>,
}

/// A request that an endpoint refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What was asked.
    pub question_id: QuestionId,
    /// Which of the samples of this question, from 0.
    pub sample: u32,
    /// The model's name as the endpoint knows it.
    pub model: String,
    /// Hash of what was sent and where.
    pub request: String,
    /// What the endpoint said.
    pub why: String,
}

/// A parsed reply that has no row yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTrace {
    /// What was asked.
    pub question_id: QuestionId,
    /// Which of the samples of this question, from 0.
    pub sample: u32,
    /// The model's name as the endpoint knows it.
    pub model: String,
    /// Where it was asked; never contains a key.
    pub endpoint: String,
    /// The thought.
    pub reasoning: String,
    /// The final answer.
    pub solution: String,
    /// Why the teacher stopped.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, as billed.
    pub prompt_tokens: u64,
    /// Tokens of thought and solution, as billed.
    pub completion_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// How many requests it took.
    pub attempts: u32,
}

/// A trace in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Its row.
    pub id: TraceId,
    /// Its content.
    pub content: NewTrace,
}

impl std::ops::Deref for Trace {
    type Target = NewTrace;

    fn deref(&self) -> &NewTrace {
        &self.content
    }
}
