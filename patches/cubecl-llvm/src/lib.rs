//! The names that `cubecl-cuda` links against, without LLVM.
//!
//! `cubecl-cuda` depends on `cubecl-llvm` unconditionally, and the published crate downloads a
//! prebuilt LLVM in its build script, which an offline or audited build cannot do. Thinkery compiles
//! its kernels through CUDA C++ and NVRTC (`cubecl-cuda`'s feature `cpp`), so nothing here is ever
//! asked to compile; if it were, it answers with an error and never with a wrong kernel.

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

/// Targets of NVIDIA devices.
pub mod nvptx {
    /// Versions of the PTX instruction set.
    pub mod ptx_version {
        /// A PTX version, 8.7 written as 87. Never constructed: the C++ path does not ask for one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// Always `None`: NVRTC chooses the version itself.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match *self {}
            }
        }
    }
}

/// What the two GPU targets share.
pub mod shared {
    /// Narrowing of device features to what a backend can lower.
    pub mod lowered_features {
        use cubecl_core::ir::{DeviceProperties, nvidia::SmArch};

        /// The device a module is compiled for.
        pub enum GpuTarget {
            /// An NVIDIA device of this architecture.
            Nvptx {
                /// Its compute capability.
                arch: SmArch,
            },
        }

        /// Called for the LLVM backend only, which this build has not; leaves `_props` alone.
        pub fn restrict_features(_props: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// The machine LLVM would emit code for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// The processor of this machine.
    #[default]
    Cpu,
    /// An NVIDIA device.
    Nvptx,
}

/// Options of a compilation, in the fields that `cubecl-cuda` sets.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD architecture.
    pub arch: Option<String>,
    /// NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// PTX version to emit.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars travel in the kernel's parameter block.
    pub grid_constants: bool,
}

/// A compiled NVIDIA module.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// NUL-terminated PTX.
    pub ptx: Vec<core::ffi::c_char>,
    /// Name of the kernel.
    pub entrypoint: String,
    /// The module's text.
    pub ir: String,
    /// Shared memory per launch, in bytes.
    pub shared_memory_size: usize,
    /// What the kernel does with each buffer.
    pub io: Vec<BufferIOAttr>,
}

/// What a compilation yields.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// Code for the processor.
    CpuCode,
    /// Code for an NVIDIA device.
    NvptxCode(NvptxModule),
}

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("built without LLVM")
    }
}

/// The compiler that is not there.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// The machine it would compile for.
    pub target: LlvmTarget,
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &Self::CompilationOptions,
    ) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this binary is built without LLVM; enable the feature `cpp` of cubecl-cuda".into(),
            backtrace: Default::default(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
