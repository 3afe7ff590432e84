//! The inner loops of attention over a block of sixteen keys, on whatever vectors there are.
//!
//! Every sum is a chain of fused multiply-adds in the order of the dimensions, or of the keys: which
//! instructions compute it, and beside what, changes nothing.

#![expect(unsafe_code, reason = "reads keys and values by pointer in the inner loop")]

use super::paged::{BLOCK, SEGMENT};
use super::product::path::Path;
use super::product::simd::{LANES, Portable, Simd};

/// Queries whose scores are computed from one place in memory.
pub(super) const TOGETHER: usize = 8;

/// Queries `[queries, size]` as scores are computed from them: eight by eight, dimension by dimension
/// `[size, 8]`, the last ones with zeros.
pub(super) fn together(queries: &[f32], size: usize) -> Vec<f32> {
    let mut all = vec![0.0; (queries.len() / size).next_multiple_of(TOGETHER) * size];
    for (number, query) in queries.chunks_exact(size).enumerate() {
        let (group, at) = (number / TOGETHER, number % TOGETHER);
        let group = &mut all[group * TOGETHER * size..][..TOGETHER * size];
        group.chunks_exact_mut(TOGETHER).zip(query).for_each(|(eight, value)| eight[at] = *value);
    }
    all
}

/// Scores of 16 keys `[size, 16]` against each query, which are [`together`]; rows of scores are a
/// segment apart, and there are as many as there are queries.
pub(super) fn score(scores: &mut [f32], eights: &[f32], keys: &[f32], size: usize) {
    score_on(Path::best(), scores, eights, (keys, size));
}

fn score_on(path: Path, scores: &mut [f32], eights: &[f32], (keys, size): (&[f32], usize)) {
    assert!(Path::available().contains(&path), "the processor has no {path:?}");
    assert!(size > 0 && keys.len() >= size * BLOCK, "a block has all dimensions of its keys");
    // SAFETY: the processor has the path's instructions; the slices are as long as asserted.
    unsafe {
        match path {
            Path::Portable => score_all::<Portable, 1>(scores, eights, keys, size),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => x86::score_avx2(scores, eights, keys, size),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 => x86::score_avx512(scores, eights, keys, size),
        }
    }
}

/// Adds 16 values `[16, size]`, each times its weight, to the sums `[queries, size]`; rows of weights
/// are a segment apart.
pub(super) fn add(sums: &mut [f32], weights: &[f32], values: &[f32], size: usize) {
    add_on(Path::best(), sums, weights, (values, size));
}

fn add_on(path: Path, sums: &mut [f32], weights: &[f32], (values, size): (&[f32], usize)) {
    assert!(Path::available().contains(&path), "the processor has no {path:?}");
    let queries = sums.len() / size;
    assert!(values.len() >= BLOCK * size, "a block has all dimensions of its values");
    assert!(queries == 0 || weights.len() >= (queries - 1) * SEGMENT + BLOCK, "all have weights");
    // SAFETY: the processor has the path's instructions; the slices are as long as asserted.
    unsafe {
        match path {
            Path::Portable => add_all::<Portable, 1, 1>(sums, weights, values, size),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => x86::add_avx2(sums, weights, values, size),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 | Path::Avx512Bf16 => x86::add_avx512(sums, weights, values, size),
        }
    }
}

/// `ROWS` queries at a time, which divide [`TOGETHER`].
///
/// # Safety
/// As [`Simd`]; the block has `size` dimensions.
#[inline(always)]
unsafe fn score_all<S: Simd, const ROWS: usize>(
    scores: &mut [f32],
    eights: &[f32],
    keys: &[f32],
    size: usize,
) {
    let groups = scores.chunks_mut(TOGETHER * SEGMENT).zip(eights.chunks_exact(TOGETHER * size));
    for (scores, eights) in groups {
        for (pass, scores) in scores.chunks_mut(ROWS * SEGMENT).enumerate() {
            // SAFETY: the slices are as long as what is read of them.
            unsafe {
                let mut sums = [S::splat(0.0); ROWS];
                let (mut from, mut key) = (eights.as_ptr().add(pass * ROWS), keys.as_ptr());
                for _ in 0..size {
                    let held = S::load(key);
                    for (at, sum) in sums.iter_mut().enumerate() {
                        *sum = S::fused(S::splat(*from.add(at)), held, *sum);
                    }
                    // Wrapping, as after the last one there may be nothing.
                    (from, key) = (from.wrapping_add(TOGETHER), key.wrapping_add(BLOCK));
                }
                for (scores, sum) in scores.chunks_mut(SEGMENT).zip(sums) {
                    S::store(scores[..BLOCK].as_mut_ptr(), sum);
                }
            }
        }
    }
}

/// `ROWS` queries and `GROUPS` times sixteen dimensions at a time.
///
/// # Safety
/// As [`Simd`]; values and weights are as long as [`add`] says.
#[inline(always)]
unsafe fn add_all<S: Simd, const ROWS: usize, const GROUPS: usize>(
    sums: &mut [f32],
    weights: &[f32],
    values: &[f32],
    size: usize,
) {
    let queries = sums.len() / size;
    let whole = queries / ROWS * ROWS;
    // SAFETY: inside the slices, by the contract.
    unsafe {
        for query in (0..whole).step_by(ROWS) {
            let sums = &mut sums[query * size..(query + ROWS) * size];
            add_rows::<S, ROWS, GROUPS>(sums, &weights[query * SEGMENT..], values, size);
        }
        for query in whole..queries {
            let sums = &mut sums[query * size..(query + 1) * size];
            add_rows::<S, 1, GROUPS>(sums, &weights[query * SEGMENT..], values, size);
        }
    }
}

/// All dimensions of some queries: as many as fit side by side, then by sixteen, then one by one.
#[inline(always)]
unsafe fn add_rows<S: Simd, const ROWS: usize, const GROUPS: usize>(
    sums: &mut [f32],
    weights: &[f32],
    values: &[f32],
    size: usize,
) {
    let mut column = 0;
    // SAFETY: the columns are inside the rows.
    unsafe {
        while column + GROUPS * LANES <= size {
            add_tile::<S, ROWS, GROUPS>(&mut sums[column..], weights, &values[column..], size);
            column += GROUPS * LANES;
        }
        while column + LANES <= size {
            add_tile::<S, ROWS, 1>(&mut sums[column..], weights, &values[column..], size);
            column += LANES;
        }
    }
    for (row, sums) in sums.chunks_exact_mut(size).enumerate() {
        for (key, weight) in weights[row * SEGMENT..][..BLOCK].iter().enumerate() {
            let values = &values[key * size..][column..size];
            for (sum, value) in sums[column..].iter_mut().zip(values) {
                *sum = weight.mul_add(*value, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_tile<S: Simd, const ROWS: usize, const GROUPS: usize>(
    sums: &mut [f32],
    weights: &[f32],
    values: &[f32],
    size: usize,
) {
    // SAFETY: rows of sums and values are `size` apart and hold the columns, by the contract.
    unsafe {
        // Inside, by the contract: checks would be one for every few instructions.
        let sum_at = |row: usize, group: usize| row.wrapping_mul(size).wrapping_add(group * LANES);
        let mut held = [[S::splat(0.0); GROUPS]; ROWS];
        for (row, held) in held.iter_mut().enumerate() {
            for (group, held) in held.iter_mut().enumerate() {
                *held = S::load(sums.as_ptr().add(sum_at(row, group)));
            }
        }
        for key in 0..BLOCK {
            let mut read = [S::splat(0.0); GROUPS];
            for (group, read) in read.iter_mut().enumerate() {
                *read = S::load(values.as_ptr().add(sum_at(key, group)));
            }
            for (row, held) in held.iter_mut().enumerate() {
                let weight = S::splat(*weights.as_ptr().add(row * SEGMENT + key));
                for (held, read) in held.iter_mut().zip(read) {
                    *held = S::fused(weight, read, *held);
                }
            }
        }
        for (row, held) in held.iter().enumerate() {
            for (group, held) in held.iter().enumerate() {
                S::store(sums.as_mut_ptr().add(sum_at(row, group)), *held);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::product::avx2::Avx2;
    use super::super::product::avx512::Avx512;
    use super::{TOGETHER, add_all, score_all};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn score_avx2(scores: &mut [f32], eights: &[f32], keys: &[f32], size: usize) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { score_all::<Avx2, 4>(scores, eights, keys, size) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn score_avx512(scores: &mut [f32], eights: &[f32], keys: &[f32], size: usize) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { score_all::<Avx512, TOGETHER>(scores, eights, keys, size) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn add_avx2(sums: &mut [f32], weights: &[f32], values: &[f32], size: usize) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { add_all::<Avx2, 2, 2>(sums, weights, values, size) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn add_avx512(sums: &mut [f32], weights: &[f32], values: &[f32], size: usize) {
        // SAFETY: the processor has the instructions of this function.
        unsafe { add_all::<Avx512, 4, 4>(sums, weights, values, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|at| (at * step % 101) as f32 / 37.0 - 1.3).collect()
    }

    /// Of one query and one key, or of one dimension of one query: the chain that all must be.
    fn chain(start: f32, pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
        pairs.fold(start, |sum, (left, right)| left.mul_add(right, sum))
    }

    #[test]
    fn every_path_gives_the_same_bits_whatever_is_computed_beside() {
        for (size, queries) in [(24, 1), (64, 7), (64, 8), (80, 3), (128, 9), (8, 21)] {
            let (keys, values) = (numbers(size * BLOCK, 7), numbers(size * BLOCK, 11));
            let (asked, weights) = (numbers(queries * size, 13), numbers(queries * SEGMENT, 17));
            let sums = numbers(queries * size, 19);
            for path in Path::available() {
                let mut scores = vec![0.0; queries * SEGMENT];
                score_on(*path, &mut scores, &together(&asked, size), (&keys, size));
                let mut added = sums.clone();
                add_on(*path, &mut added, &weights, (&values, size));
                for query in 0..queries {
                    let row = &asked[query * size..][..size];
                    for key in 0..BLOCK {
                        let pairs = (0..size).map(|at| (row[at], keys[at * BLOCK + key]));
                        let right = chain(0.0, pairs);
                        assert_eq!(scores[query * SEGMENT + key], right, "{path:?} {size}");
                    }
                    let weights = &weights[query * SEGMENT..];
                    for at in 0..size {
                        let pairs = (0..BLOCK).map(|key| (weights[key], values[key * size + at]));
                        let right = chain(sums[query * size + at], pairs);
                        assert_eq!(added[query * size + at], right, "{path:?} {size}");
                    }
                }
            }
        }
    }
}
