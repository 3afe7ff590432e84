//! Qwen2 and Qwen2.5: biases on query, key and value only, no norm on them.

use super::Architecture;
use crate::burn::parameters::{Extras, Role};

pub(super) static QWEN2: Architecture = Architecture {
    class: "Qwen2ForCausalLM",
    model_type: "qwen2",
    head_size: None,
    slides: true,
    extras: |_| Extras { qkv_bias: true, ..Extras::default() },
    weights: &[
        ("model.embed_tokens.weight", Role::Embedding),
        ("model.layers.{}.input_layernorm.weight", Role::AttentionNorm),
        ("model.layers.{}.self_attn.q_proj.weight", Role::QueryWeight),
        ("model.layers.{}.self_attn.k_proj.weight", Role::KeyWeight),
        ("model.layers.{}.self_attn.v_proj.weight", Role::ValueWeight),
        ("model.layers.{}.self_attn.q_proj.bias", Role::QueryBias),
        ("model.layers.{}.self_attn.k_proj.bias", Role::KeyBias),
        ("model.layers.{}.self_attn.v_proj.bias", Role::ValueBias),
        ("model.layers.{}.self_attn.o_proj.weight", Role::OutputWeight),
        ("model.layers.{}.post_attention_layernorm.weight", Role::FeedForwardNorm),
        ("model.layers.{}.mlp.gate_proj.weight", Role::GateWeight),
        ("model.layers.{}.mlp.up_proj.weight", Role::UpWeight),
        ("model.layers.{}.mlp.down_proj.weight", Role::DownWeight),
        ("model.norm.weight", Role::FinalNorm),
        ("lm_head.weight", Role::Head),
    ],
};
