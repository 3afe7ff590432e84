//! From the house's device to burn's, and what it says about memory.

use burn::tensor::{Device as BurnDevice, Tensor, TensorData};

use super::ops::Kernels;
use crate::{Device, Result, cuda};

/// A device and the operations that run on it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) device: BurnDevice,
    pub(crate) kernels: Kernels,
}

/// Opens a device; a GPU only after making sure that there is one.
pub(crate) fn open(device: Device) -> Result<Place> {
    Ok(match device {
        Device::Cpu => Place { device: BurnDevice::flex(), kernels: Kernels::Fused },
        Device::Cuda(index) => Place { device: cuda::open(index)?, kernels: Kernels::Plain },
    })
}

/// A matrix on a device.
pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &BurnDevice) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The numbers of a tensor, row by row.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("every tensor of the engine is f32")
}

/// Bytes that the device's pools hold, or the most that this process has held.
pub(crate) fn peak_memory_bytes(device: &BurnDevice) -> u64 {
    match device.memory_pool_usage() {
        Some(usage) => usage.bytes_reserved,
        None => resident_peak_bytes(),
    }
}

/// `VmHWM`: the most memory that this process has held.
fn resident_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
