//! Loops that the compiler turns into vector instructions.
//!
//! They are loops and no folds: a closure that is handed to an adapter is compiled without the
//! instructions of the function around it, and there `mul_add` is a call.

/// Numbers that are added up side by side; a fixed number keeps sums the same on every machine.
const LANES: usize = 16;

/// Compiles a function again for AVX2 and for AVX-512 and picks at run time. Only where it is written
/// (`mul_add`) is a product rounded together with a sum, so all give the same numbers.
macro_rules! vectorized {
    ($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        pub(crate) fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn wide($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn widest($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::burn::ops::kernels::vector::width() {
                #[expect(unsafe_code, reason = "calls code for AVX-512")]
                // SAFETY: the processor has these instructions.
                512 => return unsafe { widest($($argument),*) },
                #[expect(unsafe_code, reason = "calls code for AVX2")]
                // SAFETY: the processor has these instructions.
                256 => return unsafe { wide($($argument),*) },
                _ => {}
            }
            portable($($argument),*)
        }
    };
}
pub(crate) use vectorized;

/// Bits of the widest vectors that there is code for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn width() -> u32 {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    match (avx2, avx512) {
        (true, true) => 512,
        (true, false) => 256,
        (false, _) => 0,
    }
}

/// The sum of products.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (left_lanes, right_lanes) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let mut rest = 0.0_f32;
    for (left, right) in left_lanes.remainder().iter().zip(right_lanes.remainder()) {
        rest = left.mul_add(*right, rest);
    }
    for (left, right) in left_lanes.zip(right_lanes) {
        for lane in 0..LANES {
            sums[lane] = left[lane].mul_add(right[lane], sums[lane]);
        }
    }
    rest + added(sums)
}

/// The sum of lanes, half by half.
#[inline(always)]
fn added(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The sum.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let lanes = values.chunks_exact(LANES);
    let mut rest = 0.0;
    for value in lanes.remainder() {
        rest += *value;
    }
    for values in lanes {
        for lane in 0..LANES {
            sums[lane] += values[lane];
        }
    }
    rest + added(sums)
}

/// Replaces values by `e^(x - most)`; gives their sum.
#[inline(always)]
pub(crate) fn exp_all(values: &mut [f32], most: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let mut lanes = values.chunks_exact_mut(LANES);
    for values in lanes.by_ref() {
        for lane in 0..LANES {
            values[lane] = exp(values[lane] - most);
            sums[lane] += values[lane];
        }
    }
    let mut rest = 0.0;
    for value in lanes.into_remainder() {
        *value = exp(*value - most);
        rest += *value;
    }
    rest + added(sums)
}

/// The sum of `e^(x - most)`.
#[inline(always)]
pub(crate) fn exp_sum(values: &[f32], most: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let lanes = values.chunks_exact(LANES);
    let mut rest = 0.0;
    for value in lanes.remainder() {
        rest += exp(value - most);
    }
    for values in lanes {
        for lane in 0..LANES {
            sums[lane] += exp(values[lane] - most);
        }
    }
    rest + added(sums)
}

/// The largest value.
#[inline(always)]
pub(crate) fn greatest(values: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let lanes = values.chunks_exact(LANES);
    let rest = lanes.remainder();
    for values in lanes {
        for lane in 0..LANES {
            most[lane] = if values[lane] > most[lane] { values[lane] } else { most[lane] };
        }
    }
    let mut all = f32::NEG_INFINITY;
    for value in rest {
        all = if *value > all { *value } else { all };
    }
    for value in most {
        all = if value > all { value } else { all };
    }
    all
}

/// `target += factor * values`.
#[inline(always)]
pub(crate) fn add_scaled(target: &mut [f32], values: &[f32], factor: f32) {
    for (target, value) in target.iter_mut().zip(values) {
        *target += factor * value;
    }
}

/// `e^x` for `x` between -87 and 88, to about two units in the last place: a power of two by its
/// exponent bits, times a polynomial on half of `ln 2` (coefficients of Cephes' `expf`). NaN stays.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(2.121_944_4e-4, whole.mul_add(-0.693_359_4, x));
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum.mul_add(rest, coefficient);
    }
    let fraction = sum.mul_add(rest * rest, rest) + 1.0;
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits())).wrapping_add(127) << 23;
    fraction * f32::from_bits(exponent)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for step in -86_000..88_000 {
            let x = step as f32 / 1000.0;
            let (ours, right) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / right - 1.0).abs() < 2.5e-7, "{x}: {ours} {right}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e30) < 1e-37);
    }

    #[test]
    fn sums_take_every_element() {
        for length in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..length).map(|value| value as f32).collect();
            let total: f32 = values.iter().sum();
            assert_eq!(sum(&values), total);
            let mut powers = values.clone();
            let all = exp_all(&mut powers, length as f32);
            let right = values.iter().map(|value| exp(value - length as f32)).collect::<Vec<_>>();
            assert_eq!(powers, right);
            assert!((all - sum(&right)).abs() < 1e-6, "{all}");
            assert!((all - exp_sum(&values, length as f32)).abs() < 1e-6, "{all}");
            assert_eq!(dot(&values, &vec![2.0; length]), 2.0 * total);
            assert_eq!(greatest(&values).max(0.0), (length as f32 - 1.0).max(0.0));
        }
    }
}
