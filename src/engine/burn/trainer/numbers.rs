//! How trained numbers are kept between steps: f32, bf16, or bf16 with the 16 bits that it lacks.
//!
//! bf16 is the upper half of an f32. A number that moves by less than half a unit of it would never
//! move (`|w|` 0.02, learning rate 1e-5; or a second moment at decay 0.999), so moments and weights
//! without the other half are rounded up or down at random with the right mean. The random bits are a
//! hash of seed, step and the number's place in the model: they do not depend on ranks or threads.

use half::bf16;

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As computed.
    F32,
    /// Rounded.
    Bf16,
    /// Rounded, ties away from zero, and what rounding took away: lossless.
    Split,
}

/// A row of numbers. Halves are bits.
#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Split { upper: Vec<u16>, lower: Vec<u16> },
}

/// Where random bits come from: of a number at place `p` they are a hash of this and of `p`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    /// Seed, step and purpose, mixed.
    key: u64,
    /// The place of the first number.
    first: u64,
}

impl Dice {
    /// For `count`-th use of a seed, on numbers that begin at `first`.
    pub(crate) fn new(seed: u64, count: u64, first: u64) -> Self {
        Self { key: mixed(mixed(seed).wrapping_add(count)), first }
    }

    /// The same for numbers that begin `count` further on.
    pub(crate) fn after(self, count: usize) -> Self {
        Self { first: self.first + count as u64, ..self }
    }

    /// Another stream of the same step.
    pub(crate) fn turned(self, stream: u64) -> Self {
        Self { key: mixed(self.key ^ stream), ..self }
    }

    /// 16 bits for the number `at` places on.
    #[inline(always)]
    fn bits(self, at: usize) -> u32 {
        (mixed(self.key.wrapping_add(self.first + at as u64)) >> 48) as u32
    }
}

/// `SplitMix64`'s mixing function (Steele, Lea and Flood 2014).
#[inline(always)]
fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The f32 whose upper half these bits are.
#[inline(always)]
pub(crate) fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Upper half, ties away from zero, and lower half.
#[inline(always)]
fn split(value: f32) -> (u16, u16) {
    let bits = value.to_bits();
    ((bits.wrapping_add(0x8000) >> 16) as u16, bits as u16)
}

/// The number that was split: where the lower half is at least a tie, the upper was rounded up.
#[inline(always)]
fn joined(upper: u16, lower: u16) -> f32 {
    let carry = u32::from(lower & 0x8000) << 1;
    f32::from_bits((u32::from(upper) << 16 | u32::from(lower)).wrapping_sub(carry))
}

/// The upper half of a number, ties away from zero.
#[inline(always)]
pub(crate) fn rounded(value: f32) -> u16 {
    if value.is_nan() { bf16::NAN.to_bits() } else { split(value).0 }
}

/// The upper half of a number, up or down at random.
#[inline(always)]
fn diced(value: f32, bits: u32) -> u16 {
    (value.to_bits().wrapping_add(bits) >> 16) as u16
}

impl Numbers {
    /// So many zeros.
    pub(crate) fn zeros(kind: Kind, count: usize) -> Self {
        match kind {
            Kind::F32 => Self::F32(vec![0.0; count]),
            Kind::Bf16 => Self::Bf16(vec![0; count]),
            Kind::Split => Self::Split { upper: vec![0; count], lower: vec![0; count] },
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(bits) => bits.len(),
            Self::Split { upper, .. } => upper.len(),
        }
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        let each = match self {
            Self::F32(_) | Self::Split { .. } => 4,
            Self::Bf16(_) => 2,
        };
        (self.len() * each) as u64
    }

    /// All of them, to be read.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::F32(values) => View::F32(values),
            Self::Bf16(bits) => View::Bf16(bits),
            Self::Split { upper, lower } => View::Split(upper, lower),
        }
    }

    /// All of them, to be written.
    pub(crate) fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Self::F32(values) => ViewMut::F32(values),
            Self::Bf16(bits) => ViewMut::Bf16(bits),
            Self::Split { upper, lower } => ViewMut::Split(upper, lower),
        }
    }
}

/// Numbers to be read.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    Split(&'a [u16], &'a [u16]),
}

impl<'a> View<'a> {
    /// Some of them.
    pub(crate) fn part(self, start: usize, end: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[start..end]),
            Self::Bf16(bits) => Self::Bf16(&bits[start..end]),
            Self::Split(upper, lower) => Self::Split(&upper[start..end], &lower[start..end]),
        }
    }

    /// Copies them as f32.
    pub(crate) fn read(self, target: &mut [f32]) {
        match self {
            Self::F32(values) => target.copy_from_slice(values),
            Self::Bf16(bits) => {
                target.iter_mut().zip(bits).for_each(|(target, bits)| *target = widened(*bits));
            }
            Self::Split(upper, lower) => {
                let halves = upper.iter().zip(lower);
                let pairs = target.iter_mut().zip(halves);
                pairs.for_each(|(target, (upper, lower))| *target = joined(*upper, *lower));
            }
        }
    }

    /// Copies them as bf16 says them.
    pub(crate) fn read_rounded(self, target: &mut [f32]) {
        match self {
            Self::F32(values) => {
                let pairs = target.iter_mut().zip(values);
                pairs.for_each(|(target, value)| *target = widened(rounded(*value)));
            }
            Self::Bf16(bits) | Self::Split(bits, _) => {
                target.iter_mut().zip(bits).for_each(|(target, bits)| *target = widened(*bits));
            }
        }
    }
}

/// Numbers to be written.
pub(crate) enum ViewMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
    Split(&'a mut [u16], &'a mut [u16]),
}

impl<'a> ViewMut<'a> {
    /// The first `count`, and the rest.
    pub(crate) fn cut(self, count: usize) -> (Self, Self) {
        match self {
            Self::F32(values) => {
                let (left, right) = values.split_at_mut(count);
                (Self::F32(left), Self::F32(right))
            }
            Self::Bf16(bits) => {
                let (left, right) = bits.split_at_mut(count);
                (Self::Bf16(left), Self::Bf16(right))
            }
            Self::Split(upper, lower) => {
                let (upper, upper_rest) = upper.split_at_mut(count);
                let (lower, lower_rest) = lower.split_at_mut(count);
                (Self::Split(upper, lower), Self::Split(upper_rest, lower_rest))
            }
        }
    }

    /// The same, to be read.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::F32(values) => View::F32(values),
            Self::Bf16(bits) => View::Bf16(bits),
            Self::Split(upper, lower) => View::Split(upper, lower),
        }
    }

    /// Overwrites them; what has no room for all bits is rounded at random.
    pub(crate) fn write(&mut self, values: &[f32], dice: Dice) {
        match self {
            Self::F32(target) => target.copy_from_slice(values),
            Self::Bf16(bits) => {
                for (at, (bits, value)) in bits.iter_mut().zip(values).enumerate() {
                    *bits = diced(*value, dice.bits(at));
                }
            }
            Self::Split(upper, lower) => {
                let halves = upper.iter_mut().zip(lower.iter_mut());
                for ((upper, lower), value) in halves.zip(values) {
                    (*upper, *lower) = split(*value);
                }
            }
        }
    }

    /// Overwrites them; what has no room for all bits is rounded to the nearest.
    pub(crate) fn set(&mut self, values: &[f32]) {
        match self {
            Self::Bf16(bits) => {
                bits.iter_mut().zip(values).for_each(|(bits, value)| *bits = rounded(*value));
            }
            Self::F32(_) | Self::Split(..) => self.write(values, Dice::new(0, 0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every size and both signs, with as many exact ties among them.
    fn values() -> Vec<f32> {
        let random = (0..400_000_u64).map(|at| f32::from_bits((mixed(at) >> 20) as u32));
        let random: Vec<f32> = random.filter(|value| value.is_finite()).collect();
        let tie = |value: &f32| f32::from_bits((value.to_bits() & 0xffff_0000) | 0x8000);
        let ties: Vec<f32> = random.iter().map(tie).collect();
        let ends = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1)];
        [random, ties, ends.to_vec()].concat()
    }

    #[test]
    fn a_split_number_is_the_same_number_also_at_ties() {
        let values = values();
        let mut numbers = Numbers::zeros(Kind::Split, values.len());
        numbers.view_mut().set(&values);
        let mut read = vec![0.0; values.len()];
        numbers.view().read(&mut read);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&values) == bits(&read));
    }

    #[test]
    fn a_tie_rounded_to_even_would_lose_the_number() {
        // 0x3f80_8000 lies between the bf16 0x3f80 and 0x3f81, 0x3f81_8000 between 0x3f81 and 0x3f82.
        for bits in [0x3f80_8000_u32, 0x3f81_8000, 0xbf80_8000, 0xbf81_8000] {
            let value = f32::from_bits(bits);
            let (upper, lower) = split(value);
            assert_eq!((joined(upper, lower), lower), (value, 0x8000));
            assert!(widened(upper).abs() > value.abs(), "a tie goes away from zero");
        }
        let even = bf16::from_f32(f32::from_bits(0x3f80_8000)).to_bits();
        assert_ne!(joined(even, 0x8000), f32::from_bits(0x3f80_8000));
    }

    #[test]
    fn dice_have_the_mean_of_the_number_and_the_same_bits_anywhere() {
        let count = 100_000;
        for value in [0.02_f32, -1.000_01, 3.5e-7] {
            let mut numbers = Numbers::zeros(Kind::Bf16, count);
            numbers.view_mut().write(&vec![value; count], Dice::new(7, 3, 11));
            let mut read = vec![0.0; count];
            numbers.view().read(&mut read);
            let mean = read.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
            let bits = value.to_bits();
            let below = f64::from(f32::from_bits(bits & 0xffff_0000));
            let unit = f64::from(f32::from_bits((bits & 0xffff_0000) + 0x1_0000)) - below;
            let up = f64::from(bits & 0xffff) / 65_536.0;
            let deviation = unit.abs() * (up * (1.0 - up) / count as f64).sqrt();
            assert!((mean - f64::from(value)).abs() <= 4.0 * deviation, "{value}: {mean}");
            let mut part = Numbers::zeros(Kind::Bf16, 100);
            part.view_mut().write(&[value; 100], Dice::new(7, 3, 11).after(500));
            let mut again = vec![0.0; 100];
            part.view().read(&mut again);
            assert_eq!(again, read[500..600]);
        }
    }
}
