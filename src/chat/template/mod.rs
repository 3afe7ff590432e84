//! How a conversation becomes the token ids that a model was trained on.
//!
//! One [`Template`] serves training and serving, so that both see the same ids. Two kinds: built-in
//! ones made of pieces, each tokenized separately as LLaMA-Factory does (BPE never merges across
//! pieces), and the model's own in Jinja. A built-in one is recognised by the Jinja text that was
//! saved with the model, which other programs render to the same prompt.
//!
//! Sources: SkyThought's fork of LLaMA-Factory at 0751518, `data/template.py` (`qwen25`), which
//! trained OpenThinker; Qwen2.5's `tokenizer_config.json` (ChatML).

mod jinja;
mod python;

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tokenizer::{END_OF_TEXT, IM_END, Tokenizer, read_json};
use super::{Message, Role};
use crate::engine::dummy;
use crate::hint::Hinted;
use jinja::Jinja;

pub use jinja::Arguments;

/// The template to train with, by the name used in recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateName {
    /// What OpenThinker was trained with: ChatML, Qwen's default system message, answers end with
    /// `<|endoftext|>`.
    Qwen25Openthinker,
    /// The model's own template; plain ChatML where it has none.
    #[default]
    Chatml,
    /// Llama 3's: `<|start_header_id|>…<|end_header_id|>`, turns end with `<|eot_id|>`.
    Llama3,
}

/// A question and its answer, tokenized apart. Training masks the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Everything since the answer before, up to where the model begins to speak.
    pub prompt: Vec<u32>,
    /// What the model says, with the token that ends it.
    pub answer: Vec<u32>,
}

/// What follows a conversation that a model is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opening {
    /// A new answer.
    #[default]
    Answer,
    /// More of the last message, which is the model's own.
    Continue,
    /// Nothing: the conversation as it stands.
    Nothing,
}

/// A conversation that a model is to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its ids.
    pub ids: Vec<u32>,
    /// Whether the template itself has opened the model's thought with `<think>`.
    pub in_thought: bool,
}

/// How conversations are written for one model.
#[derive(Debug)]
pub struct Template(Kind);

#[derive(Debug)]
enum Kind {
    Pieces(&'static Pieces),
    Jinja(Box<Jinja>),
}

/// A built-in template: turns with the speaker's name in a header.
#[derive(Debug)]
struct Pieces {
    /// What begins a conversation.
    bos: Option<&'static str>,
    /// What stands before and after the speaker's name, and after what is said.
    turn: [&'static str; 3],
    /// What opens an answer of the model.
    header: &'static str,
    /// The speaker's name of a tool.
    tool: &'static str,
    /// Used when a conversation has no system message of its own.
    system: Option<&'static str>,
    /// The token that ends an answer.
    eos: &'static str,
    /// What stands between that token and the next turn.
    after: &'static str,
    /// Whether `after` is trained on, being part of the answer.
    train_after: bool,
    /// The same as Jinja, for other programs.
    jinja: &'static str,
}

/// What opens an answer of the model in ChatML.
const CHATML_HEADER: &str = "<|im_start|>assistant\n";

const CHATML_TURN: [&str; 3] = ["<|im_start|>", "\n", "<|im_end|>\n"];

const QWEN25_OPENTHINKER: Pieces = Pieces {
    bos: None,
    turn: CHATML_TURN,
    header: CHATML_HEADER,
    tool: "tool",
    system: Some("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    eos: END_OF_TEXT,
    after: "\n",
    train_after: false,
    jinja: include_str!("qwen25_openthinker.jinja"),
};

const CHATML: Pieces = Pieces {
    bos: None,
    turn: CHATML_TURN,
    header: CHATML_HEADER,
    tool: "tool",
    system: None,
    eos: IM_END,
    after: "\n",
    train_after: true,
    jinja: include_str!("chatml.jinja"),
};

/// As LLaMA-Factory's `llama3`, which has no system message of its own.
const LLAMA3: Pieces = Pieces {
    bos: Some("<|begin_of_text|>"),
    turn: ["<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"],
    header: "<|start_header_id|>assistant<|end_header_id|>\n\n",
    tool: "ipython",
    system: None,
    eos: "<|eot_id|>",
    after: "",
    train_after: false,
    jinja: include_str!("llama3.jinja"),
};

impl Template {
    /// The template called `name` for the model in `dir`.
    ///
    /// # Errors
    /// If the model's own template cannot be read.
    pub fn named(name: TemplateName, dir: &Path) -> anyhow::Result<Self> {
        match name {
            TemplateName::Qwen25Openthinker => Ok(Self(Kind::Pieces(&QWEN25_OPENTHINKER))),
            TemplateName::Llama3 => Ok(Self(Kind::Pieces(&LLAMA3))),
            TemplateName::Chatml => match own(dir)? {
                Some(source) => Self::from_source(source, dir),
                None => Ok(Self(Kind::Pieces(&CHATML))),
            },
        }
    }

    /// The built-in template called `name`, for a model that has no folder yet.
    pub fn built_in(name: TemplateName) -> Self {
        Self(Kind::Pieces(match name {
            TemplateName::Qwen25Openthinker => &QWEN25_OPENTHINKER,
            TemplateName::Chatml => &CHATML,
            TemplateName::Llama3 => &LLAMA3,
        }))
    }

    /// The template of the model in `dir`; plain ChatML for a dummy.
    ///
    /// # Errors
    /// If it has none, or one that cannot be read.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        if let Some(dummy) = dummy::named(dir) {
            dummy?;
            return Ok(Self::built_in(TemplateName::Chatml));
        }
        let source = own(dir)?.ok_or_else(|| {
            Hinted::new(
                format!("the model in `{}` has no chat template", dir.display()),
                "a base model has none; fine-tune it, or put a chat_template.jinja beside it",
            )
        })?;
        Self::from_source(source, dir)
    }

    /// A template in Jinja, for a model that has no folder.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(source: String) -> anyhow::Result<Self> {
        let jinja = Jinja::new(source, &Value::Null)?;
        Ok(Self(Kind::Jinja(Box::new(jinja))))
    }

    fn from_source(source: String, dir: &Path) -> anyhow::Result<Self> {
        for pieces in [&QWEN25_OPENTHINKER, &CHATML, &LLAMA3] {
            if source == pieces.jinja {
                return Ok(Self(Kind::Pieces(pieces)));
            }
        }
        let config = read_json(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let jinja = Jinja::new(source, &config)
            .with_context(|| format!("could not read the chat template in `{}`", dir.display()))?;
        Ok(Self(Kind::Jinja(Box::new(jinja))))
    }

    /// The Jinja text to save with a model, for us and for other programs.
    pub fn jinja(&self) -> &str {
        match &self.0 {
            Kind::Pieces(pieces) => pieces.jinja,
            Kind::Jinja(jinja) => jinja.source(),
        }
    }

    /// The token that ends an answer, as the template or the tokenizer's settings name it.
    pub fn eos(&self) -> Option<&str> {
        match &self.0 {
            Kind::Pieces(pieces) => Some(pieces.eos),
            Kind::Jinja(jinja) => jinja.eos(),
        }
    }

    /// The token that begins a text, where the model has one.
    pub fn bos(&self) -> Option<&str> {
        match &self.0 {
            Kind::Pieces(pieces) => pieces.bos,
            Kind::Jinja(jinja) => jinja.bos(),
        }
    }

    /// The ids up to where the model begins to speak.
    ///
    /// # Errors
    /// If there is no message, or the template refuses the conversation.
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<u32>> {
        let last = messages.last().context("there is no message to answer")?;
        ensure!(last.role != Role::Assistant, "the last message is the model's own");
        let arguments = Arguments::default();
        Ok(self.prompt_with(tokenizer, messages, Opening::Answer, &arguments)?.ids)
    }

    /// The conversation up to where the model goes on, as `opening` says, with more for the
    /// template.
    ///
    /// # Errors
    /// If there is no message, there is nothing to continue, or the template refuses the
    /// conversation.
    pub fn prompt_with(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        opening: Opening,
        arguments: &Arguments,
    ) -> anyhow::Result<Prompt> {
        let last = messages.last().context("there is no message to answer")?;
        let own = last.role == Role::Assistant;
        ensure!(own || opening != Opening::Continue, "the last message is not the model's own");
        // Nothing to go on with is a new answer.
        if opening == Opening::Continue && last.content.trim().is_empty() && messages.len() > 1 {
            let before = &messages[..messages.len() - 1];
            return self.prompt_with(tokenizer, before, Opening::Answer, arguments);
        }
        match &self.0 {
            Kind::Pieces(pieces) => {
                let ids = pieces.conversation(tokenizer, messages, opening)?;
                Ok(Prompt { ids, in_thought: false })
            }
            Kind::Jinja(jinja) => {
                let defused = defused(tokenizer, messages);
                let arguments = Arguments { more: defused_values(tokenizer, &arguments.more) };
                let mut text = jinja.render(&defused, opening == Opening::Answer, &arguments)?;
                if opening == Opening::Continue {
                    let end = end_of(&text, &defused).context(
                        "the chat template rewrites the message to go on with: it cannot be \
                         continued",
                    )?;
                    text.truncate(end);
                }
                let in_thought = opening == Opening::Answer && text.trim_end().ends_with("<think>");
                Ok(Prompt { ids: tokenizer.encode_template(&text)?, in_thought })
            }
        }
    }

    /// A whole conversation as turns, each ending with an answer of the model.
    ///
    /// # Errors
    /// If it does not end with an answer, or the template rewrites earlier turns.
    pub fn turns(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<Turn>> {
        let answered = messages.last().is_some_and(|last| last.role == Role::Assistant);
        ensure!(answered, "a conversation to train on ends with the model's answer");
        match &self.0 {
            Kind::Pieces(pieces) => pieces.turns(tokenizer, messages),
            Kind::Jinja(jinja) => jinja.turns(tokenizer, &defused(tokenizer, messages)),
        }
    }
}

impl Pieces {
    /// A whole conversation; the model's header stands before each of its messages and, if
    /// `opening` says so, at the end.
    fn conversation(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        opening: Opening,
    ) -> anyhow::Result<Vec<u32>> {
        let header = tokenizer.encode_template(self.header)?;
        let mut ids = tokenizer.encode_template(self.bos.unwrap_or_default())?;
        if messages.first().is_some_and(|first| first.role == Role::Assistant) {
            ids.extend(&header);
        }
        for (index, message) in messages.iter().enumerate() {
            for piece in self.piece(tokenizer, messages, index) {
                let piece = piece.strip_suffix(self.header).unwrap_or(&piece);
                ids.extend(tokenizer.encode_template(piece)?);
            }
            let next = messages.get(index + 1);
            if message.role == Role::Assistant {
                if next.is_none() && opening == Opening::Continue {
                    ids.extend(tokenizer.encode(&message.content)?);
                    break;
                }
                ids.extend(self.answer(tokenizer, &message.content)?);
                let after = if self.train_after { "" } else { self.after };
                ids.extend(tokenizer.encode_template(after)?);
            }
            let opens =
                next.map_or(opening == Opening::Answer, |next| next.role == Role::Assistant);
            if opens {
                ids.extend(&header);
            }
        }
        Ok(ids)
    }

    /// What is written before the model speaks, for the message at `index`; nothing for its own
    /// messages.
    fn piece(&self, tokenizer: &Tokenizer, messages: &[Message], index: usize) -> Vec<String> {
        let [open, named, close] = self.turn;
        let turn = |speaker: &str, text: &str| format!("{open}{speaker}{named}{text}{close}");
        let message = &messages[index];
        let content = tokenizer.defuse(&message.content);
        match message.role {
            Role::System => vec![turn("system", &content)],
            Role::User => {
                let user = format!("{}{}", turn("user", &content), self.header);
                match self.system {
                    Some(default) if index == 0 => vec![turn("system", default), user],
                    Some(_) | None => vec![user],
                }
            }
            Role::Tool => vec![turn(self.tool, &content)],
            Role::Assistant => Vec::new(),
        }
    }

    fn answer(&self, tokenizer: &Tokenizer, content: &str) -> anyhow::Result<Vec<u32>> {
        let mut ids = tokenizer.encode(content)?;
        let end = if self.train_after { self.after } else { "" };
        ids.extend(tokenizer.encode_template(&format!("{}{end}", self.eos))?);
        Ok(ids)
    }

    fn turns(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<Turn>> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut prompt = tokenizer.encode_template(self.bos.unwrap_or_default())?;
        for (index, message) in messages.iter().enumerate() {
            if message.role == Role::Assistant {
                let answer = self.answer(tokenizer, &message.content)?;
                turns.push(Turn { prompt: std::mem::take(&mut prompt), answer });
                if !self.train_after {
                    prompt = tokenizer.encode_template(self.after)?;
                }
                continue;
            }
            for piece in self.piece(tokenizer, messages, index) {
                prompt.extend(tokenizer.encode_template(&piece)?);
            }
        }
        Ok(turns)
    }
}

/// The model's own template: `chat_template.jinja`, else `chat_template` of
/// `tokenizer_config.json` (a text, or a list of named ones, of which `default` counts).
fn own(dir: &Path) -> anyhow::Result<Option<String>> {
    let file = dir.join("chat_template.jinja");
    if file.is_file() {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("could not read `{}`", file.display()))?;
        return Ok(Some(text));
    }
    let Some(config) = read_json(&dir.join("tokenizer_config.json"))? else { return Ok(None) };
    let template = &config["chat_template"];
    let named = template.as_array().and_then(|list| {
        let default = list.iter().find(|entry| entry["name"] == "default");
        default.or(list.first()).and_then(|entry| entry["template"].as_str())
    });
    Ok(template.as_str().or(named).map(str::to_owned))
}

/// Where the last message ends in the rendered conversation. Templates trim messages.
fn end_of(text: &str, messages: &[Message]) -> Option<usize> {
    let last = messages.last()?;
    let whole = text.rfind(&last.content).map(|at| at + last.content.len());
    let trimmed = last.content.trim();
    whole.or_else(|| text.rfind(trimmed).map(|at| at + trimmed.len()))
}

fn defused(tokenizer: &Tokenizer, messages: &[Message]) -> Vec<Message> {
    messages
        .iter()
        .map(|message| Message { role: message.role, content: tokenizer.defuse(&message.content) })
        .collect()
}

/// What a caller tells a template is no more trusted than what he says.
fn defused_values(tokenizer: &Tokenizer, values: &Map<String, Value>) -> Map<String, Value> {
    values.iter().map(|(name, value)| (name.clone(), defused_value(tokenizer, value))).collect()
}

fn defused_value(tokenizer: &Tokenizer, value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(tokenizer.defuse(text)),
        Value::Array(items) => items.iter().map(|item| defused_value(tokenizer, item)).collect(),
        Value::Object(fields) => Value::Object(defused_values(tokenizer, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
