//! Which tensors a decoder has, how they are stacked in memory, and what files call them.
//!
//! Query, key and value stand in one matrix, as do gate and up: one matrix product instead of
//! three. Files keep them apart, so every [`FileTensor`] is a range of rows of one [`Parameter`].

use std::ops::Range;

use super::decoder::DecoderConfig;

/// What a tensor of a model file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    AttentionNorm,
    QueryWeight,
    KeyWeight,
    ValueWeight,
    QueryBias,
    KeyBias,
    ValueBias,
    OutputWeight,
    FeedForwardNorm,
    GateWeight,
    UpWeight,
    DownWeight,
    FinalNorm,
    Head,
}

/// One tensor that is trained. Vectors are matrices of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Rows and columns.
    pub(crate) shape: [usize; 2],
    /// Biases and norms are never decayed.
    pub(crate) decays: bool,
}

/// One tensor of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileTensor {
    /// Its name in the file.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// Its shape in the file.
    pub(crate) shape: Vec<usize>,
    /// The parameter that holds it.
    pub(crate) parameter: usize,
    /// The elements of the parameter that it fills.
    pub(crate) elements: Range<usize>,
}

/// Parameters per layer, in the order of [`Index`].
const PER_LAYER: usize = 7;

/// Where each parameter stands in the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index {
    layers: usize,
}

impl Index {
    pub(crate) const EMBEDDING: usize = 0;

    pub(crate) fn new(config: &DecoderConfig) -> Self {
        Self { layers: config.layers }
    }

    pub(crate) fn attention_norm(layer: usize) -> usize {
        1 + layer * PER_LAYER
    }

    pub(crate) fn qkv_weight(layer: usize) -> usize {
        2 + layer * PER_LAYER
    }

    pub(crate) fn qkv_bias(layer: usize) -> usize {
        3 + layer * PER_LAYER
    }

    pub(crate) fn output_weight(layer: usize) -> usize {
        4 + layer * PER_LAYER
    }

    pub(crate) fn feed_forward_norm(layer: usize) -> usize {
        5 + layer * PER_LAYER
    }

    pub(crate) fn gate_up_weight(layer: usize) -> usize {
        6 + layer * PER_LAYER
    }

    pub(crate) fn down_weight(layer: usize) -> usize {
        7 + layer * PER_LAYER
    }

    pub(crate) fn final_norm(self) -> usize {
        1 + self.layers * PER_LAYER
    }

    /// The separate head of an untied model.
    pub(crate) fn head(self) -> usize {
        2 + self.layers * PER_LAYER
    }
}

/// The parameters of a decoder in the order of [`Index`].
pub(crate) fn parameters(config: &DecoderConfig) -> Vec<Parameter> {
    let matrix = |rows, columns| Parameter { shape: [rows, columns], decays: true };
    let vector = |length| Parameter { shape: [1, length], decays: false };
    let (hidden, feed_forward) = (config.hidden, config.feed_forward);
    let mut list = vec![matrix(config.vocabulary, hidden)];
    for _ in 0..config.layers {
        list.extend([
            vector(hidden),
            matrix(config.qkv_width(), hidden),
            vector(config.qkv_width()),
            matrix(hidden, config.query_width()),
            vector(hidden),
            matrix(2 * feed_forward, hidden),
            matrix(hidden, feed_forward),
        ]);
    }
    list.push(vector(hidden));
    if !config.tied {
        list.push(matrix(config.vocabulary, hidden));
    }
    list
}

/// The tensors of a model's files, layer by layer in the order of the architecture's table.
pub(crate) fn file_tensors(config: &DecoderConfig) -> Vec<FileTensor> {
    let weights = config.architecture.weights;
    let per_layer = |name: &str| name.contains("{}");
    let before = weights.iter().take_while(|(name, _)| !per_layer(name));
    let after = weights.iter().skip_while(|(name, _)| !per_layer(name));
    let mut list: Vec<FileTensor> =
        before.map(|(name, role)| file_tensor(config, name, *role, 0)).collect();
    for layer in 0..config.layers {
        for (name, role) in weights.iter().filter(|(name, _)| per_layer(name)) {
            list.push(file_tensor(config, name, *role, layer));
        }
    }
    for (name, role) in after.filter(|(name, _)| !per_layer(name)) {
        if *role != Role::Head || !config.tied {
            list.push(file_tensor(config, name, *role, 0));
        }
    }
    list
}

fn file_tensor(config: &DecoderConfig, name: &str, role: Role, layer: usize) -> FileTensor {
    let (parameter, first_row, shape) = place(config, role, layer);
    let length: usize = shape.iter().product();
    let start = first_row * if shape.len() == 2 { shape[1] } else { 1 };
    FileTensor {
        name: name.replace("{}", &layer.to_string()),
        role,
        shape,
        parameter,
        elements: start..start + length,
    }
}

/// Parameter, first row in it, and shape in the file.
fn place(config: &DecoderConfig, role: Role, layer: usize) -> (usize, usize, Vec<usize>) {
    let index = Index::new(config);
    let (hidden, feed_forward) = (config.hidden, config.feed_forward);
    let (query, key) = (config.query_width(), config.kv_width());
    match role {
        Role::Embedding => (Index::EMBEDDING, 0, vec![config.vocabulary, hidden]),
        Role::AttentionNorm => (Index::attention_norm(layer), 0, vec![hidden]),
        Role::QueryWeight => (Index::qkv_weight(layer), 0, vec![query, hidden]),
        Role::KeyWeight => (Index::qkv_weight(layer), query, vec![key, hidden]),
        Role::ValueWeight => (Index::qkv_weight(layer), query + key, vec![key, hidden]),
        Role::QueryBias => (Index::qkv_bias(layer), 0, vec![query]),
        Role::KeyBias => (Index::qkv_bias(layer), query, vec![key]),
        Role::ValueBias => (Index::qkv_bias(layer), query + key, vec![key]),
        Role::OutputWeight => (Index::output_weight(layer), 0, vec![hidden, query]),
        Role::FeedForwardNorm => (Index::feed_forward_norm(layer), 0, vec![hidden]),
        Role::GateWeight => (Index::gate_up_weight(layer), 0, vec![feed_forward, hidden]),
        Role::UpWeight => (Index::gate_up_weight(layer), feed_forward, vec![feed_forward, hidden]),
        Role::DownWeight => (Index::down_weight(layer), 0, vec![hidden, feed_forward]),
        Role::FinalNorm => (index.final_norm(), 0, vec![hidden]),
        Role::Head => (index.head(), 0, vec![config.vocabulary, hidden]),
    }
}
