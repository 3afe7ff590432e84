//! Matrix products on GPUs: cuBLASLt where it is installed, else burn's own.
//!
//! cuBLASLt uses Hopper's wgmma, which the kernels that cubecl writes through NVRTC do not. It is opened
//! at run time, on cubecl's own pointers and stream. A library that is missing, and a product that it
//! refuses, are logged once; burn's kernels compute them then.
//!
//! A matrix that is row by row here is column by column there: `C = L · R` is asked for as
//! `Cᵀ = Rᵀ · Lᵀ`, which needs no copy.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use burn::backend::DeviceOps;
use burn::tensor::{DType, Shape, StreamId};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl_common::device::DeviceId;
use cubecl_common::device_handle::DeviceHandle;
use cubecl_runtime::server::ServerStorage;
use cubecl_server::stream::WriteScoped;
use cudarc::cublaslt::{result, sys};
use cudarc::driver::{result as driver, sys as driver_sys};

/// What cuBLASLt may use beside the matrices; what NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

pub(super) type CudaServer = <cubecl_cuda::CudaRuntime as cubecl_runtime::runtime::Runtime>::Server;

/// Whether cuBLASLt is not to be used even where it is.
static IS_OFF: AtomicBool = AtomicBool::new(false);

/// Products that cuBLASLt refused.
static REFUSED: LazyLock<Mutex<HashSet<Key>>> = LazyLock::new(Mutex::default);

/// Which operands are turned before they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Turns {
    /// The left one is held `[inner, rows]`.
    pub(crate) left: bool,
    /// The right one is held `[columns, inner]`, as weights are in files.
    pub(crate) right: bool,
}

impl Turns {
    /// `x · weightᵀ`.
    pub(crate) const LINEAR: Self = Self { left: false, right: true };
    /// `gradient · weight`.
    pub(crate) const OF_INPUT: Self = Self { left: false, right: false };
    /// `gradientᵀ · x`.
    pub(crate) const OF_WEIGHT: Self = Self { left: true, right: false };

    /// Rows, columns and inner size of a product.
    pub(crate) fn sizes(self, left: &Shape, right: &Shape) -> [usize; 3] {
        let rows = if self.left { left[1] } else { left[0] };
        let columns = if self.right { right[0] } else { right[1] };
        [rows, columns, if self.left { left[0] } else { left[1] }]
    }

    /// The shape of a product.
    pub(crate) fn shape(self, left: &Shape, right: &Shape) -> Shape {
        let [rows, columns, _] = self.sizes(left, right);
        Shape::new([rows, columns])
    }
}

/// One kind of product, as far as cuBLASLt's choice of a kernel depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    turns: Turns,
    sizes: [usize; 3],
    /// Numbers between the rows of left, right, sum and product.
    strides: [usize; 4],
    input: Number,
    output: Number,
    adds: bool,
}

/// What matrices hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Number {
    F32,
    Bf16,
}

impl Number {
    fn of(dtype: DType) -> Option<Self> {
        if dtype == DType::F32 {
            Some(Self::F32)
        } else {
            (dtype == DType::BF16).then_some(Self::Bf16)
        }
    }

    fn cuda(self) -> sys::cudaDataType {
        match self {
            Self::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Self::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        }
    }
}

/// Whether the library is installed; says so once if it is not.
pub(super) fn is_installed() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        #[expect(unsafe_code, reason = "the probe opens a shared library")]
        // SAFETY: opening cuBLASLt runs only its own initialisers.
        let found = unsafe { sys::is_culib_present() };
        if !found {
            tracing::warn!("cuBLASLt is not installed: burn's own kernels multiply matrices");
        }
        found
    })
}

/// Uses cuBLASLt, or not; gives whether it was used before.
pub(super) fn switch(on: bool) -> bool {
    !IS_OFF.swap(!on, Ordering::Relaxed) && is_installed()
}

/// `left · right`, added to `sum` if there is one, in the type of the sum or else of the operands; none
/// where cuBLASLt cannot or may not.
pub(super) fn product(
    left: &CubeTensor,
    right: &CubeTensor,
    sum: Option<&CubeTensor>,
    turns: Turns,
) -> Option<CubeTensor> {
    if IS_OFF.load(Ordering::Relaxed) || !is_installed() {
        return None;
    }
    let dtype = sum.map_or(left.dtype, |sum| sum.dtype);
    let (left, right) = (by_rows(left), by_rows(right));
    let sum = sum.map(by_rows);
    let sizes = turns.sizes(left.meta.shape(), right.meta.shape());
    let input = Number::of(left.dtype).filter(|_| left.dtype == right.dtype)?;
    let key = Key {
        turns,
        sizes,
        strides: [
            row_stride(&left),
            row_stride(&right),
            sum.as_ref().map_or(sizes[1], row_stride),
            sizes[1],
        ],
        input,
        output: Number::of(dtype)?,
        adds: sum.is_some(),
    };
    if sizes.contains(&0) || refused().contains(&key) {
        return None;
    }
    let shape = Shape::new([sizes[0], sizes[1]]);
    let out = empty_device_contiguous_dtype(left.client.clone(), left.device.clone(), shape, dtype);
    match launch([&left, &right, sum.as_ref().unwrap_or(&out), &out], key) {
        Ok(()) => Some(out),
        Err(why) => {
            tracing::warn!(?key, "cuBLASLt refused a product, burn's kernels compute it: {why}");
            refused().insert(key);
            None
        }
    }
}

fn refused() -> std::sync::MutexGuard<'static, HashSet<Key>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A matrix whose rows are without gaps inside; rows may be padded.
fn by_rows(tensor: &CubeTensor) -> CubeTensor {
    match tensor.meta.strides()[1] == 1 && tensor.meta.strides()[0] >= tensor.meta.shape()[1] {
        true => tensor.clone(),
        false => burn_cubecl::kernel::into_contiguous(tensor.clone()),
    }
}

fn row_stride(tensor: &CubeTensor) -> usize {
    tensor.meta.strides()[0].max(tensor.meta.shape()[1])
}

/// Queues the product of left and right, and what it is added to, on the stream of this thread.
fn launch(tensors: [&CubeTensor; 4], key: Key) -> Result<(), String> {
    let (stream, device) = (StreamId::current(), tensors[0].device.id());
    let bindings = tensors.map(|tensor| tensor.handle.clone().binding());
    let ran =
        DeviceHandle::<CudaServer>::new(device).submit_blocking(move |server: &mut CudaServer| {
            let mut pointers = [0_u64; 4];
            // Held until the product is queued: what is held is not moved.
            let mut held = Vec::with_capacity(bindings.len());
            for (pointer, binding) in pointers.iter_mut().zip(bindings) {
                let resource =
                    server.get_resource(binding, stream).map_err(|error| format!("{error:?}"))?;
                *pointer = resource.resource().ptr;
                held.push(resource);
            }
            let stream = server.write_streams().try_stream_mut(&stream);
            let stream = stream.ok_or("cubecl has no such stream")?.sys;
            LIBRARIES.with_borrow_mut(|libraries| {
                let library = libraries.entry((device, stream as usize)).or_default();
                library.queue(key, pointers, stream)
            })
        });
    ran.map_err(|error| format!("{error:?}"))?
}

thread_local! {
    /// Of each device and stream that this thread queues products on.
    static LIBRARIES: RefCell<HashMap<(DeviceId, usize), Library>> = RefCell::default();
}

/// cuBLASLt for one stream.
#[derive(Default)]
struct Library {
    opened: Option<(sys::cublasLtHandle_t, driver_sys::CUdeviceptr)>,
    plans: HashMap<Key, Planned>,
}

/// How a kind of product is computed.
struct Planned {
    multiplication: sys::cublasLtMatmulDesc_t,
    /// Of right, left, sum and product.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Library {
    /// Queues `left · right (+ sum)`; pointers to left, right, sum and product.
    fn queue(
        &mut self,
        key: Key,
        pointers: [u64; 4],
        stream: driver_sys::CUstream,
    ) -> Result<(), String> {
        let (handle, workspace) = self.open()?;
        let plan = match self.plans.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(planned(handle, key)?),
        };
        let Planned { multiplication, layouts, algorithm } = plan;
        let [left, right, sum, out] = pointers;
        let (one, added) = (1.0_f32, if key.adds { 1.0_f32 } else { 0.0 });
        #[expect(unsafe_code, reason = "cuBLASLt takes pointers")]
        // SAFETY: the caller holds the four matrices, whose sizes and strides are the key's; the
        // descriptors were made for the key and are never freed; the workspace is as long as was said,
        // and its users follow each other on the one stream.
        let done = unsafe {
            result::matmul(
                handle,
                *multiplication,
                (&raw const one).cast(),
                (&raw const added).cast(),
                right as *const _,
                layouts[0],
                left as *const _,
                layouts[1],
                sum as *const _,
                layouts[2],
                out as *mut _,
                layouts[3],
                algorithm,
                workspace as *mut _,
                WORKSPACE_BYTES,
                stream.cast(),
            )
        };
        done.map_err(|error| error.to_string())
    }

    fn open(&mut self) -> Result<(sys::cublasLtHandle_t, driver_sys::CUdeviceptr), String> {
        if let Some(opened) = self.opened {
            return Ok(opened);
        }
        let handle = result::create_handle().map_err(|error| error.to_string())?;
        #[expect(unsafe_code, reason = "the driver gives memory by pointer")]
        // SAFETY: the thread has cubecl's context current.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE_BYTES) };
        let opened = (handle, workspace.map_err(|error| format!("{error:?}"))?);
        self.opened = Some(opened);
        Ok(opened)
    }
}

/// Asks cuBLASLt how to compute a kind of product.
#[expect(unsafe_code, reason = "cuBLASLt is set up by pointers")]
fn planned(handle: sys::cublasLtHandle_t, key: Key) -> Result<Planned, String> {
    let said = |error: result::CublasError| error.to_string();
    let [rows, columns, inner] = key.sizes.map(|size| size as u64);
    let strides = key.strides.map(|stride| stride as i64);
    let (input, output) = (key.input.cuda(), key.output.cuda());
    let compute = match key.input {
        Number::F32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        Number::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let multiplication =
        result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map_err(said)?;
    let attributes = [
        (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, key.turns.right),
        (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, key.turns.left),
    ];
    for (attribute, turned) in attributes {
        // cublasOperation_t: 0 as it is, 1 turned.
        let operation = i32::from(turned);
        // SAFETY: the description is alive, and the value is copied from a live integer.
        let set = unsafe {
            let value = (&raw const operation).cast();
            result::set_matmul_desc_attribute(multiplication, attribute, value, size_of::<i32>())
        };
        set.map_err(said)?;
    }
    // As they are held, column by column: the rows of one are the columns of the other.
    let layout = |turned: bool, number, (rows, columns): (u64, u64), stride| {
        let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
        result::create_matrix_layout(number, columns, rows, stride).map_err(said)
    };
    let layouts = [
        layout(key.turns.right, input, (inner, columns), strides[1])?,
        layout(key.turns.left, input, (rows, inner), strides[0])?,
        layout(false, output, (rows, columns), strides[2])?,
        layout(false, output, (rows, columns), strides[3])?,
    ];
    let preference = result::create_matmul_pref().map_err(said)?;
    let attribute =
        sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    let bytes = WORKSPACE_BYTES;
    // SAFETY: handle, descriptions and layouts are alive; the size is copied from a live integer.
    let found = unsafe {
        let value = (&raw const bytes).cast();
        let size = size_of::<usize>();
        result::set_matmul_pref_attribute(preference, attribute, value, size).map_err(said)?;
        let [right, left, sum, out] = layouts;
        let found = result::get_matmul_algo_heuristic(
            handle,
            multiplication,
            right,
            left,
            sum,
            out,
            preference,
        );
        result::destroy_matmul_pref(preference).map_err(said)?;
        found.map_err(said)?
    };
    Ok(Planned { multiplication, layouts, algorithm: found.algo })
}
