//! A sequence that is being generated: its tokens, and how much of it the cache holds.

use std::ops::Range;

use super::blocks::{Block, Content};

/// Which sequence, and how old it is: those of earlier requests are smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The request, counted in the order of arrival.
    pub request: u64,
    /// Which of the request's answers.
    pub sample: u32,
}

/// A sequence.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub(super) order: Order,
    /// The prompt and what was generated.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt: usize,
    /// Whether the logits after every token of the prompt are wanted.
    pub(super) scores_prompt: bool,
    /// Positions of the prompt whose logits were seen; they are not computed again.
    pub(super) scored: usize,
    /// Tokens whose keys and values are in the cache.
    pub(super) computed: usize,
    /// Tokens of this step.
    pub(super) scheduled: usize,
    /// The blocks that hold `computed + scheduled` tokens.
    pub(super) blocks: Vec<Block>,
    /// What the full ones hold.
    pub(super) contents: Vec<Content>,
    pub(super) preemptions: u32,
}

impl Sequence {
    /// One that begins with `prompt`. With `scores_prompt` the logits after each of its tokens are
    /// computed, not only after the last.
    pub fn new(order: Order, prompt: Vec<u32>, scores_prompt: bool) -> Self {
        Self {
            order,
            prompt: prompt.len(),
            tokens: prompt,
            scores_prompt,
            scored: 0,
            computed: 0,
            scheduled: 0,
            blocks: Vec::new(),
            contents: Vec::new(),
            preemptions: 0,
        }
    }

    /// Which it is.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The prompt and what was generated so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What was generated so far.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// Length of the prompt.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// The blocks that hold it.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How often its blocks were taken from it.
    pub fn preemptions(&self) -> u32 {
        self.preemptions
    }

    /// Tokens that are not in the cache yet.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The positions after which logits are wanted, if the tokens from `start` to `end` are computed.
    pub(super) fn wanted(&self, start: usize, end: usize) -> Range<usize> {
        let first = match (self.scores_prompt, end == self.tokens.len()) {
            // The last token of a prompt is followed by the first of the answer.
            (true, _) => self.scored.max(start),
            (false, true) => end - 1,
            (false, false) => end,
        };
        first.min(end)..end
    }

    /// How many of the beginning's tokens may come from blocks that hold them already: logits that
    /// are wanted have to be computed.
    pub(super) fn reusable(&self) -> usize {
        let unscored = if self.scores_prompt { self.scored } else { self.tokens.len() };
        unscored.min(self.tokens.len() - 1)
    }
}
