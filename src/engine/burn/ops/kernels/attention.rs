//! Causal grouped-query attention, sequence by sequence.
//!
//! Rows are `[queries | keys | values]`. Scores are computed for a block of queries at a time
//! against the keys up to the block's end, so half of the square is never computed and memory
//! grows with the length, not with its square.

use std::ops::Range;

use rayon::prelude::*;

use super::vector::{dot, exp, greatest, sum, vectorized};
use crate::burn::decoder::Heads;
use crate::burn::gemm::{Target, View, product};

/// Queries whose scores are computed at a time.
const BLOCK: usize = 64;

/// Where queries, keys and values of one head begin in a row.
struct Columns {
    query: usize,
    key: usize,
    value: usize,
}

fn columns(heads: Heads, head: usize) -> Columns {
    let kv = head / (heads.query / heads.kv) * heads.size;
    let key = heads.query_width() + kv;
    Columns { query: head * heads.size, key, value: key + heads.kv_width() }
}

fn width(heads: Heads) -> usize {
    heads.query_width() + 2 * heads.kv_width()
}

fn scale(heads: Heads) -> f32 {
    1.0 / (heads.size as f32).sqrt()
}

/// The pieces of a matrix that belong to each sequence; sequences follow each other.
fn pieces<'a>(
    mut rest: &'a mut [f32],
    ranges: &[Range<usize>],
    width: usize,
) -> Vec<&'a mut [f32]> {
    let mut pieces = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (piece, after) = rest.split_at_mut(range.len() * width);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// `[tokens, query width]` from `[tokens, width]`.
pub(crate) fn forward(qkv: &[f32], ranges: &[Range<usize>], heads: Heads) -> Vec<f32> {
    let (width, out_width) = (width(heads), heads.query_width());
    let mut out = vec![0.0; qkv.len() / width * out_width];
    let pieces = pieces(&mut out, ranges, out_width);
    pieces.into_par_iter().zip(ranges).for_each(|(out, range)| {
        let qkv = &qkv[range.start * width..range.end * width];
        let mut scores = vec![0.0; BLOCK * range.len()];
        for head in 0..heads.query {
            forward_head(out, qkv, head, heads, &mut scores);
        }
    });
    out
}

fn forward_head(out: &mut [f32], qkv: &[f32], head: usize, heads: Heads, scores: &mut [f32]) {
    let (width, out_width) = (width(heads), heads.query_width());
    let length = qkv.len() / width;
    let at = columns(heads, head);
    for start in (0..length).step_by(BLOCK) {
        let end = (start + BLOCK).min(length);
        let part = |row: usize, column: usize, rows: usize| {
            View::part(&qkv[row * width + column..], rows, heads.size, width)
        };
        let scores = &mut scores[..(end - start) * end];
        let target = Target::set(scores, end);
        let query = part(start, at.query, end - start);
        product(target, query, part(0, at.key, end).transposed(), scale(heads));
        causal_softmax(scores, start, end);
        let values = &mut out[start * out_width + at.query..];
        let target = Target::set(values, out_width);
        product(target, View::part(scores, end - start, end, end), part(0, at.value, end), 1.0);
    }
}

vectorized! {
    /// Softmax of each row over the keys up to its own; the rest becomes 0.
    fn causal_softmax(scores: &mut [f32], start: usize, keys: usize) {
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let (seen, unseen) = scores.split_at_mut(start + row + 1);
            unseen.fill(0.0);
            softmax(seen);
        }
    }
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let most = greatest(row);
    for score in row.iter_mut() {
        *score = exp(*score - most);
    }
    let inverse = 1.0 / sum(row);
    for score in row.iter_mut() {
        *score *= inverse;
    }
}

/// The gradient of `qkv` for a gradient of the result.
pub(crate) fn backward(
    qkv: &[f32],
    gradient: &[f32],
    ranges: &[Range<usize>],
    heads: Heads,
) -> Vec<f32> {
    let (width, out_width) = (width(heads), heads.query_width());
    let mut result = vec![0.0; qkv.len()];
    let pieces = pieces(&mut result, ranges, width);
    pieces.into_par_iter().zip(ranges).for_each(|(result, range)| {
        let qkv = &qkv[range.start * width..range.end * width];
        let gradient = &gradient[range.start * out_width..range.end * out_width];
        let mut scratch = (vec![0.0; BLOCK * range.len()], vec![0.0; BLOCK * range.len()]);
        for head in 0..heads.query {
            backward_head(result, (qkv, gradient), head, heads, &mut scratch);
        }
    });
    result
}

fn backward_head(
    result: &mut [f32],
    (qkv, gradient): (&[f32], &[f32]),
    head: usize,
    heads: Heads,
    scratch: &mut (Vec<f32>, Vec<f32>),
) {
    let (width, out_width) = (width(heads), heads.query_width());
    let length = qkv.len() / width;
    let at = columns(heads, head);
    let part = |row: usize, column: usize, rows: usize| {
        View::part(&qkv[row * width + column..], rows, heads.size, width)
    };
    for start in (0..length).step_by(BLOCK) {
        let end = (start + BLOCK).min(length);
        let rows = end - start;
        let weights = &mut scratch.0[..rows * end];
        let target = Target::set(weights, end);
        let query = part(start, at.query, rows);
        product(target, query, part(0, at.key, end).transposed(), scale(heads));
        causal_softmax(weights, start, end);
        let gradient = &gradient[start * out_width + at.query..];
        let gradient = View::part(gradient, rows, heads.size, out_width);
        let of_scores = &mut scratch.1[..rows * end];
        let target = Target::set(of_scores, end);
        product(target, gradient, part(0, at.value, end).transposed(), 1.0);
        softmax_backward(of_scores, weights, start, end);
        let (weights, of_scores) =
            (View::part(weights, rows, end, end), View::part(of_scores, rows, end, end));
        // Keys and values are shared by query heads and by blocks: add. Queries are not.
        let query_rows = Target::set(&mut result[start * width + at.query..], width);
        product(query_rows, of_scores, part(0, at.key, end), scale(heads));
        let keys = Target::add(&mut result[at.key..], width);
        product(keys, of_scores.transposed(), query, scale(heads));
        let values = Target::add(&mut result[at.value..], width);
        product(values, weights.transposed(), gradient, 1.0);
    }
}

vectorized! {
    /// From the gradient of the weights to that of the scores, in place.
    fn softmax_backward(of_scores: &mut [f32], weights: &[f32], start: usize, keys: usize) {
        let rows = of_scores.chunks_exact_mut(keys).zip(weights.chunks_exact(keys));
        for (row, (of_scores, weights)) in rows.enumerate() {
            let seen = start + row + 1;
            let (of_seen, unseen) = of_scores.split_at_mut(seen);
            unseen.fill(0.0);
            let weights = &weights[..seen];
            let mean = dot(of_seen, weights);
            for (of_score, weight) in of_seen.iter_mut().zip(weights) {
                *of_score = weight * (*of_score - mean);
            }
        }
    }
}
