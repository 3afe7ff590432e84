//! Stands in for `burn` in a binary without an engine.

use std::path::Path;

use super::{
    Device, Error, Exchange, Facts, Generator, Result, Room, Trainer, Training, WeightType, Weights,
};

pub(super) fn ensure_device(device: Device) -> Result<()> {
    Err(missing(device))
}

pub(super) fn check_model(_dir: &Path) -> Result<()> {
    Ok(())
}

pub(super) fn open_generator(
    devices: &[Device],
    _dir: &Path,
    _room: Room,
) -> Result<Box<dyn Generator>> {
    Err(missing(devices.first().copied().unwrap_or(Device::Cpu)))
}

pub(super) fn open_trainer(
    devices: &[Device],
    _weights: Weights<'_>,
    _training: &Training,
) -> Result<Box<dyn Trainer>> {
    Err(missing(devices.first().copied().unwrap_or(Device::Cpu)))
}

pub(super) fn exchange(devices: &[Device]) -> Result<Vec<Exchange>> {
    Err(missing(devices.first().copied().unwrap_or(Device::Cpu)))
}

pub(super) fn product(device: Device, _shape: [usize; 3]) -> Result<[f64; 2]> {
    Err(missing(device))
}

pub(super) fn attention(device: Device, _tokens: usize, _heads: [usize; 3]) -> Result<f64> {
    Err(missing(device))
}

pub(super) fn attention_gradient(
    device: Device,
    _tokens: usize,
    _heads: [usize; 3],
) -> Result<f64> {
    Err(missing(device))
}

pub(super) fn layers(
    device: Device,
    _dir: &Path,
    _ids: &[u32],
    _weights: WeightType,
) -> Result<Vec<Vec<f32>>> {
    Err(missing(device))
}

pub(super) fn facts() -> Facts {
    Facts::default()
}

fn missing(device: Device) -> Error {
    let feature = match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
    };
    Error::NoBackend { feature }
}
