//! What `thinkery gpu-check` measures: kernels one by one, layers against the processor, a model that
//! answers and models that learn, each beside the most that the GPU could do.
//!
//! On the processor the same is run with small sizes, to rehearse it. What cannot be measured is an
//! error of its part, not of the whole.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::compare::Batch;
use super::footprint::{self, Load};
use super::roofline::{Limits, attention_operations, layer_operations};
use super::{
    Adam, Device, Generator, Precision, Result, Room, Sequence, Trainer, Training, WeightType,
    Weighted, Weights, check_collectives, compare, dummy, open_generator, open_trainer, parts,
};

/// Decode steps that are timed.
const DECODE_STEPS: usize = 50;

/// What is measured with.
struct Sizes {
    /// Rows of products, and a model's hidden, feed-forward, and query-key-value widths.
    rows: usize,
    widths: [usize; 3],
    heads: [usize; 3],
    attention: &'static [usize],
    model: &'static str,
    batches: &'static [usize],
    prompt: usize,
    layer: (&'static str, usize),
    trained: &'static [&'static str],
    pack: (usize, usize),
    /// Steps over which memory may not grow, and those before it is looked at first.
    steps: [usize; 2],
}

/// Qwen2.5-7B's products and attention, a layer of 32B, and whole small models that learn.
const FULL: Sizes = Sizes {
    rows: 16_384,
    widths: [3584, 18_944, 4608],
    heads: [28, 4, 128],
    attention: &[1024, 2048, 4096, 8192, 16_384, 32_768],
    model: "dummy:qwen2.5-7b",
    batches: &[1, 8, 64],
    prompt: 512,
    layer: ("dummy:qwen2.5-32b", 16_384),
    trained: &["dummy:qwen2.5-1.5b", "dummy:qwen2.5-3b"],
    pack: (4, 4096),
    steps: [200, 20],
};

const SMALL: Sizes = Sizes {
    rows: 64,
    widths: [64, 192, 96],
    heads: [4, 2, 16],
    attention: &[64, 128],
    model: "dummy:tiny",
    batches: &[1, 8],
    prompt: 32,
    layer: ("dummy:tiny", 64),
    trained: &["dummy:tiny"],
    pack: (2, 32),
    steps: [20, 10],
};

/// Measures a device; `name` is what its driver calls it.
///
/// # Errors
/// If the device is not there. What it cannot do stands in the report.
pub fn measure(device: Device, name: &str) -> Result<Value> {
    super::ensure_device(device)?;
    let sizes = if device == Device::Cpu { &SMALL } else { &FULL };
    let limits = Limits::of(name);
    Ok(json!({
        "device": device.to_string(),
        "name": name,
        "limits": limits,
        "products": part(products(device, sizes)),
        "attention": part(attention(device, sizes, limits)),
        "attention_gradient_error": part(parts::attention_gradient(device, sizes.rows.min(2048), sizes.heads)),
        "layers": part(layers(device)),
        "generating": part(generating(device, sizes, limits)),
        "layer_at_16k": part(layer(device, sizes, limits)),
        "training": part(training_speeds(device, sizes)),
        "growth": part(growth(device, sizes.steps)),
        "eight_ranks": part(check_collectives(&[device; 8]).map(|tried| tried.step_difference)),
    }))
}

/// What was measured, or why it was not.
fn part<T: Serialize>(measured: Result<T>) -> Value {
    match measured {
        Ok(measured) => json!(measured),
        Err(why) => json!({ "error": why.to_string() }),
    }
}

/// The products of a layer forward, `[rows, inner] · [columns, inner]ᵀ`.
fn products(device: Device, sizes: &Sizes) -> Result<Vec<Value>> {
    let [hidden, feed_forward, qkv] = sizes.widths;
    let shapes = [
        ("qkv", [sizes.rows, qkv, hidden]),
        ("output", [sizes.rows, hidden, hidden]),
        ("gate and up", [sizes.rows, 2 * feed_forward, hidden]),
        ("down", [sizes.rows, hidden, feed_forward]),
        ("down, one row", [1, hidden, feed_forward]),
    ];
    let one = |(name, shape): (&str, [usize; 3])| -> Result<Value> {
        let [seconds, own_seconds] = parts::product(device, shape)?;
        let operations = 2.0 * shape.iter().product::<usize>() as f64;
        Ok(json!({
            "name": name,
            "shape": shape,
            "teraflops": operations / seconds / 1e12,
            "own_teraflops": operations / own_seconds / 1e12,
        }))
    };
    shapes.into_iter().map(one).collect()
}

fn attention(device: Device, sizes: &Sizes, limits: Option<Limits>) -> Result<Vec<Value>> {
    let [heads, _, size] = sizes.heads;
    let one = |tokens: &usize| -> Result<Value> {
        let seconds = parts::attention(device, *tokens, sizes.heads)?;
        let rate = attention_operations(*tokens as u64, heads as u64, size as u64) / seconds;
        Ok(json!({
            "tokens": tokens,
            "milliseconds": seconds * 1e3,
            "teraflops": rate / 1e12,
            "of_limit": limits.map(|limits| rate / limits.operations_per_second),
        }))
    };
    sizes.attention.iter().map(one).collect()
}

/// How far the hidden states after each layer are from the processor's, in f32 and in bf16.
fn layers(device: Device) -> Result<Value> {
    let dir = tempfile::tempdir()
        .map_err(|source| super::Error::Io { path: "a temporary folder".to_owned(), source })?;
    let weights = Weights::Random { config: &compare::config(), seed: 1 };
    let model = open_trainer(&[Device::Cpu], weights, &Training::default())?;
    model.snapshot()?.save_model(dir.path())?;
    let ids: Vec<u32> = (0..150).map(|at| at * 3 % 512).collect();
    let right = parts::layers(Device::Cpu, dir.path(), &ids, WeightType::F32)?;
    let apart = |weights| -> Result<Vec<f64>> {
        let left = parts::layers(device, dir.path(), &ids, weights)?;
        Ok(left.iter().zip(&right).map(|(left, right)| compare::apart(left, right)).collect())
    };
    Ok(json!({ "f32": apart(WeightType::F32)?, "bf16": apart(WeightType::Bf16)? }))
}

/// Tokens that a model reads and writes, beside what the memory allows.
fn generating(device: Device, sizes: &Sizes, limits: Option<Limits>) -> Result<Value> {
    let start = Instant::now();
    let mut model = open_generator(device, Path::new(sizes.model), Room::default())?;
    let warm_up_seconds = start.elapsed().as_secs_f64();
    let mut decode = Vec::new();
    for batch in sizes.batches {
        decode.push(decoded(&mut *model, *batch, limits)?);
    }
    let prompt: Vec<u32> = (0..sizes.prompt as u32).map(|at| at % 500).collect();
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        Batch::new(1, sizes.prompt).step(&mut *model, std::slice::from_ref(&prompt))?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(json!({
        "model": sizes.model,
        "warm_up_seconds": warm_up_seconds,
        "weight_bytes": model.held().weight_bytes,
        "cache_tokens": model.cache().tokens(),
        "decode": decode,
        "prefill_tokens_per_second": sizes.prompt as f64 / seconds,
    }))
}

fn decoded(model: &mut dyn Generator, batch: usize, limits: Option<Limits>) -> Result<Value> {
    let mut together = Batch::new(batch, 2 * DECODE_STEPS);
    let tokens = vec![vec![1]; batch];
    for _ in 0..3 {
        together.step(model, &tokens)?;
    }
    let start = Instant::now();
    for _ in 0..DECODE_STEPS {
        together.step(model, &tokens)?;
    }
    let seconds = start.elapsed().as_secs_f64() / DECODE_STEPS as f64;
    let (held, cache) = (model.held(), model.cache());
    let token_bytes = held.cache_bytes / (cache.tokens() as u64).max(1);
    let seen = (batch * DECODE_STEPS / 2) as u64;
    let least = |limits: Limits| limits.decode_seconds(held.weight_bytes, token_bytes, seen);
    Ok(json!({
        "batch": batch,
        "milliseconds": seconds * 1e3,
        "tokens_per_second": batch as f64 / seconds,
        "of_limit": limits.map(|limits| least(limits) / seconds),
    }))
}

/// A step of gradients over a pack of sequences of so many tokens, in seconds; the better of two after
/// one that compiles.
fn stepped(trainer: &mut dyn Trainer, sequences: usize, tokens: usize) -> Result<f64> {
    let ids = |from: usize| (0..tokens).map(move |at| ((at * 31 + from) % 97) as u32);
    let one = |from: usize| {
        let input_ids: Vec<u32> = ids(from).collect();
        let labels = input_ids.iter().map(|id| i64::from(*id)).collect();
        Sequence { input_ids, labels }
    };
    let sequences: Vec<Sequence> = (0..sequences).map(one).collect();
    let weight = 1.0 / (sequences.len() * tokens) as f64;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let pack = sequences.iter().map(|sequence| Weighted { sequence, weight }).collect();
        let start = Instant::now();
        trainer.accumulate(&[pack])?;
        trainer.apply(1e-5, 1.0)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn training(device: Device) -> Training {
    let precision = if device == Device::Cpu { Precision::F32 } else { Precision::Bf16 };
    Training { precision, ..Training::from(Adam::default()) }
}

/// Forward, again, and backward of a layer, with its update: what two layers take more than one.
fn layer(device: Device, sizes: &Sizes, limits: Option<Limits>) -> Result<Value> {
    let (name, tokens) = sizes.layer;
    let dummy = dummy::named(Path::new(name)).expect("the name is a dummy's")?;
    let seconds = |layers: u32| -> Result<f64> {
        let mut config = dummy.config.clone();
        config["num_hidden_layers"] = json!(layers);
        config["vocab_size"] = json!(512);
        let weights = Weights::Random { config: &config, seed: 1 };
        stepped(&mut *open_trainer(&[device], weights, &training(device))?, 1, tokens)
    };
    let seconds = seconds(2)? - seconds(1)?;
    let shape = footprint::Shape::parse(&dummy.config).map_err(super::Error::BadInput)?;
    let heads = dummy.config["num_attention_heads"].as_u64().unwrap_or(0);
    let size = shape.query / heads.max(1);
    let numbers = shape.layer() - shape.vectors;
    let operations = 3.0 * layer_operations(numbers, tokens as u64, heads, size);
    let rate = operations / seconds;
    Ok(json!({
        "model": name,
        "tokens": tokens,
        "milliseconds": seconds * 1e3,
        "mfu": limits.map(|limits| rate / limits.operations_per_second),
    }))
}

fn training_speeds(device: Device, sizes: &Sizes) -> Result<Vec<Value>> {
    sizes.trained.iter().map(|name| trained(device, name, sizes)).collect()
}

/// Tokens per second of a whole model that learns, and its peak beside what was predicted.
fn trained(device: Device, name: &str, sizes: &Sizes) -> Result<Value> {
    let (sequences, tokens) = sizes.pack;
    let dummy = dummy::named(Path::new(name)).expect("the name is a dummy's")?;
    let training = training(device);
    let weights = Weights::Random { config: &dummy.config, seed: 1 };
    let mut trainer = open_trainer(&[device], weights, &training)?;
    let seconds = stepped(&mut *trainer, sequences, tokens)?;
    let shape = footprint::Shape::parse(&dummy.config).map_err(super::Error::BadInput)?;
    let all = (sequences * tokens) as u64;
    let load = Load {
        ranks: 1,
        tokens: all,
        trained: all - sequences as u64,
        longest: tokens as u64,
        computed_bytes: if device == Device::Cpu { 4 } else { 2 },
    };
    let predicted = footprint::peak(&footprint::predict(&shape, &training, &load));
    let peak = trainer.peak_memory_bytes();
    Ok(json!({
        "model": name,
        "tokens_per_second": all as f64 / seconds,
        "peak_bytes": peak,
        "predicted_bytes": predicted,
        "apart": (peak as f64 / predicted as f64 - 1.0).abs(),
    }))
}

/// Bytes that a model which learns takes after some steps, and after many.
fn growth(device: Device, [steps, settled_steps]: [usize; 2]) -> Result<Value> {
    let config = compare::config();
    let weights = Weights::Random { config: &config, seed: 1 };
    let mut trainer = open_trainer(&[device], weights, &training(device))?;
    let mut settled = 0;
    for step in 0..steps {
        stepped_once(&mut *trainer)?;
        if step + 1 == settled_steps {
            settled = trainer.peak_memory_bytes();
        }
    }
    let after = trainer.peak_memory_bytes();
    Ok(json!({
        "steps": steps,
        "bytes_before": settled,
        "bytes_after": after,
        "grew_bytes": after.saturating_sub(settled),
    }))
}

fn stepped_once(trainer: &mut dyn Trainer) -> Result<()> {
    let input_ids: Vec<u32> = (0..64).collect();
    let labels = input_ids.iter().map(|id| i64::from(*id)).collect();
    let sequence = Sequence { input_ids, labels };
    trainer.accumulate(&[vec![Weighted { sequence: &sequence, weight: 1.0 / 63.0 }]])?;
    trainer.apply(1e-5, 1.0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_on_the_processor_too() {
        if super::super::facts().backends.is_empty() {
            return;
        }
        let report = measure(Device::Cpu, "a processor").unwrap();
        assert!(!report.to_string().contains("\"error\""), "{report:#}");
        assert_eq!(report["products"].as_array().unwrap().len(), 5);
        assert!(report["generating"]["decode"][0]["tokens_per_second"].as_f64().unwrap() > 0.0);
        let layers = report["layers"]["f32"].as_array().unwrap();
        assert!(layers.len() == 5 && layers.iter().all(|apart| apart == 0.0), "{layers:?}");
    }
}
