//! Which tokens of which sequences are computed in the next step.
//!
//! Every step has one budget of tokens. Sequences that wait only for their last token come first,
//! then prompts in pieces, then new sequences, the oldest first each time. A new sequence gets
//! blocks for what is computed, not for what it may grow to; when none is free the youngest has to
//! give up its own, and is computed again when there is room, from whatever of it is still there.
//!
//! The oldest sequence can take the blocks of all others and alone it fits, so it always goes on
//! and, by induction, everyone finishes. Each time a sequence had to give way it asks for twice the
//! room that it asked for before, until it waits for the cache to be its own: so it gives way a
//! bounded number of times.
//!
//! Pure and deterministic: the same calls give the same plans.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use super::blocks::{Blocks, Content};
use super::sequence::{Order, Sequence};

/// How much a step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens computed in a step at most.
    pub step_tokens: usize,
    /// Sequences that are worked on at a time.
    pub sequences: usize,
    /// Rows of logits in a step at most: one is as long as the vocabulary.
    pub logit_rows: usize,
}

/// Tokens of one sequence to be computed in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Whose.
    pub order: Order,
    /// Which positions.
    pub positions: Range<usize>,
    /// After which of them logits are wanted.
    pub logits: Range<usize>,
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens looked up among the blocks that hold beginnings.
    pub prefix_queries: u64,
    /// Those that were found.
    pub prefix_hits: u64,
    /// Times that a sequence had to give up its blocks.
    pub preemptions: u64,
}

/// The sequences of an engine and the blocks of its cache.
#[derive(Debug)]
pub struct Scheduler<H = BuildHasherDefault<DefaultHasher>> {
    limits: Limits,
    blocks: Blocks<H>,
    /// Both the oldest first.
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    counts: Counts,
    /// What is left of the step.
    tokens_left: usize,
    rows_left: usize,
}

impl<H: BuildHasher + Default> Scheduler<H> {
    /// None yet.
    ///
    /// # Panics
    /// If a step has no room beside the sequences that wait for a single token.
    pub fn new(limits: Limits, blocks: Blocks<H>) -> Self {
        let Limits { step_tokens, sequences, logit_rows } = limits;
        assert!(sequences > 0 && step_tokens > sequences && logit_rows > sequences, "{limits:?}");
        Self {
            limits,
            blocks,
            waiting: VecDeque::new(),
            running: Vec::new(),
            counts: Counts::default(),
            tokens_left: 0,
            rows_left: 0,
        }
    }

    /// Tokens that fit into the cache; no sequence may grow beyond it.
    pub fn capacity(&self) -> usize {
        self.blocks.size() * self.blocks.count()
    }

    /// The blocks.
    pub fn blocks(&self) -> &Blocks<H> {
        &self.blocks
    }

    /// What was done since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Sequences that hold blocks.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait for some.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// All sequences, those that hold blocks first.
    pub fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(&self.waiting)
    }

    /// Takes a sequence in, by its age.
    ///
    /// # Panics
    /// If it is empty or can never fit.
    pub fn add(&mut self, sequence: Sequence) {
        let length = sequence.tokens.len();
        assert!(
            (1..=self.capacity()).contains(&length),
            "a sequence of {length} tokens was admitted"
        );
        let at = self.waiting.partition_point(|other| other.order < sequence.order);
        self.waiting.insert(at, sequence);
    }

    /// A sequence that is running.
    ///
    /// # Panics
    /// If it is not.
    pub fn get(&self, order: Order) -> &Sequence {
        &self.running[self.place(order)]
    }

    /// Appends a token to a running sequence.
    ///
    /// # Panics
    /// If it is not running.
    pub fn append(&mut self, order: Order, token: u32) {
        let at = self.place(order);
        self.running[at].tokens.push(token);
    }

    /// Lets the sequences go that `leaves` names, running or not.
    pub fn remove(&mut self, leaves: impl Fn(Order) -> bool) {
        self.waiting.retain(|sequence| !leaves(sequence.order));
        let kept = Vec::with_capacity(self.running.len());
        for mut sequence in std::mem::replace(&mut self.running, kept) {
            match leaves(sequence.order) {
                true => self.release(&mut sequence),
                false => self.running.push(sequence),
            }
        }
    }

    /// Forgets what the sequence's blocks hold: it may be wrong.
    pub fn distrust(&mut self, order: Order) {
        let at = self.place(order);
        self.running[at].blocks.iter().for_each(|block| self.blocks.forget(*block));
    }

    /// What to compute next; empty if there is nothing.
    pub fn schedule(&mut self) -> Vec<Work> {
        self.tokens_left = self.limits.step_tokens;
        self.rows_left = self.limits.logit_rows;
        let before = self.counts.preemptions;
        self.continue_running(|pending| pending == 1);
        self.continue_running(|pending| pending > 1);
        // Whoever just had to give way would come right back.
        if self.counts.preemptions == before {
            while self.admit_next() {}
        }
        let scheduled = self.running.iter().filter(|sequence| sequence.scheduled > 0);
        scheduled.map(work).collect()
    }

    /// Notes that what was scheduled is computed, so that it can be found by others.
    pub fn computed(&mut self) {
        let size = self.blocks.size();
        for sequence in &mut self.running {
            let end = sequence.computed + std::mem::take(&mut sequence.scheduled);
            if sequence.scores_prompt {
                sequence.scored = sequence.scored.max(end);
            }
            sequence.computed = end;
            for at in sequence.contents.len()..end / size {
                let before = at.checked_sub(1).map_or(Content::EMPTY, |at| sequence.contents[at]);
                let tokens = &sequence.tokens[at * size..(at + 1) * size];
                let content = self.blocks.remember(sequence.blocks[at], before, tokens);
                sequence.contents.push(content);
            }
        }
    }

    /// Checks the books.
    ///
    /// # Panics
    /// If blocks are held by nobody, or sequences are in the wrong order.
    pub fn check(&self) {
        self.blocks.check(self.running.iter().flat_map(|sequence| sequence.blocks.iter().copied()));
        assert!(self.waiting.iter().all(|sequence| sequence.blocks.is_empty()));
        assert!(self.waiting.iter().is_sorted_by(|a, b| a.order < b.order));
        assert!(self.running.is_sorted_by(|a, b| a.order < b.order));
    }

    fn place(&self, order: Order) -> usize {
        let at = self.running.binary_search_by_key(&order, |sequence| sequence.order);
        at.expect("the sequence is running")
    }

    /// Gives running sequences their share of the step, the oldest first.
    fn continue_running(&mut self, takes_part: impl Fn(usize) -> bool) {
        let mut at = 0;
        while at < self.running.len() {
            let sequence = &self.running[at];
            if sequence.scheduled == 0 && takes_part(sequence.pending()) {
                let wanted = self.share(sequence, sequence.computed);
                if wanted > 0 {
                    // Whoever is younger gives way; if nobody is, it is gone itself.
                    while self.room(at) == 0 {
                        self.preempt_youngest();
                        if at == self.running.len() {
                            return;
                        }
                    }
                    let granted = wanted.min(self.room(at));
                    self.grant(at, granted);
                }
            }
            at += 1;
        }
    }

    /// How many tokens of a sequence after those that are computed the rest of the step has room for.
    fn share(&self, sequence: &Sequence, computed: usize) -> usize {
        let most = (sequence.tokens.len() - computed).min(self.tokens_left);
        let rows = |tokens: usize| sequence.wanted(computed, computed + tokens).len();
        match rows(most) <= self.rows_left {
            true => most,
            // Logits of a prompt: as many tokens fewer as there are rows too many.
            false => most.saturating_sub(rows(most) - self.rows_left),
        }
    }

    /// Tokens that a running sequence can grow by without taking blocks from others.
    fn room(&self, at: usize) -> usize {
        let sequence = &self.running[at];
        let blocks = sequence.blocks.len() + self.blocks.available();
        blocks * self.blocks.size() - sequence.computed
    }

    fn grant(&mut self, at: usize, tokens: usize) {
        let sequence = &mut self.running[at];
        let end = sequence.computed + tokens;
        while sequence.blocks.len() * self.blocks.size() < end {
            sequence.blocks.push(self.blocks.take().expect("there is room for what is granted"));
        }
        sequence.scheduled = tokens;
        self.tokens_left -= tokens;
        self.rows_left -= sequence.wanted(sequence.computed, end).len();
    }

    /// Lets the oldest that waits in, if there is room for all of it; false if not.
    fn admit_next(&mut self) -> bool {
        let Some(next) = self.waiting.front() else { return false };
        if self.running.len() == self.limits.sequences || self.tokens_left == 0 {
            return false;
        }
        let reusable = next.reusable();
        let found = self.blocks.find(&next.tokens[..reusable]);
        let tokens = self.share(next, found.len() * self.blocks.size());
        let needed = next.tokens.len().div_ceil(self.blocks.size()) - found.len();
        let headroom = self.running.len() << next.preemptions.min(u32::BITS - 1);
        let asked = needed + self.blocks.idle(&found) + headroom;
        if tokens == 0 || (!self.running.is_empty() && self.blocks.available() < asked) {
            return false;
        }
        let mut next = self.waiting.pop_front().expect("there is a next one");
        self.counts.prefix_queries += reusable as u64;
        self.counts.prefix_hits += (found.len() * self.blocks.size()) as u64;
        for (block, content) in found {
            self.blocks.share(block);
            next.blocks.push(block);
            next.contents.push(content);
        }
        next.computed = next.blocks.len() * self.blocks.size();
        let at = self.running.partition_point(|other| other.order < next.order);
        self.running.insert(at, next);
        self.grant(at, tokens);
        true
    }

    fn preempt_youngest(&mut self) {
        let mut youngest = self.running.pop().expect("whoever asks for room is running");
        self.tokens_left += youngest.scheduled;
        self.rows_left += match youngest.scheduled {
            0 => 0,
            scheduled => youngest.wanted(youngest.computed, youngest.computed + scheduled).len(),
        };
        self.release(&mut youngest);
        youngest.preemptions += 1;
        self.counts.preemptions += 1;
        let at = self.waiting.partition_point(|other| other.order < youngest.order);
        self.waiting.insert(at, youngest);
    }

    /// Frees the blocks, the last first: the beginning is what others may share.
    fn release(&mut self, sequence: &mut Sequence) {
        sequence.blocks.drain(..).rev().for_each(|block| self.blocks.release(block));
        sequence.contents.clear();
        (sequence.computed, sequence.scheduled) = (0, 0);
    }
}

fn work(sequence: &Sequence) -> Work {
    let end = sequence.computed + sequence.scheduled;
    Work {
        order: sequence.order,
        positions: sequence.computed..end,
        logits: sequence.wanted(sequence.computed, end),
    }
}

#[cfg(test)]
mod tests;
