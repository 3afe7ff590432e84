//! The JSON of `/v1/completions`: the request and the pieces of the answer.

use serde_json::{Map, Value, json};

use super::settings::{self, Delivery, Wanted};
use crate::serve::Error;
use crate::serve::fields::{self, Fields, Neutral, kind};

/// Prompts in one request: lm-eval sends batches of up to some hundred.
const PROMPTS_MAX: usize = 1024;

/// Parameters that change nothing here with these values.
const NEUTRAL: &[Neutral] = &[
    ("suffix", &["\"\""]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("prompt_embeds", &[]),
    ("return_tokens_as_token_ids", &["false"]),
];

/// What an answer is to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum Prompt {
    /// A text as the model sees it: the names of special tokens in it are special tokens.
    Text(String),
    /// The ids themselves.
    Ids(Vec<u32>),
}

/// A completion as it was asked for.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Asked {
    /// The model's name; none asks the one that answers by default.
    pub(in crate::serve) model: Option<String>,
    /// What is to be completed, each by itself.
    pub(in crate::serve) prompts: Vec<Prompt>,
    /// Whether a text prompt begins with the token that begins a text, if the model has one.
    pub(in crate::serve) begin: bool,
    /// Whether the prompt is part of the answer.
    pub(in crate::serve) echo: bool,
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
        let prompts = prompts(fields.take("prompt"))?;
        let echo = fields.flag("echo")?;
        let begin = fields.take("add_special_tokens");
        let begin = begin.map(|value| fields::flag("add_special_tokens", &value)).transpose()?;
        let mut wanted = settings::settings(&mut fields)?;
        // None but the prompt is asked for with 0.
        wanted.limit(fields.whole("max_tokens", 0..=u64::MAX)?);
        let sampling = &mut wanted.settings.sampling;
        sampling.logprobs = settings::alternatives(&mut fields, "logprobs")?;
        if echo {
            sampling.prompt_logprobs = sampling.logprobs;
        }
        let delivery = settings::delivery(&mut fields)?;
        fields.done(&[NEUTRAL, settings::NEUTRAL].concat())?;
        Ok(Self { model, prompts, begin: begin != Some(false), echo, wanted, delivery })
    }
}

/// One prompt or several, each a text or a list of ids.
fn prompts(value: Option<Value>) -> Result<Vec<Prompt>, Error> {
    let bad = |why: String| Err(Error::parameter("prompt", why));
    let items = match value {
        Some(Value::String(text)) => return Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(items)) => items,
        None => return bad("`prompt` is missing".into()),
        Some(other) => {
            return bad(format!(
                "`prompt` must be a text, a list of texts, a list of token ids or a list of such \
                 lists, not {}",
                kind(&other)
            ));
        }
    };
    match items.first() {
        None => bad("`prompt` must not be empty".into()),
        Some(Value::Number(_)) => Ok(vec![Prompt::Ids(fields::ids("prompt", &items)?)]),
        Some(_) if items.len() > PROMPTS_MAX => {
            bad(format!("`prompt` may have {PROMPTS_MAX} prompts, not {}", items.len()))
        }
        Some(_) => items.into_iter().enumerate().map(|(at, item)| prompt(at, item)).collect(),
    }
}

fn prompt(at: usize, item: Value) -> Result<Prompt, Error> {
    let path = format!("prompt[{at}]");
    match item {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(items) => Ok(Prompt::Ids(fields::ids(&path, &items)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            let message = format!("a prompt must be a text or token ids, not {}", kind(&item));
            Err(Error::parameter(path, message))
        }
    }
}

/// What is known of the tokens of a completion, in the shape of `logprobs`.
#[derive(Debug, Default)]
pub(in crate::serve) struct Logprobs {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
}

impl Logprobs {
    /// Appends a token that stands `offset` characters behind the beginning. The first token of a
    /// prompt has no probability.
    pub(in crate::serve) fn push(
        &mut self,
        token: &str,
        offset: usize,
        score: Option<(f32, Map<String, Value>)>,
    ) {
        self.tokens.push(token.into());
        self.text_offset.push(offset);
        let (logprob, top) = match score {
            Some((logprob, top)) => (super::finite(logprob).into(), Value::Object(top)),
            None => (Value::Null, Value::Null),
        };
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(top);
    }

    /// As JSON.
    pub(in crate::serve) fn json(self) -> Value {
        json!({
            "tokens": self.tokens, "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs, "text_offset": self.text_offset,
        })
    }
}
