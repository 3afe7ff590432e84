//! The verb `gpu-check`: a GPU's results beside the processor's. `scripts/gpu-check` calls it.

use serde_json::json;

use super::Global;
use crate::chat::local::explained;
use crate::engine::compare::{Comparison, Measured, compare};
use crate::engine::{self, Device};

/// Relative errors above these mean a bug, not rounding: products on a GPU round to TF32 (2⁻¹¹).
const LIMITS: Limits = Limits { logits: 1e-2, loss: 1e-3, gradients: 2e-2, ten_losses: 1e-2 };

struct Limits {
    logits: f64,
    loss: f64,
    gradients: f64,
    ten_losses: f64,
}

/// Options of `gpu-check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device that is compared with the processor
    #[arg(long, default_value = "cuda:0")]
    device: Device,
}

#[expect(clippy::print_stdout, reason = "prints the result")]
pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let Args { device } = *args;
    let facts = engine::facts();
    if matches!(device, Device::Cuda(_)) && facts.gpus.is_empty() {
        let why = match facts.backends.contains(&"cuda") {
            true => "this machine has no NVIDIA GPU with a driver",
            false => "this binary was built without the `cuda` engine",
        };
        match global.json {
            true => println!("{}", json!({ "gpu": null, "why": why, "facts": facts })),
            false => println!("nothing to check: {why}"),
        }
        return Ok(());
    }
    let comparison = compare(device).map_err(explained)?;
    let agrees = comparison.logits <= LIMITS.logits
        && comparison.loss <= LIMITS.loss
        && comparison.gradients <= LIMITS.gradients
        && comparison.ten_losses <= LIMITS.ten_losses;
    if global.json {
        let device = device.to_string();
        println!(
            "{}",
            json!({ "gpu": device, "agrees": agrees, "comparison": comparison, "facts": facts })
        );
    } else {
        print_table(&facts, &comparison);
    }
    anyhow::ensure!(agrees, "`{device}` does not compute what the processor computes");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "prints the result")]
fn print_table(facts: &engine::Facts, comparison: &Comparison) {
    let found = |what: &Option<String>| what.clone().unwrap_or_else(|| "not found".to_owned());
    println!("driver (CUDA)   {}", found(&facts.cuda_driver));
    println!("NVRTC           {}", found(&facts.nvrtc));
    println!("NCCL            {}", found(&facts.nccl));
    for (index, name) in facts.gpus.iter().enumerate() {
        println!("cuda:{index}          {name}");
    }
    println!("\n{:<28} {:>14} {:>10}", "relative error", "measured", "limit");
    let rows = [
        ("logits", comparison.logits, Some(LIMITS.logits)),
        ("loss", comparison.loss, Some(LIMITS.loss)),
        ("gradients", comparison.gradients, Some(LIMITS.gradients)),
        ("losses of ten steps", comparison.ten_losses, Some(LIMITS.ten_losses)),
        ("weight change of ten steps", comparison.ten_steps, None),
    ];
    for (name, measured, limit) in rows {
        let limit = limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.0e}"));
        println!("{name:<28} {measured:>14.3e} {limit:>10}");
    }
    let (device, reference) = (&comparison.measured, &comparison.reference);
    println!("\n{:<28} {:>14} {:>14}", "", device.device, reference.device);
    let row = |name: &str, of: &dyn Fn(&Measured) -> String| {
        println!("{name:<28} {:>14} {:>14}", of(device), of(reference));
    };
    row("warm-up, seconds", &|m| format!("{:.2}", m.warm_up_seconds));
    row("training, tokens/s", &|m| format!("{:.0}", m.train_tokens_per_second));
    row("generating, tokens/s", &|m| format!("{:.0}", m.decode_tokens_per_second));
    row("peak memory, MiB", &|m| format!("{}", m.peak_memory_bytes >> 20));
}
