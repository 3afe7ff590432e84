//! A generator that repeats what it was told: a server to try clients and proxies on, without a
//! model.
//!
//! In a conversation it says the last user's words again, token by token, and then ends; any other
//! text it goes on with the ids that follow in the vocabulary. It keeps tokens in a cache of blocks
//! as a model does and finds what it says only there. Faults can be built in, to see what a server
//! makes of them.

use std::time::Duration;

use crate::{BLOCK_TOKENS, CacheShape, Error, Generator, ModelInfo, Piece, Result};

/// How much likelier the next token is than the others, unless it is told otherwise: at a
/// temperature of 1 another one is drawn once in a million times.
const SURE: f32 = 20.0;

/// Ids by which a conversation is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// What a user's message begins with.
    pub user: Vec<u32>,
    /// What the model's message begins with.
    pub answer: Vec<u32>,
    /// What every message ends with.
    pub end: u32,
}

/// What is wrong with a parrot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// After this id its logits are no numbers.
    pub poison: Option<u32>,
    /// After so many steps the device is lost.
    pub dies_after: Option<u64>,
    /// After so many steps one takes an hour.
    pub hangs_after: Option<u64>,
    /// After so many steps it panics.
    pub panics_after: Option<u64>,
}

/// What a parrot is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Nature {
    /// Ids are below this.
    pub vocabulary: usize,
    /// Tokens of a sequence at most.
    pub context: usize,
    /// Blocks of its cache.
    pub blocks: usize,
    /// How long a step takes.
    pub pace: Duration,
    /// How much larger the logit of the next token is than the others.
    pub sure: f32,
    /// What is wrong with it.
    pub faults: Faults,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            vocabulary: 259,
            context: 4096,
            blocks: 4096,
            pace: Duration::from_millis(5),
            sure: SURE,
            faults: Faults::default(),
        }
    }
}

/// The generator.
#[derive(Debug)]
pub struct Parrot {
    info: ModelInfo,
    nature: Nature,
    marks: Marks,
    /// Of each place in the cache the token.
    cache: Vec<u32>,
    steps: u64,
}

impl Parrot {
    /// One that knows conversations by `marks`.
    pub fn new(nature: Nature, marks: Marks) -> Self {
        let info = ModelInfo {
            vocabulary: nature.vocabulary,
            context: nature.context,
            parameters: 0,
            eos_ids: vec![marks.end],
        };
        let cache = vec![0; nature.blocks * BLOCK_TOKENS];
        Self { info, nature, marks, cache, steps: 0 }
    }

    fn check(&self, piece: &Piece<'_>) -> Result<()> {
        let end = piece.start + piece.tokens.len();
        let known = piece.tokens.iter().all(|id| (*id as usize) < self.info.vocabulary);
        let held = piece.blocks.len() * BLOCK_TOKENS >= end
            && piece.blocks.iter().all(|block| (*block as usize) < self.nature.blocks);
        match known && held && end <= self.info.context {
            true => Ok(()),
            false => Err(Error::BadInput(format!("cannot take {} tokens", piece.tokens.len()))),
        }
    }

    fn place(blocks: &[u32], position: usize) -> usize {
        blocks[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
    }

    /// What is said after `ids`.
    fn next(&self, ids: &[u32]) -> u32 {
        let Marks { user, answer, end } = &self.marks;
        let Some((asked, said)) = split_last(ids, answer) else {
            let last = ids.last().copied().unwrap_or(0);
            return (last + 1) % self.info.vocabulary as u32;
        };
        let words = split_last(asked, user).map_or(asked, |(_, words)| words);
        let length = words.iter().position(|id| id == end).unwrap_or(words.len());
        // Whoever does not let it end hears it all again.
        words[..length].get(said.len() % (length + 1)).copied().unwrap_or(*end)
    }

    fn row(&self, ids: &[u32]) -> Vec<f32> {
        let size = self.info.vocabulary;
        if self.nature.faults.poison.is_some_and(|poison| ids.last() == Some(&poison)) {
            return vec![f32::NAN; size];
        }
        let next = self.next(ids) as usize;
        // The others differ, so that it is certain which of them are likelier.
        let mut row: Vec<f32> =
            (0..size).map(|id| ((id + next) % size) as f32 / size as f32).collect();
        row[next] = self.nature.sure;
        row
    }

    fn run(&mut self, piece: &Piece<'_>, rows: &mut Vec<Vec<f32>>) {
        for (at, token) in piece.tokens.iter().enumerate() {
            self.cache[Self::place(piece.blocks, piece.start + at)] = *token;
        }
        let end = piece.start + piece.tokens.len();
        let place = |position| self.cache[Self::place(piece.blocks, position)];
        let ids: Vec<u32> = (0..end).map(place).collect();
        rows.extend(piece.logits.clone().map(|at| self.row(&ids[..=piece.start + at])));
    }

    fn fail(&mut self) -> Result<()> {
        self.steps += 1;
        let faults = self.nature.faults;
        let due = |after: Option<u64>| after.is_some_and(|after| self.steps > after);
        if due(faults.hangs_after) {
            std::thread::sleep(Duration::from_secs(3600));
        }
        assert!(!due(faults.panics_after), "the parrot was told to panic");
        match due(faults.dies_after) {
            true => Err(Error::BadInput("the device is lost".to_owned())),
            false => Ok(()),
        }
    }
}

impl Generator for Parrot {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn cache(&self) -> CacheShape {
        CacheShape { block_size: BLOCK_TOKENS, blocks: self.nature.blocks }
    }

    fn step(&mut self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<f32>>> {
        self.fail()?;
        pieces.iter().try_for_each(|piece| self.check(piece))?;
        std::thread::sleep(self.nature.pace);
        let mut rows = Vec::new();
        pieces.iter().for_each(|piece| self.run(piece, &mut rows));
        Ok(rows)
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        Ok((1..=ids.len()).flat_map(|end| self.row(&ids[..end])).collect())
    }
}

/// What stands before and after the last place where `mark` stands.
fn split_last<'a>(ids: &'a [u32], mark: &[u32]) -> Option<(&'a [u32], &'a [u32])> {
    let at = (0..=ids.len().checked_sub(mark.len())?).rev().find(|at| ids[*at..].starts_with(mark));
    at.map(|at| (&ids[..at], &ids[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [u32; 9] = [200, 1, 7, 8, 9, 250, 200, 2, 250];

    fn parrot(faults: Faults) -> Parrot {
        let marks = Marks { user: vec![200, 1], answer: vec![200, 2], end: 250 };
        let nature = Nature { pace: Duration::ZERO, blocks: 8, faults, ..Nature::default() };
        Parrot::new(nature, marks)
    }

    /// The likeliest next id after each of `ids`, said `length` times.
    fn say(parrot: &mut Parrot, ids: &[u32], length: usize) -> Vec<u32> {
        let blocks = [3, 1, 2];
        let mut ids = ids.to_vec();
        let mut said = Vec::new();
        let mut start = 0;
        for _ in 0..length {
            let logits = ids.len() - start - 1..ids.len() - start;
            let piece = Piece { tokens: &ids[start..], start, blocks: &blocks, logits };
            let row = parrot.step(&[piece]).unwrap().remove(0);
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
            said.push(best);
            start = ids.len();
            ids.push(best);
        }
        said
    }

    #[test]
    fn it_repeats_the_last_user_and_ends() {
        let mut parrot = parrot(Faults::default());
        assert_eq!(say(&mut parrot, &ASKED[..8], 6), [7, 8, 9, 250, 7, 8]);
        assert_eq!(say(&mut parrot, &[5, 6], 2), [7, 8], "any other text goes on");
    }

    #[test]
    fn its_faults_come_when_they_are_due() {
        let mut dying = parrot(Faults { dies_after: Some(1), ..Faults::default() });
        let blocks = [0];
        let piece = || Piece { tokens: &[5], start: 0, blocks: &blocks, logits: 0..1 };
        assert!(dying.step(&[piece()]).is_ok());
        assert!(dying.step(&[piece()]).is_err());
        let mut poisoned = parrot(Faults { poison: Some(5), ..Faults::default() });
        assert!(poisoned.step(&[piece()]).unwrap()[0][0].is_nan());
    }
}
