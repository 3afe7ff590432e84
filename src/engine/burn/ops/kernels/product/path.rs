//! Which instructions a product runs on, and the kernels compiled for each.

#![expect(unsafe_code, reason = "calls code for the instructions that the processor has")]

use super::Kind;
use super::simd::{Portable, Simd};
use super::tile::{self, Bf16, F16, F32, Job};

/// Instructions of a processor, from the plainest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// What any processor has.
    Portable,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same and products of bf16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Path {
    /// All that this processor has, the best last.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn available() -> &'static [Self] {
        use std::arch::is_x86_feature_detected as has;
        const ALL: [Path; 4] = [Path::Portable, Path::Avx2, Path::Avx512, Path::Avx512Bf16];
        let avx2 = has!("avx2") && has!("fma") && has!("f16c");
        let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni");
        match (avx2, avx512) {
            (true, true) if has!("avx512bf16") => &ALL,
            (true, true) => &ALL[..3],
            (true, false) => &ALL[..2],
            (false, _) => &ALL[..1],
        }
    }

    /// All that this processor has, the best last.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn available() -> &'static [Self] {
        &[Self::Portable]
    }

    /// The best that this processor has.
    pub(crate) fn best() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// Whether it multiplies bf16 with bf16.
    pub(super) fn has_bf16_products(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Self::Avx512Bf16;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }
}

/// Adds the product of a panel and rows to `out`, which has `rows * PANEL` numbers. The path must be
/// one of [`Path::available`]; `wide` is scratch.
pub(super) fn run(path: Path, kind: Kind, job: &Job<'_>, out: &mut [f32], wide: &mut Vec<f32>) {
    assert!(Path::available().contains(&path), "the processor has no {path:?}");
    // SAFETY: the processor has the instructions; each kernel asserts that its slices are long enough.
    unsafe {
        match path {
            Path::Portable => all::<Portable, 4, 1, 4, 1>(kind, job, out, wide),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => x86::avx2(kind, job, out, wide),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Bf16 if kind == Kind::Bf16Rounded => x86::avx512_bf16(job, out),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 => x86::avx512(kind, job, out, wide),
        }
    }
}

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn all<S: Simd, const R: usize, const G: usize, const BR: usize, const BG: usize>(
    kind: Kind,
    job: &Job<'_>,
    out: &mut [f32],
    wide: &mut Vec<f32>,
) {
    // SAFETY: by the contract.
    unsafe {
        match kind {
            Kind::F32 => tile::exact::<S, F32, R, G>(job, out, wide),
            Kind::F16 => tile::exact::<S, F16, R, G>(job, out, wide),
            Kind::Bf16 | Kind::Bf16Rounded => tile::exact::<S, Bf16, R, G>(job, out, wide),
            Kind::Int8 => tile::int8::<S, BR, BG>(job, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::avx2::Avx2;
    use super::super::avx512::{self, Avx512};
    use super::{Job, Kind, all};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2(kind: Kind, job: &Job<'_>, out: &mut [f32], wide: &mut Vec<f32>) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { all::<Avx2, 2, 2, 2, 1>(kind, job, out, wide) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn avx512(kind: Kind, job: &Job<'_>, out: &mut [f32], wide: &mut Vec<f32>) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { all::<Avx512, 6, 4, 6, 2>(kind, job, out, wide) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) fn avx512_bf16(job: &Job<'_>, out: &mut [f32]) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { avx512::rounded::<6, 4>(job, out) }
    }
}
