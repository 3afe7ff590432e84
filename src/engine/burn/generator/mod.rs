//! Generating: pieces of sequences in, logits out, with a cache of keys and values.

mod decoding;

use std::path::Path;

use burn::tensor::Tensor;

use self::decoding::{Bucket, fitting, sizes};
use super::cache::{Cache, Paged};
use super::comm::Group;
use super::decoder::{Decoder, WithinBatch};
use super::device::{self, Place};
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
    CacheShape, CacheType, Error, Generator, Held, ModelInfo, Piece, Result, Room, cuda, memory,
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
    /// What the cache holds.
    number: CacheType,
    /// Steps of one token per sequence, where they are not the processor's.
    buckets: Vec<Bucket>,
    /// The stream of a GPU that all steps are on, whichever thread they come from.
    stream: Option<cuda::Stream>,
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
        let attention = Box::new(Paged::new(cache, pieces, place));
        Member { decoder: decoder(share, weights, place), packing, attention }
    }

    /// At work on pieces of one token, which a bucket took in.
    fn decoding<'a>(&'a mut self, bucket: &'a Bucket) -> Member<'a> {
        let Self { share, weights, cache, place } = self;
        let attention = Box::new(Paged::held(cache, &bucket.places));
        Member { decoder: decoder(share, weights, place), packing: bucket.packing(), attention }
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
        let mut generator = Self::open_cold(places, dir, room)?;
        generator.warm_up(room.cache_bytes.is_none());
        Ok(generator)
    }

    /// The same without trying steps before the first is asked for.
    pub(crate) fn open_cold(places: Vec<Place>, dir: &Path, room: Room) -> Result<Self> {
        let Some(place) = places.first() else {
            return Err(Error::BadInput("a model needs a device".to_owned()));
        };
        let (model, source) = Model::open(dir)?;
        // On a GPU the cache holds what is computed with.
        let (free_bytes, room) = match place.kernels {
            Kernels::Fused => (memory::free_bytes(), room),
            Kernels::Plain | Kernels::Cuda(_) => {
                let cache_type = loaded::number((&model.config, place), room.weights, &source)?;
                (free_bytes(&places), Room { cache_type, ..room })
            }
        };
        let mut weight_bytes = 0;
        for share in &Share::all(&model.config, places.len())? {
            let of = (&model.config, share);
            weight_bytes += loaded::bytes_needed(of, place, room.weights, &source)?;
        }
        let held = share::held(&model.config, places.len());
        let plan = Plan::new(&held, weight_bytes, room, free_bytes)?;
        Self::new(places, model, &source, (plan, room))
    }

    /// The hidden states of ids on the one rank, after the embedding and after every layer.
    pub(crate) fn layers(&self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        check_ids(ids, &self.model.info)?;
        let read = || {
            let Member { decoder, packing, mut attention } =
                self.ranks[0].reading(ids, &self.tables);
            let mut x = decoder.embedding(&packing);
            let mut states = vec![device::numbers(x.clone())];
            for layer in 0..self.model.config.layers {
                x = decoder.attention_half(x, layer, &packing, &mut *attention);
                x = decoder.feed_forward_half(x, layer);
                states.push(device::numbers(x.clone()));
            }
            states
        };
        Ok(match self.stream {
            Some(stream) => stream.run(read),
            None => read(),
        })
    }

    /// Runs a step of every size on a GPU, so that no request waits for kernels to be compiled and
    /// measured; then gives the cache what is left, and records the steps.
    fn warm_up(&mut self, may_grow: bool) {
        let [Rank { place, .. }] = self.ranks.as_slice() else { return };
        let (Kernels::Cuda(_), Some(stream)) = (place.kernels, self.stream) else { return };
        let place = place.clone();
        stream.run(|| {
            let sizes = sizes(self.model.info.context);
            for (number, size) in sizes.iter().enumerate() {
                let bucket = Bucket::new(*size, &self.tables, &place, self.spare());
                drop(device::numbers(self.run(&bucket)));
                let (number, of) = (number + 1, sizes.len());
                tracing::info!(rows = size.0, pages = size.1, "warmed up step {number} of {of}");
            }
            if may_grow {
                self.grow(&place);
            }
            for size in sizes {
                let mut bucket = Bucket::new(size, &self.tables, &place, self.spare());
                if let Err(why) = bucket.record(&place, |bucket| self.run(bucket)) {
                    tracing::warn!(rows = size.0, pages = size.1, "a step is not recorded: {why}");
                }
                self.buckets.push(bucket);
            }
        });
    }

    /// Gives the cache of the one rank what is free.
    fn grow(&mut self, place: &Place) {
        let number = self.number;
        let free = free_bytes(std::slice::from_ref(place));
        let (config, context) = (&self.model.config, self.model.info.context);
        let heads = self.ranks[0].share.config.heads();
        let Some(blocks) = Plan::grown(config, context, number, free) else { return };
        if blocks <= self.shape.blocks {
            return;
        }
        let shape = CacheShape { blocks, ..self.shape };
        // The old one goes first: there is room for one of them.
        self.ranks[0].cache = Cache::new(0, heads, (shape, number), place);
        place.device.memory_cleanup();
        self.ranks[0].cache = Cache::new(config.layers, heads, (shape, number), place);
        self.held.cache_bytes = self.held.cache_bytes / self.shape.blocks as u64 * blocks as u64;
        self.shape = shape;
        tracing::info!(blocks, "the cache holds {} tokens", shape.tokens());
    }

    /// The page behind those that sequences are given.
    fn spare(&self) -> u32 {
        self.shape.blocks as u32
    }

    /// The logits of a step of one token per sequence, as tensors that may be recorded.
    fn run(&mut self, bucket: &Bucket) -> Tensor<2> {
        let members = vec![self.ranks[0].decoding(bucket)];
        let mut team = Team { group: &self.group, members };
        let mut hidden = team.hidden_states();
        let rows: Vec<usize> = (0..bucket.size.0).collect();
        team.members[0].decoder.logits(hidden.remove(0), &rows)
    }

    /// The same for pieces, if they are such a step.
    fn decode(&mut self, pieces: &[Piece<'_>]) -> Option<Vec<Vec<f32>>> {
        let is_decode = |piece: &Piece<'_>| piece.tokens.len() == 1 && piece.logits == (0..1);
        let [Rank { place, .. }] = self.ranks.as_slice() else { return None };
        if place.kernels == Kernels::Fused || !pieces.iter().all(is_decode) {
            return None;
        }
        let place = place.clone();
        let tokens = pieces.iter().map(|piece| piece.start + 1).max()?;
        let size = fitting(&sizes(self.model.info.context), pieces.len(), tokens)?;
        let known = self.buckets.iter().position(|bucket| bucket.size == size);
        let mut bucket = match known {
            Some(known) => self.buckets.swap_remove(known),
            None => Bucket::new(size, &self.tables, &place, self.spare()),
        };
        bucket.refill(pieces, &self.tables, &place, self.spare());
        let logits = match bucket.replayed(&place) {
            Some(logits) => logits,
            None => self.run(&bucket),
        };
        let logits = device::numbers(logits.narrow(0, 0, pieces.len()));
        self.buckets.push(bucket);
        Some(logits.chunks_exact(self.model.config.vocabulary).map(<[f32]>::to_vec).collect())
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
        let stream = match places[0].kernels {
            Kernels::Cuda(own) => Some(own.stream()),
            Kernels::Plain | Kernels::Fused => None,
        };
        let rank = |(share, place): (Share, Place)| -> Result<Rank> {
            let weights = loaded::load((config, &share), &place, room.weights, source)?;
            let cache = (plan.shape, room.cache_type);
            let cache = Cache::new(config.layers, share.config.heads(), cache, &place);
            Ok(Rank { share, weights, cache, place })
        };
        let shares = Share::all(config, places.len())?.into_iter();
        let load = || shares.zip(places).map(rank).collect::<Result<_>>();
        let ranks = match stream {
            Some(stream) => stream.run(load)?,
            None => load()?,
        };
        let tables = Tables::new(config.head_size, &config.rope);
        let Plan { shape, weight_bytes, cache_bytes, .. } = plan;
        let held = Held { weight_bytes, cache_bytes };
        let number = room.cache_type;
        Ok(Self {
            ranks,
            group,
            tables,
            shape,
            held,
            number,
            model,
            buckets: Vec::new(),
            stream,
            crew: None,
        })
    }

    /// The same for any pieces.
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
            Kernels::Plain | Kernels::Cuda(_) => 1,
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
        Ok(match self.stream {
            Some(stream) => stream.run(|| self.stepped(pieces)),
            None => self.with_crew(|this| this.stepped(pieces)),
        })
    }

    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        check_ids(ids, &self.model.info)?;
        Ok(match self.stream {
            Some(stream) => stream.run(|| self.read(ids)),
            None => self.with_crew(|this| this.read(ids)),
        })
    }
}

/// Bytes that are free on every one of these GPUs, together, if that is known.
fn free_bytes(places: &[Place]) -> Option<u64> {
    let free = |place: &Place| match place.kernels {
        Kernels::Cuda(own) => own.free_bytes(&place.device),
        Kernels::Plain | Kernels::Fused => None,
    };
    let least = places.iter().map(free).collect::<Option<Vec<u64>>>()?.into_iter().min()?;
    // What burn's pools round up, and kernels and libraries take.
    Some((least - least / 16) * places.len() as u64)
}

impl BurnGenerator {
    /// The logits that checked pieces want.
    fn stepped(&mut self, pieces: &[Piece<'_>]) -> Vec<Vec<f32>> {
        match self.decode(pieces) {
            Some(logits) => logits,
            None => self.compute(pieces),
        }
    }
}

#[cfg(test)]
mod tests;
