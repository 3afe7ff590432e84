//! The engine on burn: the only folder that names it.
//!
//! Tensors carry no backend; the device they live on is chosen at run time, never by default.

mod architectures;
pub(crate) mod decoder;
mod packing;
mod parameters;
pub(crate) mod rotary;

mod ops;

mod comm;
mod exchange;
mod share;
mod team;

mod files;
mod loaded;
mod shards;
mod source;
mod views;
mod weights;

mod cache;
mod generator;
mod plan;

pub(crate) mod adamw;
mod head;
mod trainer;

mod allocated;
mod device;
mod probe;

#[cfg(test)]
mod tests;

use std::path::Path;

use self::generator::BurnGenerator;
use self::trainer::BurnTrainer;
use super::{
    Device, Exchange, Facts, Generator, Result, Room, Trainer, Training, WeightType, Weights,
};

/// Whether a device can be used.
pub(super) fn ensure_device(device: Device) -> Result<()> {
    device::open(device).map(drop)
}

/// Whether a model is one that we know and whole.
pub(super) fn check_model(dir: &Path) -> Result<()> {
    weights::Model::check(dir)
}

/// Opens a model to generate with.
pub(super) fn open_generator(
    devices: &[Device],
    dir: &Path,
    room: Room,
) -> Result<Box<dyn Generator>> {
    let places = devices.iter().map(|device| device::open(*device)).collect::<Result<_>>()?;
    Ok(Box::new(BurnGenerator::open(places, dir, room)?))
}

/// Opens a model to train.
pub(super) fn open_trainer(
    devices: &[Device],
    weights: Weights<'_>,
    training: &Training,
) -> Result<Box<dyn Trainer>> {
    let places = devices.iter().map(|device| device::open(*device)).collect::<Result<_>>()?;
    Ok(Box::new(BurnTrainer::open(places, weights, training)?))
}

/// Lets devices exchange numbers.
pub(super) fn exchange(devices: &[Device]) -> Result<Vec<Exchange>> {
    let places = devices.iter().map(|device| device::open(*device)).collect::<Result<Vec<_>>>()?;
    exchange::check(&places)
}

/// Seconds of a product on a device, by library and by burn.
pub(super) fn product(device: Device, shape: [usize; 3]) -> Result<[f64; 2]> {
    let timed = probe::product(&device::open(device)?, shape)?;
    Ok([timed.seconds, timed.own_seconds])
}

/// Seconds of attention over so many tokens: query heads, key-value heads, and their size.
pub(super) fn attention(device: Device, tokens: usize, heads: [usize; 3]) -> Result<f64> {
    probe::attention(&device::open(device)?, tokens, of(heads))
}

/// How far the gradient of attention is from the processor's.
pub(super) fn attention_gradient(device: Device, tokens: usize, heads: [usize; 3]) -> Result<f64> {
    probe::attention_gradient(&device::open(device)?, tokens, of(heads))
}

fn of([query, kv, size]: [usize; 3]) -> decoder::Heads {
    decoder::Heads { query, kv, size }
}

/// The hidden states of ids after every layer.
pub(super) fn layers(
    device: Device,
    dir: &Path,
    ids: &[u32],
    weights: WeightType,
) -> Result<Vec<Vec<f32>>> {
    probe::layers(device::open(device)?, dir, (ids, weights))
}

/// What was compiled in and what the machine has.
pub(super) fn facts() -> Facts {
    let mut facts = Facts { backends: vec!["cpu"], ..Facts::default() };
    super::cuda::facts(&mut facts);
    facts
}
