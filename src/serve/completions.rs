//! `POST /v1/completions`: raw text or token ids go on, with nothing around them.
//!
//! The legacy endpoint, which evaluation harnesses still need: with `echo` and `logprobs` it tells
//! how likely a given text is.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::answers::{Answers, Happening};
use super::deliver::{self, Writer};
use super::wire::{Completion, Delivery, Heading, Logprobs, Prompt, finite};
use super::{Error, Models, Server};
use crate::chat::Model;
use crate::chat::local::LocalModel;
use crate::engine::FinishReason;
use crate::engine::sampler::Score;

pub(super) async fn create(State(server): State<Server>, request: Request) -> Response {
    match deliver::answer(&server.models, request, prepare).await {
        Ok(response) => response,
        Err(error) => server.models.refuse(error.of_prompt()).into_response(),
    }
}

/// Reads the request and lets the model begin. Blocks: it tokenizes.
fn prepare(models: &Models, body: &[u8], begun: Instant) -> Result<(Answers, Reply), Error> {
    let asked = Completion::read(body)?;
    let asking = models.ask(asked.model.as_deref(), begun)?;
    let model = Arc::clone(&asking.model);
    let mut prompts = Vec::new();
    for (at, prompt) in asked.prompts.into_iter().enumerate() {
        let ids = match prompt {
            Prompt::Text(text) => model.encode_prompt(&text, asked.begin)?,
            Prompt::Ids(ids) => ids,
        };
        model.check_ids("prompt", &ids)?;
        if ids.is_empty() {
            let message = format!("prompt {at} has no tokens: there is nothing to complete");
            return Err(Error::parameter("prompt", message));
        }
        prompts.push(ids);
    }
    let settings = asked.wanted.of(model.defaults());
    let n = settings.sampling.n as usize;
    let echo = asked.echo;
    let echoed = |ids: &Vec<u32>| if echo { ids.clone() } else { Vec::new() };
    let mut reply = Reply {
        heading: Heading::new("cmpl", "text_completion", model.name()),
        delivery: asked.delivery,
        logprobs: settings.sampling.logprobs.is_some(),
        n,
        prompt_ids: asked.delivery.token_ids.then(|| prompts.clone()),
        echoed: prompts.iter().map(echoed).collect(),
        choices: (0..n * prompts.len()).map(|_| Choice::default()).collect(),
        model,
    };
    reply.echo();
    let answers = Answers::begin(asking, prompts, &settings)?;
    Ok((answers, reply))
}

/// One of the answers, as far as it was not written yet.
#[derive(Debug, Default)]
struct Choice {
    text: String,
    logprobs: Logprobs,
    ids: Vec<u32>,
    /// Characters of the tokens so far.
    offset: usize,
    end: Option<(FinishReason, Option<String>)>,
}

/// Writes the answers as completions.
struct Reply {
    heading: Heading,
    model: Arc<LocalModel>,
    delivery: Delivery,
    logprobs: bool,
    /// Answers to each prompt.
    n: usize,
    /// The prompts, if they are to be told.
    prompt_ids: Option<Vec<Vec<u32>>>,
    /// The prompts, if they are part of the answers.
    echoed: Vec<Vec<u32>>,
    choices: Vec<Choice>,
}

impl Reply {
    /// Writes the prompts into the answers, if they are part of them. Their probabilities come
    /// later, before the first token.
    fn echo(&mut self) {
        for (at, prompt) in self.echoed.iter().enumerate() {
            if !prompt.is_empty() {
                let text = self.model.tokenizer().decode(prompt, true).unwrap_or_default();
                for choice in &mut self.choices[at * self.n..(at + 1) * self.n] {
                    choice.text.clone_from(&text);
                }
            }
        }
    }

    fn take(&mut self, happening: Happening) -> Vec<usize> {
        match happening {
            Happening::Prompt { prompt, scores } => {
                let indices: Vec<usize> = (prompt * self.n..(prompt + 1) * self.n).collect();
                let ids = std::mem::take(&mut self.echoed[prompt]);
                let scores = || [None].into_iter().chain(scores.iter().map(Some));
                for index in &indices {
                    for (id, score) in ids.iter().zip(scores()) {
                        self.scored(*index, *id, score);
                    }
                }
                indices
            }
            Happening::More { index, token, text } => {
                self.choices[index].text += &text;
                if self.delivery.token_ids {
                    self.choices[index].ids.push(token.id);
                }
                if self.logprobs {
                    self.scored(index, token.id, token.score.as_ref());
                }
                vec![index]
            }
            Happening::End { index, text, reason, stop } => {
                self.choices[index].text += &text;
                self.choices[index].end = Some((reason, stop));
                vec![index]
            }
        }
    }

    /// Notes a token and how likely it was.
    fn scored(&mut self, index: usize, id: u32, score: Option<&Score>) {
        let token = self.text_of(id);
        let score = score.map(|score| {
            let mut top = Map::new();
            for other in &score.top {
                // Tokens that read the same: the likelier one, which comes first, counts.
                top.entry(self.text_of(other.id)).or_insert_with(|| finite(other.logprob).into());
            }
            // As OpenAI has it: the token itself is always there.
            top.entry(token.clone()).or_insert_with(|| finite(score.chosen.logprob).into());
            (score.chosen.logprob, top)
        });
        let choice = &mut self.choices[index];
        choice.logprobs.push(&token, choice.offset, score);
        choice.offset += token.chars().count();
    }

    /// The text of a token; OpenAI's spelling for a part of a character.
    fn text_of(&self, id: u32) -> String {
        match String::from_utf8(self.model.tokenizer().bytes(id)) {
            Ok(text) => text,
            Err(part) => {
                let bytes = part.as_bytes().iter().map(|byte| format!("\\x{byte:02x}"));
                format!("bytes:{}", bytes.collect::<String>())
            }
        }
    }

    /// What has gathered of an answer.
    fn choice(&mut self, index: usize) -> Value {
        let choice = &mut self.choices[index];
        let (text, logprobs) =
            (std::mem::take(&mut choice.text), std::mem::take(&mut choice.logprobs));
        let (ids, end) = (std::mem::take(&mut choice.ids), choice.end.take());
        let (reason, stop) = end.unzip();
        let mut json = json!({
            "index": index, "text": text,
            "logprobs": if self.logprobs { logprobs.json() } else { Value::Null },
            "finish_reason": reason.map(FinishReason::name), "stop_reason": stop.flatten(),
        });
        if self.delivery.token_ids {
            json["token_ids"] = json!(ids);
        }
        json
    }

    fn chunk(&mut self, index: usize) -> Value {
        let choice = self.choice(index);
        self.heading.with(&[choice])
    }

    /// The prompts' ids, in the first chunk of each.
    fn with_prompt_ids(&self, index: usize, choice: &mut Value) {
        if let Some(prompts) = &self.prompt_ids {
            choice["prompt_token_ids"] = json!(prompts[index / self.n]);
        }
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
        let mut chunks = Vec::new();
        for index in 0..self.choices.len() {
            if self.prompt_ids.is_some() || !self.choices[index].text.is_empty() {
                let mut chunk = self.chunk(index);
                self.with_prompt_ids(index, &mut chunk["choices"][0]);
                chunks.push(chunk);
            }
        }
        chunks
    }

    fn chunks(&mut self, happening: Happening) -> Vec<Value> {
        let mut chunks = Vec::new();
        for index in self.take(happening) {
            let choice = &self.choices[index];
            let told = self.logprobs || self.delivery.token_ids;
            if told || !choice.text.is_empty() || choice.end.is_some() {
                chunks.push(self.chunk(index));
            }
        }
        chunks
    }

    fn add(&mut self, happening: Happening) {
        self.take(happening);
    }

    fn whole(mut self) -> Value {
        let mut choices = Vec::new();
        for index in 0..self.choices.len() {
            let mut choice = self.choice(index);
            self.with_prompt_ids(index, &mut choice);
            choices.push(choice);
        }
        self.heading.with(&choices)
    }
}
