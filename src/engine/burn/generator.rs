//! Generating: prompts in, one token per sequence and step out, with a cache of keys and values.

use std::path::Path;

use burn::tensor::{Device as BurnDevice, Int, Tensor, TensorData};

use super::cache::{Cache, Decode, Prefill};
use super::decoder::{self, WithinBatch};
use super::device;
use super::packing::Packing;
use super::parameters::parameters;
use super::rotary::Tables;
use super::trainer::check_ids;
use super::weights::Model;
use crate::engine::{Error, Generator, ModelInfo, Result, Slot};

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
    device: BurnDevice,
}

impl BurnGenerator {
    /// Loads a folder onto a device.
    pub(crate) fn open(device: BurnDevice, dir: &Path) -> Result<Self> {
        Ok(Self::new(device, Model::load(dir)?))
    }

    pub(crate) fn new(device: BurnDevice, mut model: Model) -> Self {
        let values = std::mem::take(&mut model.values);
        let weights = (values.into_iter().zip(parameters(&model.config)))
            .map(|(values, parameter)| device::matrix(values, parameter.shape, &device))
            .collect();
        let config = &model.config;
        let token_bytes = 2 * config.layers * config.kv_width() * size_of::<f32>();
        let slots = (CACHE_BYTES_MAX / (token_bytes * config.context)).clamp(1, SLOTS_MAX);
        let cache = Cache::new(config.layers, config.heads(), slots, &device);
        let tables = Tables::new(config.head_size, config.rope_theta);
        Self { weights, tables, cache, device, model }
    }

    /// Logits of some packed rows.
    fn head(&self, hidden: Tensor<2>, rows: Vec<i64>) -> Vec<Vec<f32>> {
        let count = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &self.device);
        let logits = decoder::head(&self.model.config, &self.weights, hidden.select(0, rows));
        let vocabulary = self.model.config.vocabulary;
        device::numbers(logits).chunks_exact(vocabulary).map(<[f32]>::to_vec).collect()
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
        let packing = Packing::new(prompts.iter().map(|(_, ids)| *ids), &self.tables, &self.device);
        self.cache.reserve(packing.longest());
        let slots: Vec<usize> = prompts.iter().map(|(slot, _)| slot.0).collect();
        let mut attention = Prefill::new(&mut self.cache, &packing, &slots);
        let config = &self.model.config;
        let hidden = decoder::hidden_states(config, &self.weights, &packing, &mut attention);
        for (slot, ids) in prompts {
            self.cache.set_length(slot.0, ids.len());
        }
        let last = packing.ranges().iter().map(|range| range.end as i64 - 1).collect();
        Ok(self.head(hidden, last))
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
        let packing = Packing::single(&ids, &positions, &self.tables, &self.device);
        let slots: Vec<usize> = tokens.iter().map(|(slot, _)| slot.0).collect();
        let mut attention = Decode::new(&mut self.cache, &slots);
        let config = &self.model.config;
        let hidden = decoder::hidden_states(config, &self.weights, &packing, &mut attention);
        for (slot, position) in slots.iter().zip(positions) {
            self.cache.set_length(*slot, position + 1);
        }
        Ok(self.head(hidden, (0..tokens.len() as i64).collect()))
    }

    fn release(&mut self, slot: Slot) {
        self.cache.set_length(slot.0, 0);
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        check_ids(ids, &self.model.info)?;
        let packing = Packing::new([ids], &self.tables, &self.device);
        let config = &self.model.config;
        let mut attention = WithinBatch { packing: &packing, heads: config.heads() };
        let hidden = decoder::hidden_states(config, &self.weights, &packing, &mut attention);
        let mut logits = Vec::with_capacity(ids.len() * config.vocabulary);
        for start in (0..ids.len()).step_by(LOGIT_ROWS) {
            let rows = LOGIT_ROWS.min(ids.len() - start);
            let part = hidden.clone().narrow(0, start, rows);
            logits.extend(device::numbers(decoder::head(config, &self.weights, part)));
        }
        Ok(logits)
    }
}
