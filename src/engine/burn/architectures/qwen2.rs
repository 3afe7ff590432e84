//! Qwen2 and Qwen2.5: biases on query, key and value only, no norm on them.

use super::{Architecture, HfConfig};
use crate::burn::decoder::DecoderConfig;
use crate::burn::parameters::Role;

pub(super) static QWEN2: Architecture = Architecture {
    class: "Qwen2ForCausalLM",
    model_type: "qwen2",
    config,
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

fn config(hf: &HfConfig) -> Result<DecoderConfig, String> {
    let activation = hf.hidden_act.as_deref().unwrap_or("silu");
    if activation != "silu" {
        return Err(format!(
            "`config.json`: activation `{activation}` is not supported, only `silu`"
        ));
    }
    let slides = |kind: &String| kind != "full_attention";
    if hf.use_sliding_window.unwrap_or(false)
        || hf.layer_types.as_ref().is_some_and(|types| types.iter().any(slides))
    {
        return Err("`config.json`: sliding-window attention is not supported".to_owned());
    }
    let heads = hf.num_attention_heads;
    let kv_heads = hf.num_key_value_heads.unwrap_or(heads);
    if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(format!(
            "`config.json`: {heads} attention heads cannot share {kv_heads} key-value heads"
        ));
    }
    let head_size = hf.head_dim.unwrap_or(hf.hidden_size / heads);
    if head_size == 0 || !head_size.is_multiple_of(2) {
        return Err(format!("`config.json`: head size {head_size} is not even"));
    }
    Ok(DecoderConfig {
        architecture: &QWEN2,
        vocabulary: hf.vocab_size,
        context: hf.max_position_embeddings,
        hidden: hf.hidden_size,
        feed_forward: hf.intermediate_size,
        layers: hf.num_hidden_layers,
        heads,
        kv_heads,
        head_size,
        norm_epsilon: hf.rms_norm_eps.unwrap_or(1e-6),
        rope_theta: hf.rope_theta()?,
        tied: hf.tie_word_embeddings.unwrap_or(false),
        initializer_range: hf.initializer_range.unwrap_or(0.02),
    })
}
