//! What is in memory and what it does, for whoever looks after the server.

use std::sync::PoisonError;
use std::time::Duration;

use super::super::Error;
use super::Models;
use crate::chat::local::{LocalModel, Replica};
use crate::engine::BLOCK_TOKENS;

/// A model in memory, or on its way there.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What to call it.
    pub name: String,
    /// Tokens of conversation and answer at most; 0 while it is being loaded.
    pub context: usize,
    /// Numbers in it; 0 while it is being loaded.
    pub parameters: u64,
    /// Its copies; none while it is being loaded.
    pub copies: Vec<Copied>,
}

/// One copy of a model and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Copied {
    /// Where it is, rank by rank, as `--device` takes it.
    pub devices: Vec<String>,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Bytes of its cache.
    pub cache_bytes: u64,
    /// Tokens that fit the cache.
    pub cache_tokens: usize,
    /// Tokens of the cache that sequences hold, in whole blocks.
    pub cache_tokens_used: usize,
    /// Sequences that are worked on.
    pub running: usize,
    /// Requests that wait, and sequences that had to give way.
    pub waiting: usize,
    /// Tokens of prompts taken in since it was loaded.
    pub prompt_tokens: u64,
    /// Tokens generated since it was loaded.
    pub generated_tokens: u64,
    /// Why it has ended for good, if it has.
    pub dead: Option<String>,
    /// How long its last step is ago while there is work.
    pub step_age: Option<Duration>,
}

impl From<Replica> for Copied {
    fn from(replica: Replica) -> Self {
        let (load, health) = (replica.meter.load(), replica.meter.health());
        Self {
            devices: replica.devices.iter().map(ToString::to_string).collect(),
            weight_bytes: replica.held.weight_bytes,
            cache_bytes: replica.held.cache_bytes,
            cache_tokens: load.blocks * BLOCK_TOKENS,
            cache_tokens_used: load.blocks_used * BLOCK_TOKENS,
            running: load.running,
            waiting: load.waiting,
            prompt_tokens: load.prompt_tokens,
            generated_tokens: load.generated_tokens,
            dead: health.dead,
            step_age: health.step_age,
        }
    }
}

/// Notes which model is on its way into memory for as long as it is.
pub(super) struct OnItsWay<'a>(&'a Models);

impl<'a> OnItsWay<'a> {
    pub(super) fn new(models: &'a Models, name: &str) -> Self {
        models.entries().coming = Some(name.to_owned());
        Self(models)
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.entries().coming = None;
    }
}

impl Models {
    /// What is in memory, by name, and what is on its way there.
    pub fn in_memory(&self) -> Vec<Loaded> {
        let entries = self.entries();
        let here = entries.loaded.iter().map(|(offer, model)| loaded(&offer.name, model));
        let mut all: Vec<Loaded> = here.collect();
        if let Some(name) = entries.coming.clone() {
            all.retain(|other| other.name != name);
            all.push(Loaded { name, context: 0, parameters: 0, copies: Vec::new() });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Loads the model called `name` if it is not there. Blocks.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded.
    pub fn load_named(&self, name: &str) -> Result<Loaded, Error> {
        self.get(Some(name)).map(|model| loaded(name, &model))
    }

    /// Takes the model called `name` out of memory; says whether it was there. Answers that are being
    /// written keep it until they end. Blocks while a model is being loaded.
    pub fn unload_named(&self, name: &str) -> bool {
        let _not_meanwhile = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries();
        let is_there = entries.loaded.iter().any(|(offer, _)| offer.name == name);
        entries.unload(|_, offer| offer.name == name);
        is_there
    }
}

fn loaded(name: &str, model: &LocalModel) -> Loaded {
    let copies = model.replicas().into_iter().map(Copied::from).collect();
    let (context, parameters) = (model.context(), model.parameters());
    Loaded { name: name.to_owned(), context, parameters, copies }
}
