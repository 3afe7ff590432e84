//! What a product needs of a processor's vectors: sixteen outputs side by side.
//!
//! Every implementation computes the same numbers: each lane is a chain of fused multiply-adds of
//! its own, in the order of the inputs, whatever the width of a register.

#![expect(unsafe_code, reason = "vector instructions take pointers")]

/// Outputs that one [`Simd::Floats`] holds.
pub(crate) const LANES: usize = 16;

/// Inputs that share a scale in int8.
pub(crate) const BLOCK: usize = 32;

/// Sixteen lanes of a processor.
///
/// # Safety
/// Every function may be called only where the processor has the instructions of the type, and with
/// pointers to as many numbers as it says.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type Floats: Copy;
    /// Sixteen sums of four products each, not yet put together.
    type Dots: Copy;
    /// Sixteen times four weights of a byte.
    type Bytes: Copy;

    unsafe fn splat(value: f32) -> Self::Floats;
    unsafe fn multiply(left: Self::Floats, right: Self::Floats) -> Self::Floats;
    /// `left * right + sum`, rounded once.
    unsafe fn fused(left: Self::Floats, right: Self::Floats, sum: Self::Floats) -> Self::Floats;
    /// Sixteen f32.
    unsafe fn load(from: *const f32) -> Self::Floats;
    /// Writes sixteen f32.
    unsafe fn store(target: *mut f32, values: Self::Floats);
    /// Adds to the sixteen f32 there.
    unsafe fn add_to(target: *mut f32, values: Self::Floats);
    /// The low or the high halves of sixteen 32-bit words, each a bf16.
    unsafe fn bf16_half<const HIGH: bool>(from: *const u8) -> Self::Floats;
    /// The same of f16.
    unsafe fn f16_half<const HIGH: bool>(from: *const u8) -> Self::Floats;
    /// Sixteen bf16.
    unsafe fn bf16(from: *const u8) -> Self::Floats;

    /// Asks for the cache line there, which may lie outside of what is ours.
    #[inline(always)]
    unsafe fn prefetch(_line: *const u8) {}

    /// Sixteen sums that begin at a number.
    unsafe fn dots(start: i32) -> Self::Dots;
    /// Sixty-four bytes.
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    /// Adds to each sum four products of unsigned weights with the four signed bytes of `x`.
    unsafe fn dot(sums: Self::Dots, weights: Self::Bytes, x: i32) -> Self::Dots;
    /// The sums as numbers.
    unsafe fn finish(sums: Self::Dots) -> Self::Floats;
}

/// Any processor. Slow where a fused multiply-add is no instruction.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Floats = [f32; LANES];
    type Dots = [i32; LANES];
    type Bytes = [u8; 4 * LANES];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Floats {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn multiply(left: Self::Floats, right: Self::Floats) -> Self::Floats {
        std::array::from_fn(|lane| left[lane] * right[lane])
    }

    #[inline(always)]
    unsafe fn fused(left: Self::Floats, right: Self::Floats, sum: Self::Floats) -> Self::Floats {
        std::array::from_fn(|lane| left[lane].mul_add(right[lane], sum[lane]))
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        // SAFETY: there are sixteen, by the contract.
        unsafe { from.cast::<Self::Floats>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(target: *mut f32, values: Self::Floats) {
        // SAFETY: there are sixteen, by the contract.
        unsafe { target.cast::<Self::Floats>().write_unaligned(values) }
    }

    #[inline(always)]
    unsafe fn add_to(target: *mut f32, values: Self::Floats) {
        for (lane, value) in values.into_iter().enumerate() {
            // SAFETY: there are sixteen, by the contract.
            unsafe { *target.add(lane) += value };
        }
    }

    #[inline(always)]
    unsafe fn bf16_half<const HIGH: bool>(from: *const u8) -> Self::Floats {
        // SAFETY: there are sixteen words, by the contract.
        let words = unsafe { from.cast::<[u32; LANES]>().read_unaligned() };
        words.map(|word| f32::from_bits(if HIGH { word & !0xffff } else { word << 16 }))
    }

    #[inline(always)]
    unsafe fn f16_half<const HIGH: bool>(from: *const u8) -> Self::Floats {
        // SAFETY: there are sixteen words, by the contract.
        let words = unsafe { from.cast::<[u32; LANES]>().read_unaligned() };
        let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
        words.map(|word| half(if HIGH { word >> 16 } else { word }))
    }

    #[inline(always)]
    unsafe fn bf16(from: *const u8) -> Self::Floats {
        // SAFETY: there are sixteen, by the contract.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    unsafe fn dots(start: i32) -> Self::Dots {
        [start; LANES]
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Bytes {
        // SAFETY: there are sixty-four, by the contract.
        unsafe { from.cast::<Self::Bytes>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn dot(mut sums: Self::Dots, weights: Self::Bytes, x: i32) -> Self::Dots {
        let x = x.to_le_bytes().map(|byte| i32::from(byte as i8));
        for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(4)) {
            *sum += (0..4).map(|at| i32::from(weights[at]) * x[at]).sum::<i32>();
        }
        sums
    }

    #[inline(always)]
    unsafe fn finish(sums: Self::Dots) -> Self::Floats {
        sums.map(|sum| sum as f32)
    }
}
