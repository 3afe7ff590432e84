//! Keys and values of the tokens that a generator has seen, in blocks.
//!
//! On the processor the blocks lie as the attention kernel reads them, without a copy. Elsewhere
//! they are the pages of a pair of tensors per layer, with a spare one behind them.

use burn::tensor::{DType, Tensor};
use half::bf16;

use super::decoder::{Attend, Heads};
use super::device::Place;
use super::ops::device_pages::{DevicePlaces, Places, Pools};
use super::ops::{Kernels, Pages, Span};
use crate::{BLOCK_TOKENS, CacheShape, CacheType, Piece};

/// The cache of all layers.
pub(crate) struct Cache {
    heads: Heads,
    layers: Layers,
}

enum Layers {
    F32(Vec<Host<f32>>),
    Bf16(Vec<Host<bf16>>),
    Device(Vec<Pools>, Kernels),
}

/// Keys and values of one layer in the processor's memory.
pub(crate) struct Host<T> {
    pub(crate) keys: Vec<T>,
    pub(crate) values: Vec<T>,
}

/// Bytes of a block of all layers.
pub(crate) fn block_bytes(layers: usize, heads: Heads, number: CacheType) -> u64 {
    let bytes = match number {
        CacheType::F32 => size_of::<f32>(),
        CacheType::Bf16 => size_of::<bf16>(),
    };
    (2 * layers * heads.kv_width() * BLOCK_TOKENS * bytes) as u64
}

impl Cache {
    /// Memory of zeros: the system gives pages when they are first written to.
    pub(crate) fn new(
        layers: usize,
        heads: Heads,
        (shape, number): (CacheShape, CacheType),
        place: &Place,
    ) -> Self {
        let (rows, width) = (shape.tokens(), heads.kv_width());
        let layers = match (place.kernels, number) {
            (Kernels::Fused, CacheType::F32) => {
                let numbers = || vec![0.0; rows * width];
                Layers::F32(
                    (0..layers).map(|_| Host { keys: numbers(), values: numbers() }).collect(),
                )
            }
            (Kernels::Fused, CacheType::Bf16) => {
                let numbers = || bytemuck::zeroed_vec(rows * width);
                Layers::Bf16(
                    (0..layers).map(|_| Host { keys: numbers(), values: numbers() }).collect(),
                )
            }
            (kernels @ (Kernels::Plain | Kernels::Cuda(_)), number) => {
                let dtype = match number {
                    CacheType::F32 => DType::F32,
                    CacheType::Bf16 => DType::BF16,
                };
                let pool = || Pools::new(shape.blocks + 1, heads, (&place.device, dtype));
                Layers::Device((0..layers).map(|_| pool()).collect(), kernels)
            }
        };
        Self { heads, layers }
    }

    /// Bytes that were asked of the system for it.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        fn host<T>(layers: &[Host<T>]) -> usize {
            let numbers =
                layers.iter().map(|layer| layer.keys.capacity() + layer.values.capacity());
            numbers.sum::<usize>() * size_of::<T>()
        }
        let bytes = match &self.layers {
            Layers::F32(layers) => host(layers),
            Layers::Bf16(layers) => host(layers),
            Layers::Device(layers, _) => layers.iter().map(Pools::bytes).sum(),
        };
        bytes as u64
    }
}

/// Pieces of a step: what is new is written, then each row sees its sequence up to itself.
pub(crate) struct Paged<'a> {
    cache: &'a mut Cache,
    rows: Rows<'a>,
}

/// Where they go and what they see.
enum Rows<'a> {
    Host(Pages),
    Device(Box<DevicePlaces>),
    Held(&'a DevicePlaces),
}

impl<'a> Paged<'a> {
    pub(crate) fn new(cache: &'a mut Cache, pieces: &[Piece<'_>], place: &Place) -> Self {
        let mut row = 0;
        let mut spans = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let rows = piece.tokens.len();
            spans.push(Span { row, rows, start: piece.start, blocks: piece.blocks.to_vec() });
            row += rows;
        }
        let rows = match place.kernels {
            Kernels::Fused => Rows::Host(Pages::new(spans)),
            kernels @ (Kernels::Plain | Kernels::Cuda(_)) => {
                let places = DevicePlaces::new(&Places::new(&spans), kernels, &place.device);
                Rows::Device(Box::new(places))
            }
        };
        Self { cache, rows }
    }

    /// Rows whose places are on the device, where a recorded step reads them.
    pub(crate) fn held(cache: &'a mut Cache, places: &'a DevicePlaces) -> Self {
        Self { cache, rows: Rows::Held(places) }
    }
}

impl Attend for Paged<'_> {
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        let heads = self.cache.heads;
        match (&mut self.cache.layers, &self.rows) {
            (Layers::F32(layers), Rows::Host(pages)) => {
                pages.attend_host(qkv_tw, &mut layers[layer], heads)
            }
            (Layers::Bf16(layers), Rows::Host(pages)) => {
                pages.attend_host(qkv_tw, &mut layers[layer], heads)
            }
            (Layers::Device(layers, kernels), Rows::Device(places)) => {
                layers[layer].attend(&qkv_tw, places, *kernels, heads)
            }
            (Layers::Device(layers, kernels), Rows::Held(places)) => {
                layers[layer].attend(&qkv_tw, places, *kernels, heads)
            }
            (Layers::F32(_) | Layers::Bf16(_), Rows::Device(_) | Rows::Held(_))
            | (Layers::Device(..), Rows::Host(_)) => {
                unreachable!("rows are prepared for the place of the cache")
            }
        }
    }
}
