//! OpenAI's chat completions as JSON: requests out, replies in, in all the shapes they come in.

use serde_json::{Map, Value, json};

use super::Endpoint;
use super::error::{Error, Kind};
use super::sse::Decoder;
use crate::chat::{Answer, Request, thought};
use crate::engine;

/// The data of the last event of a stream.
pub(super) const DONE: &[u8] = b"[DONE]";

/// Longest piece of somebody else's text in one of our errors.
const SAID_CHARACTERS_MAX: usize = 300;

/// Bytes per token where an endpoint does not count: English text has about four.
const BYTES_PER_TOKEN: usize = 4;

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The thought; empty if there is none.
    pub reasoning: String,
    /// What follows the thought.
    pub solution: String,
    /// Why the model stopped, in the endpoint's words.
    pub finish_reason: String,
    /// Tokens of the prompt, as billed; 0 where the endpoint does not say.
    pub prompt_tokens: u64,
    /// Tokens of thought and solution, as billed; estimated where the endpoint does not say.
    pub completion_tokens: u64,
    /// What the endpoint says it cost, in US dollars.
    pub cost_usd: Option<f64>,
}

impl Reply {
    pub(super) fn into_answer(self) -> Answer {
        let finish_reason = match self.finish_reason.as_str() {
            "length" => engine::FinishReason::Length,
            _ => engine::FinishReason::Stop,
        };
        let text = if self.reasoning.is_empty() {
            self.solution.clone()
        } else {
            format!("<think>\n{}\n</think>\n\n{}", self.reasoning, self.solution)
        };
        Answer {
            text,
            reasoning: self.reasoning,
            solution: self.solution,
            finish_reason,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
        }
    }
}

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, request: &Request) -> Vec<u8> {
    let stream = endpoint.stream;
    let mut body = json!({
        "model": endpoint.model,
        "messages": request.messages,
        "temperature": decimal(request.temperature),
        "top_p": decimal(request.top_p),
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    if let Some(form) = &endpoint.response_format {
        body["response_format"] = form.clone();
    }
    body.to_string().into_bytes()
}

/// `value` as it is written, not as binary rounds it: 0.7, not 0.699999988079071.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}

/// What the bytes of a successful reply say: one JSON object, or events.
///
/// # Errors
/// If they are no reply, or an incomplete one, or say that something went wrong.
pub fn parse(body: &[u8]) -> Result<Reply, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.is_empty() {
        return Err(Error::new(Kind::Cut, "the reply is empty"));
    }
    let mut parts = Parts::default();
    if body.starts_with(b"{") {
        let value = json_object(body)?;
        parts.take(&value, "message")?;
    } else {
        parts.take_events(body)?;
    }
    parts.reply()
}

fn json_object(bytes: &[u8]) -> Result<Value, Error> {
    // A lone surrogate or a broken character loses that character, not the reply.
    let text = String::from_utf8_lossy(bytes);
    serde_json::from_str(&text).map_err(|error| {
        let kind = if error.is_eof() { Kind::Cut } else { Kind::Garbage };
        Error::new(kind, format!("the reply is no JSON ({error}): {}", shortened(&text)))
    })
}

/// A reply while it is put together.
#[derive(Default)]
struct Parts {
    reasoning: String,
    content: String,
    finish_reason: Option<String>,
    usage: Option<Value>,
}

impl Parts {
    fn take_events(&mut self, body: &[u8]) -> Result<(), Error> {
        let mut decoder = Decoder::default();
        let mut events = decoder.push(body);
        events.extend(decoder.finish());
        if events.is_empty() {
            let text = String::from_utf8_lossy(body);
            let message = format!("the reply is neither JSON nor events: {}", shortened(&text));
            return Err(Error::new(Kind::Garbage, message));
        }
        for event in events.iter().filter(|event| *event != DONE) {
            self.take(&json_object(event)?, "delta")?;
        }
        Ok(())
    }

    /// Adds what `value` says: the whole reply, or the next bit of it. `field` holds the text.
    fn take(&mut self, value: &Value, field: &str) -> Result<(), Error> {
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_u64);
            let kind = match code {
                Some(401 | 403) => Kind::Key,
                Some(402) => Kind::Money,
                Some(429) => Kind::Busy,
                Some(400 | 404 | 413 | 422) => Kind::Refused,
                _ => Kind::Server,
            };
            return Err(Error::new(kind, format!("the endpoint failed: {}", said(error))));
        }
        if let Some(usage) = value.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        let Some(choice) = value.pointer("/choices/0") else {
            // The event with the usage has no choices; a whole reply must have one.
            let whole = field == "message";
            return if whole { Err(nothing(value)) } else { Ok(()) };
        };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
        }
        if let Some(message) = choice.get(field).and_then(Value::as_object) {
            self.take_message(message);
        }
        Ok(())
    }

    fn take_message(&mut self, message: &Map<String, Value>) {
        // DeepSeek and SGLang say `reasoning_content`, vLLM and OpenRouter `reasoning`, some both.
        let fields = ["reasoning_content", "reasoning"];
        let reasoning = fields.iter().find_map(|field| {
            message.get(*field).and_then(Value::as_str).filter(|text| !text.is_empty())
        });
        self.reasoning.push_str(reasoning.unwrap_or_default());
        match message.get("content") {
            Some(Value::String(text)) => self.content.push_str(text),
            // Mistral: a list of chunks, each thinking or text.
            Some(Value::Array(chunks)) => chunks.iter().for_each(|chunk| self.take_chunk(chunk)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
    }

    fn take_chunk(&mut self, chunk: &Value) {
        let text = |value: &Value| value.get("text").and_then(Value::as_str).map(str::to_owned);
        match chunk.get("thinking") {
            Some(Value::String(thinking)) => self.reasoning.push_str(thinking),
            Some(Value::Array(parts)) => {
                self.reasoning.extend(parts.iter().filter_map(text));
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                self.content.push_str(&text(chunk).unwrap_or_default());
            }
        }
    }

    fn reply(self) -> Result<Reply, Error> {
        let finish_reason = match self.finish_reason.as_deref() {
            None => return Err(Error::new(Kind::Cut, "the reply ended before it was complete")),
            Some("content_filter") => {
                let message = "the endpoint filtered the answer (finish_reason content_filter)";
                return Err(Error::new(Kind::Refused, message));
            }
            Some(reason @ ("insufficient_system_resource" | "error" | "abort")) => {
                let message = format!("the endpoint broke off (finish_reason {reason})");
                return Err(Error::new(Kind::Server, message));
            }
            Some(reason) => reason.to_owned(),
        };
        let (reasoning, solution) = if self.reasoning.is_empty() {
            thought::split(&with_think_tags(self.content))
        } else {
            (self.reasoning, self.content)
        };
        if reasoning.is_empty() && solution.is_empty() && finish_reason != "length" {
            return Err(Error::new(Kind::Garbage, "the answer is empty"));
        }
        let usage = self.usage.unwrap_or_default();
        let count = |field: &str| usage.get(field).and_then(Value::as_u64);
        let estimate = (reasoning.len() + solution.len()).div_ceil(BYTES_PER_TOKEN) as u64;
        Ok(Reply {
            prompt_tokens: count("prompt_tokens").unwrap_or(0),
            completion_tokens: count("completion_tokens").filter(|&n| n > 0).unwrap_or(estimate),
            cost_usd: usage.get("cost").and_then(Value::as_f64).filter(|cost| *cost >= 0.0),
            reasoning,
            solution,
            finish_reason,
        })
    }
}

/// Kimi's tags in DeepSeek's spelling.
fn with_think_tags(content: String) -> String {
    if content.contains('◁') {
        content.replace("◁think▷", "<think>").replace("◁/think▷", "</think>")
    } else {
        content
    }
}

fn nothing(value: &Value) -> Error {
    let message = format!("the reply has no `choices`: {}", shortened(&value.to_string()));
    Error::new(Kind::Garbage, message)
}

/// What the body of a refused request says, in one line.
pub(super) fn error_message(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => value.get("error").map_or_else(|| shortened(&value.to_string()), said),
        Err(_) if body.trim_ascii().is_empty() => "no reason given".into(),
        Err(_) => shortened(&String::from_utf8_lossy(body)),
    }
}

fn said(error: &Value) -> String {
    let text = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
    text.map_or_else(|| shortened(&error.to_string()), shortened)
}

/// The beginning of `text` on one line.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(SAID_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
