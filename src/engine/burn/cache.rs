//! Keys and values of the tokens that a generator has seen.
//!
//! One pair of tensors `[slots * capacity, channels]` per layer. The capacity doubles when a
//! sequence outgrows it, so that shapes change rarely.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::decoder::{Attend, Heads};
use super::ops;
use super::packing::Packing;

/// Positions that a slot has room for in the beginning.
const CAPACITY_MIN: usize = 256;

/// The cache of all layers.
pub(crate) struct Cache {
    heads: Heads,
    slots: usize,
    capacity: usize,
    /// Keys and values of each layer.
    layers: Vec<(Tensor<2>, Tensor<2>)>,
    /// Tokens in each slot.
    lengths: Vec<usize>,
    device: Device,
}

impl Cache {
    pub(crate) fn new(layers: usize, heads: Heads, slots: usize, device: &Device) -> Self {
        let capacity = CAPACITY_MIN;
        let empty = || Tensor::zeros([slots * capacity, heads.kv_width()], device);
        Self {
            heads,
            slots,
            capacity,
            layers: (0..layers).map(|_| (empty(), empty())).collect(),
            lengths: vec![0; slots],
            device: device.clone(),
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn length(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    pub(crate) fn set_length(&mut self, slot: usize, length: usize) {
        self.lengths[slot] = length;
    }

    /// Makes room for sequences of this length.
    pub(crate) fn reserve(&mut self, length: usize) {
        if length <= self.capacity {
            return;
        }
        let (slots, width) = (self.slots, self.heads.kv_width());
        let (old, new) = (self.capacity, length.next_power_of_two());
        for (key, value) in &mut self.layers {
            for tensor in [key, value] {
                let kept = tensor.clone().reshape([slots, old, width]);
                let more = Tensor::zeros([slots, new - old, width], &self.device);
                *tensor = Tensor::cat(vec![kept, more], 1).reshape([slots * new, width]);
            }
        }
        self.capacity = new;
    }

    /// Writes the keys and values of packed rows to their slots and positions.
    fn write(&mut self, layer: usize, qkv: &Tensor<2>, rows: &Tensor<1, Int>) {
        let (from, width) = (self.heads.query_width(), self.heads.kv_width());
        let (key, value) = &mut self.layers[layer];
        for (tensor, start) in [(key, from), (value, from + width)] {
            let new = qkv.clone().narrow(1, start, width);
            tensor.inplace(|old| old.select_assign(0, rows.clone(), new, IndexingUpdateOp::Assign));
        }
    }

    fn row(&self, slot: usize, position: usize) -> i64 {
        (slot * self.capacity + position) as i64
    }

    fn rows(&self, rows: Vec<i64>) -> Tensor<1, Int> {
        let count = rows.len();
        Tensor::from_data(TensorData::new(rows, [count]), &self.device)
    }
}

/// Whole prompts: attention within the batch, and everything is remembered.
pub(crate) struct Prefill<'a> {
    cache: &'a mut Cache,
    packing: &'a Packing,
    rows: Tensor<1, Int>,
}

impl<'a> Prefill<'a> {
    pub(crate) fn new(cache: &'a mut Cache, packing: &'a Packing, slots: &[usize]) -> Self {
        let rows = (slots.iter().zip(packing.ranges()))
            .flat_map(|(slot, range)| (0..range.len()).map(|position| (*slot, position)))
            .map(|(slot, position)| cache.row(slot, position))
            .collect();
        let rows = cache.rows(rows);
        Self { cache, packing, rows }
    }
}

impl Attend for Prefill<'_> {
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.cache.write(layer, &qkv_tw, &self.rows);
        ops::attention(qkv_tw, self.packing, self.cache.heads)
    }
}

/// One new token per slot, which sees all that the slot remembers and itself.
pub(crate) struct Decode<'a> {
    cache: &'a mut Cache,
    rows: Tensor<1, Int>,
    /// All rows of the slots up to the longest, and how many of them count for each.
    seen: Tensor<1, Int>,
    lengths: Vec<usize>,
}

impl<'a> Decode<'a> {
    /// `lengths` count the new token.
    pub(crate) fn new(cache: &'a mut Cache, slots: &[usize]) -> Self {
        let lengths: Vec<usize> = slots.iter().map(|slot| cache.length(*slot) + 1).collect();
        let rows = (slots.iter().zip(&lengths)).map(|(s, length)| cache.row(*s, length - 1));
        let rows = cache.rows(rows.collect());
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let seen = slots.iter().flat_map(|slot| (0..longest).map(|at| cache.row(*slot, at)));
        let seen = cache.rows(seen.collect());
        Self { rows, seen, lengths, cache }
    }
}

impl Attend for Decode<'_> {
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.cache.write(layer, &qkv_tw, &self.rows);
        let (key, value) = &self.cache.layers[layer];
        let heads = self.cache.heads;
        let query = qkv_tw.narrow(1, 0, heads.query_width());
        let past = |tensor: &Tensor<2>| tensor.clone().select(0, self.seen.clone());
        ops::plain::attend_past(query, past(key), past(value), &self.lengths, heads)
    }
}
