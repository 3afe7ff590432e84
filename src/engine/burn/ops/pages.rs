//! Attention against a paged cache in the processor's memory: which rows of it each sequence of a batch
//! sees.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::fused::{dims, host};
use super::kernels::paged::{self, BLOCK, Kept};
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
}

/// The place of a span's row in the cache.
fn place(span: &Span, row: usize) -> usize {
    let position = span.start + row;
    span.blocks[position / BLOCK] as usize * BLOCK + position % BLOCK
}
