//! How fast the engine trains and generates on the processor, at the size of the rehearsal.
//!
//! `cargo bench --no-default-features --features cpu --bench engine [-- THREADS]` prints one JSON
//! object; times are those of one thread pool of THREADS (1 by default).
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::time::Instant;

use serde_json::json;
use thinkery::engine::compare::Batch;
use thinkery::engine::{
    Adam, Device, IGNORE, Room, Sequence, Trainer, Weighted, Weights, open_generator, open_trainer,
};

const STEPS: usize = 8;
const DECODE_STEPS: usize = 50;

fn main() -> anyhow::Result<()> {
    let threads = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| measure(threads))
}

fn measure(threads: usize) -> anyhow::Result<()> {
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "vocab_size": 512,
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
    });
    let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let weights = Weights::Random { config: &config, seed: 1 };
    let mut trainer = open_trainer(&[Device::Cpu], weights, &adam.into())?;
    let batch: Vec<Sequence> = (0..48).map(|number| sequence(60 + number * 140 / 47)).collect();
    let tokens: usize = batch.iter().map(|sequence| sequence.input_ids.len()).sum();
    let trained: usize = batch.iter().map(Sequence::trained_tokens).sum();
    let mut losses = Vec::new();
    step(&mut *trainer, &batch, &mut losses)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..STEPS {
        step(&mut *trainer, &batch, &mut losses)?;
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let dir = tempfile::tempdir()?;
    trainer.snapshot()?.save_model(dir.path())?;
    println!(
        "{}",
        json!({
            "threads": threads, "parameters": trainer.info().parameters,
            "tokens_per_step": tokens, "trained_tokens_per_step": trained,
            "step_ms": wall / STEPS as f64 * 1e3,
            "tokens_per_second": (tokens * STEPS) as f64 / wall,
            "trained_tokens_per_cpu_second": (trained * STEPS) as f64 / cpu,
            "tokens_per_cpu_second": (tokens * STEPS) as f64 / cpu,
            "losses": losses, "decode": decode(dir.path())?,
        })
    );
    Ok(())
}

fn step(
    trainer: &mut dyn Trainer,
    batch: &[Sequence],
    losses: &mut Vec<f64>,
) -> anyhow::Result<()> {
    let divisor: usize = batch.iter().map(Sequence::trained_tokens).sum();
    let weight = 1.0 / divisor as f64;
    let pack = batch.iter().map(|sequence| Weighted { sequence, weight }).collect();
    let loss: f64 = trainer.accumulate(&[pack])?.concat().iter().sum();
    trainer.apply(1e-3, 1.0)?;
    losses.push(loss / divisor as f64);
    Ok(())
}

fn decode(dir: &std::path::Path) -> anyhow::Result<serde_json::Value> {
    let mut generator = open_generator(Device::Cpu, dir, Room::default())?;
    let sequences = 48;
    let prompt: Vec<u32> = (0..60).collect();
    let mut batch = Batch::new(sequences, prompt.len() + DECODE_STEPS);
    let start = Instant::now();
    batch.step(&mut *generator, &vec![prompt; sequences])?;
    let prefill = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for step in 0..DECODE_STEPS as u32 {
        batch.step(&mut *generator, &vec![vec![step]; sequences])?;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({
        "sequences": sequences, "prefill_ms": prefill * 1e3,
        "step_ms": seconds / DECODE_STEPS as f64 * 1e3,
        "tokens_per_second": (sequences * DECODE_STEPS) as f64 / seconds,
    }))
}

/// A third is prompt.
fn sequence(length: usize) -> Sequence {
    let input_ids: Vec<u32> = (0..length).map(|at| (at * 37 % 511) as u32).collect();
    let label = |(at, id): (usize, &u32)| if at < length / 3 { IGNORE } else { i64::from(*id) };
    Sequence { labels: input_ids.iter().enumerate().map(label).collect(), input_ids }
}

/// Processor time of this process; the machine may be shared.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
