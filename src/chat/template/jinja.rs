//! A model's own chat template: Jinja in Hugging Face's dialect.
//!
//! What transformers adds to plain Jinja: blocks trimmed, methods of Python's strings and dicts,
//! `raise_exception`, `strftime_now`, `tojson` that keeps order and characters, `{% generation %}`
//! (dropped). Written in minijinja; a template that needs more says so in its error.

use anyhow::{Context, anyhow, ensure};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, context};

use super::Turn;
use crate::chat::tokenizer::Tokenizer;
use crate::chat::{Message, Role};

/// A parsed chat template with the tokens it may name.
#[derive(Debug)]
pub(super) struct Jinja {
    source: String,
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl Jinja {
    /// Parses `source`; `config` is the model's `tokenizer_config.json`.
    pub(super) fn new(source: String, config: &serde_json::Value) -> anyhow::Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(method);
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_function("strftime_now", |format: String| {
            jiff::Zoned::now().strftime(&format).to_string()
        });
        environment.add_filter("tojson", to_json);
        let plain = source.replace("{% generation %}", "").replace("{% endgeneration %}", "");
        let plain = plain.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "");
        environment.add_template_owned("chat", plain)?;
        let token = |name: &str| {
            let token = &config[name];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
        };
        Ok(Self { source, environment, bos: token("bos_token"), eos: token("eos_token") })
    }

    /// The text it was made from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text; `prompt` adds what makes the model speak.
    pub(super) fn render(&self, messages: &[Message], prompt: bool) -> anyhow::Result<String> {
        let template = self.environment.get_template("chat")?;
        template
            .render(context! {
                messages => Value::from_serialize(messages),
                add_generation_prompt => prompt,
                bos_token => self.bos,
                eos_token => self.eos,
            })
            .map_err(|error| anyhow!("{error}"))
            .context("the chat template refuses this conversation")
    }

    /// Cuts the rendered conversation where the model begins and ends to speak.
    pub(super) fn turns(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> anyhow::Result<Vec<Turn>> {
        let mut turns = Vec::new();
        let mut before = String::new();
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let asked = self.render(&messages[..index], true)?;
            let answered = self.render(&messages[..=index], false)?;
            ensure!(
                asked.starts_with(&before) && answered.starts_with(&asked),
                "the chat template rewrites earlier turns: turn {index} cannot be trained on"
            );
            turns.push(Turn {
                prompt: tokenizer.encode_template(&asked[before.len()..])?,
                answer: tokenizer.encode_template(&answered[asked.len()..])?,
            });
            before = answered;
        }
        Ok(turns)
    }
}

/// `tojson` as transformers has it: insertion order, `", "` and `": "`, characters as they are.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands filters their options so")]
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let bad = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    };
    let json = serde_json::to_value(value).map_err(bad)?;
    match indent {
        None => Ok(spaced(&json)),
        Some(indent) => {
            use serde::Serialize;
            let indent = " ".repeat(indent);
            let format = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut bytes = Vec::new();
            json.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
                .map_err(bad)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

/// JSON on one line with Python's separators.
fn spaced(json: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match json {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) => {
            let key = |key: &str| Json::String(key.into());
            let entries: Vec<String> =
                entries.iter().map(|(k, v)| format!("{}: {}", key(k), spaced(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => json.to_string(),
    }
}

/// Methods of Python's strings and dicts that templates call.
fn method(
    _state: &State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return string_method(text, name, arguments);
    }
    if value.kind() == ValueKind::Map {
        let unknown = || Error::from(ErrorKind::UnknownMethod);
        return match (name, arguments) {
            ("items", []) => minijinja::filters::items(value),
            ("keys", []) => Ok(value.try_iter()?.collect()),
            ("values", []) => {
                value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Value, _>>()
            }
            ("get", [key, rest @ ..]) => {
                let found = value.get_item(key)?;
                let default = || rest.first().cloned().unwrap_or_else(|| Value::from(()));
                Ok(if found.is_undefined() { default() } else { found })
            }
            _ => Err(unknown()),
        };
    }
    Err(Error::from(ErrorKind::UnknownMethod))
}

fn string_method(text: &str, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let texts: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let set = |set: &str| set.chars().collect::<Vec<char>>();
    let any = |test: &dyn Fn(&str) -> bool| {
        let Some(argument) = arguments.first() else { return false };
        argument.as_str().map_or_else(
            || argument.try_iter().is_ok_and(|mut all| all.any(|v| v.as_str().is_some_and(test))),
            test,
        )
    };
    Ok(match (name, texts.as_slice()) {
        ("strip", []) => text.trim().into(),
        ("lstrip", []) => text.trim_start().into(),
        ("rstrip", []) => text.trim_end().into(),
        ("strip", [chars]) => text.trim_matches(set(chars).as_slice()).into(),
        ("lstrip", [chars]) => text.trim_start_matches(set(chars).as_slice()).into(),
        ("rstrip", [chars]) => text.trim_end_matches(set(chars).as_slice()).into(),
        ("upper", []) => text.to_uppercase().into(),
        ("lower", []) => text.to_lowercase().into(),
        ("title", []) => minijinja::filters::title(text.into()).into(),
        ("startswith", _) => any(&|prefix| text.starts_with(prefix)).into(),
        ("endswith", _) => any(&|suffix| text.ends_with(suffix)).into(),
        ("replace", [from, to]) => text.replace(from, to).into(),
        ("count", [part]) => text.matches(part).count().into(),
        ("find", [part]) => {
            text.find(part).map_or(-1, |at| text[..at].chars().count() as i64).into()
        }
        ("split", []) => text.split_whitespace().map(Value::from).collect(),
        ("split", [by]) => match arguments.get(1).and_then(Value::as_usize) {
            Some(most) => text.splitn(most + 1, by).map(Value::from).collect(),
            None => text.split(by).map(Value::from).collect(),
        },
        ("splitlines", []) => text.lines().map(Value::from).collect(),
        ("join", _) => {
            let parts = arguments.first().map(Value::try_iter).transpose()?;
            let parts: Vec<String> = parts.into_iter().flatten().map(|v| v.to_string()).collect();
            parts.join(text).into()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}
