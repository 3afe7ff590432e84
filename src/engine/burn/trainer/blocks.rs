//! Which parameters are gathered together: the embedding, each layer, the final norm with the head.

use std::ops::Range;

use crate::burn::decoder::DecoderConfig;
use crate::burn::parameters::{Index, Parameter, Part, parameters};

/// The blocks of a decoder, in the order in which a forward pass needs them.
#[derive(Clone)]
pub(crate) struct Blocks {
    /// Every parameter.
    pub(crate) parameters: Vec<Parameter>,
    /// Which of them each block has.
    ranges: Vec<Range<usize>>,
    /// How many parameters of a layer are its first half's.
    pub(crate) first_half: usize,
}

impl Blocks {
    /// The embedding's block.
    pub(crate) const EMBEDDING: usize = 0;

    pub(crate) fn new(config: &DecoderConfig) -> Self {
        let (parameters, index) = (parameters(config), Index::new(config));
        let start = |layer: usize| match layer < config.layers {
            true => index.part(layer, Part::AttentionNorm).expect("every layer has its norms"),
            false => index.final_norm(),
        };
        let layers = (0..config.layers).map(|layer| start(layer)..start(layer + 1));
        let embedding = std::iter::once(Index::EMBEDDING..Index::EMBEDDING + 1);
        let last = std::iter::once(index.final_norm()..parameters.len());
        let ranges = embedding.chain(layers).chain(last).collect();
        let second = index.part(0, Part::FeedForwardNorm).map_or(0, |part| part - start(0));
        Self { parameters, ranges, first_half: second }
    }

    /// The block of a layer.
    pub(crate) fn layer(layer: usize) -> usize {
        1 + layer
    }

    /// The block of final norm and head.
    pub(crate) fn last(&self) -> usize {
        self.ranges.len() - 1
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Which parameters a block has.
    pub(crate) fn range(&self, block: usize) -> Range<usize> {
        self.ranges[block].clone()
    }

    /// The parameters of every block.
    pub(crate) fn split(&self) -> Vec<Vec<Parameter>> {
        self.ranges.iter().map(|range| self.parameters[range.clone()].to_vec()).collect()
    }
}
