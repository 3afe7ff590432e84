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

/// Bytes that a device's pools hold; none where it has no pools.
pub(crate) fn reserved(device: &BurnDevice) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}
