//! What training takes, measured, against what was predicted: alone in its process, because what is
//! allocated is counted for the process.
#![cfg(feature = "cpu")]

use serde_json::json;
use thinkery_engine::footprint::{Load, Shape, peak, predict};
use thinkery_engine::{
    Adam, Device, IGNORE, Keep, Lora, Sequence, Shard, StateLayout, Training, Weighted, Weights,
    open_trainer,
};

/// Tokens of a rank's micro-batch: two sequences.
const TOKENS: usize = 768;

fn sequence(tokens: usize) -> Sequence {
    let input_ids: Vec<u32> = (0..tokens).map(|at| (at * 37 % 2000) as u32).collect();
    let label = |(at, id): (usize, &u32)| if at < tokens / 3 { IGNORE } else { i64::from(*id) };
    Sequence { labels: input_ids.iter().enumerate().map(label).collect(), input_ids }
}

#[test]
fn what_was_predicted_is_what_it_takes() {
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
        "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    let shape = Shape::parse(&config).unwrap();
    let batch = [sequence(TOKENS * 2 / 3), sequence(TOKENS / 3)];
    let trained: usize = batch.iter().map(Sequence::trained_tokens).sum();
    let mut worst = 0.0_f64;
    let full = [
        (1, Shard::Parameters, Keep::Inputs, StateLayout::APlus),
        (1, Shard::Parameters, Keep::Attention, StateLayout::APlus),
        (1, Shard::Parameters, Keep::All, StateLayout::APlus),
        (1, Shard::Parameters, Keep::Inputs, StateLayout::B),
        (2, Shard::Parameters, Keep::All, StateLayout::DPlus),
        (4, Shard::Parameters, Keep::Inputs, StateLayout::APrime),
        (2, Shard::None, Keep::Inputs, StateLayout::APlus),
        (4, Shard::Gradients, Keep::Attention, StateLayout::Dx),
        (2, Shard::Optimizer, Keep::Inputs, StateLayout::A),
    ];
    let adapted = [
        (1, Shard::Parameters, Keep::Inputs, StateLayout::APlus),
        (2, Shard::Parameters, Keep::All, StateLayout::B),
        (2, Shard::Optimizer, Keep::Attention, StateLayout::APlus),
    ];
    let targets = ["q_proj", "v_proj", "down_proj"].map(str::to_owned).to_vec();
    let lora = Lora { rank: 8, alpha: 16.0, targets };
    let full = full.map(|one| (one, None));
    let adapted = adapted.map(|one| (one, Some(&lora)));
    for ((ranks, shard, keep, state), lora) in full.into_iter().chain(adapted) {
        let training =
            Training { shard, keep, state, lora: lora.cloned(), ..Training::from(Adam::default()) };
        let load = Load {
            ranks: ranks as u64,
            tokens: TOKENS as u64,
            trained: trained as u64,
            longest: (TOKENS * 2 / 3) as u64,
            computed_bytes: 4,
        };
        let predicted = predict(&shape, &training, &load);
        let weights = Weights::Random { config: &config, seed: 1 };
        let mut trainer = open_trainer(&vec![Device::Cpu; ranks], weights, &training).unwrap();
        for _ in 0..2 {
            let pack =
                || batch.iter().map(|sequence| Weighted { sequence, weight: 1e-3 }).collect();
            let packs: Vec<Vec<Weighted<'_>>> = (0..ranks).map(|_| pack()).collect();
            // The second micro-batch of a step finds all gradients of the first.
            trainer.accumulate(&packs).unwrap();
            trainer.accumulate(&packs).unwrap();
            trainer.apply(1e-4, 1.0).unwrap();
        }
        let (measured, most) = (trainer.memory(), trainer.peak_memory_bytes());
        let ratio = peak(&predicted) as f64 / most as f64;
        worst = worst.max((ratio - 1.0).abs());
        let adapters = if lora.is_some() { ", adapters" } else { "" };
        let said = peak(&predicted);
        println!("{ranks} ranks, {shard}, {keep}, {state}{adapters}: {said} of {most} bytes");
        println!("  predicted {predicted:?}\n  measured  {measured:?}");
        assert_eq!(
            (predicted.weights, predicted.optimizer),
            (measured.weights, measured.optimizer),
        );
    }
    assert!(worst <= 0.10, "a peak was predicted {worst} off");
}
