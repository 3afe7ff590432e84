//! The decoder: embedding, layers of attention and gated feed-forward, final norm, head.
//!
//! Sequences are packed: all tokens of a batch stand in one matrix `[tokens, hidden]` without
//! padding, and only attention knows where a sequence ends (`Packing`).
//!
//! Letters in names of tensors: `t` tokens of all sequences, `c` channels (hidden), `w` width of
//! query, key and value together, `v` vocabulary.

use burn::tensor::Tensor;

use super::architectures::Architecture;
use super::loaded::Weight;
use super::ops::{Kernels, held, plain};
use super::packing::Packing;
use super::parameters::{Extras, Index, Part};
use super::rotary::Rope;

/// What a decoder looks like.
#[derive(Clone)]
pub(crate) struct DecoderConfig {
    pub(crate) architecture: &'static Architecture,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) norm_epsilon: f64,
    pub(crate) rope: Rope,
    pub(crate) extras: Extras,
    pub(crate) tied: bool,
    pub(crate) initializer_range: f64,
}

impl DecoderConfig {
    /// Columns of the queries of all heads.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Columns of the keys of all key-value heads; the values have as many.
    pub(crate) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Columns of queries, keys and values together.
    pub(crate) fn qkv_width(&self) -> usize {
        self.query_width() + 2 * self.kv_width()
    }

    /// What attention needs to know of it.
    pub(crate) fn heads(&self) -> Heads {
        Heads { query: self.heads, kv: self.kv_heads, size: self.head_size }
    }
}

/// The heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Query heads.
    pub(crate) query: usize,
    /// Key-value heads; each serves `query / kv` query heads.
    pub(crate) kv: usize,
    /// Numbers per head.
    pub(crate) size: usize,
}

impl Heads {
    /// Columns of the queries.
    pub(crate) fn query_width(self) -> usize {
        self.query * self.size
    }

    /// Columns of the keys.
    pub(crate) fn kv_width(self) -> usize {
        self.kv * self.size
    }
}

/// How a layer's tokens see each other: within the batch, or with what was cached before.
pub(crate) trait Attend {
    /// Rotated queries, keys and values `[t, w]` of a layer in, `[t, heads * head size]` out.
    fn attend(&mut self, layer: usize, qkv_tw: Tensor<2>) -> Tensor<2>;
}

/// Attention within a packed batch: each token sees its own sequence up to itself.
pub(crate) struct WithinBatch {
    pub(crate) packing: Packing,
    pub(crate) heads: Heads,
    pub(crate) kernels: Kernels,
}

impl Attend for WithinBatch {
    fn attend(&mut self, _layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.kernels.attention(qkv_tw, &self.packing, self.heads)
    }
}

/// A decoder with its parameters, on the tape or not; whole, or one rank's share of it.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) parameters: &'a [Weight],
    pub(crate) kernels: Kernels,
    /// The first id of its embedding; it knows as many as its vocabulary says.
    pub(crate) first_id: usize,
    /// Whether it is one of several shares: then halves of layers are parts of sums, to which
    /// [`Decoder::joined`] adds residual and bias.
    pub(crate) is_share: bool,
}

impl<'a> Decoder<'a> {
    /// A whole one.
    pub(crate) fn new(
        config: &'a DecoderConfig,
        parameters: &'a [Weight],
        kernels: Kernels,
    ) -> Self {
        Self { config, parameters, kernels, first_id: 0, is_share: false }
    }

    /// The first half of a layer, with the residual if it is whole.
    pub(crate) fn attention_half(
        self,
        x_tc: Tensor<2>,
        layer: usize,
        packing: &Packing,
        attention: &mut dyn Attend,
    ) -> Tensor<2> {
        let normed_tc = self.norm(x_tc.clone(), layer, Part::AttentionNorm);
        let qkv_tw = self.linear(normed_tc, layer, Part::QkvWeight);
        let seen = attention.attend(layer, self.placed(qkv_tw, layer, packing));
        self.added(x_tc, seen, layer, (Part::OutputWeight, Part::OutputBias))
    }

    /// The second half of a layer, with the residual if it is whole.
    pub(crate) fn feed_forward_half(self, x_tc: Tensor<2>, layer: usize) -> Tensor<2> {
        let normed_tc = self.norm(x_tc.clone(), layer, Part::FeedForwardNorm);
        let gated = self.gated(normed_tc, layer);
        self.added(x_tc, gated, layer, (Part::DownWeight, Part::DownBias))
    }

    /// The residual, the sum of what all shares made of it, and the bias.
    pub(crate) fn joined(
        self,
        x_tc: Tensor<2>,
        sum: Tensor<2>,
        layer: usize,
        bias: Part,
    ) -> Tensor<2> {
        self.biased(x_tc + sum, layer, bias)
    }

    /// The embedding of a batch; ids that it does not know are zeros.
    pub(crate) fn embedding(self, packing: &Packing) -> Tensor<2> {
        let (ids, known) =
            (packing.shared_ids(), self.first_id..self.first_id + self.config.vocabulary);
        let table = &self.parameters[Index::EMBEDDING];
        if self.first_id == 0 && ids.iter().all(|id| known.contains(id)) {
            return match table {
                Weight::Packed(table) => held::embedding(table, &ids),
                Weight::Tensor(table) => self.kernels.embedding(table.clone(), packing),
            };
        }
        let ids: Vec<Option<usize>> =
            ids.iter().map(|id| known.contains(id).then(|| id - known.start)).collect();
        match table {
            Weight::Packed(table) => held::known_rows(table, &ids),
            Weight::Tensor(table) => plain::known_rows(table, &ids),
        }
    }

    /// Logits `[rows, v]` of some rows of the hidden states.
    pub(crate) fn logits(self, hidden_tc: Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let normed = self.normed(hidden_tc, rows);
        self.product(normed, self.head())
    }

    /// Some rows of the hidden states after the final norm.
    pub(crate) fn normed(self, hidden_tc: Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let norm = self.parameters[Index::new(self.config).final_norm()].tensor();
        let hidden = self.kernels.rows(hidden_tc, rows);
        self.kernels.rms_norm(hidden, norm, self.config.norm_epsilon)
    }

    /// The parameter that is the head.
    pub(crate) fn head(self) -> usize {
        if self.config.tied { Index::EMBEDDING } else { Index::new(self.config).head() }
    }

    /// Queries, keys and values with their bias and norms, turned to their positions.
    fn placed(self, qkv_tw: Tensor<2>, layer: usize, packing: &Packing) -> Tensor<2> {
        let (heads, rotary) = (self.config.heads(), packing.rotary());
        match self.part(layer, Part::QueryKeyNorm) {
            None => {
                let bias = self.part(layer, Part::QkvBias);
                self.kernels.bias_and_rotate(qkv_tw, bias, rotary, heads)
            }
            Some(norms) => {
                let qkv_tw = self.biased(qkv_tw, layer, Part::QkvBias);
                let qkv_tw = self.norm_heads(&qkv_tw, &norms);
                self.kernels.bias_and_rotate(qkv_tw, None, rotary, heads)
            }
        }
    }

    /// Each head of the queries and of the keys divided by its own root mean square; `norms` are
    /// the weights for both, one after the other.
    fn norm_heads(self, qkv_tw: &Tensor<2>, norms: &Tensor<2>) -> Tensor<2> {
        let (heads, epsilon) = (self.config.heads(), self.config.norm_epsilon);
        let tokens = qkv_tw.dims()[0];
        let part = |from: usize, count: usize| qkv_tw.clone().narrow(1, from, count);
        let normed = |from: usize, width: usize, weight: usize| {
            let rows = part(from, width).reshape([tokens * width / heads.size, heads.size]);
            let weight = norms.clone().narrow(1, weight, heads.size);
            self.kernels.rms_norm(rows, weight, epsilon).reshape([tokens, width])
        };
        let (query, key) = (heads.query_width(), heads.kv_width());
        let parts =
            vec![normed(0, query, 0), normed(query, key, heads.size), part(query + key, key)];
        Tensor::cat(parts, 1)
    }

    fn part(self, layer: usize, part: Part) -> Option<Tensor<2>> {
        let index = Index::new(self.config).part(layer, part)?;
        Some(self.parameters[index].tensor())
    }

    fn linear(self, x: Tensor<2>, layer: usize, weight: Part) -> Tensor<2> {
        self.product(x, self.matrix(layer, weight))
    }

    /// `sum + x · weightᵀ + bias`; only the product, if that is a part of it.
    fn added(
        self,
        sum: Tensor<2>,
        x: Tensor<2>,
        layer: usize,
        (weight, bias): (Part, Part),
    ) -> Tensor<2> {
        if self.is_share {
            return self.linear(x, layer, weight);
        }
        match &self.parameters[self.matrix(layer, weight)] {
            Weight::Packed(weight) => self.biased(held::linear_added(sum, x, weight), layer, bias),
            Weight::Tensor(weight) => match self.part(layer, bias) {
                Some(bias) => sum + (self.kernels.linear(x, weight.clone()) + bias),
                None => self.kernels.linear_added(sum, x, weight.clone()),
            },
        }
    }

    /// What the gate lets through.
    fn gated(self, x: Tensor<2>, layer: usize) -> Tensor<2> {
        let weight = self.matrix(layer, Part::GateUpWeight);
        match &self.parameters[weight] {
            Weight::Packed(weight) if weight.is_gated() => held::gated(x, weight),
            Weight::Packed(_) | Weight::Tensor(_) => {
                let gate_up = self.product(x, weight);
                self.kernels.swiglu(self.biased(gate_up, layer, Part::GateUpBias))
            }
        }
    }

    /// `x` times a parameter.
    fn product(self, x: Tensor<2>, weight: usize) -> Tensor<2> {
        match &self.parameters[weight] {
            Weight::Packed(weight) => held::linear(x, weight),
            Weight::Tensor(weight) => self.kernels.linear(x, weight.clone()),
        }
    }

    fn matrix(self, layer: usize, part: Part) -> usize {
        Index::new(self.config).part(layer, part).expect("every layer has its matrices")
    }

    fn biased(self, x: Tensor<2>, layer: usize, bias: Part) -> Tensor<2> {
        match self.part(layer, bias) {
            Some(bias) => x + bias,
            None => x,
        }
    }

    fn norm(self, x: Tensor<2>, layer: usize, weight: Part) -> Tensor<2> {
        let weight = self.part(layer, weight).expect("every layer has its norms");
        self.kernels.rms_norm(x, weight, self.config.norm_epsilon)
    }
}
