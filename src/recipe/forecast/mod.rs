//! What a plan will take, as far as it can be computed. What cannot be known is left open.
//!
//! Bytes are those of `memory`; `choose` finds which way of training fits and is the fastest. Time is
//! useful operations over what the GPUs are expected to reach.

mod choose;
mod memory;
mod shape;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Expected, Machine, Plan};
use crate::train::{self, Offload};
use choose::Room;
use memory::Choice;
use shape::{Shape, of_model};

pub use choose::{Row, Way};
pub use memory::DeviceBytes;

/// Useful floating-point operations per second of an H100 in bf16, dense.
const H100_FLOPS: f64 = 989.4e12;

/// Mean of the squared length over the mean length of OpenThoughts' traces: what attention costs.
const ATTENDED_TOKENS: f64 = 9_600.0;

/// Part of a GPU's memory that a process can really have.
const USABLE: f64 = 0.955;

/// A gibibyte.
const GIB: f64 = (1u64 << 30) as f64;

/// What a plan will take. `None` where it cannot be known.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Forecast {
    /// Trainable numbers of the model.
    pub parameters: Option<u64>,
    /// Tokens trained on, over all epochs.
    pub tokens: Option<u64>,
    /// Optimizer steps of one run.
    pub steps: Option<u64>,
    /// Hours of training on H100s.
    pub hours: Option<f64>,
    /// What these GPUs cost for that long, in US dollars, where a price was given.
    pub cost_usd: Option<f64>,
    /// Bytes.
    pub memory: Memory,
    /// Whether it fits into the GPUs' memory.
    pub fits: Option<bool>,
    /// What to know, or to change.
    pub advice: Vec<String>,
    /// What each layout of the optimizer's state takes of a GPU, for each way of keeping the forward
    /// pass.
    pub table: Vec<Row>,
}

/// Where bytes go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Of each GPU.
    pub device_bytes: Option<DeviceBytes>,
    /// Bytes of one GPU that can be used.
    pub usable_bytes: Option<u64>,
    /// Of the machine.
    pub host_bytes: Option<u64>,
    /// Of the disk: checkpoints and the finished model.
    pub disk_bytes: Option<u64>,
}

pub(super) fn forecast(plan: &Plan, machine: &Machine) -> Forecast {
    let Some(train) = plan.stages.get("train") else { return Forecast::default() };
    let mut forecast = Forecast::default();
    count_tokens(plan, train, &mut forecast);
    let model = train.get("model").and_then(Value::as_str).unwrap_or_default();
    let Some(shape) = of_model(model) else {
        forecast.advice.push(format!("the shape of the model `{model}` is not known beforehand"));
        return forecast;
    };
    let parameters = shape.parameters();
    let choice = choice(train, &shape);
    forecast.parameters = Some(parameters);
    let training = training(train);
    let checkpoint: u64 = train::checkpoint_bytes(&shape, &training).iter().sum();
    forecast.memory.disk_bytes =
        Some(checkpoint * (kept(train) + 1) + train::finished_bytes(&shape, &training));
    if train.get("device").and_then(Value::as_str) == Some("cpu") {
        on_processor(train, model, machine, &mut forecast);
        return forecast;
    }
    if machine.gpus == 0 {
        forecast.fits = Some(false);
        forecast.advice.push("there is no GPU here; plan for some with `--devices 8`".into());
        return forecast;
    }
    let gpus = machine.gpus as u64;
    count_hours(plan.expected.as_ref(), &shape, gpus, &mut forecast);
    forecast.memory.host_bytes = Some(choice.host_bytes(&shape, gpus, checkpoint));
    let device = choice.device_bytes(&shape, gpus);
    judge(&device, (&shape, choice), machine, &mut forecast);
    forecast.memory.device_bytes = Some(device);
    forecast
}

/// The fastest way to train that fits these GPUs, as settings of `[train]` with their values. None if
/// nothing fits, or it cannot be known.
pub(super) fn fastest(train: &Value, machine: &Machine) -> Option<Vec<(&'static str, String)>> {
    let shape = of_model(train.get("model")?.as_str()?)?;
    let found = choose::fastest(&shape, choice(train, &shape), room(machine)?)?;
    Some(vec![("keep", found.keep.name().to_owned()), ("offload", found.offload.name().to_owned())])
}

/// What a run on the processor takes: only where the model is a folder, and its time is unknown.
fn on_processor(train: &Value, model: &str, machine: &Machine, forecast: &mut Forecast) {
    let config = serde_json::from_value::<train::Config>(train.clone()).ok();
    let Some((memory, peak)) = config
        .zip(shape::config_json(model))
        .and_then(|(config, model)| train::on_processor(&config, &model).ok())
    else {
        forecast.advice.push("what it takes of the processor's memory is known of folders".into());
        return;
    };
    forecast.memory.device_bytes = Some(DeviceBytes::at_peak(&memory, peak));
    forecast.memory.host_bytes = Some(peak);
    if machine.memory_bytes > 0 {
        let usable = (machine.memory_bytes as f64 * USABLE) as u64;
        forecast.memory.usable_bytes = Some(usable);
        forecast.fits = Some(peak <= usable);
        if peak > usable {
            let (needed, usable) = (peak as f64 / GIB, usable as f64 / GIB);
            forecast.advice.push(format!(
                "it needs {needed:.1} GiB of memory and can have {usable:.1}: keep less \
                 (train.keep=inputs), shorten train.cutoff_len, or take fewer bytes (train.state=B)"
            ));
        }
    }
}

fn room(machine: &Machine) -> Option<Room> {
    let usable = (machine.gpu_memory_bytes? as f64 * USABLE) as u64;
    (machine.gpus > 0).then_some(Room { gpus: machine.gpus as u64, usable })
}

/// How many checkpoints stay while one is being written.
fn kept(train: &Value) -> u64 {
    train.get("keep_checkpoints").and_then(Value::as_u64).unwrap_or(2)
}

/// The settings that files depend on.
fn training(train: &Value) -> train::Training {
    let adapters = || train::Lora {
        rank: setting(train, "lora_rank"),
        alpha: setting(train, "lora_alpha"),
        targets: setting(train, "lora_targets"),
    };
    let method: train::Method = setting(train, "method");
    train::Training {
        state: setting(train, "state"),
        precision: setting(train, "precision"),
        lora: (method == train::Method::Lora).then(adapters),
        ..train::Training::default()
    }
}

/// The settings that memory depends on.
fn choice(train: &Value, shape: &Shape) -> Choice {
    let lora = training(train).lora;
    let number = |key: &str| train.get(key).and_then(Value::as_u64).filter(|number| *number > 0);
    Choice {
        state: setting(train, "state"),
        keep: setting(train, "keep"),
        shard: setting(train, "shard"),
        offload: setting(train, "offload"),
        half: train.get("precision").and_then(Value::as_str) == Some("bf16"),
        tokens: number("cutoff_len").unwrap_or(16_384),
        chunk: number("logits_chunk").unwrap_or(memory::LOGITS_CHUNK),
        adapters: lora.map_or(0, |lora| shape.trained(Some(&lora))),
    }
}

fn setting<T: DeserializeOwned + Default>(train: &Value, name: &str) -> T {
    let value = train.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).unwrap_or_default()
}

fn count_hours(expected: Option<&Expected>, shape: &Shape, gpus: u64, forecast: &mut Forecast) {
    let (Some(tokens), Some(expected)) = (forecast.tokens, expected) else { return };
    let reached = H100_FLOPS * expected.utilisation * gpus as f64;
    let operations = shape.operations(tokens as f64, tokens as f64 * ATTENDED_TOKENS);
    let hours = operations / reached / 3_600.0;
    forecast.hours = Some(hours);
    let price = expected.usd_per_gpu_hour;
    forecast.cost_usd = (price > 0.0).then_some(hours * gpus as f64 * price);
    let percent = expected.utilisation * 100.0;
    forecast.advice.push(format!(
        "the hours are those of H100s at {percent:.0} % of their peak; --set expected.utilisation=… \
         for others"
    ));
}

fn count_tokens(plan: &Plan, train: &Value, forecast: &mut Forecast) {
    let number = |key: &str| train.get(key).and_then(Value::as_f64);
    let epochs = number("epochs").unwrap_or(1.0);
    let batch = number("global_batch").unwrap_or(1.0).max(1.0);
    let fixed = number("steps").map(|steps| steps as u64);
    let known = plan.expected.as_ref().filter(|expected| expected.examples > 0);
    let Some(expected) = known else {
        forecast.steps = fixed;
        forecast.advice.push("the number of examples is known when the dataset is built".into());
        return;
    };
    let examples = expected.examples as f64;
    let per_epoch = (examples / batch).floor().max(1.0);
    let steps = fixed.unwrap_or((per_epoch * epochs).round() as u64);
    let seen = fixed.map_or(examples * epochs, |steps| steps as f64 * batch);
    forecast.steps = Some(steps);
    forecast.tokens = Some((seen * expected.tokens_per_example) as u64);
}

fn judge(
    device: &DeviceBytes,
    (shape, choice): (&Shape, Choice),
    machine: &Machine,
    forecast: &mut Forecast,
) {
    let Some(room) = room(machine) else {
        forecast.advice.push("say how large a GPU is with `--device-memory 80GiB`".into());
        return;
    };
    let fits = device.total <= room.usable;
    (forecast.fits, forecast.memory.usable_bytes) = (Some(fits), Some(room.usable));
    forecast.table = choose::table(shape, choice, room);
    if !fits {
        let (needed, usable) = (device.total as f64 / GIB, room.usable as f64 / GIB);
        let change = match choose::cheapest_change(shape, choice, room) {
            Some(change) => format!("the cheapest change that fits: {}", settings(&change)),
            None => "no way of training it fits: take more GPUs or larger ones".to_owned(),
        };
        let needs = format!("each GPU needs {needed:.1} GiB and can give {usable:.1}; {change}");
        forecast.advice.push(needs);
    } else if let Some(found) = choose::fastest(shape, choice, room) {
        let changed = choose::changes(&choice, &found);
        let saved = choice.repeated(shape) / found.repeated(shape);
        if !changed.is_empty() && (saved > 1.0 || choice.offload != Offload::None) {
            forecast.advice.push(format!("it would fit and be faster with {}", settings(&changed)));
        }
    }
}

/// Settings as they are given on the command line.
fn settings(changes: &[(&str, String)]) -> String {
    let all: Vec<String> =
        changes.iter().map(|(name, value)| format!("train.{name}={value}")).collect();
    all.join(" and ")
}
