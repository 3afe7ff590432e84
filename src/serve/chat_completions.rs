//! `POST /v1/chat/completions`.
//!
//! The thought travels as `reasoning_content`, as DeepSeek and SGLang have it; `logprobs` and token
//! ids are those of the whole answer, tags included.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::answers::{Answers, Happening};
use super::deliver::{self, Writer};
use super::wire::{Chat, Delivery, Heading, finite};
use super::{Error, Models, Server};
use crate::chat::Model;
use crate::chat::local::LocalModel;
use crate::chat::template::Opening;
use crate::chat::thought::{Part, Splitter, joined};
use crate::engine::FinishReason;
use crate::engine::sampler::{Likelihood, Score};
use crate::engine::worker::Token;

pub(super) async fn create(State(server): State<Server>, request: Request) -> Response {
    answer(server.models, request).await
}

/// Answers a chat completion request from the models given; for whoever has its own ideas of who
/// may ask.
pub async fn answer(models: Arc<Models>, request: Request<Body>) -> Response {
    match deliver::answer(&models, request, prepare).await {
        Ok(response) => response,
        Err(error) => models.refuse(error).into_response(),
    }
}

/// Reads the request and lets the model begin. Blocks: it tokenizes.
fn prepare(models: &Models, body: &[u8], begun: Instant) -> Result<(Answers, Reply), Error> {
    let asked = Chat::read(body)?;
    let asking = models.ask(asked.model.as_deref(), begun)?;
    let model = Arc::clone(&asking.model);
    let prompt = model.conversation(&asked.messages, asked.opening, &asked.arguments)?;
    let settings = asked.wanted.of(model.defaults());
    let splitter = match (asked.opening, asked.messages.last()) {
        (Opening::Continue, Some(last)) => Splitter::after(&last.content),
        (Opening::Continue | Opening::Answer | Opening::Nothing, _) => {
            Splitter::opened(prompt.in_thought)
        }
    };
    let ids = asked.delivery.token_ids.then(|| prompt.ids.clone());
    let answers = Answers::begin(asking, vec![prompt.ids], &settings)?;
    let object = if asked.delivery.stream { "chat.completion.chunk" } else { "chat.completion" };
    let reply = Reply {
        heading: Heading::new("chatcmpl", object, model.name()),
        model,
        delivery: asked.delivery,
        logprobs: settings.sampling.logprobs.is_some(),
        prompt_ids: ids,
        choices: vec![Choice::new(&splitter); settings.sampling.n as usize],
    };
    Ok((answers, reply))
}

/// One of the answers so far.
#[derive(Debug, Clone)]
struct Choice {
    splitter: Splitter,
    parts: Vec<Part>,
    tokens: Vec<Token>,
    end: Option<(FinishReason, Option<String>)>,
}

impl Choice {
    fn new(splitter: &Splitter) -> Self {
        let splitter = splitter.clone();
        Self { splitter, parts: Vec::new(), tokens: Vec::new(), end: None }
    }
}

/// Writes the answers as chat completions.
struct Reply {
    heading: Heading,
    model: Arc<LocalModel>,
    delivery: Delivery,
    logprobs: bool,
    /// The prompt, if it is to be told.
    prompt_ids: Option<Vec<u32>>,
    choices: Vec<Choice>,
}

impl Reply {
    /// Takes what happened; gives which answer it belongs to.
    fn take(&mut self, happening: Happening) -> Option<usize> {
        match happening {
            Happening::Prompt { .. } => None,
            Happening::More { index, token, text } => {
                let choice = &mut self.choices[index];
                choice.parts.extend(choice.splitter.push(&text));
                if self.logprobs || self.delivery.token_ids {
                    choice.tokens.push(token);
                }
                Some(index)
            }
            Happening::End { index, text, reason, stop } => {
                let choice = &mut self.choices[index];
                choice.parts.extend(choice.splitter.push(&text));
                choice.parts.extend(choice.splitter.finish());
                choice.end = Some((reason, stop));
                Some(index)
            }
        }
    }

    fn logprobs(&self, tokens: &[Token]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let scored = |token: &Token| token.score.as_ref().map(|score| self.scored(score));
        json!({ "content": tokens.iter().filter_map(scored).collect::<Vec<Value>>(), "refusal": null })
    }

    fn scored(&self, score: &Score) -> Value {
        let mut token = self.likelihood(score.chosen);
        let top = score.top.iter().map(|other| Value::Object(self.likelihood(*other)));
        token.insert("top_logprobs".into(), top.collect());
        Value::Object(token)
    }

    fn likelihood(&self, likelihood: Likelihood) -> Map<String, Value> {
        let bytes = self.model.tokenizer().bytes(likelihood.id);
        let mut token = Map::new();
        token.insert("token".into(), String::from_utf8_lossy(&bytes).into());
        token.insert("logprob".into(), finite(likelihood.logprob).into());
        token.insert("bytes".into(), bytes.into());
        token
    }

    /// A chunk of the answer `index`, with what belongs to `tokens`.
    fn chunk(&self, index: usize, delta: &Value, tokens: &[Token]) -> Value {
        let mut choice = json!({
            "index": index, "delta": delta,
            "logprobs": if tokens.is_empty() { Value::Null } else { self.logprobs(tokens) },
            "finish_reason": null,
        });
        if self.delivery.token_ids {
            choice["token_ids"] = ids(tokens);
        }
        self.heading.with(&[choice])
    }
}

impl Writer for Reply {
    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn heading(&self) -> &Heading {
        &self.heading
    }

    fn begin(&mut self) -> Vec<Value> {
        let role = json!({ "role": "assistant", "content": "" });
        let mut chunks: Vec<Value> =
            (0..self.choices.len()).map(|index| self.chunk(index, &role, &[])).collect();
        if let Some(ids) = &self.prompt_ids {
            chunks[0]["prompt_token_ids"] = json!(ids);
        }
        chunks
    }

    fn chunks(&mut self, happening: Happening) -> Vec<Value> {
        let Some(index) = self.take(happening) else { return Vec::new() };
        let choice = &mut self.choices[index];
        let (parts, end) = (std::mem::take(&mut choice.parts), choice.end.take());
        let mut tokens = std::mem::take(&mut choice.tokens);
        let mut chunks = Vec::new();
        for part in parts {
            let delta = match part {
                Part::Thought(text) => json!({ "reasoning_content": text }),
                Part::Solution(text) => json!({ "content": text }),
            };
            chunks.push(self.chunk(index, &delta, &std::mem::take(&mut tokens)));
        }
        if !tokens.is_empty() {
            chunks.push(self.chunk(index, &json!({ "content": "" }), &tokens));
        }
        if let Some((reason, stop)) = end {
            let mut last = self.chunk(index, &json!({}), &[]);
            last["choices"][0]["finish_reason"] = reason.name().into();
            last["choices"][0]["stop_reason"] = stop.into();
            chunks.push(last);
        }
        chunks
    }

    fn add(&mut self, happening: Happening) {
        self.take(happening);
    }

    fn whole(mut self) -> Value {
        let mut choices = Vec::new();
        for (index, choice) in std::mem::take(&mut self.choices).into_iter().enumerate() {
            let (reasoning, solution) = joined(choice.parts);
            let (reason, stop) = choice.end.unzip();
            let mut json = json!({
                "index": index,
                "message": {
                    "role": "assistant", "content": solution,
                    "reasoning_content": (!reasoning.is_empty()).then_some(reasoning),
                    "refusal": null,
                },
                "logprobs": self.logprobs(&choice.tokens),
                "finish_reason": reason.map(FinishReason::name), "stop_reason": stop.flatten(),
            });
            if self.delivery.token_ids {
                json["token_ids"] = ids(&choice.tokens);
            }
            choices.push(json);
        }
        let mut answer = self.heading.with(&choices);
        if let Some(ids) = &self.prompt_ids {
            answer["prompt_token_ids"] = json!(ids);
        }
        answer
    }
}

fn ids(tokens: &[Token]) -> Value {
    tokens.iter().map(|token| token.id).collect()
}
