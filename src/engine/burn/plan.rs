//! How large a cache may be, decided before anything is loaded.

use super::cache::block_bytes;
use super::decoder::DecoderConfig;
use crate::{BLOCK_TOKENS, CacheShape, CacheType, Error, Result, Room};

/// Sequences of full length that a cache holds at most: there are never more at a time.
const SEQUENCES_MAX: u64 = 64;

/// Bytes of a cache if nothing else was asked for and one sequence does not need more.
const CACHE_BYTES: u64 = 2 << 30;

/// Tokens that a cache holds at least; with less a machine cannot serve the model.
const TOKENS_MIN: u64 = 1024;

/// Tokens of a step, and rows of logits, that the working memory is counted for. The worker's steps
/// are not larger.
const STEP_TOKENS: u64 = 512;
const STEP_LOGITS: u64 = 128;

/// What a model will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Tokens of a sequence at most.
    pub(crate) context: usize,
    /// The cache.
    pub(crate) shape: CacheShape,
    /// Bytes of the weights.
    pub(crate) weight_bytes: u64,
    /// Bytes of the cache.
    pub(crate) cache_bytes: u64,
    /// Bytes of weights, cache and what a step needs.
    pub(crate) total_bytes: u64,
}

impl Plan {
    /// Blocks of a cache that has all that is left of a GPU when weights are loaded and every step was
    /// tried; none if that is not known.
    pub(crate) fn grown(
        config: &DecoderConfig,
        context: usize,
        number: CacheType,
        free_bytes: Option<u64>,
    ) -> Option<usize> {
        let block = block_bytes(config.layers, config.heads(), number);
        let sequence = (context as u64).div_ceil(BLOCK_TOKENS as u64);
        // A step of many prompt tokens was not among those that were tried.
        let free = free_bytes?.saturating_sub(step_bytes(config));
        // The spare page is behind them.
        Some((free / block).saturating_sub(1).min(sequence * SEQUENCES_MAX) as usize)
    }

    /// Fits a cache beside weights of `weight_bytes` into what is free, if that is known.
    ///
    /// A cache or context that was asked for is given or refused. Else the cache holds as many
    /// sequences as are worth having, one of full length at least; if even that is more than is
    /// free, it is as large as there is room for.
    pub(crate) fn new(
        config: &DecoderConfig,
        weight_bytes: u64,
        room: Room,
        free_bytes: Option<u64>,
    ) -> Result<Self> {
        let context = room.context.unwrap_or(usize::MAX).min(config.context);
        let block = block_bytes(config.layers, config.heads(), room.cache_type);
        let beside = weight_bytes + step_bytes(config);
        let sequence = (context as u64).div_ceil(BLOCK_TOKENS as u64);
        let least = match room.context {
            Some(_) => sequence,
            None => sequence.min(TOKENS_MIN.div_ceil(BLOCK_TOKENS as u64)),
        };
        let blocks = match room.cache_bytes {
            Some(bytes) if bytes < block => {
                let why = format!("a cache of {bytes} bytes holds no block; one has {block}");
                return Err(Error::BadInput(why));
            }
            Some(bytes) => bytes / block,
            None => {
                let wanted = (CACHE_BYTES / block).clamp(sequence, sequence * SEQUENCES_MAX);
                let fitting = free_bytes.map_or(wanted, |free| free.saturating_sub(beside) / block);
                wanted.min(fitting.max(least))
            }
        };
        let cache_bytes = blocks * block;
        let total_bytes = beside + cache_bytes;
        match free_bytes {
            Some(free_bytes) if total_bytes > free_bytes => {
                Err(Error::OutOfMemory { needed_bytes: total_bytes, free_bytes })
            }
            Some(_) | None => {
                let shape = CacheShape { block_size: BLOCK_TOKENS, blocks: blocks as usize };
                Ok(Self { context, shape, weight_bytes, cache_bytes, total_bytes })
            }
        }
    }
}

/// Bytes that a step needs at its widest: the rows of a layer, and logits twice.
fn step_bytes(config: &DecoderConfig) -> u64 {
    let row = 4 * config.hidden + 2 * config.qkv_width() + 3 * config.feed_forward;
    let numbers = STEP_TOKENS * row as u64 + 2 * STEP_LOGITS * config.vocabulary as u64;
    numbers * size_of::<f32>() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::burn::cache::Cache;
    use crate::burn::tests::place;
    use crate::burn::weights::Model;

    const MIB: u64 = 1 << 20;

    /// Qwen2.5-0.5B without its weights.
    fn config() -> DecoderConfig {
        let config = json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
            "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            "tie_word_embeddings": true,
        });
        Model::empty(&config, serde_json::Value::Null).unwrap().config
    }

    fn plan(room: Room, free_mib: u64) -> Result<Plan> {
        Plan::new(&config(), 1000 * MIB, room, Some(free_mib * MIB))
    }

    #[test]
    fn a_sequence_of_32k_tokens_takes_what_is_planned() {
        for (cache_type, token_bytes) in [(CacheType::F32, 24_576), (CacheType::Bf16, 12_288)] {
            // 24 layers of keys and values, two heads of 64 each.
            let exact = 32_768 * token_bytes;
            let context = Some(32_768);
            let cache_bytes = Some(exact);
            let room = Room { context, cache_bytes, cache_type, ..Room::default() };
            let plan = plan(room, 4000).unwrap();
            assert_eq!((plan.context, plan.shape.tokens()), (32_768, 32_768));
            assert_eq!(plan.cache_bytes, exact);
            let cache = Cache::new(24, config().heads(), (plan.shape, cache_type), &place());
            let apart = cache.bytes().abs_diff(plan.cache_bytes);
            assert!(apart * 20 <= plan.cache_bytes, "{} bytes were allocated", cache.bytes());
        }
    }

    #[test]
    fn the_cache_is_as_large_as_is_worth_having_and_fits() {
        let any = Room::default();
        assert_eq!(plan(any, 16_000).unwrap().cache_bytes.div_ceil(MIB), 2048);
        let tight = plan(any, 2000).unwrap();
        assert!(tight.total_bytes <= 2000 * MIB && tight.total_bytes > 1990 * MIB, "{tight:?}");
        let short = Room { context: Some(512), ..any };
        assert_eq!(plan(short, 16_000).unwrap().shape.tokens(), 512 * 64);
        let beyond = Room { context: Some(1 << 20), ..any };
        assert_eq!(plan(beyond, 16_000).unwrap().context, 32_768, "the model's own limit");
    }

    #[test]
    fn a_gpus_cache_has_what_is_left() {
        let blocks = |free| Plan::grown(&config(), 32_768, CacheType::Bf16, free);
        let step = step_bytes(&config());
        let block = 12_288 * 16;
        assert_eq!(blocks(None), None);
        assert_eq!(blocks(Some(step + 100 * block)), Some(99), "one of them is spare");
        assert_eq!(blocks(Some(1 << 50)), Some(64 * 2048), "there are never more sequences");
        assert_eq!(blocks(Some(10)), Some(0));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_numbers() {
        let refused = |room, free_mib| match plan(room, free_mib) {
            Err(Error::OutOfMemory { needed_bytes, free_bytes }) => {
                assert_eq!(free_bytes, free_mib * MIB);
                needed_bytes / MIB
            }
            other => panic!("{other:?}"),
        };
        let whole = Room { context: Some(32_768), ..Room::default() };
        let needed = refused(whole, 1500);
        assert!((1768..2100).contains(&needed), "{needed}: weights and 768 MiB and a step");
        let asked = Room { cache_bytes: Some(5000 * MIB), ..Room::default() };
        assert!(refused(asked, 5500) >= 6000);
        assert!(refused(Room::default(), 1100) > 1024, "not even a thousand tokens");
        let none = Room { cache_bytes: Some(10), ..Room::default() };
        assert!(matches!(plan(none, 5000), Err(Error::BadInput(_))));
    }
}
