//! A generator without a model, for tests of what stands on the engine.
//!
//! After tokens `…, a, b` it finds `(a + b + 1) mod vocabulary` most likely, so that its answers
//! depend on the prompt, on the order of tokens and on nothing else.

use super::{Error, Generator, ModelInfo, Result, Slot};

/// The generator.
#[derive(Debug)]
pub struct Fake {
    info: ModelInfo,
    slots: Vec<Vec<u32>>,
}

impl Fake {
    /// One with this vocabulary, context and number of slots; id 0 ends an answer.
    pub fn new(vocabulary: usize, context: usize, slots: usize) -> Self {
        let info = ModelInfo { vocabulary, context, parameters: 0, eos_ids: vec![0] };
        Self { info, slots: vec![Vec::new(); slots] }
    }

    fn row(&self, ids: &[u32]) -> Vec<f32> {
        let mut logits = vec![0.0; self.info.vocabulary];
        let sum: usize = ids.iter().rev().take(2).map(|id| *id as usize).sum();
        logits[(sum + 1) % self.info.vocabulary] = 20.0;
        logits
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().all(|id| (*id as usize) < self.info.vocabulary)
            && (1..=self.info.context).contains(&ids.len())
        {
            true => Ok(()),
            false => Err(Error::BadInput(format!("cannot take {} ids", ids.len()))),
        }
    }
}

impl Generator for Fake {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn prefill(&mut self, prompts: &[(Slot, &[u32])]) -> Result<Vec<Vec<f32>>> {
        for (_, ids) in prompts {
            self.check(ids)?;
        }
        for (slot, ids) in prompts {
            self.slots[slot.0] = ids.to_vec();
        }
        Ok(prompts.iter().map(|(_, ids)| self.row(ids)).collect())
    }

    fn decode(&mut self, tokens: &[(Slot, u32)]) -> Result<Vec<Vec<f32>>> {
        for (slot, token) in tokens {
            let mut ids = self.slots[slot.0].clone();
            ids.push(*token);
            self.check(&ids)?;
            self.slots[slot.0] = ids;
        }
        Ok(tokens.iter().map(|(slot, _)| self.row(&self.slots[slot.0])).collect())
    }

    fn release(&mut self, slot: Slot) {
        self.slots[slot.0].clear();
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        self.check(ids)?;
        Ok((1..=ids.len()).flat_map(|end| self.row(&ids[..end])).collect())
    }
}
