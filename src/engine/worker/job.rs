//! A request that is being served.

use std::collections::BTreeMap;

use super::answer::Outlet;
use super::{Event, Request, Token};
use crate::sampler::{self, Sampler, Score};
use crate::scheduler::Work;
use crate::sequence::Sequence;
use crate::{FinishReason, ModelInfo, Result, Sampling};

/// A request that is being served.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) outlet: Outlet,
    /// Ids that end its answers.
    ends: Vec<u32>,
    /// Tokens of prompt and answer at most.
    limit: usize,
    /// Of each answer that goes on, unless it is being computed.
    pub(super) samplers: BTreeMap<u32, Sampler>,
    /// Answers that did not end.
    pub(super) going: u32,
    /// Whether it has left the queue.
    pub(super) begun: bool,
    /// What the model thought of the prompt so far.
    prompt_scores: Vec<Score>,
}

/// What became of an answer.
pub(super) enum Next {
    /// This token, and there is more to come.
    Goes(u32),
    /// It has ended; says whether with a token more.
    Ends(bool),
    /// Its logits are no numbers: the whole request ends.
    Fails,
}

impl Job {
    pub(super) fn new(request: Request, outlet: Outlet, info: &ModelInfo, context: usize) -> Self {
        let ends = if request.sampling.ignore_eos { Vec::new() } else { info.eos_ids.clone() };
        let limit = request.prompt.len().saturating_add(request.sampling.max_tokens).min(context);
        let mut samplers = BTreeMap::new();
        samplers.insert(0, Sampler::new(&request.sampling, 0, &request.prompt));
        let prompt_scores = Vec::new();
        Self { request, outlet, ends, limit, samplers, going: 1, begun: false, prompt_scores }
    }

    /// Whether nothing is to be computed.
    pub(super) fn is_empty(&self) -> bool {
        self.request.sampling.max_tokens == 0 && self.request.sampling.prompt_logprobs.is_none()
    }

    /// Every answer has ended at its length.
    pub(super) fn finish_all(&self) {
        for sample in 0..self.request.sampling.n {
            self.outlet.send(Event::Finished { sample, reason: FinishReason::Length });
        }
    }

    /// The numbers of the answers that begin after the first one's prompt is in the cache.
    pub(super) fn fork(&mut self) -> std::ops::Range<u32> {
        let (n, sampling) = (self.request.sampling.n, &self.request.sampling);
        for sample in 1..n {
            self.samplers.insert(sample, Sampler::new(sampling, sample, &self.request.prompt));
        }
        self.going = n;
        1..n
    }

    /// Takes what was computed: tells the reader, and says how it goes on.
    /// Nothing if its prompt is not yet taken in.
    pub(super) fn take(&mut self, sample: u32, chosen: Chosen) -> Option<Next> {
        self.prompt_scores.extend(chosen.prompt_scores);
        if chosen.ends_prompt && self.request.sampling.prompt_logprobs.is_some() && sample == 0 {
            self.outlet.send(Event::Prompt(std::mem::take(&mut self.prompt_scores)));
        }
        if !chosen.is_complete {
            return None;
        }
        let (id, score) = match chosen.token {
            Some(Ok(token)) => token,
            Some(Err(error)) => {
                self.outlet.send(Event::Failed(error.to_string()));
                return Some(Next::Fails);
            }
            // Only the prompt was asked for.
            None => {
                self.finish_all();
                return Some(Next::Ends(false));
            }
        };
        if self.ends.contains(&id) || self.request.sampling.stop_ids.contains(&id) {
            self.outlet.send(Event::Finished { sample, reason: FinishReason::Stop });
            return Some(Next::Ends(false));
        }
        self.outlet.send(Event::Token(Token { sample, id, score }));
        if chosen.length + 1 >= self.limit {
            self.outlet.send(Event::Finished { sample, reason: FinishReason::Length });
            return Some(Next::Ends(true));
        }
        Some(Next::Goes(id))
    }

    /// What is to be chosen after some work; takes the answer's sampler until [`Job::give_back`].
    pub(super) fn choice<'a>(
        &'a self,
        work: &Work,
        sequence: &'a Sequence,
        (sampler, rows): (Sampler, Vec<Vec<f32>>),
    ) -> Choice<'a> {
        let (first, end) = (work.logits.start, work.positions.end);
        Choice {
            sampling: &self.request.sampling,
            ends: &self.ends,
            sequence,
            sampler,
            rows,
            first,
            end,
        }
    }
}

/// Logits and all that is needed to choose from them, on any thread.
pub(super) struct Choice<'a> {
    sampling: &'a Sampling,
    ends: &'a [u32],
    sequence: &'a Sequence,
    sampler: Sampler,
    rows: Vec<Vec<f32>>,
    /// The position of the first row.
    first: usize,
    /// How many tokens of the sequence are computed.
    end: usize,
}

/// What was chosen.
pub(super) struct Chosen {
    /// To be used again.
    pub(super) sampler: Sampler,
    /// What the model thought of the tokens of the prompt that follow the rows.
    prompt_scores: Vec<Score>,
    /// Whether that was the last of the prompt.
    ends_prompt: bool,
    /// Tokens before the chosen one.
    length: usize,
    /// The next token, unless only the prompt was asked for.
    token: Option<Result<(u32, Option<Score>)>>,
    /// Whether the sequence has come to its end, so that something is to be done.
    pub(super) is_complete: bool,
}

impl Choice<'_> {
    /// Scores the prompt and chooses the next token.
    pub(super) fn choose(mut self) -> Chosen {
        let (tokens, prompt) = (self.sequence.tokens(), self.sequence.prompt());
        let count = self.sampling.prompt_logprobs.unwrap_or(0);
        let mut prompt_scores = Vec::new();
        for (row, position) in self.rows.iter().zip(self.first..) {
            if position + 1 < prompt {
                prompt_scores.push(sampler::score(row, tokens[position + 1], count));
            }
        }
        let length = tokens.len();
        let is_complete = self.end == length;
        let mut token = None;
        if is_complete && self.sampling.max_tokens > 0 {
            let mut row = self.rows.pop().expect("logits after the last token are always wanted");
            token = Some(self.next(&mut row, (length, length - prompt)));
        }
        let ends_prompt = self.end >= prompt && length == prompt;
        Chosen { sampler: self.sampler, prompt_scores, ends_prompt, length, token, is_complete }
    }

    fn next(&mut self, row: &mut [f32], at: (usize, usize)) -> Result<(u32, Option<Score>)> {
        // The model's own opinion, before it is changed.
        let wanted = self.sampling.logprobs;
        let original = wanted.map(|_| row.to_vec());
        let id = self.sampler.next(row, self.sampling, at, self.ends)?;
        let score = original.zip(wanted).map(|(row, count)| sampler::score(&row, id, count));
        Ok((id, score))
    }
}
