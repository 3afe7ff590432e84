//! Keys and values of the tokens that a generator has seen.
//!
//! One pair of tensors `[slots * capacity, channels]` per layer. The capacity doubles when a
//! sequence outgrows it, so that shapes change rarely.

use burn::tensor::{Device, Tensor};

use super::decoder::{Attend, Heads};
use super::device::Place;
use super::ops::{Kernels, Past};
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
    kernels: Kernels,
}

impl Cache {
    pub(crate) fn new(layers: usize, heads: Heads, slots: usize, place: &Place) -> Self {
        let capacity = CAPACITY_MIN;
        let empty = || Tensor::zeros([slots * capacity, heads.kv_width()], &place.device);
        Self {
            heads,
            slots,
            capacity,
            layers: (0..layers).map(|_| (empty(), empty())).collect(),
            lengths: vec![0; slots],
            device: place.device.clone(),
            kernels: place.kernels,
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

    /// Writes the keys and values of packed rows to their rows here.
    fn write(&mut self, layer: usize, qkv: &Tensor<2>, rows: &[usize]) {
        let (from, width) = (self.heads.query_width(), self.heads.kv_width());
        let (key, value) = &mut self.layers[layer];
        self.kernels.write_rows(key, rows, qkv, from);
        self.kernels.write_rows(value, rows, qkv, from + width);
    }

    fn row(&self, slot: usize, position: usize) -> usize {
        slot * self.capacity + position
    }
}

/// Whole prompts: attention within the batch, and everything is remembered.
pub(crate) struct Prefill<'a> {
    cache: &'a mut Cache,
    packing: &'a Packing,
    rows: Vec<usize>,
}

impl<'a> Prefill<'a> {
    pub(crate) fn new(cache: &'a mut Cache, packing: &'a Packing, slots: &[usize]) -> Self {
        let rows = (slots.iter().zip(packing.ranges()))
            .flat_map(|(slot, range)| (0..range.len()).map(|position| (*slot, position)))
            .map(|(slot, position)| cache.row(slot, position))
            .collect();
        Self { cache, packing, rows }
    }
}

impl Attend for Prefill<'_> {
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.cache.write(layer, &qkv_tw, &self.rows);
        self.cache.kernels.attention(qkv_tw, self.packing, self.cache.heads)
    }
}

/// One new token per slot, which sees all that the slot remembers and itself.
pub(crate) struct Decode<'a> {
    cache: &'a mut Cache,
    rows: Vec<usize>,
    past: Past,
}

impl<'a> Decode<'a> {
    pub(crate) fn new(cache: &'a mut Cache, slots: &[usize]) -> Self {
        let starts = slots.iter().map(|slot| cache.row(*slot, 0)).collect();
        let rows = slots.iter().map(|slot| cache.row(*slot, cache.length(*slot))).collect();
        let lengths = slots.iter().map(|slot| cache.length(*slot) + 1).collect();
        Self { cache, rows, past: Past { starts, lengths } }
    }
}

impl Attend for Decode<'_> {
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.cache.write(layer, &qkv_tw, &self.rows);
        let (key, value) = &self.cache.layers[layer];
        self.cache.kernels.attend_past(qkv_tw, (key, value), &self.past, self.cache.heads)
    }
}
