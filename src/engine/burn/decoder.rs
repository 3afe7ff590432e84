//! The decoder: embedding, layers of attention and gated feed-forward, final norm, head.
//!
//! Sequences are packed: all tokens of a batch stand in one matrix `[tokens, hidden]` without
//! padding, and only attention knows where a sequence ends (`Packing`).
//!
//! Letters in names of tensors: `t` tokens of all sequences, `c` channels (hidden), `w` width of
//! query, key and value together, `v` vocabulary.

use burn::tensor::Tensor;

use super::architectures::Architecture;
use super::ops::Kernels;
use super::packing::Packing;
use super::parameters::Index;

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
    pub(crate) rope_theta: f64,
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
pub(crate) struct WithinBatch<'a> {
    pub(crate) packing: &'a Packing,
    pub(crate) heads: Heads,
    pub(crate) kernels: Kernels,
}

impl Attend for WithinBatch<'_> {
    fn attend(&mut self, _layer: usize, qkv_tw: Tensor<2>) -> Tensor<2> {
        self.kernels.attention(qkv_tw, self.packing, self.heads)
    }
}

/// A decoder with its parameters, on the tape or not.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) parameters: &'a [Tensor<2>],
    pub(crate) kernels: Kernels,
}

impl Decoder<'_> {
    /// Hidden states after the last layer, before the final norm.
    pub(crate) fn hidden_states(self, packing: &Packing, attention: &mut dyn Attend) -> Tensor<2> {
        let (config, kernels) = (self.config, self.kernels);
        let mut x_tc = kernels.embedding(self.parameter(Index::EMBEDDING), packing);
        for layer in 0..config.layers {
            let normed_tc = self.norm(x_tc.clone(), Index::attention_norm(layer));
            let qkv_tw = kernels.bias_and_rotate(
                self.linear(normed_tc, Index::qkv_weight(layer)),
                self.parameter(Index::qkv_bias(layer)),
                packing.rotary(),
                config.heads(),
            );
            let seen = attention.attend(layer, qkv_tw);
            x_tc = x_tc + self.linear(seen, Index::output_weight(layer));
            let normed_tc = self.norm(x_tc.clone(), Index::feed_forward_norm(layer));
            let gated = kernels.swiglu(self.linear(normed_tc, Index::gate_up_weight(layer)));
            x_tc = x_tc + self.linear(gated, Index::down_weight(layer));
        }
        x_tc
    }

    /// Logits `[rows, v]` of some rows of the hidden states.
    pub(crate) fn logits(self, hidden_tc: Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let index = Index::new(self.config);
        let hidden = self.kernels.rows(hidden_tc, rows);
        let normed = self.norm(hidden, index.final_norm());
        self.linear(normed, if self.config.tied { Index::EMBEDDING } else { index.head() })
    }

    fn parameter(self, index: usize) -> Tensor<2> {
        self.parameters[index].clone()
    }

    fn linear(self, x: Tensor<2>, weight: usize) -> Tensor<2> {
        self.kernels.linear(x, self.parameter(weight))
    }

    fn norm(self, x: Tensor<2>, weight: usize) -> Tensor<2> {
        self.kernels.rms_norm(x, self.parameter(weight), self.config.norm_epsilon)
    }
}
