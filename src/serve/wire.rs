//! The JSON of OpenAI's API: requests read field by field, so that an error names the field.

use serde_json::{Map, Value, json};

use super::{Card, Error};
use crate::chat::local::LocalModel;
use crate::chat::{Answer, Message, Request, Role};
use crate::engine::FinishReason;

/// What is used where a request gives no temperature: OpenThinker's evaluation (OpenThoughts,
/// `eval`), for which these models are made. OpenAI's own default is 1.
const TEMPERATURE: f32 = 0.7;

/// Highest temperature that OpenAI takes.
const TEMPERATURE_MAX: f64 = 2.0;

/// Stop texts that OpenAI takes.
const STOPS_MAX: usize = 4;

/// Messages in a conversation: a limit against mistakes, far above any conversation.
const MESSAGES_MAX: usize = 2048;

/// Parameters of OpenAI that change nothing here when they have one of these values.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("n", &["1"]),
    ("frequency_penalty", &["0", "0.0"]),
    ("presence_penalty", &["0", "0.0"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("top_logprobs", &["0"]),
    ("tools", &["[]"]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("functions", &["[]"]),
    ("function_call", &["\"none\""]),
    ("parallel_tool_calls", &["true", "false"]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("modalities", &["[\"text\"]"]),
    ("audio", &[]),
    ("prediction", &[]),
    ("reasoning_effort", &[]),
    ("verbosity", &[]),
    ("web_search_options", &[]),
    ("best_of", &["1"]),
    ("top_k", &["-1", "0"]),
    ("min_p", &["0", "0.0"]),
    ("repetition_penalty", &["1", "1.0"]),
];

/// Parameters that are for the one who asks; any value is taken.
const NOTES: &[&str] =
    &["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"];

/// A request as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// The model's name; none asks the one that answers by default.
    pub(super) model: Option<String>,
    messages: Vec<Message>,
    temperature: f32,
    top_p: f32,
    max_tokens: Option<u32>,
    seed: Option<u64>,
    /// Texts at which the answer ends.
    pub(super) stop: Vec<String>,
    /// Whether the answer is sent as it is made.
    pub(super) stream: bool,
    /// Whether the stream ends with the tokens used.
    pub(super) include_usage: bool,
}

impl Asked {
    /// Reads the body of a request.
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Error::BadBody(error.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(Error::BadBody(format!("it is {}", kind(&value))));
        };
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let max_tokens = take("max_tokens");
        let max_tokens = match (max_tokens, take("max_completion_tokens")) {
            (_, Some(value)) => Some(whole("max_completion_tokens", &value, 1)?),
            (Some(value), None) => Some(whole("max_tokens", &value, 1)?),
            (None, None) => None,
        };
        let stream = take("stream").map(|value| flag("stream", &value)).transpose()?;
        let stream = stream.unwrap_or(false);
        let asked = Self {
            model: take("model").map(|value| text("model", &value)).transpose()?,
            messages: messages(take("messages"))?,
            temperature: match take("temperature") {
                Some(value) => number("temperature", &value, 0.0, TEMPERATURE_MAX)? as f32,
                None => TEMPERATURE,
            },
            top_p: match take("top_p") {
                Some(value) => number("top_p", &value, 0.0, 1.0)? as f32,
                None => 1.0,
            },
            max_tokens: max_tokens.map(|value| u32::try_from(value).unwrap_or(u32::MAX)),
            seed: take("seed").map(|value| seed(&value)).transpose()?,
            stop: stops(take("stop"))?,
            stream,
            include_usage: include_usage(take("stream_options"), stream)?,
        };
        if asked.top_p == 0.0 {
            return Err(Error::parameter("top_p", "`top_p` must be greater than 0"));
        }
        refuse_the_rest(&fields)?;
        Ok(asked)
    }

    /// What the model is asked. Without a limit the answer may fill the context.
    pub(super) fn request(&self, model: &LocalModel) -> Request {
        let context = u32::try_from(model.context()).unwrap_or(u32::MAX);
        Request {
            messages: self.messages.clone(),
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens.unwrap_or(context),
            seed: self.seed.unwrap_or_else(rand::random),
        }
    }
}

/// Complains about every parameter that is left, unless it changes nothing.
fn refuse_the_rest(fields: &Map<String, Value>) -> Result<(), Error> {
    for (name, value) in fields {
        if value.is_null() || NOTES.contains(&name.as_str()) {
            continue;
        }
        let Some((_, neutral)) = NEUTRAL.iter().find(|(known, _)| known == name) else {
            return Err(Error::UnknownParameter(name.clone()));
        };
        if !neutral.contains(&value.to_string().as_str()) {
            return Err(Error::Unsupported(name.clone()));
        }
    }
    Ok(())
}

fn messages(value: Option<Value>) -> Result<Vec<Message>, Error> {
    let Some(Value::Array(items)) = value else {
        return Err(Error::parameter("messages", "`messages` must be a list of messages"));
    };
    if items.is_empty() || items.len() > MESSAGES_MAX {
        let message = format!("`messages` must have 1 to {MESSAGES_MAX} messages");
        return Err(Error::parameter("messages", message));
    }
    let messages: Vec<Message> =
        items.iter().enumerate().map(|(at, item)| message(at, item)).collect::<Result<_, _>>()?;
    if messages.last().is_some_and(|last| last.role == Role::Assistant) {
        let at = format!("messages[{}].role", messages.len() - 1);
        return Err(Error::parameter(at, "the last message must not be the assistant's"));
    }
    Ok(messages)
}

fn message(at: usize, item: &Value) -> Result<Message, Error> {
    let path = |field: &str| format!("messages[{at}].{field}");
    if !item.is_object() {
        let message = format!("a message must be an object, not {}", kind(item));
        return Err(Error::parameter(format!("messages[{at}]"), message));
    }
    let role = match item["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => {
            let message =
                format!("`{}` is no role; expected system, user or assistant", item["role"]);
            return Err(Error::parameter(path("role"), message));
        }
    };
    let calls = item["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    if calls || item["function_call"].is_object() {
        return Err(Error::Unsupported(path("tool_calls")));
    }
    let content = &item["content"];
    let content = if let Some(text) = content.as_str() {
        text.to_owned()
    } else if let Some(parts) = content.as_array() {
        parts.iter().map(|part| part_text(part, &path("content"))).collect::<Result<_, _>>()?
    } else if content.is_null() && role == Role::Assistant {
        String::new()
    } else {
        let message = format!("`content` must be a text, not {}", kind(content));
        return Err(Error::parameter(path("content"), message));
    };
    Ok(Message { role, content })
}

fn part_text(part: &Value, path: &str) -> Result<String, Error> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err(Error::parameter(path, "only parts of the type `text` are supported")),
    }
}

fn stops(value: Option<Value>) -> Result<Vec<String>, Error> {
    let bad = || Error::parameter("stop", format!("`stop` must be 1 to {STOPS_MAX} texts"));
    let stops = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>().ok_or_else(bad)?
        }
        Some(_) => return Err(bad()),
    };
    if stops.len() > STOPS_MAX || stops.iter().any(String::is_empty) {
        return Err(bad());
    }
    Ok(stops)
}

fn include_usage(value: Option<Value>, stream: bool) -> Result<bool, Error> {
    let Some(value) = value else { return Ok(false) };
    if !stream {
        let message = "`stream_options` is only allowed when `stream` is true";
        return Err(Error::parameter("stream_options", message));
    }
    let Value::Object(options) = value else {
        return Err(Error::parameter("stream_options", "`stream_options` must be an object"));
    };
    let mut usage = false;
    for (name, value) in &options {
        let path = format!("stream_options.{name}");
        match name.as_str() {
            "include_usage" => usage = flag(&path, value)?,
            "include_obfuscation" => drop(flag(&path, value)?),
            _ => return Err(Error::UnknownParameter(path)),
        }
    }
    Ok(usage)
}

fn text(name: &str, value: &Value) -> Result<String, Error> {
    let bad = || Error::parameter(name, format!("`{name}` must be a text, not {}", kind(value)));
    value.as_str().map(str::to_owned).ok_or_else(bad)
}

fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    let message = || format!("`{name}` must be true or false, not {}", kind(value));
    value.as_bool().ok_or_else(|| Error::parameter(name, message()))
}

fn number(name: &str, value: &Value, least: f64, most: f64) -> Result<f64, Error> {
    let message = || format!("`{name}` must be a number from {least} to {most}, not {value}");
    let number = value.as_f64().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Error::parameter(name, message()))
}

fn whole(name: &str, value: &Value, least: u64) -> Result<u64, Error> {
    let message = || format!("`{name}` must be a whole number of at least {least}, not {value}");
    let number = value.as_u64().filter(|number| *number >= least);
    number.ok_or_else(|| Error::parameter(name, message()))
}

fn seed(value: &Value) -> Result<u64, Error> {
    let bits = |seed: i64| u64::from_ne_bytes(seed.to_ne_bytes());
    let seed = value.as_u64().or_else(|| value.as_i64().map(bits));
    seed.ok_or_else(|| Error::parameter("seed", "`seed` must be a whole number"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Identity of one answer: what every chunk of it repeats.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    id: String,
    created: i64,
    model: String,
}

impl Heading {
    /// A new answer of `model`.
    pub(super) fn new(model: &str) -> Self {
        let id = format!("chatcmpl-{:032x}", rand::random::<u128>());
        Self { id, created: jiff::Timestamp::now().as_second(), model: model.to_owned() }
    }

    /// A whole answer.
    pub(super) fn completion(&self, answer: &Answer) -> Value {
        let reasoning = (!answer.reasoning.is_empty()).then_some(&answer.reasoning);
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant", "content": answer.solution,
                    "reasoning_content": reasoning, "refusal": null,
                },
                "logprobs": null, "finish_reason": answer.finish_reason.name(),
            }],
            "usage": usage(answer.prompt_tokens, answer.completion_tokens),
        })
    }

    /// One chunk of a stream.
    pub(super) fn chunk(&self, delta: &Value, finish: Option<FinishReason>) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0, "delta": delta, "logprobs": null,
                "finish_reason": finish.map(FinishReason::name),
            }],
        })
    }

    /// The chunk that tells the tokens used; it has no choice.
    pub(super) fn usage_chunk(&self, prompt_tokens: u64, completion_tokens: u64) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "choices": [],
            "usage": usage(prompt_tokens, completion_tokens),
        })
    }
}

fn usage(prompt_tokens: u64, completion_tokens: u64) -> Value {
    json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// A model in `/v1/models`.
pub(super) fn model(card: &Card) -> Value {
    json!({
        "id": card.name, "object": "model", "created": card.created, "owned_by": "thinkery",
    })
}
