//! The model architectures that the decoder can be.
//!
//! An architecture is data: how its Hugging Face configuration reads, and what its tensors are
//! called. A new one is one file and one entry in [`ARCHITECTURES`].

mod hf_config;
mod llama;
mod qwen2;
mod qwen3;
mod rope;

pub(crate) use hf_config::{HfConfig, written};

use super::decoder::DecoderConfig;
use super::parameters::{Extras, Role};

/// A model architecture.
pub(crate) struct Architecture {
    /// Its name in `architectures` of `config.json`.
    pub(crate) class: &'static str,
    /// Its `model_type`.
    pub(crate) model_type: &'static str,
    /// Numbers per head where `head_dim` is not given; else the hidden size over the heads.
    pub(crate) head_size: Option<usize>,
    /// Whether its configuration knows sliding windows.
    pub(crate) slides: bool,
    /// Which parts its layers have beyond those that all have.
    pub(crate) extras: fn(&HfConfig) -> Extras,
    /// Hugging Face's name of each tensor (`{}` is the layer) and what it is to us. Those whose
    /// part the configuration leaves out are left out.
    pub(crate) weights: &'static [(&'static str, Role)],
}

/// Every architecture that can be loaded.
pub(crate) static ARCHITECTURES: &[&Architecture] = &[&qwen2::QWEN2, &llama::LLAMA, &qwen3::QWEN3];

/// The decoder that a configuration describes; `Err` says what we cannot do.
pub(crate) fn decoder(hf: &HfConfig) -> Result<DecoderConfig, String> {
    let architecture = find(hf)?;
    hf.decoder(architecture, (architecture.extras)(hf))
}

/// The architecture that a configuration names.
fn find(hf: &HfConfig) -> Result<&'static Architecture, String> {
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
