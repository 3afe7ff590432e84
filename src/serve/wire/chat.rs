//! The JSON of `/v1/chat/completions`: the request and the pieces of the answer.

use serde_json::Value;

use super::settings::{self, Delivery, Wanted};
use crate::chat::template::{Arguments, Opening};
use crate::chat::{Message, Role};
use crate::serve::Error;
use crate::serve::fields::{self, Fields, Neutral, kind};

/// Messages in a conversation: a limit against mistakes, far above any conversation.
const MESSAGES_MAX: usize = 2048;

/// Parameters of OpenAI that change nothing here with these values.
const NEUTRAL: &[Neutral] = &[
    ("metadata", fields::ANY),
    ("store", fields::ANY),
    ("safety_identifier", fields::ANY),
    ("prompt_cache_key", fields::ANY),
    ("prompt_cache_retention", fields::ANY),
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
    ("echo", &["false"]),
    ("documents", &["[]"]),
    ("chat_template", &[]),
    ("include_reasoning", &["true"]),
    ("separate_reasoning", &["true"]),
    ("add_special_tokens", &["false"]),
];

/// What templates are told by the server alone.
const RESERVED: [&str; 6] =
    ["messages", "add_generation_prompt", "tools", "documents", "bos_token", "eos_token"];

/// A chat completion as it was asked for.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Asked {
    /// The model's name; none asks the one that answers by default.
    pub(in crate::serve) model: Option<String>,
    /// The conversation.
    pub(in crate::serve) messages: Vec<Message>,
    /// How the model is to go on with it.
    pub(in crate::serve) opening: Opening,
    /// What else the template is told.
    pub(in crate::serve) arguments: Arguments,
    /// How tokens are chosen.
    pub(in crate::serve) wanted: Wanted,
    /// How the answer is sent.
    pub(in crate::serve) delivery: Delivery,
}

impl Asked {
    /// Reads the body of a request.
    pub(in crate::serve) fn read(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::read(body)?;
        let model = fields.text("model")?;
        let messages = messages(fields.take("messages"))?;
        let opening = opening(&mut fields, &messages)?;
        let arguments = arguments(&mut fields)?;
        let mut wanted = settings::settings(&mut fields)?;
        let limits = (
            fields.whole("max_completion_tokens", 1..=u64::MAX)?,
            fields.whole("max_tokens", 1..=u64::MAX)?,
        );
        wanted.limit(limits.0.or(limits.1));
        wanted.settings.sampling.logprobs = logprobs(&mut fields)?;
        let delivery = settings::delivery(&mut fields)?;
        fields.done(&[NEUTRAL, settings::NEUTRAL].concat())?;
        Ok(Self { model, messages, opening, arguments, wanted, delivery })
    }
}

/// What the template is told besides the conversation, which nobody may replace.
pub(super) fn arguments(fields: &mut Fields) -> Result<Arguments, Error> {
    let name = "chat_template_kwargs";
    let more = match fields.take(name) {
        None => return Ok(Arguments::default()),
        Some(Value::Object(more)) => more,
        Some(other) => {
            let message = format!("`{name}` must be an object, not {}", kind(&other));
            return Err(Error::parameter(name, message));
        }
    };
    match more.keys().find(|key| RESERVED.contains(&key.as_str())) {
        None => Ok(Arguments { more }),
        Some(key) => {
            let message = format!("`{key}` of the chat template is not for a request to set");
            Err(Error::parameter(format!("{name}.{key}"), message))
        }
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, Error> {
    let wanted = fields.flag("logprobs")?;
    let alternatives = settings::alternatives(fields, "top_logprobs")?;
    if !wanted && alternatives.is_some_and(|number| number > 0) {
        let message = "`top_logprobs` is only allowed when `logprobs` is true";
        return Err(Error::parameter("top_logprobs", message));
    }
    Ok(wanted.then_some(alternatives.unwrap_or(0)))
}

/// How the model goes on. A last message of its own is continued unless a new answer is asked for.
pub(super) fn opening(fields: &mut Fields, messages: &[Message]) -> Result<Opening, Error> {
    let mut flag =
        |name: &str| fields.take(name).map(|value| fields::flag(name, &value)).transpose();
    let (answer, going_on) = (flag("add_generation_prompt")?, flag("continue_final_message")?);
    let own = messages.last().is_some_and(|last| last.role == Role::Assistant);
    match (going_on, answer) {
        (Some(true), Some(true)) => Err(Error::parameter(
            "continue_final_message",
            "`continue_final_message` and `add_generation_prompt` cannot both be true",
        )),
        (Some(true), _) if !own => Err(Error::parameter(
            "continue_final_message",
            "`continue_final_message` needs a last message of the assistant",
        )),
        (Some(true), _) | (None, None | Some(false)) if own => Ok(Opening::Continue),
        (_, Some(false)) => Ok(Opening::Nothing),
        (_, None | Some(true)) => Ok(Opening::Answer),
    }
}

pub(super) fn messages(value: Option<Value>) -> Result<Vec<Message>, Error> {
    let Some(Value::Array(items)) = value else {
        return Err(Error::parameter("messages", "`messages` must be a list of messages"));
    };
    if items.is_empty() || items.len() > MESSAGES_MAX {
        let message = format!("`messages` must have 1 to {MESSAGES_MAX} messages");
        return Err(Error::parameter("messages", message));
    }
    items.iter().enumerate().map(|(at, item)| message(at, item)).collect()
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
        Some("tool") => Role::Tool,
        _ => {
            let message =
                format!("`{}` is no role; expected system, user, assistant or tool", item["role"]);
            return Err(Error::parameter(path("role"), message));
        }
    };
    let calls = item["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    if calls || item["function_call"].is_object() {
        return Err(Error::Unsupported(path("tool_calls")));
    }
    let content = content(&item["content"], role, &path("content"))?;
    Ok(Message { role, content })
}

/// A text, or a list of parts that are texts.
fn content(content: &Value, role: Role, path: &str) -> Result<String, Error> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part_text(part, path)).collect(),
        Value::Null if role == Role::Assistant => Ok(String::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            let message = format!("`content` must be a text, not {}", kind(content));
            Err(Error::parameter(path, message))
        }
    }
}

fn part_text(part: &Value, path: &str) -> Result<String, Error> {
    match (part["type"].as_str(), part["text"].as_str(), part.as_str()) {
        (Some("text"), Some(text), _) | (_, _, Some(text)) => Ok(text.to_owned()),
        (Some("image_url" | "input_audio" | "file"), ..) => Err(Error::Unsupported(path.into())),
        _ => Err(Error::parameter(path, "only parts of the type `text` are supported")),
    }
}
