//! Attention against a paged cache: which rows of it each sequence of a batch sees.

use burn::backend::Flex;
use burn::tensor::{Bool, Tensor, TensorData, activation};

use super::fused::{dims, host};
use super::kernels::paged::{self, BLOCK, Kept};
use super::plain::integers;
use crate::burn::cache::Host;
use crate::burn::decoder::Heads;

pub(crate) use super::kernels::paged::Span;

/// The sequences of a batch and where they lie in a cache.
pub(crate) struct Pages {
    spans: Vec<Span>,
    /// Of each new row its place.
    new_rows: Vec<usize>,
}

impl Pages {
    /// Spans follow each other row by row.
    pub(crate) fn new(spans: Vec<Span>) -> Self {
        let new_rows = spans.iter().flat_map(|span| (0..span.rows).map(|row| place(span, row)));
        Self { new_rows: new_rows.collect(), spans }
    }

    /// Of each new row its place.
    pub(crate) fn new_rows(&self) -> &[usize] {
        &self.new_rows
    }

    /// Writes keys and values, and lets each row see its sequence up to itself.
    pub(crate) fn attend_host<T: Kept>(
        &self,
        qkv: Tensor<2>,
        layer: &mut Host<T>,
        heads: Heads,
    ) -> Tensor<2> {
        let qkv = qkv.try_into_primitive::<Flex>();
        let qkv = qkv.expect("the processor's cache is used on the processor only").to_contiguous();
        let ([rows, width], values) = (dims(&qkv), qkv.storage::<f32>());
        let (from, kv_width) = (heads.query_width(), heads.kv_width());
        for (row, place) in values.chunks_exact(width).zip(&self.new_rows) {
            let (key, value) = row[from..].split_at(kv_width);
            let target = (layer.keys.as_mut_slice(), layer.values.as_mut_slice());
            paged::write(target, (place / BLOCK, place % BLOCK), (key, value), heads);
        }
        let pages = paged::Pages { keys: &layer.keys, values: &layer.values };
        let out = paged::attend(values, &self.spans, pages, heads);
        Tensor::from_primitive::<Flex>(host(out, [rows, from]))
    }

    /// The same in plain burn operations, on a cache whose rows were written. Sequences with one
    /// row are computed together, others one by one.
    pub(crate) fn attend_plain(
        &self,
        qkv: Tensor<2>,
        cache: (&Tensor<2>, &Tensor<2>),
        heads: Heads,
    ) -> Tensor<2> {
        let query = qkv.narrow(1, 0, heads.query_width());
        let (single, longer): (Vec<&Span>, Vec<&Span>) =
            self.spans.iter().partition(|span| span.rows == 1);
        let mut groups: Vec<Vec<&Span>> = longer.into_iter().map(|span| vec![span]).collect();
        groups.extend((!single.is_empty()).then_some(single));
        let rows_of = |span: &Span| span.row..span.row + span.rows;
        let parts = groups.iter().map(|group| {
            let rows = group.iter().flat_map(|span| rows_of(span));
            let query = query.clone().select(0, integers(rows, &query.device()));
            attend_group(query, group, cache, heads)
        });
        let seen = Tensor::cat(parts.collect(), 0);
        let mut places = vec![0; self.new_rows.len()];
        let order = groups.iter().flatten().flat_map(|span| rows_of(span));
        order.enumerate().for_each(|(place, row)| places[row] = place);
        let device = seen.device();
        seen.select(0, integers(places.into_iter(), &device))
    }
}

/// The place of a span's row in the cache.
fn place(span: &Span, row: usize) -> usize {
    let position = span.start + row;
    span.blocks[position / BLOCK] as usize * BLOCK + position % BLOCK
}

/// Sequences with the same number of rows.
fn attend_group(
    query: Tensor<2>,
    group: &[&Span],
    cache: (&Tensor<2>, &Tensor<2>),
    heads: Heads,
) -> Tensor<2> {
    let device = query.device();
    let (sequences, rows) = (group.len(), group[0].rows);
    let length = |span: &Span| span.start + span.rows;
    let longest = group.iter().map(|span| length(span)).max().unwrap_or(0);
    let shared = heads.query / heads.kv;
    let query = query
        .reshape([sequences, rows, heads.kv, shared * heads.size])
        .swap_dims(1, 2)
        .reshape([sequences, heads.kv, rows * shared, heads.size]);
    // Beyond a sequence's end its first row again: finite numbers that the mask hides.
    let seen = group.iter().flat_map(|span| {
        let at = |position: usize| if position < length(span) { position } else { 0 };
        (0..longest).map(move |position| {
            let position = at(position);
            span.blocks[position / BLOCK] as usize * BLOCK + position % BLOCK
        })
    });
    let seen = integers(seen, &device);
    let split = |kv: &Tensor<2>| {
        let kv = kv.clone().select(0, seen.clone());
        kv.reshape([sequences, longest, heads.kv, heads.size]).swap_dims(1, 2)
    };
    let hidden: Vec<bool> = (group.iter())
        .flat_map(|span| (0..rows * shared).map(move |query| span.start + query / shared))
        .flat_map(|position| (0..longest).map(move |key| key > position))
        .collect();
    let hidden = TensorData::new(hidden, [sequences, 1, rows * shared, longest]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &device);
    let scores = query.matmul(split(cache.0).transpose()) * (1.0 / (heads.size as f64).sqrt());
    let scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
    activation::softmax(scores, 3)
        .matmul(split(cache.1))
        .reshape([sequences, heads.kv, rows, shared * heads.size])
        .swap_dims(1, 2)
        .reshape([sequences * rows, heads.query_width()])
}
