//! What a GPU has free, as its driver says.

use burn::backend::{DeviceOps, DispatchDevice};
use burn::tensor::Device;
use cubecl_common::device_handle::DeviceHandle;
use cudarc::driver::result;

use super::gemm::CudaServer;

/// Bytes that are free on a GPU: what burn's pools hold is not.
pub(super) fn free_bytes(device: &Device) -> Option<u64> {
    let DispatchDevice::Cube(device) = device.as_dispatch() else { return None };
    // cubecl's thread of the device has its context.
    let server = DeviceHandle::<CudaServer>::new(device.id());
    let said = server.submit_blocking(|_: &mut CudaServer| result::mem_get_info());
    said.ok()?.ok().map(|(free, _)| free as u64)
}
