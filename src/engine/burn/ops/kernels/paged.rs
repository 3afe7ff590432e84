//! Causal grouped-query attention that reads a paged cache in place.
//!
//! A key block holds, for each key-value head, its 16 keys side by side dimension by dimension
//! `[size, 16]`; a value block holds them row by row `[16, size]`. So scores of 16 keys, and sums
//! over values, are whole vectors without a horizontal sum. The queries of all heads that share keys
//! are computed together.
//!
//! A row's sums are taken in the same order whatever else is computed with it: keys in segments of
//! [`SEGMENT`] positions counted from the sequence's beginning, softmax within each, segments merged
//! from first to last. So a token's result does not depend on the batch, on how a prompt was cut
//! into pieces, nor on the number of threads.

use half::bf16;

use super::keys;
use super::vector::{exp, greatest, sum};
use crate::burn::decoder::Heads;
use crate::burn::ops::crew;

/// Positions in a block.
pub(crate) const BLOCK: usize = crate::BLOCK_TOKENS;

/// Positions whose softmax is taken at a time.
pub(super) const SEGMENT: usize = 512;

/// Queries that a task takes at least, if there are as many.
const TASK_QUERIES: usize = 32;

/// A number as a cache keeps it.
pub(crate) trait Kept: Copy + Send + Sync + 'static {
    fn keep(value: f32) -> Self;

    /// The numbers as f32, in place if they are, else in `room`.
    fn read<'a>(values: &'a [Self], room: &'a mut [f32]) -> &'a [f32];
}

impl Kept for f32 {
    fn keep(value: f32) -> Self {
        value
    }

    fn read<'a>(values: &'a [Self], _room: &'a mut [f32]) -> &'a [f32] {
        values
    }
}

impl Kept for bf16 {
    fn keep(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn read<'a>(values: &'a [Self], room: &'a mut [f32]) -> &'a [f32] {
        widen(&mut room[..values.len()], bytemuck::cast_slice(values));
        &room[..values.len()]
    }
}

/// Keys and values of one layer.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a, T> {
    pub(crate) keys: &'a [T],
    pub(crate) values: &'a [T],
}

/// Rows of a batch that belong to one sequence.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// The first row.
    pub(crate) row: usize,
    /// How many.
    pub(crate) rows: usize,
    /// The position of the first.
    pub(crate) start: usize,
    /// The blocks that hold the sequence up to the last row.
    pub(crate) blocks: Vec<u32>,
}

/// Writes a row's keys and values to their position in a block.
pub(crate) fn write<T: Kept>(
    (keys, values): (&mut [T], &mut [T]),
    (block, offset): (usize, usize),
    (key, value): (&[f32], &[f32]),
    heads: Heads,
) {
    let page = heads.size * BLOCK;
    let base = block * heads.kv * page;
    for (head, key) in key.chunks_exact(heads.size).enumerate() {
        let page = &mut keys[base + head * page..][..page];
        for (place, value) in page.chunks_exact_mut(BLOCK).zip(key) {
            place[offset] = T::keep(*value);
        }
    }
    for (head, value) in value.chunks_exact(heads.size).enumerate() {
        let page = &mut values[base + head * page + offset * heads.size..][..heads.size];
        page.iter_mut().zip(value).for_each(|(place, value)| *place = T::keep(*value));
    }
}

/// Rows of one span and the heads that share one key-value head.
#[derive(Clone, Copy)]
struct Task<'a> {
    span: &'a Span,
    /// Within the span.
    first: usize,
    rows: usize,
    kv: usize,
}

/// `[rows, query width]` from `[rows, width]`: each row sees its sequence up to itself, as the
/// cache has it.
pub(crate) fn attend<T: Kept>(
    qkv: &[f32],
    spans: &[Span],
    pages: Pages<'_, T>,
    heads: Heads,
) -> Vec<f32> {
    let (width, out_width) = (heads.query_width() + 2 * heads.kv_width(), heads.query_width());
    let shared = heads.query / heads.kv;
    let tasks = tasks(spans, heads);
    let segments: usize = tasks.iter().map(|task| segments(*task)).sum();
    let results = match tasks.len() < 2 * rayon::current_num_threads() && segments > tasks.len() {
        true => attend_apart(&tasks, qkv, pages, heads),
        false => crew::each_result(tasks.len(), |number| {
            let task = tasks[number];
            let queries = queries(task, qkv, heads);
            let mut merged = Partial::new(task.rows * shared, heads.size);
            for segment in 0..self::segments(task) {
                merged.merge(&partial(task, segment, &queries, pages, heads));
            }
            merged.finish()
        }),
    };
    let mut out = vec![0.0; qkv.len() / width * out_width];
    for (task, result) in tasks.iter().zip(results) {
        let columns = shared * heads.size;
        for (row, result) in result.chunks_exact(columns).enumerate() {
            let at = (task.span.row + task.first + row) * out_width + task.kv * columns;
            out[at..at + columns].copy_from_slice(result);
        }
    }
    out
}

/// Few long sequences: their segments side by side.
fn attend_apart<T: Kept>(
    tasks: &[Task<'_>],
    qkv: &[f32],
    pages: Pages<'_, T>,
    heads: Heads,
) -> Vec<Vec<f32>> {
    let queries: Vec<Vec<f32>> = tasks.iter().map(|task| queries(*task, qkv, heads)).collect();
    let parts: Vec<(usize, usize)> = (tasks.iter().enumerate())
        .flat_map(|(number, task)| (0..segments(*task)).map(move |segment| (number, segment)))
        .collect();
    let partials = crew::each_result(parts.len(), |part| {
        let (number, segment) = parts[part];
        partial(tasks[number], segment, &queries[number], pages, heads)
    });
    let mut partials = partials.iter();
    let merge = |task: &Task<'_>| {
        let mut merged = Partial::new(task.rows * (heads.query / heads.kv), heads.size);
        partials.by_ref().take(segments(*task)).for_each(|part| merged.merge(part));
        merged.finish()
    };
    tasks.iter().map(merge).collect()
}

/// Segments that the last row of a task sees.
fn segments(task: Task<'_>) -> usize {
    (task.span.start + task.first + task.rows).div_ceil(SEGMENT)
}

fn tasks(spans: &[Span], heads: Heads) -> Vec<Task<'_>> {
    let rows_max = TASK_QUERIES.div_ceil(heads.query / heads.kv);
    let mut tasks = Vec::new();
    for span in spans {
        for first in (0..span.rows).step_by(rows_max) {
            let rows = rows_max.min(span.rows - first);
            tasks.extend((0..heads.kv).map(|kv| Task { span, first, rows, kv }));
        }
    }
    tasks
}

/// The queries of a task `[rows * shared, size]`, scaled.
fn queries(task: Task<'_>, qkv: &[f32], heads: Heads) -> Vec<f32> {
    let width = heads.query_width() + 2 * heads.kv_width();
    let columns = heads.query / heads.kv * heads.size;
    let scale = 1.0 / (heads.size as f32).sqrt();
    let rows = (0..task.rows).flat_map(|row| {
        let at = (task.span.row + task.first + row) * width + task.kv * columns;
        qkv[at..at + columns].iter().map(|value| value * scale)
    });
    rows.collect()
}

/// Softmax sums over some keys, per query: the largest score, the sum of weights, and the weighted
/// sum of values.
struct Partial {
    most: Vec<f32>,
    total: Vec<f32>,
    sums: Vec<f32>,
}

impl Partial {
    fn new(queries: usize, size: usize) -> Self {
        Self {
            most: vec![f32::NEG_INFINITY; queries],
            total: vec![0.0; queries],
            sums: vec![0.0; queries * size],
        }
    }

    /// Adds later keys.
    fn merge(&mut self, later: &Self) {
        let size = self.sums.len() / self.most.len();
        for query in 0..self.most.len() {
            let (old, new) = (self.most[query], later.most[query]);
            if new == f32::NEG_INFINITY {
                continue;
            }
            let most = if new > old { new } else { old };
            let kept = if old == f32::NEG_INFINITY { 0.0 } else { exp(old - most) };
            let added = exp(new - most);
            self.most[query] = most;
            self.total[query] = self.total[query] * kept + later.total[query] * added;
            let columns = query * size..(query + 1) * size;
            let later = &later.sums[columns.clone()];
            for (sum, value) in self.sums[columns].iter_mut().zip(later) {
                *sum = *sum * kept + value * added;
            }
        }
    }

    fn finish(mut self) -> Vec<f32> {
        let size = self.sums.len() / self.most.len();
        for (sums, total) in self.sums.chunks_exact_mut(size).zip(&self.total) {
            let inverse = 1.0 / total;
            sums.iter_mut().for_each(|sum| *sum *= inverse);
        }
        self.sums
    }
}

/// One segment of the keys against all queries of a task.
fn partial<T: Kept>(
    task: Task<'_>,
    segment: usize,
    queries: &[f32],
    pages: Pages<'_, T>,
    heads: Heads,
) -> Partial {
    let (size, shared) = (heads.size, heads.query / heads.kv);
    let mut partial = Partial::new(queries.len() / size, size);
    let first_key = segment * SEGMENT;
    // How many keys of the segment a query sees.
    let position = task.span.start + task.first;
    let seen =
        |query: usize| (position + query / shared + 1).saturating_sub(first_key).min(SEGMENT);
    let most_seen = seen(queries.len() / size - 1);
    let blocks = &task.span.blocks[first_key / BLOCK..][..most_seen.div_ceil(BLOCK)];
    let page = |block: u32| (block as usize * heads.kv + task.kv) * size * BLOCK;
    let mut scores = vec![0.0; queries.len() / size * SEGMENT];
    let eights = keys::together(queries, size);
    let mut room = vec![0.0; size * BLOCK];
    for (at, block) in blocks.iter().enumerate() {
        let keys = T::read(&pages.keys[page(*block)..][..size * BLOCK], &mut room);
        keys::score(&mut scores[at * BLOCK..], &eights, keys, size);
    }
    for (query, scores) in scores.chunks_exact_mut(SEGMENT).enumerate() {
        let scores = &mut scores[..seen(query)];
        if !scores.is_empty() {
            (partial.most[query], partial.total[query]) = weigh(scores);
        }
    }
    for (at, block) in blocks.iter().enumerate() {
        let values = T::read(&pages.values[page(*block)..][..size * BLOCK], &mut room);
        let weights = &scores[at * BLOCK..];
        let seen = |query: usize| seen(query).saturating_sub(at * BLOCK).min(BLOCK);
        // Later queries see no less: from the first that sees all of the block on, all do.
        let queries = partial.most.len();
        let whole = (0..queries).find(|query| seen(*query) == BLOCK).unwrap_or(queries);
        for (query, sums) in partial.sums[..whole * size].chunks_exact_mut(size).enumerate() {
            add_weighted(sums, &weights[query * SEGMENT..][..seen(query)], values);
        }
        if whole < queries {
            keys::add(&mut partial.sums[whole * size..], &weights[whole * SEGMENT..], values, size);
        }
    }
    partial
}

/// `a * b + c`, rounded once where the processor can.
#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Compiles a function for AVX-512, for AVX2 with fused multiply-add and without both, and picks at
/// run time, so one machine always gives the same numbers.
macro_rules! widened {
    ($(#[$meta:meta])* fn $name:ident<const $fma:ident: bool>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable<const $fma: bool>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn widest($($argument: $type),*) $(-> $result)? {
                portable::<true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn wide($($argument: $type),*) $(-> $result)? {
                portable::<true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                #[expect(unsafe_code, reason = "calls code for AVX2 or AVX-512")]
                // SAFETY: the processor has what the function is compiled for.
                return unsafe {
                    match std::arch::is_x86_feature_detected!("avx512f") {
                        true => widest($($argument),*),
                        false => wide($($argument),*),
                    }
                };
            }
            portable::<false>($($argument),*)
        }
    };
}

widened! {
    /// From scores to weights; gives the largest score and the sum of the weights.
    fn weigh<const FMA: bool>(scores: &mut [f32]) -> (f32, f32) {
        let most = greatest(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - most);
        }
        (most, sum(scores))
    }
}

widened! {
    /// Adds the first values `[16, size]`, each times its weight.
    fn add_weighted<const FMA: bool>(sums: &mut [f32], weights: &[f32], values: &[f32]) {
        let size = sums.len();
        for (first, sums) in sums.chunks_mut(BLOCK).enumerate() {
            let first = first * BLOCK;
            if let Ok(sums) = <&mut [f32; BLOCK]>::try_from(&mut *sums) {
                let mut held = *sums;
                for (weight, values) in weights.iter().zip(values.chunks_exact(size)) {
                    for (sum, value) in held.iter_mut().zip(&values[first..first + BLOCK]) {
                        *sum = fused::<FMA>(*weight, *value, *sum);
                    }
                }
                *sums = held;
            } else {
                for (weight, values) in weights.iter().zip(values.chunks_exact(size)) {
                    for (sum, value) in sums.iter_mut().zip(&values[first..]) {
                        *sum = fused::<FMA>(*weight, *value, *sum);
                    }
                }
            }
        }
    }
}

widened! {
    /// bf16 by its bits to f32.
    fn widen<const FMA: bool>(target: &mut [f32], bits: &[u16]) {
        for (target, bits) in target.iter_mut().zip(bits) {
            *target = f32::from_bits(u32::from(*bits) << 16);
        }
    }
}
