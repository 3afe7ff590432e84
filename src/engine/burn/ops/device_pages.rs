//! Attention against a cache in a device's pages: `[pages, heads, page, head size]` for keys and for
//! values.
//!
//! What the kernels need to know of a step, places, page tables and lengths, are tensors that are made
//! once for all layers, of sizes that come in few steps: kernels are tuned per size, and a recorded
//! step reads them where they were. Plain operations are the reference; GPUs have kernels.

use std::ops::Range;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use super::Kernels;
use super::kernels::paged::{BLOCK, Span};
use super::plain::{self, integers};
use crate::burn::decoder::Heads;

/// Where the rows of a step go and what they see, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Of each new row its place: its page times the tokens of a page, and the place in the page.
    pub(crate) rows: Vec<u32>,
    pub(crate) groups: Vec<Group>,
}

/// Sequences with as many new rows each, which are computed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Their rows in the batch.
    pub(crate) rows: Vec<Range<usize>>,
    /// The pages of each, filled up with page 0 to `width`.
    pub(crate) table: Vec<u32>,
    pub(crate) width: usize,
    /// Tokens of each, the new ones among them.
    pub(crate) lengths: Vec<u32>,
}

impl Places {
    /// Sequences with one row are computed together, others one by one.
    pub(crate) fn new(spans: &[Span]) -> Self {
        let (single, longer): (Vec<&Span>, Vec<&Span>) =
            spans.iter().partition(|span| span.rows == 1);
        let mut groups: Vec<Group> = longer.iter().map(|span| Group::new(&[*span], 0)).collect();
        if !single.is_empty() {
            groups.push(Group::new(&single, 0));
        }
        Self { rows: rows(spans), groups }
    }

    /// Sequences of one row each, filled up to `count` with rows that see only themselves, in the spare
    /// page behind all others; tables as wide as said.
    pub(crate) fn decode(spans: &[Span], (count, width): (usize, usize), spare: u32) -> Self {
        let mut group = Group::new(&spans.iter().collect::<Vec<_>>(), width);
        let mut rows = rows(spans);
        for row in spans.len()..count {
            rows.push(spare * BLOCK as u32);
            group.rows.push(row..row + 1);
            group.table.push(spare);
            group.table.resize(group.table.len() + width - 1, 0);
            group.lengths.push(1);
        }
        Self { rows, groups: vec![group] }
    }
}

fn rows(spans: &[Span]) -> Vec<u32> {
    let place = |span: &Span, row: usize| {
        let position = span.start + row;
        span.blocks[position / BLOCK] * BLOCK as u32 + (position % BLOCK) as u32
    };
    spans.iter().flat_map(|span| (0..span.rows).map(move |row| place(span, row))).collect()
}

/// How wide a table for so many pages is: a power of two, so that few kernels serve all lengths.
pub(crate) fn table_width(pages: usize) -> usize {
    pages.next_power_of_two()
}

impl Group {
    fn new(spans: &[&Span], at_least: usize) -> Self {
        let length = |span: &Span| span.start + span.rows;
        let pages = |span: &Span| length(span).div_ceil(BLOCK);
        let most = spans.iter().map(|span| pages(span)).max().unwrap_or(1);
        let width = table_width(most).max(at_least);
        let mut table = Vec::with_capacity(spans.len() * width);
        for span in spans {
            table.extend_from_slice(&span.blocks[..pages(span)]);
            table.resize(table.len() + width - pages(span), 0);
        }
        Self {
            rows: spans.iter().map(|span| span.row..span.row + span.rows).collect(),
            table,
            width,
            lengths: spans.iter().map(|span| length(span) as u32).collect(),
        }
    }
}

/// The same on a device.
pub(crate) struct DevicePlaces {
    pub(crate) rows: Tensor<1, Int>,
    groups: Vec<DeviceGroup>,
    /// Of each row its place in the groups, one after the other; nothing if that is where it is.
    order: Option<Tensor<1, Int>>,
}

struct DeviceGroup {
    /// Rows of the batch; nothing if it is all of them.
    rows: Option<Tensor<1, Int>>,
    table: Tensor<2, Int>,
    lengths: Tensor<1, Int>,
}

impl DevicePlaces {
    pub(crate) fn new(places: &Places, kernels: Kernels, device: &Device) -> Self {
        let count = places.rows.len();
        let group = |group: &Group| {
            let shape = [group.lengths.len(), group.width];
            DeviceGroup {
                rows: (places.groups.len() > 1)
                    .then(|| integers(group.rows.iter().cloned().flatten(), device)),
                table: counters(kernels, group.table.clone(), shape, device),
                lengths: counters(kernels, group.lengths.clone(), [shape[0]], device),
            }
        };
        let order = places.groups.iter().flat_map(|group| group.rows.iter().cloned().flatten());
        let mut inverse = vec![0; count];
        order.enumerate().for_each(|(place, row)| inverse[row] = place);
        let ordered = inverse.iter().enumerate().all(|(place, row)| place == *row);
        Self {
            rows: counters(kernels, places.rows.clone(), [count], device),
            groups: places.groups.iter().map(group).collect(),
            order: (!ordered).then(|| integers(inverse.into_iter(), device)),
        }
    }

    /// Other places of the same sizes, where these are.
    pub(crate) fn refill(&mut self, places: &Places, kernels: Kernels, device: &Device) {
        let new = Self::new(places, kernels, device);
        refill_int(kernels, &mut self.rows, new.rows);
        for (old, new) in self.groups.iter_mut().zip(new.groups) {
            refill_int(kernels, &mut old.table, new.table);
            refill_int(kernels, &mut old.lengths, new.lengths);
        }
    }
}

/// Keys and values of a layer.
pub(crate) struct Pools {
    /// Both, but while they are written to.
    both: Option<(Tensor<4>, Tensor<4>)>,
}

impl Pools {
    /// Pages of zeros, of the type of a device's floats.
    pub(crate) fn new(pages: usize, heads: Heads, options: (&Device, burn::tensor::DType)) -> Self {
        let shape = [pages, heads.kv, BLOCK, heads.size];
        let empty = || Tensor::zeros(shape, options);
        Self { both: Some((empty(), empty())) }
    }

    /// Bytes of both.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let (keys, _) = self.both.as_ref().expect("pools are there between steps");
        2 * keys.shape().num_elements() * keys.dtype().size()
    }

    /// Writes the keys and values of a step, and lets each row see its sequence up to itself.
    pub(crate) fn attend(
        &mut self,
        qkv: &Tensor<2>,
        places: &DevicePlaces,
        kernels: Kernels,
        heads: Heads,
    ) -> Tensor<2> {
        let both = self.both.take().expect("pools are there between steps");
        let rows = places.rows.clone();
        let (keys, values) = match kernels {
            Kernels::Plain | Kernels::Fused => write(qkv, &rows, both, heads),
            Kernels::Cuda(own) => own.write_pages(qkv.clone(), rows, both, heads),
        };
        let parts = places.groups.iter().map(|group| {
            let qkv = match &group.rows {
                Some(rows) => qkv.clone().select(0, rows.clone()),
                None => qkv.clone(),
            };
            let (table, lengths) = (group.table.clone(), group.lengths.clone());
            match kernels {
                Kernels::Plain | Kernels::Fused => {
                    attend(qkv, (&keys, &values), (table, lengths), heads)
                }
                Kernels::Cuda(own) => own.attend_pages(qkv, (&keys, &values), (table, lengths)),
            }
        });
        let mut parts: Vec<Tensor<2>> = parts.collect();
        let seen = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
        self.both = Some((keys, values));
        match &places.order {
            Some(order) => seen.select(0, order.clone()),
            None => seen,
        }
    }
}

/// Numbers of places, pages and tokens as the kernels take them.
fn counters<const D: usize>(
    kernels: Kernels,
    values: Vec<u32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D, Int> {
    match kernels {
        Kernels::Cuda(own) => own.counters(values, shape, device),
        Kernels::Plain | Kernels::Fused => {
            let values: Vec<i64> = values.into_iter().map(i64::from).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        }
    }
}

/// New numbers in the place of old ones, where they may not move.
pub(crate) fn refill<const D: usize>(kernels: Kernels, target: &mut Tensor<D>, source: Tensor<D>) {
    match kernels {
        Kernels::Cuda(own) => own.refill(target, source),
        Kernels::Plain | Kernels::Fused => *target = source,
    }
}

/// The same for integers.
pub(crate) fn refill_int<const D: usize>(
    kernels: Kernels,
    target: &mut Tensor<D, Int>,
    source: Tensor<D, Int>,
) {
    match kernels {
        Kernels::Cuda(own) => own.refill_int(target, source),
        Kernels::Plain | Kernels::Fused => *target = source,
    }
}

/// Keys and values of new rows to their places.
fn write(
    qkv: &Tensor<2>,
    rows: &Tensor<1, Int>,
    (keys, values): (Tensor<4>, Tensor<4>),
    heads: Heads,
) -> (Tensor<4>, Tensor<4>) {
    let (from, width) = (heads.query_width(), heads.kv_width());
    let into = |pool: Tensor<4>, column: usize| {
        let [pages, ..] = pool.dims();
        let new = qkv.clone().narrow(1, column, width);
        pool.swap_dims(1, 2)
            .reshape([pages * BLOCK, width])
            .select_assign(0, rows.clone(), new, IndexingUpdateOp::Assign)
            .reshape([pages, BLOCK, heads.kv, heads.size])
            .swap_dims(1, 2)
    };
    (into(keys, from), into(values, from + width))
}

/// Attention of the last rows of sequences over their pages.
fn attend(
    qkv: Tensor<2>,
    (keys, values): (&Tensor<4>, &Tensor<4>),
    (table, lengths): (Tensor<2, Int>, Tensor<1, Int>),
    heads: Heads,
) -> Tensor<2> {
    let (device, dtype) = (qkv.device(), qkv.dtype());
    let [sequences, width] = table.dims();
    let (rows, tokens) = (qkv.dims()[0] / sequences, width * BLOCK);
    let shared = heads.query / heads.kv;
    let query = plain::wide(qkv.narrow(1, 0, heads.query_width()))
        .reshape([sequences, rows, heads.kv, shared * heads.size])
        .swap_dims(1, 2)
        .reshape([sequences, heads.kv, rows * shared, heads.size]);
    let pages = table.reshape([sequences * width]);
    let seen = |pool: &Tensor<4>| {
        plain::wide(pool.clone().select(0, pages.clone()))
            .reshape([sequences, width, heads.kv, BLOCK * heads.size])
            .swap_dims(1, 2)
            .reshape([sequences, heads.kv, tokens, heads.size])
    };
    // The position of each row, and of each token of the pages.
    let own = integers((0..rows * shared).map(|row| row / shared), &device);
    let own =
        lengths.reshape([sequences, 1, 1, 1]) - rows as i64 + own.reshape([1, 1, rows * shared, 1]);
    let token = integers(0..tokens, &device).reshape([1, 1, 1, tokens]);
    let hidden = token.greater(own).expand([sequences, heads.kv, rows * shared, tokens]);
    let scores = query.matmul(seen(keys).transpose()) * (1.0 / (heads.size as f64).sqrt());
    let scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
    let out = activation::softmax(scores, 3)
        .matmul(seen(values))
        .reshape([sequences, heads.kv, rows, shared * heads.size])
        .swap_dims(1, 2)
        .reshape([sequences * rows, heads.query_width()]);
    plain::narrowed(out, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(row: usize, rows: usize, start: usize, blocks: &[u32]) -> Span {
        Span { row, rows, start, blocks: blocks.to_vec() }
    }

    #[test]
    fn rows_go_to_the_pages_of_their_sequence() {
        let spans = [span(0, 2, 15, &[7, 3]), span(2, 1, 4, &[5]), span(3, 1, 32, &[1, 0, 2])];
        let places = Places::new(&spans);
        assert_eq!(places.rows, [7 * 16 + 15, 3 * 16, 5 * 16 + 4, 2 * 16]);
        let [longer, single] = places.groups.as_slice() else { panic!("{places:?}") };
        assert_eq!(
            (&longer.table[..], longer.width, &longer.lengths[..]),
            (&[7, 3][..], 2, &[17][..])
        );
        assert_eq!(single.rows, [2..3, 3..4]);
        assert_eq!(single.table, [5, 0, 0, 0, 1, 0, 2, 0]);
        assert_eq!(single.lengths, [5, 33]);
    }

    #[test]
    fn a_step_is_filled_up_with_rows_that_see_the_spare_page_only() {
        let spans = [span(0, 1, 16, &[4, 6])];
        let places = Places::decode(&spans, (3, 4), 9);
        assert_eq!(places.rows, [6 * 16, 9 * 16, 9 * 16]);
        let [group] = places.groups.as_slice() else { panic!("{places:?}") };
        assert_eq!(group.table, [4, 6, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(group.lengths, [17, 1, 1]);
        assert_eq!(group.rows.len(), 3);
    }
}
