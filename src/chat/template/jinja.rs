//! A model's own chat template: Jinja in Hugging Face's dialect.
//!
//! What transformers adds to plain Jinja: blocks trimmed, methods of Python's strings and dicts,
//! `raise_exception`, `strftime_now`, `tojson` that keeps order and characters, `break` and
//! `continue`, `{% generation %}`, and values written as Python writes them. Written in minijinja;
//! a template that needs more says so in its error.

use anyhow::{Context, anyhow, ensure};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use regex::Regex;

use super::{Turn, python};
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

/// What a template is told besides the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Names and values of the caller, e.g. `enable_thinking`; they win over our own.
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Jinja {
    /// Parses `source`; `config` is the model's `tokenizer_config.json`.
    pub(super) fn new(source: String, config: &serde_json::Value) -> anyhow::Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(python::method);
        environment.set_formatter(|out, _, value| {
            out.write_str(&python::text(value)).map_err(|error| {
                Error::new(ErrorKind::WriteFailure, "the text is gone").with_source(error)
            })
        });
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_function("strftime_now", |format: String| {
            jiff::fmt::strtime::format(&format, &jiff::Zoned::now()).map_err(|error| {
                Error::new(ErrorKind::InvalidOperation, format!("`{format}` is no time format"))
                    .with_source(error)
            })
        });
        environment.add_filter("tojson", python::to_json);
        environment.add_filter("string", python::text);
        environment.add_template_owned("chat", without_generation(&source)?)?;
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

    /// The token that ends an answer.
    pub(super) fn eos(&self) -> Option<&str> {
        self.eos.as_deref()
    }

    /// The token that begins a text.
    pub(super) fn bos(&self) -> Option<&str> {
        self.bos.as_deref()
    }

    /// The conversation as text; `prompt` adds what makes the model speak.
    pub(super) fn render(
        &self,
        messages: &[Message],
        prompt: bool,
        arguments: &Arguments,
    ) -> anyhow::Result<String> {
        let template = self.environment.get_template("chat")?;
        let ours = context! {
            messages => Value::from_serialize(messages),
            add_generation_prompt => prompt,
            tools => (),
            documents => (),
        };
        // Absent tokens are undefined, as in transformers.
        let token = |token: &Option<String>| token.clone().map_or(Value::UNDEFINED, Value::from);
        let tokens = context! { bos_token => token(&self.bos), eos_token => token(&self.eos) };
        let more = Value::from_serialize(&arguments.more);
        template
            .render(context! { ..tokens, ..ours, ..more })
            .map_err(|error| anyhow!("{error}"))
            .context("the chat template refuses this conversation")
    }

    /// Cuts the rendered conversation where the model begins and ends to speak.
    pub(super) fn turns(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> anyhow::Result<Vec<Turn>> {
        let arguments = Arguments::default();
        let mut turns = Vec::new();
        let mut before = String::new();
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let asked = self.render(&messages[..index], true, &arguments)?;
            let answered = self.render(&messages[..=index], false, &arguments)?;
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

/// `{% generation %}` marks what the model wrote and changes no text: a block that is always taken.
fn without_generation(source: &str) -> anyhow::Result<String> {
    let begin = Regex::new(r"(\{%[-+]?)\s*generation\s*([-+]?%\})")?;
    let end = Regex::new(r"(\{%[-+]?)\s*endgeneration\s*([-+]?%\})")?;
    let source = begin.replace_all(source, "$1 if true $2");
    Ok(end.replace_all(&source, "$1 endif $2").into_owned())
}
