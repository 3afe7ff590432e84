//! From the house's device to burn's, and what it says about memory.

use burn::tensor::{DType, Device as BurnDevice, Tensor, TensorData};

use half::bf16;

use super::ops::Kernels;
use crate::{Device, Error, Result, cuda};

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
        Device::Cuda(index) => {
            let (device, own) = cuda::open(index)?;
            Place { device, kernels: Kernels::Cuda(own) }
        }
    })
}

/// A matrix on a device.
pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &BurnDevice) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The same with numbers rounded to bf16.
pub(crate) fn rounded(values: &[f32], shape: [usize; 2], device: &BurnDevice) -> Tensor<2> {
    let values: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::BF16))
}

/// The numbers of a tensor, row by row, as f32.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let tensor = if tensor.dtype() == DType::F32 { tensor } else { tensor.cast(DType::F32) };
    tensor.into_data().try_into_vec().expect("the tensor is f32")
}

/// Waits until a device has computed what was asked of it.
pub(crate) fn wait(place: &Place) -> Result<()> {
    place.device.sync().map_err(|error| Error::NoDevice {
        device: "a device that was asked to compute".to_owned(),
        why: error.to_string(),
    })
}

/// Bytes that a device's pools hold; none where it has no pools.
pub(crate) fn reserved(device: &BurnDevice) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}
