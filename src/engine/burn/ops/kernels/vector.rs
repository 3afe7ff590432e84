//! Loops that the compiler turns into vector instructions.

/// Numbers that are added up side by side; a fixed number keeps sums the same on every machine.
const LANES: usize = 16;

/// Compiles a function a second time for AVX2 and picks at run time. Products and sums stay apart
/// (no fused multiply-add), so both give the same numbers.
macro_rules! vectorized {
    ($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        pub(crate) fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn wide($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                #[expect(unsafe_code, reason = "calls code for AVX2")]
                // SAFETY: the processor has AVX2.
                return unsafe { wide($($argument),*) };
            }
            portable($($argument),*)
        }
    };
}
pub(crate) use vectorized;

/// The sum of products.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (left_lanes, right_lanes) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = left_lanes.remainder().iter().zip(right_lanes.remainder());
    let mut sum: f32 = rest.map(|(l, r)| l * r).sum();
    for (left, right) in left_lanes.zip(right_lanes) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sum += sums[0];
    sum
}

/// The sum.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let lanes = values.chunks_exact(LANES);
    let rest: f32 = lanes.remainder().iter().sum();
    for values in lanes {
        for lane in 0..LANES {
            sums[lane] += values[lane];
        }
    }
    rest + sums.iter().sum::<f32>()
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
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, value| most.max(*value))
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
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * 0.693_359_4) - whole * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
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
            assert_eq!(dot(&values, &vec![2.0; length]), 2.0 * total);
            assert_eq!(greatest(&values).max(0.0), (length as f32 - 1.0).max(0.0));
        }
    }
}
