//! What the rehearsal teacher understands and says: OpenAI's chat completions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::conduct::Given;

/// The one model there is.
pub(super) const MODEL: &str = "rehearsal-teacher";

/// Characters per streamed delta: a few words, as real servers send them.
const DELTA_CHARACTERS: usize = 24;

/// A request. Fields that we have no use for are ignored, as servers do; so is the model's name,
/// because there is only one.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    pub(super) stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) seed: Option<u64>,
    #[serde(default)]
    pub(super) max_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: String,
}

impl Request {
    /// What the user asked last.
    pub(super) fn question(&self) -> Option<&str> {
        self.messages.iter().rfind(|message| message.role == "user").map(|last| &*last.content)
    }
}

/// OpenAI's error envelope.
pub(super) fn error(message: &str, kind: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}

/// An answer on its way out.
pub(super) struct Reply {
    /// Which request it answers.
    pub(super) id: String,
    /// What is said.
    pub(super) given: Given,
    /// Tokens of the prompt, as counted by [`tokens`].
    pub(super) prompt_tokens: u64,
}

/// About how many tokens `text` has: the teacher reads no tokens, but real ones bill them.
pub(super) fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

impl Reply {
    fn finish_reason(&self) -> &'static str {
        if self.given.truncated { "length" } else { "stop" }
    }

    fn usage(&self) -> Value {
        let reasoning = tokens(&self.given.solved.reasoning);
        let completion = reasoning + tokens(&self.given.solved.solution);
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        })
    }

    /// The whole answer as one JSON object.
    pub(super) fn whole(&self) -> String {
        let solved = &self.given.solved;
        let message = json!({
            "role": "assistant",
            "reasoning_content": solved.reasoning,
            "content": solved.solution,
        });
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason()}],
            "usage": self.usage(),
        })
        .to_string()
    }

    /// The answer as server-sent events.
    pub(super) fn stream(&self, include_usage: bool) -> String {
        let solved = &self.given.solved;
        let mut events = self.event(&json!({"role": "assistant"}), None);
        for (field, text) in
            [("reasoning_content", &solved.reasoning), ("content", &solved.solution)]
        {
            let characters: Vec<char> = text.chars().collect();
            for delta in characters.chunks(DELTA_CHARACTERS) {
                let delta: String = delta.iter().collect();
                events += &self.event(&json!({ (field): delta }), None);
            }
        }
        events += &self.event(&json!({}), Some(self.finish_reason()));
        if include_usage {
            let mut chunk = self.chunk(&json!([]));
            chunk["usage"] = self.usage();
            events += &format!("data: {chunk}\n\n");
        }
        events += "data: [DONE]\n\n";
        events
    }

    fn event(&self, delta: &Value, finish_reason: Option<&str>) -> String {
        let choice = json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]);
        format!("data: {}\n\n", self.chunk(&choice))
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": 0,
            "model": MODEL,
            "choices": choices,
        })
    }
}
