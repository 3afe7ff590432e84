//! The JSON of `/tokenize` and `/detokenize`: vLLM's, which lm-eval asks for, and llama.cpp's, which
//! says `content` for `prompt`.

use serde_json::Value;

use super::chat::messages;
use crate::chat::Message;
use crate::chat::template::{Arguments, Opening};
use crate::serve::Error;
use crate::serve::fields::{self, Fields, Neutral};

/// Parameters that change nothing here with these values.
const NEUTRAL: &[Neutral] =
    &[("parse_special", &["true"]), ("chat_template", &[]), ("tools", &["[]"])];

/// What is to be turned into ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum Tokenized {
    /// A text as the model sees it, perhaps with the token that begins a text.
    Text {
        /// The text.
        text: String,
        /// Whether that token comes first, if the model has one.
        begin: bool,
    },
    /// A conversation.
    Conversation {
        /// Its messages.
        messages: Vec<Message>,
        /// How the model is to go on with it.
        opening: Opening,
        /// What else the template is told.
        arguments: Arguments,
    },
}

/// A request for ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) struct Tokenize {
    /// The model's name.
    pub(in crate::serve) model: Option<String>,
    /// What is to be turned into ids.
    pub(in crate::serve) what: Tokenized,
    /// Whether each token's text is wanted, too.
    pub(in crate::serve) texts: bool,
}

impl Tokenize {
    /// Reads the body of a request.
    pub(in crate::serve) fn read(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::read(body)?;
        let model = fields.text("model")?;
        let begin = fields.take("add_special_tokens");
        let begin = begin.map(|value| fields::flag("add_special_tokens", &value)).transpose()?;
        let pieces = (fields.flag("return_token_strs")?, fields.flag("with_pieces")?);
        let text = fields.text("prompt")?.or(fields.text("content")?);
        let what = match (text, fields.take("messages")) {
            (Some(text), None) => {
                // llama.cpp's default is vLLM's opposite; vLLM's wins.
                Tokenized::Text { text, begin: begin != Some(false) }
            }
            (None, Some(value)) => {
                let messages = messages(Some(value))?;
                let opening = super::chat::opening(&mut fields, &messages)?;
                let arguments = super::chat::arguments(&mut fields)?;
                Tokenized::Conversation { messages, opening, arguments }
            }
            (Some(_), Some(_)) | (None, None) => {
                let message = "either `prompt` or `messages` must be given";
                return Err(Error::parameter("prompt", message));
            }
        };
        fields.done(NEUTRAL)?;
        Ok(Self { model, what, texts: pieces.0 || pieces.1 })
    }
}

/// A request for the text of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) struct Detokenize {
    /// The model's name.
    pub(in crate::serve) model: Option<String>,
    /// The ids.
    pub(in crate::serve) ids: Vec<u32>,
}

impl Detokenize {
    /// Reads the body of a request.
    pub(in crate::serve) fn read(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::read(body)?;
        let model = fields.text("model")?;
        let ids = match fields.take("tokens") {
            Some(Value::Array(items)) => fields::ids("tokens", &items)?,
            _ => return Err(Error::parameter("tokens", "`tokens` must be a list of token ids")),
        };
        fields.done(&[])?;
        Ok(Self { model, ids })
    }
}
