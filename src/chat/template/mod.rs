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
}

/// A question and its answer, tokenized apart. Training masks the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Everything since the answer before, up to where the model begins to speak.
    pub prompt: Vec<u32>,
    /// What the model says, with the token that ends it.
    pub answer: Vec<u32>,
}

/// How conversations are written for one model.
#[derive(Debug)]
pub struct Template(Kind);

#[derive(Debug)]
enum Kind {
    Pieces(&'static Pieces),
    Jinja(Box<Jinja>),
}

/// A built-in ChatML template.
#[derive(Debug)]
struct Pieces {
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

const QWEN25_OPENTHINKER: Pieces = Pieces {
    system: Some("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    eos: END_OF_TEXT,
    after: "\n",
    train_after: false,
    jinja: include_str!("qwen25_openthinker.jinja"),
};

const CHATML: Pieces = Pieces {
    system: None,
    eos: IM_END,
    after: "\n",
    train_after: true,
    jinja: include_str!("chatml.jinja"),
};

impl Template {
    /// The template called `name` for the model in `dir`.
    ///
    /// # Errors
    /// If the model's own template cannot be read.
    pub fn named(name: TemplateName, dir: &Path) -> anyhow::Result<Self> {
        match name {
            TemplateName::Qwen25Openthinker => Ok(Self(Kind::Pieces(&QWEN25_OPENTHINKER))),
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

    fn from_source(source: String, dir: &Path) -> anyhow::Result<Self> {
        for pieces in [&QWEN25_OPENTHINKER, &CHATML] {
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

    /// The token that ends an answer, where the template decides it.
    pub fn eos(&self) -> Option<&'static str> {
        match &self.0 {
            Kind::Pieces(pieces) => Some(pieces.eos),
            Kind::Jinja(_) => None,
        }
    }

    /// The ids up to where the model begins to speak. `messages` end with what it is to answer.
    ///
    /// # Errors
    /// If there is no message, or the template refuses the conversation.
    pub fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<u32>> {
        let last = messages.last().context("there is no message to answer")?;
        ensure!(last.role != Role::Assistant, "the last message is the model's own");
        self.prompt_with(tokenizer, messages, &Arguments::default())
    }

    /// As [`Template::prompt`], with more for the template, and where the last message may be the
    /// model's own: it is left open, so that the model goes on with it.
    ///
    /// # Errors
    /// If there is no message, or the template refuses the conversation.
    pub fn prompt_with(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        arguments: &Arguments,
    ) -> anyhow::Result<Vec<u32>> {
        let last = messages.last().context("there is no message to answer")?;
        let open = last.role == Role::Assistant;
        match &self.0 {
            Kind::Pieces(pieces) => pieces.prompt(tokenizer, messages),
            Kind::Jinja(jinja) => {
                let text = jinja.render(&defused(tokenizer, messages), !open, arguments)?;
                let text = match open {
                    true => opened(&text, &tokenizer.defuse(&last.content))?,
                    false => text.as_str(),
                };
                tokenizer.encode_template(text)
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
    /// What is written before the model speaks, for the message at `index`; nothing for its own
    /// messages.
    fn piece(&self, tokenizer: &Tokenizer, messages: &[Message], index: usize) -> Vec<String> {
        let system = |text: &str| format!("<|im_start|>system\n{text}<|im_end|>\n");
        let message = &messages[index];
        let content = tokenizer.defuse(&message.content);
        match message.role {
            Role::System => vec![system(&content)],
            Role::User => {
                let user =
                    format!("<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n");
                match self.system {
                    Some(default) if index == 0 => vec![system(default), user],
                    Some(_) | None => vec![user],
                }
            }
            Role::Assistant => Vec::new(),
        }
    }

    /// The ids up to where the model speaks; its own last message is left open.
    fn prompt(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            for piece in self.piece(tokenizer, messages, index) {
                ids.extend(tokenizer.encode_template(&piece)?);
            }
            if message.role != Role::Assistant {
                continue;
            }
            if index + 1 == messages.len() {
                ids.extend(tokenizer.encode(&message.content)?);
            } else {
                ids.extend(self.answer(tokenizer, &message.content)?);
                let after = if self.train_after { "" } else { self.after };
                ids.extend(tokenizer.encode_template(after)?);
            }
        }
        Ok(ids)
    }

    fn answer(&self, tokenizer: &Tokenizer, content: &str) -> anyhow::Result<Vec<u32>> {
        let mut ids = tokenizer.encode(content)?;
        let end = if self.train_after { self.after } else { "" };
        ids.extend(tokenizer.encode_template(&format!("{}{end}", self.eos))?);
        Ok(ids)
    }

    fn turns(&self, tokenizer: &Tokenizer, messages: &[Message]) -> anyhow::Result<Vec<Turn>> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut prompt = Vec::new();
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

/// The rendered conversation up to the end of its last message, whose content this is.
fn opened<'a>(text: &'a str, content: &str) -> anyhow::Result<&'a str> {
    // Templates trim; blanks at the end would keep the model from going on with a word.
    let content = content.trim();
    let at = text.rfind(content).context("the chat template rewrites the message to go on with")?;
    Ok(&text[..at + content.len()])
}

fn defused(tokenizer: &Tokenizer, messages: &[Message]) -> Vec<Message> {
    messages
        .iter()
        .map(|message| Message { role: message.role, content: tokenizer.defuse(&message.content) })
        .collect()
}

#[cfg(test)]
mod tests;
