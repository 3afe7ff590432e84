//! The verb `gpu-check`: a GPU's results beside the processor's. `scripts/gpu-check` calls it.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Global;
use crate::chat::local::explained;
use crate::engine::compare::{Comparison, Measured, compare};
use crate::engine::{self, Device, gpu};

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

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "prints the result")]
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
    let name = match device {
        Device::Cuda(index) => facts.gpus.get(index).map_or("", String::as_str),
        Device::Cpu => "processor",
    };
    let measured = gpu::measure(device, name).map_err(explained)?;
    if global.json {
        // For people, beside what is for programs.
        eprintln!("{}", table(&measured));
        let device = device.to_string();
        println!(
            "{}",
            json!({
                "gpu": device,
                "agrees": agrees,
                "comparison": comparison,
                "measured": measured,
                "facts": facts,
            })
        );
    } else {
        print_table(&facts, &comparison);
        println!("{}", table(&measured));
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

/// What was measured, line by line.
fn table(measured: &Value) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name:<44} {value:>24}");
    };
    let list = |key: &str| measured[key].as_array().cloned().unwrap_or_default();
    let percent = |value: &Value| match value.as_f64() {
        Some(part) => format!("{:.0} % of the limit", part * 100.0),
        None => "no known limit".to_owned(),
    };
    for product in list("products") {
        let name = format!("{} {}", product["name"].as_str().unwrap_or(""), product["shape"]);
        let speeds = [&product["teraflops"], &product["own_teraflops"]].map(number);
        line(&name, format!("{} and {} TFLOP/s", speeds[0], speeds[1]));
    }
    for one in list("attention") {
        let name = format!("attention over {} tokens, ms", one["tokens"]);
        line(&name, format!("{}, {}", number(&one["milliseconds"]), percent(&one["of_limit"])));
    }
    line("gradient of attention, relative error", number(&measured["attention_gradient_error"]));
    for kind in ["f32", "bf16"] {
        let most = measured["layers"][kind]
            .as_array()
            .map(|layers| layers.iter().filter_map(Value::as_f64).fold(0.0, f64::max));
        line(&format!("layers in {kind}, most relative error"), number(&json!(most)));
    }
    let generating = &measured["generating"];
    for one in generating["decode"].as_array().into_iter().flatten() {
        let name = format!("decode at batch {}, ms per token", one["batch"]);
        line(&name, format!("{}, {}", number(&one["milliseconds"]), percent(&one["of_limit"])));
    }
    line("prefill, tokens/s", number(&generating["prefill_tokens_per_second"]));
    line("warm-up, seconds", number(&generating["warm_up_seconds"]));
    let layer = &measured["layer_at_16k"];
    line("a layer trained, ms", number(&layer["milliseconds"]));
    line("a layer trained, MFU", number(&layer["mfu"]));
    for one in list("training") {
        let name = one["model"].as_str().unwrap_or("");
        line(&format!("{name} trained, tokens/s"), number(&one["tokens_per_second"]));
        line(&format!("{name}, peak apart from the plan"), number(&one["apart"]));
    }
    let growth = &measured["growth"];
    line(
        &format!("memory grew over {} steps, bytes", growth["steps"]),
        number(&growth["grew_bytes"]),
    );
    line("a step over eight ranks apart from one's", number(&measured["eight_ranks"]));
    for (part, value) in measured.as_object().into_iter().flatten() {
        if let Some(why) = value["error"].as_str() {
            line(part, format!("not measured: {why}"));
        }
    }
    lines
}

/// A number to four digits.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(value) if value == 0.0 || (0.01..1e6).contains(&value.abs()) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Some(value) => format!("{value:.3e}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_says_why() {
        let table = table(&json!({
            "products": [{ "name": "qkv", "shape": [1, 2, 3], "teraflops": 512.25, "own_teraflops": 1e-7 }],
            "attention": { "error": "no kernel" },
            "growth": { "steps": 200, "grew_bytes": 0 },
        }));
        for wanted in ["qkv [1,2,3]", "512.25 and 1.000e-7 TFLOP/s", "not measured: no kernel"] {
            assert!(table.contains(wanted), "{table}");
        }
        assert!(table.contains("memory grew over 200 steps, bytes"), "{table}");
    }
}
