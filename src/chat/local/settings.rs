//! How an answer is generated and where it ends: the engine's settings, and what is a matter of
//! text.

use crate::engine::Sampling;

/// How an answer is generated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// How tokens are chosen. `max_tokens` is cut to what the context has room for.
    pub sampling: Sampling,
    /// Texts at which the answer ends, once it has `min_tokens`.
    pub stop: Vec<String>,
    /// Whether the text at which it ended is part of the answer.
    pub include_stop: bool,
    /// Whether special tokens are shown in the text.
    pub show_specials: bool,
}
