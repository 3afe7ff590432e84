//! Generating: pieces of sequences in, logits out, with a cache of keys and values.

use std::path::Path;

use super::cache::{Cache, Paged};
use super::decoder::{Decoder, WithinBatch};
use super::device::{self, Place};
use super::loaded::{self, Weight};
use super::ops::Kernels;
use super::packing::Packing;
use super::plan::Plan;
use super::rotary::Tables;
use super::source::Source;
use super::trainer::check_ids;
use super::weights::Model;
use crate::{CacheShape, CacheType, Error, Generator, ModelInfo, Piece, Result, Room, memory};

/// Rows of which logits are computed at a time, so that long sequences fit.
const LOGIT_ROWS: usize = 512;

/// A loaded model on one device.
pub(crate) struct BurnGenerator {
    model: Model,
    weights: Vec<Weight>,
    tables: Tables,
    shape: CacheShape,
    cache: Cache,
    place: Place,
}

impl BurnGenerator {
    /// Loads a folder onto a device, if model and cache fit into what is free.
    pub(crate) fn open(place: Place, dir: &Path, room: Room) -> Result<Self> {
        // The cache of a GPU is in its own memory, of which burn says nothing before it is used, and
        // its kernels take f32 only.
        let (free_bytes, room) = match place.kernels {
            Kernels::Fused => (memory::free_bytes(), room),
            Kernels::Plain => (None, Room { cache_type: CacheType::F32, ..room }),
        };
        let (model, source) = Model::open(dir)?;
        let weight_bytes = loaded::bytes_needed(&model.config, &place, room.weights, &source)?;
        if place.kernels == Kernels::Plain {
            memory::require(weight_bytes)?;
        }
        let plan = Plan::new(&model.config, weight_bytes, room, free_bytes)?;
        Self::new(place, model, &source, (plan, room))
    }

    pub(crate) fn new(
        place: Place,
        mut model: Model,
        source: &Source,
        (plan, room): (Plan, Room),
    ) -> Result<Self> {
        let weights = loaded::load(&model.config, &place, room.weights, source)?;
        model.info.context = plan.context;
        let config = &model.config;
        let cache =
            Cache::new(config.layers, config.heads(), (plan.shape, room.cache_type), &place);
        let tables = Tables::new(config.head_size, &config.rope);
        Ok(Self { weights, tables, shape: plan.shape, cache, place, model })
    }

    fn decoder(&self) -> Decoder<'_> {
        let (config, parameters) = (&self.model.config, self.weights.as_slice());
        Decoder { config, parameters, kernels: self.place.kernels }
    }

    /// The logits that checked pieces want.
    fn compute(&mut self, pieces: &[Piece<'_>]) -> Vec<Vec<f32>> {
        let packing = Packing::pieces(pieces, &self.tables, &self.place.device);
        let mut attention = Paged::new(&mut self.cache, pieces);
        let decoder = Decoder {
            config: &self.model.config,
            parameters: &self.weights,
            kernels: self.place.kernels,
        };
        let hidden = decoder.hidden_states(&packing, &mut attention);
        let ranges = packing.ranges().iter().zip(pieces);
        let wanted: Vec<usize> = ranges
            .flat_map(|(range, piece)| piece.logits.clone().map(|row| range.start + row))
            .collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let logits = device::numbers(decoder.logits(hidden, &wanted));
        logits.chunks_exact(self.model.config.vocabulary).map(<[f32]>::to_vec).collect()
    }

    fn check(&self, piece: &Piece<'_>) -> Result<()> {
        check_ids(piece.tokens, &self.model.info)?;
        let (end, context) = (piece.start + piece.tokens.len(), self.model.info.context);
        if end > context {
            let why = format!("a sequence of {end} tokens is longer than the context, {context}");
            return Err(Error::BadInput(why));
        }
        let (held, blocks) = (piece.blocks.len() * self.shape.block_size, self.shape.blocks);
        if piece.logits.start > piece.logits.end || piece.logits.end > piece.tokens.len() {
            let why = format!("logits {:?} of {} tokens", piece.logits, piece.tokens.len());
            return Err(Error::BadInput(why));
        }
        if end > held || piece.blocks.iter().any(|block| *block as usize >= blocks) {
            let why =
                format!("a sequence of {end} tokens has blocks {:?} of {blocks}", piece.blocks);
            return Err(Error::BadInput(why));
        }
        Ok(())
    }
}

impl Generator for BurnGenerator {
    fn info(&self) -> &ModelInfo {
        &self.model.info
    }

    fn cache(&self) -> CacheShape {
        self.shape
    }

    fn step(&mut self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<f32>>> {
        pieces.iter().try_for_each(|piece| self.check(piece))?;
        // On a thread of the pool: from outside, each of a step's hundreds of kernels would wake one
        // up and go to sleep.
        Ok(rayon::scope(|_| self.compute(pieces)))
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

#[cfg(test)]
mod tests;
