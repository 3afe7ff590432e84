//! The model architectures that the decoder can be.
//!
//! An architecture is data: how its Hugging Face configuration reads, and what its tensors are
//! called. A new one is one file and one entry in [`ARCHITECTURES`].

mod hf_config;
mod qwen2;

pub(crate) use hf_config::{HfConfig, written};

use super::decoder::DecoderConfig;
use super::parameters::Role;

/// A model architecture.
pub(crate) struct Architecture {
    /// Its name in `architectures` of `config.json`.
    pub(crate) class: &'static str,
    /// Its `model_type`.
    pub(crate) model_type: &'static str,
    /// Reads the configuration; `Err` says what the decoder cannot do.
    pub(crate) config: fn(&HfConfig) -> Result<DecoderConfig, String>,
    /// Hugging Face's name of each tensor (`{}` is the layer) and what it is to us.
    pub(crate) weights: &'static [(&'static str, Role)],
}

/// Every architecture that can be loaded.
pub(crate) static ARCHITECTURES: &[&Architecture] = &[&qwen2::QWEN2];

/// The architecture that a configuration names.
pub(crate) fn find(hf: &HfConfig) -> Result<&'static Architecture, String> {
    let class = hf.architectures.as_deref().unwrap_or_default().first();
    let found = ARCHITECTURES.iter().find(|known| match (class, &hf.model_type) {
        (Some(class), _) => class == known.class,
        (None, Some(model_type)) => model_type == known.model_type,
        (None, None) => false,
    });
    found.copied().ok_or_else(|| {
        let asked = class.or(hf.model_type.as_ref()).map_or("none", String::as_str);
        let known: Vec<&str> = ARCHITECTURES.iter().map(|known| known.class).collect();
        format!("`config.json` asks for architecture `{asked}`; known: {}", known.join(", "))
    })
}
