//! NVIDIA GPUs: asks the machine before burn does, because burn panics where something is missing.

mod backward;
mod gemm;
mod kernels;
mod memory;
mod ops;
mod paged;
mod seam;

use std::path::PathBuf;

use burn::tensor::Device;
use cudarc::driver::{result, sys};

use crate::{Error, Facts, Result};

pub(crate) use self::seam::{Ops, Stream};

/// Opens GPU `index`, or says what is missing.
pub(crate) fn open(index: usize) -> Result<(Device, Ops)> {
    let missing = |why: String| Error::NoDevice { device: format!("cuda:{index}"), why };
    let gpus = gpus().map_err(missing)?;
    if index >= gpus.len() {
        return Err(missing(format!("this machine has {} GPUs", gpus.len())));
    }
    if nvrtc().is_none() {
        return Err(missing("NVRTC (`libnvrtc.so`) is not installed".to_owned()));
    }
    if headers().is_none() {
        return Err(missing("the CUDA headers (`cuda_runtime.h`) are not installed".to_owned()));
    }
    // Says so once if it is not there.
    gemm::is_installed();
    Ok((Device::cuda(index), Ops::new()))
}

/// Multiplies matrices by cuBLASLt where it is installed, or never; gives whether it was used before.
pub(crate) fn use_library(on: bool) -> bool {
    gemm::switch(on)
}

/// Refuses several GPUs where they cannot exchange tensors.
pub(crate) fn ensure_collectives() -> Result<()> {
    match nccl() {
        Some(_) => Ok(()),
        None => Err(Error::NoDevice {
            device: "several GPUs together".to_owned(),
            why: "NCCL (`libnccl.so`) is not installed".to_owned(),
        }),
    }
}

/// What is there, for `doctor`.
pub(crate) fn facts(facts: &mut Facts) {
    facts.backends.push("cuda");
    facts.gpus = gpus().unwrap_or_default();
    facts.cuda_driver = driver_version();
    facts.nvrtc = nvrtc();
    facts.nccl = nccl();
}

/// The names of the GPUs, or why there are none.
fn gpus() -> Result<Vec<String>, String> {
    if !driver_is_there() {
        return Err("no NVIDIA driver (`libcuda.so.1` is missing)".to_owned());
    }
    let said = |error: cudarc::driver::DriverError| format!("the NVIDIA driver says {error:?}");
    result::init().map_err(said)?;
    let count = result::device::get_count().map_err(said)?;
    (0..count)
        .map(|index| {
            let device = result::device::get(index).map_err(said)?;
            result::device::get_name(device).map_err(said)
        })
        .collect()
}

#[expect(unsafe_code, reason = "the probe opens a shared library")]
fn driver_is_there() -> bool {
    // SAFETY: opening libcuda runs only its own initialisers.
    unsafe { sys::is_culib_present() }
}

fn driver_version() -> Option<String> {
    if !driver_is_there() {
        return None;
    }
    let mut version = 0;
    #[expect(unsafe_code, reason = "the driver's version has no safe binding")]
    // SAFETY: the library is there, and the pointer is to a live integer.
    let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    (status == sys::CUresult::CUDA_SUCCESS)
        .then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
}

fn nvrtc() -> Option<String> {
    #[expect(unsafe_code, reason = "the probe opens a shared library")]
    // SAFETY: opening NVRTC runs only its own initialisers.
    let there = unsafe { cudarc::nvrtc::sys::is_culib_present() };
    there.then(|| "libnvrtc".to_owned())
}

fn nccl() -> Option<String> {
    #[expect(unsafe_code, reason = "the probe opens a shared library")]
    // SAFETY: opening NCCL runs only its own initialisers.
    let there = unsafe { cudarc::nccl::sys::is_culib_present() };
    there.then(|| "libnccl".to_owned())
}

/// Where cubecl looks for the CUDA headers; it panics where there are none.
fn headers() -> Option<PathBuf> {
    let include = cubecl_cuda::install::cuda_path()?.join("include");
    include.join("cuda_runtime.h").exists().then_some(include)
}
