//! Training: packs forward and backward block by block, gradients added up, AdamW.
//!
//! One controller for all ranks: `passes` runs the blocks, a `store` holds what the ranks hold between
//! passes, in a layout of `numbers`; `lora` stands between the two where adapters are trained.

mod blocks;
mod host;
mod lora;
mod numbers;
mod passes;
mod resident;
mod snapshot;
mod store;
mod sums;

#[cfg(test)]
mod tests;

use std::path::Path;

use self::blocks::Blocks;
use self::host::Host;
use self::lora::{Adapted, Plan};
use self::passes::{Passes, Work};
use self::resident::Resident;
use self::snapshot::{Copied, Saved};
use self::store::{Keeping, Store, Values};
use super::adamw::Step;
use super::allocated::{self, Kept};
use super::comm::Group;
use super::device::{self, Place};
use super::head::Targets;
use super::ops::Kernels;
use super::packing::Packing;
use super::parameters::{Parameter, file_tensors};
use super::rotary::Tables;
use super::weights::Model;
use crate::footprint::chunk_rows;
use crate::{
    Error, IGNORE, Keep, Memory, ModelInfo, Offload, Result, Snapshot, StateLayout, Trainer,
    Training, Weighted, Weights,
};

/// Of the memory that is free when a trainer is opened, an eighth may be kept for reuse.
const SPARE: u64 = 8;

/// A decoder that learns, over one rank or several.
pub(crate) struct BurnTrainer {
    /// Configuration and names, without values.
    model: Model,
    passes: Passes,
    store: Box<dyn Store>,
    lora: Option<Plan>,
    tables: Tables,
    training: Training,
    /// Steps done.
    steps: u64,
    /// Bytes that were allocated before it was opened.
    before: u64,
    /// The most that passes took.
    used: Memory,
    /// Of the processor's memory, for the next operations.
    _blocks: Kept,
}

/// Refuses what these places cannot do.
fn check(places: &[Place], training: &Training) -> Result<()> {
    let bad = |why: &str| Err(Error::BadInput(why.to_owned()));
    let on_host = places[0].kernels == Kernels::Fused;
    let plain = training.state == StateLayout::APlus;
    match training.offload {
        Offload::Optimizer | Offload::Activations if on_host => {
            bad("the processor has no memory but the host's: there is nothing to offload to")
        }
        Offload::Optimizer => bad("only activations can be offloaded from a GPU"),
        Offload::Activations if training.keep != Keep::Inputs => {
            bad("activations that are offloaded are layer inputs: train.keep must be `inputs`")
        }
        Offload::None | Offload::Activations if !on_host && !plain => {
            bad("GPUs train with state `A+`, in f32 or bf16; other layouts are the processor's")
        }
        Offload::None | Offload::Activations => Ok(()),
    }
}

/// Trained or frozen numbers at places.
fn store(
    group: &Group,
    places: &[Place],
    (blocks, values): (Vec<Vec<Parameter>>, Values),
    keeping: Keeping,
) -> Box<dyn Store> {
    match places[0].kernels {
        Kernels::Fused => {
            let device = places[0].device.clone();
            Box::new(Host::new(blocks, values, places.len(), keeping, device))
        }
        Kernels::Plain | Kernels::Cuda(_) => {
            let (group, places) = (group.clone(), places.to_vec());
            Box::new(Resident::new(group, places, blocks, values, keeping))
        }
    }
}

impl BurnTrainer {
    /// Loads or draws the weights, and divides them over a rank at each place.
    pub(crate) fn open(
        places: Vec<Place>,
        source: Weights<'_>,
        training: &Training,
    ) -> Result<Self> {
        let before = allocated::restart();
        let group = Group::new(places.clone())?;
        check(&places, training)?;
        let mut model = match source {
            Weights::Folder(dir) => Model::load(dir)?,
            Weights::Random { config, seed } => Model::random(config, seed)?,
        };
        let config = model.config.clone();
        let blocks = Blocks::new(&config);
        let lora = training.lora.as_ref().map(|lora| Plan::new(lora, &config, &blocks));
        let lora = lora.transpose()?;
        let Training { state: layout, shard, precision, seed, .. } = *training;
        let keeping = Keeping { layout, shard, precision, seed, is_trained: lora.is_none() };
        let whole = (blocks.split(), std::mem::take(&mut model.values));
        let mut held = store(&group, &places, whole, keeping);
        if let Some(plan) = &lora {
            let keeping = Keeping { is_trained: true, ..keeping };
            let own = (plan.parameters(), plan.values(seed));
            let adapters = store(&group, &places, own, keeping);
            let (plan, places, blocks) = (plan.clone(), places.clone(), blocks.clone());
            held = Box::new(Adapted { plan, base: held, adapters, places, blocks });
        }
        let chunk = chunk_rows(training.logits_chunk, config.vocabulary as u64) as usize;
        let (keep, offload) = (training.keep, training.offload);
        Ok(Self {
            tables: Tables::new(config.head_size, &config.rope),
            passes: Passes { config, blocks, places, keep, offload, chunk },
            store: held,
            lora,
            model,
            training: training.clone(),
            steps: 0,
            before,
            used: Memory::default(),
            _blocks: Kept::most(crate::memory::free_bytes().unwrap_or(0) / SPARE),
        })
    }

    /// Values of all parameters, cut into the tensors of the files.
    fn by_name(&self, of: fn(&dyn Store, usize) -> Values) -> Vec<(String, Vec<f32>)> {
        let values = snapshot::all(self.store.as_ref(), self.passes.blocks.count(), of);
        (file_tensors(&self.model.config).into_iter())
            .map(|tensor| (tensor.name, values[tensor.parameter][tensor.elements].to_vec()))
            .collect()
    }

    fn check(&self, pack: &[Weighted<'_>]) -> Result<()> {
        let vocabulary = self.model.info.vocabulary;
        for Weighted { sequence, .. } in pack {
            let (ids, labels) = (sequence.input_ids.len(), sequence.labels.len());
            if ids != labels {
                return Err(Error::BadInput(format!("{ids} input ids but {labels} labels")));
            }
            check_ids(&sequence.input_ids, &self.model.info)?;
            let outside = |label: &&i64| {
                **label != IGNORE && usize::try_from(**label).map_or(true, |id| id >= vocabulary)
            };
            if let Some(label) = sequence.labels.iter().find(outside) {
                return Err(Error::BadInput(format!(
                    "label {label} is outside the vocabulary of {vocabulary}"
                )));
            }
        }
        Ok(())
    }

    /// What a rank has to do with its pack; nothing if no token of it has a loss.
    fn work(&self, rank: usize, pack: &[Weighted<'_>]) -> Option<Work> {
        let trained = pack.iter().any(|one| one.sequence.trained_tokens() > 0);
        trained.then(|| {
            let sequences = pack.iter().map(|one| one.sequence.input_ids.as_slice());
            let device = &self.passes.places[rank].device;
            let packing = Packing::new(sequences, &self.tables, device);
            Work { targets: targets(pack, &packing), packing }
        })
    }

    /// Reads adapters, their moments, and the weights under them.
    fn load_adapters(&mut self, saved: &Saved<'_>, plan: &Plan) -> Result<()> {
        for block in 0..self.passes.blocks.count() {
            let Some(at) = plan.place(block) else { continue };
            let mut weights = self.store.frozen(block);
            saved.frozen(plan, block, &mut weights)?;
            let none: Values = weights.iter().map(|values| vec![0.0; values.len()]).collect();
            self.store.set(block, &weights, [&none, &none]);
            let [own, first, second] = saved.adapters(plan, block, at)?;
            if let Some(adapters) = self.store.adapters() {
                adapters.set(at, &own, [&first, &second]);
            }
        }
        Ok(())
    }
}

/// Refuses ids outside the vocabulary and sequences longer than the context.
pub(crate) fn check_ids(ids: &[u32], info: &ModelInfo) -> Result<()> {
    if let Some(id) = ids.iter().find(|id| **id as usize >= info.vocabulary) {
        let vocabulary = info.vocabulary;
        return Err(Error::BadInput(format!("id {id} is outside the vocabulary of {vocabulary}")));
    }
    if ids.len() > info.context {
        let (length, context) = (ids.len(), info.context);
        return Err(Error::BadInput(format!("{length} tokens exceed the context of {context}")));
    }
    if ids.is_empty() {
        return Err(Error::BadInput("a sequence has no tokens".to_owned()));
    }
    Ok(())
}

/// Packed rows that have a loss, what each must predict, and what it counts.
fn targets(pack: &[Weighted<'_>], packing: &Packing) -> Targets {
    let mut targets = Targets::default();
    for (one, range) in pack.iter().zip(packing.ranges()) {
        let next = one.sequence.labels.iter().skip(1).enumerate();
        for (place, label) in next.filter(|(_, label)| **label != IGNORE) {
            targets.rows.push(range.start + place);
            targets.ids.push(*label as usize);
            targets.factors.push(one.weight as f32);
        }
    }
    targets
}

/// Of each kind the greater.
fn most(left: Memory, right: Memory) -> Memory {
    Memory {
        weights: left.weights.max(right.weights),
        gradients: left.gradients.max(right.gradients),
        optimizer: left.optimizer.max(right.optimizer),
        activations: left.activations.max(right.activations),
        working_set: left.working_set.max(right.working_set),
        logits: left.logits.max(right.logits),
        gathered: left.gathered.max(right.gathered),
    }
}

/// The losses of the rows, added up sequence by sequence.
fn by_sequence(pack: &[Weighted<'_>], losses: &[f64]) -> Vec<f64> {
    let mut rest = losses.iter();
    let counts = pack.iter().map(|one| one.sequence.trained_tokens());
    // From 0, not from the -0 that an empty sum of floats is.
    counts.map(|count| rest.by_ref().take(count).fold(0.0, |sum, loss| sum + loss)).collect()
}

impl Trainer for BurnTrainer {
    fn info(&self) -> &ModelInfo {
        &self.model.info
    }

    fn ranks(&self) -> usize {
        self.passes.places.len()
    }

    fn accumulate(&mut self, ranks: &[Vec<Weighted<'_>>]) -> Result<Vec<Vec<f64>>> {
        if ranks.len() != self.ranks() {
            let (packs, ranks) = (ranks.len(), self.ranks());
            return Err(Error::BadInput(format!("{packs} micro-batches for {ranks} ranks")));
        }
        ranks.iter().try_for_each(|pack| self.check(pack))?;
        let work = ranks.iter().enumerate().map(|(rank, pack)| self.work(rank, pack));
        let work: Vec<Option<Work>> = work.collect();
        let losses = match work.iter().all(Option::is_none) {
            true => vec![Vec::new(); ranks.len()],
            false => {
                let (losses, used) = self.passes.run(self.store.as_mut(), &work)?;
                let gradients = self.store.held().gradients;
                self.used = most(self.used, Memory { gradients, ..used });
                losses
            }
        };
        Ok(ranks.iter().zip(losses).map(|(pack, losses)| by_sequence(pack, &losses)).collect())
    }

    fn apply(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64> {
        if !self.store.has_gradients() {
            return Err(Error::BadInput("there are no gradients to apply".to_owned()));
        }
        let norm = self.store.square_sum().sqrt();
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "gradient norm" });
        }
        self.steps += 1;
        let scale = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let adam = self.training.adam;
        self.store.step(&Step { adam, learning_rate, scale, number: self.steps });
        Ok(norm)
    }

    fn discard(&mut self) {
        self.store.discard();
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let held = self.store.held();
        crate::memory::require(held.weights + held.optimizer)?;
        let kept = (&self.passes.blocks, self.lora.as_ref());
        let how = (&self.training, self.steps);
        Ok(Box::new(Copied::new(&self.model, self.store.as_ref(), kept, how)))
    }

    fn load_state(&mut self, dir: &Path) -> Result<()> {
        let bytes = snapshot::read(dir)?;
        let saved = Saved::parse(dir, &bytes)?;
        if let Some(plan) = self.lora.clone() {
            self.load_adapters(&saved, &plan)?;
        } else {
            let tensors = file_tensors(&self.model.config);
            for block in 0..self.passes.blocks.count() {
                let (weights, range) = (self.store.weights(block), self.passes.blocks.range(block));
                let parameters = &self.passes.blocks.parameters[range.clone()];
                let [first, second] = saved.moments(&tensors, (&range, parameters))?;
                self.store.set(block, &weights, [&first, &second]);
            }
        }
        self.steps = saved.steps;
        self.store.resumed(saved.steps);
        Ok(())
    }

    fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        if self.lora.is_some() || !self.store.has_gradients() {
            return Vec::new();
        }
        self.by_name(|store, block| store.gradients(block))
    }

    fn weights(&self) -> Vec<(String, Vec<f32>)> {
        self.by_name(|store, block| store.weights(block))
    }

    fn peak_memory_bytes(&self) -> u64 {
        let devices = self.passes.places.iter().filter_map(|place| device::reserved(&place.device));
        match self.passes.places[0].kernels {
            Kernels::Fused => allocated::peak_bytes().saturating_sub(self.before),
            Kernels::Plain | Kernels::Cuda(_) => devices.max().unwrap_or(0),
        }
    }

    fn memory(&self) -> Memory {
        let held = self.store.held();
        let gradients = self.used.gradients.max(held.gradients);
        Memory { weights: held.weights, gradients, optimizer: held.optimizer, ..self.used }
    }
}
