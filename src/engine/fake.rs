//! A generator without a model, for tests of what stands on the engine.
//!
//! After tokens `…, a, b` it finds `(a + b + 1) mod vocabulary` most likely, so that its answers
//! depend on the prompt, on the order of tokens and on nothing else. It keeps tokens in a cache of
//! blocks as a real one does, and finds what it says there: whoever mixes up blocks gets other
//! answers. [`Fake::with_memory`] makes the answer depend on every token before.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{BLOCK_TOKENS, CacheShape, Error, Generator, ModelInfo, Piece, Result};

/// The generator.
#[derive(Debug)]
pub struct Fake {
    info: ModelInfo,
    shape: CacheShape,
    /// Of each place in the cache the token, and a hash of it and all before it.
    cache: Vec<(u32, u64)>,
    /// Whether all tokens count, not only two.
    remembers: bool,
    /// From which token on logits are no numbers, if ever.
    poison: Option<u32>,
    /// After how many steps the device fails, if ever.
    steps_left: Option<u64>,
}

impl Fake {
    /// One with this vocabulary and context, whose cache holds `sequences` of full length; id 0
    /// ends an answer.
    pub fn new(vocabulary: usize, context: usize, sequences: usize) -> Self {
        let blocks = sequences * context.div_ceil(BLOCK_TOKENS);
        Self::with_cache(vocabulary, context, CacheShape { block_size: BLOCK_TOKENS, blocks })
    }

    /// One with a cache of this shape.
    pub fn with_cache(vocabulary: usize, context: usize, shape: CacheShape) -> Self {
        let info = ModelInfo { vocabulary, context, parameters: 0, eos_ids: vec![0] };
        let cache = vec![(0, 0); shape.tokens()];
        Self { info, shape, cache, remembers: false, poison: None, steps_left: None }
    }

    /// One whose logits depend on every token before.
    pub fn with_memory(self) -> Self {
        Self { remembers: true, ..self }
    }

    /// One whose logits after `token` are no numbers.
    pub fn poisoned_by(self, token: u32) -> Self {
        Self { poison: Some(token), ..self }
    }

    /// One whose device fails after `steps`.
    pub fn failing_after(self, steps: u64) -> Self {
        Self { steps_left: Some(steps), ..self }
    }

    /// What a model would say after `last`, whose token before is `second`.
    fn row(&self, second: Option<u32>, (last, hash): (u32, u64)) -> Vec<f32> {
        let size = self.info.vocabulary;
        let mut logits = vec![0.0; size];
        if self.poison == Some(last) {
            logits.fill(f32::NAN);
        } else if self.remembers {
            // A few likely ones, so that drawing among them matters.
            for turn in 0..4 {
                let mixed = hash.rotate_left(16 * turn) % size as u64;
                logits[mixed as usize] += 4.0 + turn as f32 / 2.0;
            }
        } else {
            logits[(second.unwrap_or(0) as usize + last as usize + 1) % size] = 20.0;
        }
        logits
    }

    fn check(&self, piece: &Piece<'_>) -> Result<()> {
        let end = piece.start + piece.tokens.len();
        let known = piece.tokens.iter().all(|id| (*id as usize) < self.info.vocabulary);
        let held = piece.blocks.len() * self.shape.block_size >= end
            && piece.blocks.iter().all(|block| (*block as usize) < self.shape.blocks);
        let asked =
            piece.logits.start <= piece.logits.end && piece.logits.end <= piece.tokens.len();
        match known && held && asked && !piece.tokens.is_empty() && end <= self.info.context {
            true => Ok(()),
            false => Err(Error::BadInput(format!("cannot take {piece:?}"))),
        }
    }

    fn run(&mut self, piece: &Piece<'_>, rows: &mut Vec<Vec<f32>>) {
        let size = self.shape.block_size;
        let place =
            |position: usize| piece.blocks[position / size] as usize * size + position % size;
        let mut before = piece.start.checked_sub(1).map(|position| self.cache[place(position)]);
        for (at, token) in piece.tokens.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            (before.map(|(_, hash)| hash), token).hash(&mut hasher);
            let entry = (*token, hasher.finish());
            self.cache[place(piece.start + at)] = entry;
            if piece.logits.contains(&at) {
                rows.push(self.row(before.map(|(token, _)| token), entry));
            }
            before = Some(entry);
        }
    }
}

impl Generator for Fake {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn cache(&self) -> CacheShape {
        self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<f32>>> {
        if let Some(left) = &mut self.steps_left {
            *left = left.checked_sub(1).ok_or(Error::BadInput("the device is lost".to_owned()))?;
        }
        pieces.iter().try_for_each(|piece| self.check(piece))?;
        let mut rows = Vec::new();
        pieces.iter().for_each(|piece| self.run(piece, &mut rows));
        Ok(rows)
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let blocks = ids.len().div_ceil(BLOCK_TOKENS);
        let shape = CacheShape { block_size: BLOCK_TOKENS, blocks };
        let mut alone = Self::with_cache(self.info.vocabulary, self.info.context, shape);
        (alone.remembers, alone.poison) = (self.remembers, self.poison);
        let blocks: Vec<u32> = (0..blocks as u32).collect();
        let piece = Piece { tokens: ids, start: 0, blocks: &blocks, logits: 0..ids.len() };
        Ok(alone.step(&[piece])?.concat())
    }
}
