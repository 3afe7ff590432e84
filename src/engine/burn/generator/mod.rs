//! Generating: pieces of sequences in, logits out, with a cache of keys and values.

use std::path::Path;

use super::cache::{Cache, Paged};
use super::comm::Group;
use super::decoder::{Decoder, WithinBatch};
use super::device::Place;
use super::loaded::{self, Weight};
use super::ops::{Crew, Kernels};
use super::packing::Packing;
use super::plan::Plan;
use super::rotary::Tables;
use super::share::{self, Share};
use super::source::Source;
use super::team::{Member, Team};
use super::trainer::check_ids;
use super::weights::Model;
use crate::{
    CacheShape, CacheType, Error, Generator, Held, ModelInfo, Piece, Result, Room, memory,
};

/// Rows of which logits are computed at a time, so that long sequences fit.
const LOGIT_ROWS: usize = 512;

/// A loaded model on one device, or split over several.
pub(crate) struct BurnGenerator {
    model: Model,
    ranks: Vec<Rank>,
    group: Group,
    tables: Tables,
    shape: CacheShape,
    held: Held,
    /// Shares the kernels of steps; there from the first one on, as many as there are threads then.
    crew: Option<Crew>,
}

/// What one device holds.
struct Rank {
    share: Share,
    weights: Vec<Weight>,
    cache: Cache,
    place: Place,
}

impl Rank {
    /// At work on pieces of sequences that are in its cache.
    fn generating(&mut self, pieces: &[Piece<'_>], tables: &Tables) -> Member<'_> {
        let packing = Packing::pieces(pieces, tables, &self.place.device);
        let Self { share, weights, cache, place } = self;
        let attention = Box::new(Paged::new(cache, pieces));
        Member { decoder: decoder(share, weights, place), packing, attention }
    }

    /// At work on a whole sequence.
    fn reading(&self, ids: &[u32], tables: &Tables) -> Member<'_> {
        let Self { share, weights, place, .. } = self;
        let packing = Packing::new([ids], tables, &place.device);
        let (heads, kernels) = (share.config.heads(), place.kernels);
        let attention = Box::new(WithinBatch { packing: packing.clone(), heads, kernels });
        Member { decoder: decoder(share, weights, place), packing, attention }
    }
}

fn decoder<'a>(share: &'a Share, weights: &'a [Weight], place: &Place) -> Decoder<'a> {
    let (config, kernels) = (&share.config, place.kernels);
    let (first_id, is_share) = (share.ids.start, share.is_part);
    Decoder { config, parameters: weights, kernels, first_id, is_share }
}

impl BurnGenerator {
    /// Loads a folder, split over all `places`, if model and cache fit into what is free.
    pub(crate) fn open(places: Vec<Place>, dir: &Path, room: Room) -> Result<Self> {
        let Some(place) = places.first() else {
            return Err(Error::BadInput("a model needs a device".to_owned()));
        };
        // The cache of a GPU is in its own memory, of which burn says nothing before it is used, and
        // its kernels take f32 only.
        let (free_bytes, room) = match place.kernels {
            Kernels::Fused => (memory::free_bytes(), room),
            Kernels::Plain => (None, Room { cache_type: CacheType::F32, ..room }),
        };
        let (model, source) = Model::open(dir)?;
        let mut weight_bytes = 0;
        for share in &Share::all(&model.config, places.len())? {
            let of = (&model.config, share);
            weight_bytes += loaded::bytes_needed(of, place, room.weights, &source)?;
        }
        if place.kernels == Kernels::Plain {
            memory::require(weight_bytes)?;
        }
        let held = share::held(&model.config, places.len());
        let plan = Plan::new(&held, weight_bytes, room, free_bytes)?;
        Self::new(places, model, &source, (plan, room))
    }

    pub(crate) fn new(
        places: Vec<Place>,
        mut model: Model,
        source: &Source,
        (plan, room): (Plan, Room),
    ) -> Result<Self> {
        let group = Group::new(places.clone())?;
        model.info.context = plan.context;
        let config = &model.config;
        let rank = |(share, place): (Share, Place)| -> Result<Rank> {
            let weights = loaded::load((config, &share), &place, room.weights, source)?;
            let cache = (plan.shape, room.cache_type);
            let cache = Cache::new(config.layers, share.config.heads(), cache, &place);
            Ok(Rank { share, weights, cache, place })
        };
        let shares = Share::all(config, places.len())?.into_iter();
        let ranks = shares.zip(places).map(rank).collect::<Result<_>>()?;
        let tables = Tables::new(config.head_size, &config.rope);
        let Plan { shape, weight_bytes, cache_bytes, .. } = plan;
        let held = Held { weight_bytes, cache_bytes };
        Ok(Self { ranks, group, tables, shape, held, crew: None, model })
    }

    /// The logits that checked pieces want.
    fn compute(&mut self, pieces: &[Piece<'_>]) -> Vec<Vec<f32>> {
        let tables = &self.tables;
        let members = self.ranks.iter_mut().map(|rank| rank.generating(pieces, tables));
        let members: Vec<Member<'_>> = members.collect();
        let ranges = members[0].packing.ranges().iter().zip(pieces);
        let wanted: Vec<usize> = ranges
            .flat_map(|(range, piece)| piece.logits.clone().map(|row| range.start + row))
            .collect();
        let mut team = Team { group: &self.group, members };
        let hidden = team.hidden_states();
        if wanted.is_empty() {
            return Vec::new();
        }
        let logits = team.logits(&hidden, &wanted);
        logits.chunks_exact(self.model.config.vocabulary).map(<[f32]>::to_vec).collect()
    }

    /// The logits of a whole sequence of checked ids.
    fn read(&self, ids: &[u32]) -> Vec<f32> {
        let tables = &self.tables;
        let members = self.ranks.iter().map(|rank| rank.reading(ids, tables)).collect();
        let mut team = Team { group: &self.group, members };
        let hidden = team.hidden_states();
        let mut logits = Vec::with_capacity(ids.len() * self.model.config.vocabulary);
        for start in (0..ids.len()).step_by(LOGIT_ROWS) {
            let rows: Vec<usize> = (start..ids.len().min(start + LOGIT_ROWS)).collect();
            logits.extend(team.logits(&hidden, &rows));
        }
        logits
    }

    /// Computes something whose kernels the crew shares.
    fn with_crew<R: Send>(&mut self, compute: impl FnOnce(&mut Self) -> R + Send) -> R {
        let threads = match self.ranks[0].place.kernels {
            Kernels::Fused => rayon::current_num_threads(),
            Kernels::Plain => 1,
        };
        let crew = self.crew.take().unwrap_or_else(|| Crew::new(threads));
        // On a thread of the pool: what is left to rayon would else wake one up and go to sleep.
        let result = rayon::scope(|_| crew.lead(|| compute(self)));
        self.crew = Some(crew);
        result
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

    fn held(&self) -> Held {
        self.held
    }

    fn step(&mut self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<f32>>> {
        pieces.iter().try_for_each(|piece| self.check(piece))?;
        Ok(self.with_crew(|this| this.compute(pieces)))
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        check_ids(ids, &self.model.info)?;
        Ok(self.with_crew(|this| this.read(ids)))
    }
}

#[cfg(test)]
mod tests;
