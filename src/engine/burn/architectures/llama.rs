//! Llama 2 and 3: no biases unless the configuration asks for them, no norm on query and key.

use super::Architecture;
use crate::burn::parameters::{Extras, Role};

pub(super) static LLAMA: Architecture = Architecture {
    class: "LlamaForCausalLM",
    model_type: "llama",
    head_size: None,
    slides: false,
    extras: |hf| {
        let attention = hf.attention_bias.unwrap_or(false);
        Extras {
            qkv_bias: attention,
            output_bias: attention,
            feed_forward_bias: hf.mlp_bias.unwrap_or(false),
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
        ("model.layers.{}.self_attn.o_proj.weight", Role::OutputWeight),
        ("model.layers.{}.self_attn.o_proj.bias", Role::OutputBias),
        ("model.layers.{}.post_attention_layernorm.weight", Role::FeedForwardNorm),
        ("model.layers.{}.mlp.gate_proj.weight", Role::GateWeight),
        ("model.layers.{}.mlp.up_proj.weight", Role::UpWeight),
        ("model.layers.{}.mlp.gate_proj.bias", Role::GateBias),
        ("model.layers.{}.mlp.up_proj.bias", Role::UpBias),
        ("model.layers.{}.mlp.down_proj.weight", Role::DownWeight),
        ("model.layers.{}.mlp.down_proj.bias", Role::DownBias),
        ("model.norm.weight", Role::FinalNorm),
        ("lm_head.weight", Role::Head),
    ],
};
