//! Sums that do not depend on how numbers are divided over ranks and threads.

use rayon::prelude::*;

use super::numbers::View;

/// Numbers that a task takes.
const TASK: usize = 1 << 14;

/// A sum that is rounded once: the same in any order, but for one case in about 2^50.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exact {
    high: f64,
    low: f64,
}

impl Exact {
    /// Knuth's sum without loss, the losses added up.
    #[inline(always)]
    fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let rest = sum - self.high;
        self.low += (self.high - (sum - rest)) + (value - rest);
        self.high = sum;
    }

    /// The sum, rounded.
    pub(crate) fn value(self) -> f64 {
        self.high
    }

    /// The sum of two.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        self.add(other.high);
        self.add(other.low);
        let sum = self.high + self.low;
        Self { low: self.low - (sum - self.high), high: sum }
    }
}

/// The sum of squares; a square of an f32 is exact in f64.
pub(crate) fn squares(view: View<'_>, count: usize) -> Exact {
    let starts: Vec<usize> = (0..count).step_by(TASK).collect();
    let part = |start: &usize| {
        let end = (start + TASK).min(count);
        let mut values = vec![0.0; end - start];
        view.part(*start, end).read(&mut values);
        let mut sums = [Exact::default(); 8];
        for (at, value) in values.into_iter().enumerate() {
            sums[at % 8].add(f64::from(value) * f64::from(value));
        }
        sums.into_iter().fold(Exact::default(), Exact::plus)
    };
    let parts: Vec<Exact> = starts.par_iter().map(part).collect();
    parts.into_iter().fold(Exact::default(), Exact::plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_the_same_in_any_parts() {
        let number =
            |at: u32| f32::from_bits(0x2f00_0000 + at.wrapping_mul(2_654_435_761) % 0x1f00_0000);
        let values: Vec<f32> = (0..100_000).map(number).collect();
        let whole = squares(View::F32(&values), values.len());
        for parts in [2, 3, 8, 1000] {
            let rest = values.chunks(values.len().div_ceil(parts)).rev();
            let sums = rest.map(|part| squares(View::F32(part), part.len()));
            let sum = sums.fold(Exact::default(), Exact::plus);
            assert_eq!(sum.value().to_bits(), whole.value().to_bits(), "{parts} parts");
        }
    }
}
