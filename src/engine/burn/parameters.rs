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
    QueryNorm,
    KeyNorm,
    OutputWeight,
    OutputBias,
    FeedForwardNorm,
    GateWeight,
    UpWeight,
    GateBias,
    UpBias,
    DownWeight,
    DownBias,
    FinalNorm,
    Head,
}

impl Role {
    /// What it begins as when a model is drawn, as transformers does it.
    pub(crate) fn start(self) -> Start {
        match self {
            Self::AttentionNorm
            | Self::FeedForwardNorm
            | Self::FinalNorm
            | Self::QueryNorm
            | Self::KeyNorm => Start::One,
            Self::QueryBias
            | Self::KeyBias
            | Self::ValueBias
            | Self::OutputBias
            | Self::GateBias
            | Self::UpBias
            | Self::DownBias => Start::Zero,
            Self::Embedding
            | Self::QueryWeight
            | Self::KeyWeight
            | Self::ValueWeight
            | Self::OutputWeight
            | Self::GateWeight
            | Self::UpWeight
            | Self::DownWeight
            | Self::Head => Start::Random,
        }
    }
}

/// What the numbers of a tensor are before any training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    One,
    Zero,
    Random,
}

/// One tensor that is trained. Vectors are matrices of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Rows and columns.
    pub(crate) shape: [usize; 2],
    /// Biases and norms are never decayed.
    pub(crate) decays: bool,
}

impl Parameter {
    /// Numbers in it.
    pub(crate) fn length(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
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

/// A parameter of a layer. Not every architecture has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    AttentionNorm,
    /// Query, key and value, one below the other.
    QkvWeight,
    QkvBias,
    /// The norm of each query head, then that of each key head.
    QueryKeyNorm,
    OutputWeight,
    OutputBias,
    FeedForwardNorm,
    /// Gate and up, one below the other.
    GateUpWeight,
    GateUpBias,
    DownWeight,
    DownBias,
}

/// The parameters of a layer in their order.
const PARTS: [Part; 11] = [
    Part::AttentionNorm,
    Part::QkvWeight,
    Part::QkvBias,
    Part::QueryKeyNorm,
    Part::OutputWeight,
    Part::OutputBias,
    Part::FeedForwardNorm,
    Part::GateUpWeight,
    Part::GateUpBias,
    Part::DownWeight,
    Part::DownBias,
];

/// Parts of a layer that only some architectures have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extras {
    /// Biases on query, key and value.
    pub(crate) qkv_bias: bool,
    /// A norm over each head of query and key, before they are turned.
    pub(crate) query_key_norm: bool,
    /// A bias on what attention puts out.
    pub(crate) output_bias: bool,
    /// Biases on gate, up and down.
    pub(crate) feed_forward_bias: bool,
}

impl Extras {
    fn has(self, part: Part) -> bool {
        match part {
            Part::QkvBias => self.qkv_bias,
            Part::QueryKeyNorm => self.query_key_norm,
            Part::OutputBias => self.output_bias,
            Part::GateUpBias | Part::DownBias => self.feed_forward_bias,
            Part::AttentionNorm
            | Part::QkvWeight
            | Part::OutputWeight
            | Part::FeedForwardNorm
            | Part::GateUpWeight
            | Part::DownWeight => true,
        }
    }

    fn parts(self) -> impl Iterator<Item = Part> {
        PARTS.into_iter().filter(move |part| self.has(*part))
    }
}

/// Where each parameter stands in the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index {
    layers: usize,
    extras: Extras,
}

impl Index {
    pub(crate) const EMBEDDING: usize = 0;

    pub(crate) fn new(config: &DecoderConfig) -> Self {
        Self { layers: config.layers, extras: config.extras }
    }

    /// A part of a layer, if the architecture has it.
    pub(crate) fn part(self, layer: usize, part: Part) -> Option<usize> {
        let rank = self.extras.parts().position(|other| other == part)?;
        Some(1 + layer * self.extras.parts().count() + rank)
    }

    /// What a parameter of a layer is.
    pub(crate) fn kind(self, parameter: usize) -> Option<Part> {
        let count = self.extras.parts().count();
        let inside = (1..self.final_norm()).contains(&parameter);
        inside.then(|| self.extras.parts().nth((parameter - 1) % count)).flatten()
    }

    pub(crate) fn final_norm(self) -> usize {
        1 + self.layers * self.extras.parts().count()
    }

    /// The separate head of an untied model.
    pub(crate) fn head(self) -> usize {
        1 + self.final_norm()
    }
}

/// The parameters of a decoder in the order of [`Index`].
pub(crate) fn parameters(config: &DecoderConfig) -> Vec<Parameter> {
    let matrix = |rows, columns| Parameter { shape: [rows, columns], decays: true };
    let vector = |length| Parameter { shape: [1, length], decays: false };
    let (hidden, feed_forward) = (config.hidden, config.feed_forward);
    let part = |part: Part| match part {
        Part::AttentionNorm | Part::FeedForwardNorm | Part::OutputBias | Part::DownBias => {
            vector(hidden)
        }
        Part::QkvWeight => matrix(config.qkv_width(), hidden),
        Part::QkvBias => vector(config.qkv_width()),
        Part::QueryKeyNorm => vector(2 * config.head_size),
        Part::OutputWeight => matrix(hidden, config.query_width()),
        Part::GateUpWeight => matrix(2 * feed_forward, hidden),
        Part::GateUpBias => vector(2 * feed_forward),
        Part::DownWeight => matrix(hidden, feed_forward),
    };
    let mut list = vec![matrix(config.vocabulary, hidden)];
    for _ in 0..config.layers {
        list.extend(config.extras.parts().map(part));
    }
    list.push(vector(hidden));
    if !config.tied {
        list.push(matrix(config.vocabulary, hidden));
    }
    list
}

/// The tensors of a model's files, layer by layer in the order of the architecture's table. Those
/// that the configuration leaves out are left out.
pub(crate) fn file_tensors(config: &DecoderConfig) -> Vec<FileTensor> {
    let weights = config.architecture.weights;
    let per_layer = |name: &str| name.contains("{}");
    let before = weights.iter().take_while(|(name, _)| !per_layer(name));
    let after = weights.iter().skip_while(|(name, _)| !per_layer(name));
    let tensor = |(name, role): &(&str, Role), layer| file_tensor(config, name, *role, layer);
    let mut list: Vec<FileTensor> = before.filter_map(|entry| tensor(entry, 0)).collect();
    for layer in 0..config.layers {
        let each = weights.iter().filter(|(name, _)| per_layer(name));
        list.extend(each.filter_map(|entry| tensor(entry, layer)));
    }
    let last = after.filter(|(name, _)| !per_layer(name));
    list.extend(last.filter_map(|entry| tensor(entry, 0)));
    list
}

fn file_tensor(config: &DecoderConfig, name: &str, role: Role, layer: usize) -> Option<FileTensor> {
    let (parameter, first_row, shape) = place(config, role, layer)?;
    let length: usize = shape.iter().product();
    let start = first_row * if shape.len() == 2 { shape[1] } else { 1 };
    Some(FileTensor {
        name: name.replace("{}", &layer.to_string()),
        role,
        shape,
        parameter,
        elements: start..start + length,
    })
}

/// Parameter, first row in it, and shape in the file; none if the model has no such tensor.
fn place(config: &DecoderConfig, role: Role, layer: usize) -> Option<(usize, usize, Vec<usize>)> {
    let index = Index::new(config);
    let part = |part| index.part(layer, part);
    let (hidden, feed_forward) = (config.hidden, config.feed_forward);
    let (query, key) = (config.query_width(), config.kv_width());
    let head_size = config.head_size;
    Some(match role {
        Role::Embedding => (Index::EMBEDDING, 0, vec![config.vocabulary, hidden]),
        Role::AttentionNorm => (part(Part::AttentionNorm)?, 0, vec![hidden]),
        Role::QueryWeight => (part(Part::QkvWeight)?, 0, vec![query, hidden]),
        Role::KeyWeight => (part(Part::QkvWeight)?, query, vec![key, hidden]),
        Role::ValueWeight => (part(Part::QkvWeight)?, query + key, vec![key, hidden]),
        Role::QueryBias => (part(Part::QkvBias)?, 0, vec![query]),
        Role::KeyBias => (part(Part::QkvBias)?, query, vec![key]),
        Role::ValueBias => (part(Part::QkvBias)?, query + key, vec![key]),
        Role::QueryNorm => (part(Part::QueryKeyNorm)?, 0, vec![head_size]),
        Role::KeyNorm => (part(Part::QueryKeyNorm)?, head_size, vec![head_size]),
        Role::OutputWeight => (part(Part::OutputWeight)?, 0, vec![hidden, query]),
        Role::OutputBias => (part(Part::OutputBias)?, 0, vec![hidden]),
        Role::FeedForwardNorm => (part(Part::FeedForwardNorm)?, 0, vec![hidden]),
        Role::GateWeight => (part(Part::GateUpWeight)?, 0, vec![feed_forward, hidden]),
        Role::UpWeight => (part(Part::GateUpWeight)?, feed_forward, vec![feed_forward, hidden]),
        Role::GateBias => (part(Part::GateUpBias)?, 0, vec![feed_forward]),
        Role::UpBias => (part(Part::GateUpBias)?, feed_forward, vec![feed_forward]),
        Role::DownWeight => (part(Part::DownWeight)?, 0, vec![hidden, feed_forward]),
        Role::DownBias => (part(Part::DownBias)?, 0, vec![hidden]),
        Role::FinalNorm => (index.final_norm(), 0, vec![hidden]),
        Role::Head if config.tied => return None,
        Role::Head => (index.head(), 0, vec![config.vocabulary, hidden]),
    })
}
