//! Generating: prompts in, one token per sequence and step out, with a cache of keys and values.

use std::path::Path;

use burn::tensor::Tensor;

use super::cache::{Cache, Decode, Prefill};
use super::decoder::{Decoder, WithinBatch};
use super::device::{self, Place};
use super::packing::Packing;
use super::parameters::parameters;
use super::rotary::Tables;
use super::trainer::check_ids;
use super::weights::Model;
use crate::{Error, Generator, ModelInfo, Result, Slot};

/// Sequences at a time at most: beyond it a step's time grows as fast as its tokens.
const SLOTS_MAX: usize = 64;

/// Bytes that the cache may grow to if every slot is full.
const CACHE_BYTES_MAX: usize = 2 << 30;

/// Rows of which logits are computed at a time, so that long sequences fit.
const LOGIT_ROWS: usize = 512;

/// A loaded model on one device.
pub(crate) struct BurnGenerator {
    model: Model,
    weights: Vec<Tensor<2>>,
    tables: Tables,
    cache: Cache,
    place: Place,
}

impl BurnGenerator {
    /// Loads a folder onto a device.
    pub(crate) fn open(place: Place, dir: &Path) -> Result<Self> {
        Ok(Self::new(place, Model::load(dir)?))
    }

    pub(crate) fn new(place: Place, mut model: Model) -> Self {
        let values = std::mem::take(&mut model.values);
        let weights = (values.into_iter().zip(parameters(&model.config)))
            .map(|(values, parameter)| device::matrix(values, parameter.shape, &place.device))
            .collect();
        let config = &model.config;
        let token_bytes = 2 * config.layers * config.kv_width() * size_of::<f32>();
        let slots = (CACHE_BYTES_MAX / (token_bytes * config.context)).clamp(1, SLOTS_MAX);
        let cache = Cache::new(config.layers, config.heads(), slots, &place);
        let tables = Tables::new(config.head_size, &config.rope);
        Self { weights, tables, cache, place, model }
    }

    fn decoder(&self) -> Decoder<'_> {
        let (config, parameters) = (&self.model.config, self.weights.as_slice());
        Decoder { config, parameters, kernels: self.place.kernels }
    }

    /// Logits of some packed rows.
    fn logits_of(&self, hidden: Tensor<2>, rows: &[usize]) -> Vec<Vec<f32>> {
        let logits = device::numbers(self.decoder().logits(hidden, rows));
        logits.chunks_exact(self.model.config.vocabulary).map(<[f32]>::to_vec).collect()
    }
}

impl Generator for BurnGenerator {
    fn info(&self) -> &ModelInfo {
        &self.model.info
    }

    fn slots(&self) -> usize {
        self.cache.slots()
    }

    fn prefill(&mut self, prompts: &[(Slot, &[u32])]) -> Result<Vec<Vec<f32>>> {
        for (slot, ids) in prompts {
            check_ids(ids, &self.model.info)?;
            if self.cache.length(slot.0) != 0 {
                return Err(Error::BadInput(format!("slot {} is not free", slot.0)));
            }
        }
        let packing =
            Packing::new(prompts.iter().map(|(_, ids)| *ids), &self.tables, &self.place.device);
        self.cache.reserve(packing.longest());
        let slots: Vec<usize> = prompts.iter().map(|(slot, _)| slot.0).collect();
        let mut attention = Prefill::new(&mut self.cache, &packing, &slots);
        let decoder = Decoder {
            config: &self.model.config,
            parameters: &self.weights,
            kernels: self.place.kernels,
        };
        let hidden = decoder.hidden_states(&packing, &mut attention);
        for (slot, ids) in prompts {
            self.cache.set_length(slot.0, ids.len());
        }
        let last: Vec<usize> = packing.ranges().iter().map(|range| range.end - 1).collect();
        Ok(self.logits_of(hidden, &last))
    }

    fn decode(&mut self, tokens: &[(Slot, u32)]) -> Result<Vec<Vec<f32>>> {
        let context = self.model.info.context;
        let mut positions = Vec::with_capacity(tokens.len());
        for (slot, token) in tokens {
            check_ids(&[*token], &self.model.info)?;
            match self.cache.length(slot.0) {
                0 => return Err(Error::BadInput(format!("slot {} is empty", slot.0))),
                full if full >= context => {
                    let why = format!("slot {} is at the context's end, {context}", slot.0);
                    return Err(Error::BadInput(why));
                }
                length => positions.push(length),
            }
        }
        self.cache.reserve(positions.iter().copied().max().unwrap_or(0) + 1);
        let ids: Vec<u32> = tokens.iter().map(|(_, token)| *token).collect();
        let packing = Packing::single(&ids, &positions, &self.tables, &self.place.device);
        let slots: Vec<usize> = tokens.iter().map(|(slot, _)| slot.0).collect();
        let mut attention = Decode::new(&mut self.cache, &slots);
        let decoder = Decoder {
            config: &self.model.config,
            parameters: &self.weights,
            kernels: self.place.kernels,
        };
        let hidden = decoder.hidden_states(&packing, &mut attention);
        for (slot, position) in slots.iter().zip(positions) {
            self.cache.set_length(*slot, position + 1);
        }
        Ok(self.logits_of(hidden, &(0..tokens.len()).collect::<Vec<usize>>()))
    }

    fn release(&mut self, slot: Slot) {
        self.cache.set_length(slot.0, 0);
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        check_ids(ids, &self.model.info)?;
        let packing = Packing::new([ids], &self.tables, &self.place.device);
        let (heads, kernels) = (self.model.config.heads(), self.place.kernels);
        let mut attention = WithinBatch { packing: &packing, heads, kernels };
        let hidden = self.decoder().hidden_states(&packing, &mut attention);
        let mut logits = Vec::with_capacity(ids.len() * self.model.config.vocabulary);
        for start in (0..ids.len()).step_by(LOGIT_ROWS) {
            let rows: Vec<usize> = (start..ids.len().min(start + LOGIT_ROWS)).collect();
            logits.extend(device::numbers(self.decoder().logits(hidden.clone(), &rows)));
        }
        Ok(logits)
    }
}
