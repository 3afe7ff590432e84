//! Qwen3 (dense): a norm over each head of query and key, no biases unless the configuration asks
//! for them, heads of a size of their own.

use super::Architecture;
use crate::burn::parameters::{Extras, Role};

pub(super) static QWEN3: Architecture = Architecture {
    class: "Qwen3ForCausalLM",
    model_type: "qwen3",
    head_size: Some(128),
    slides: true,
    extras: |hf| {
        let attention = hf.attention_bias.unwrap_or(false);
        Extras {
            query_key_norm: true,
            qkv_bias: attention,
            output_bias: attention,
            ..Extras::default()
        }
    },
    weights: &[
        ("model.embed_tokens.weight", Role::Embedding),
        ("model.layers.{}.input_layernorm.weight", Role::AttentionNorm),
        ("model.layers.{}.self_attn.q_proj.weight", Role::QueryWeight),
        ("model.layers.{}.self_attn.k_proj.weight", Role::KeyWeight),
        ("model.layers.{}.self_attn.v_proj.weight", Role::ValueWeight),
        ("model.layers.{}.self_attn.q_proj.bias", Role::QueryBias),
        ("model.layers.{}.self_attn.k_proj.bias", Role::KeyBias),
        ("model.layers.{}.self_attn.v_proj.bias", Role::ValueBias),
        ("model.layers.{}.self_attn.q_norm.weight", Role::QueryNorm),
        ("model.layers.{}.self_attn.k_norm.weight", Role::KeyNorm),
        ("model.layers.{}.self_attn.o_proj.weight", Role::OutputWeight),
        ("model.layers.{}.self_attn.o_proj.bias", Role::OutputBias),
        ("model.layers.{}.post_attention_layernorm.weight", Role::FeedForwardNorm),
        ("model.layers.{}.mlp.gate_proj.weight", Role::GateWeight),
        ("model.layers.{}.mlp.up_proj.weight", Role::UpWeight),
        ("model.layers.{}.mlp.down_proj.weight", Role::DownWeight),
        ("model.norm.weight", Role::FinalNorm),
        ("lm_head.weight", Role::Head),
    ],
};
