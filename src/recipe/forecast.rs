//! What a plan will take, as far as it can be computed. What cannot be known is left open.
//!
//! The memory model is that of full fine-tuning in bf16 with fp32 AdamW states, parameters,
//! gradients and states sharded over the GPUs, block inputs kept and everything else recomputed,
//! and the loss in chunks. Checked against the table of published configurations in the tests.

use serde::Serialize;
use serde_json::Value;

use super::{Machine, Plan};

/// Useful floating-point operations per second of an H100 in bf16, dense.
const H100_FLOPS: f64 = 989.4e12;

/// The share of them that training is expected to reach; published runs of this length reach 30
/// to 40 %.
const UTILISATION: f64 = 0.4;

/// Mean of the squared length over the mean length of OpenThoughts' traces: what attention costs.
const ATTENDED_TOKENS: u64 = 9_600;

/// Tokens of a chunk of logits.
const LOGITS_CHUNK: u64 = 1_024;

/// CUDA context, NCCL buffers and fragmentation.
const RESERVE_BYTES: u64 = 3 << 30;

/// Part of a GPU's memory that a process can really have.
const USABLE: f64 = 0.955;

/// Bytes of an optimizer step's state on disk, per parameter: bf16 weights, fp32 master and moments.
const CHECKPOINT_BYTES: u64 = 14;

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
    /// Bytes.
    pub memory: Memory,
    /// Whether it fits into the GPUs' memory.
    pub fits: Option<bool>,
    /// What to know, or to change.
    pub advice: Vec<String>,
}

/// Where bytes go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Of each GPU.
    pub device_bytes: Option<DeviceBytes>,
    /// Of the machine.
    pub host_bytes: Option<u64>,
    /// Of the disk: checkpoints and the finished model.
    pub disk_bytes: Option<u64>,
}

/// Where the bytes of one GPU go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DeviceBytes {
    /// Its shard of the bf16 weights.
    pub weights: u64,
    /// Its shard of the bf16 gradients.
    pub gradients: u64,
    /// Its shard of fp32 master weights and moments.
    pub optimizer: u64,
    /// Block inputs of one micro-batch.
    pub activations: u64,
    /// What one block's backward pass needs.
    pub working_set: u64,
    /// A chunk of logits in three copies.
    pub logits: u64,
    /// Gathered layers and their gradients.
    pub gathered: u64,
    /// Everything that is not ours to plan.
    pub reserve: u64,
    /// The sum.
    pub total: u64,
}

/// The shape of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    hidden: u64,
    feed_forward: u64,
    layers: u64,
    heads: u64,
    key_heads: u64,
    head: u64,
    vocabulary: u64,
    tied: bool,
}

impl Shape {
    const fn qwen(hidden: u64, feed_forward: u64, layers: u64, heads: (u64, u64)) -> Self {
        Self {
            hidden,
            feed_forward,
            layers,
            heads: heads.0,
            key_heads: heads.1,
            head: 128,
            vocabulary: 152_064,
            tied: false,
        }
    }

    fn layer(&self) -> u64 {
        let width = (self.heads + 2 * self.key_heads) * self.head;
        let attention = self.hidden * width + self.heads * self.head * self.hidden;
        attention + 3 * self.hidden * self.feed_forward
    }

    fn parameters(&self) -> u64 {
        let bias = (self.heads + 2 * self.key_heads) * self.head;
        let layer = self.layer() + bias + 2 * self.hidden;
        let tables = if self.tied { 1 } else { 2 };
        self.layers * layer + tables * self.vocabulary * self.hidden + self.hidden
    }

    fn flops_per_token(&self) -> f64 {
        let linear = 6 * (self.layers * self.layer() + self.vocabulary * self.hidden);
        (linear + 6 * self.layers * self.hidden * ATTENDED_TOKENS) as f64
    }
}

/// Shapes of the models that the built-in recipes begin with.
const SHAPES: [(&str, Shape); 2] = [
    ("Qwen/Qwen2.5-7B-Instruct", Shape::qwen(3_584, 18_944, 28, (28, 4))),
    ("Qwen/Qwen2.5-32B-Instruct", Shape::qwen(5_120, 27_648, 64, (40, 8))),
];

pub(super) fn forecast(plan: &Plan, machine: &Machine) -> Forecast {
    let Some(train) = plan.stages.get("train") else { return Forecast::default() };
    let number = |key: &str| train.get(key).and_then(Value::as_f64);
    let mut forecast = Forecast::default();
    count_tokens(plan, train, &mut forecast);
    let model = train.get("model").and_then(Value::as_str).unwrap_or_default();
    let Some((_, shape)) = SHAPES.iter().find(|(name, _)| *name == model) else {
        forecast.advice.push(format!("the shape of the model `{model}` is not known beforehand"));
        return forecast;
    };
    let parameters = shape.parameters();
    forecast.parameters = Some(parameters);
    let kept = number("keep_checkpoints").unwrap_or(2.0) as u64;
    // The kept checkpoints, the one that is being written, and the finished model.
    forecast.memory.disk_bytes = Some(parameters * (CHECKPOINT_BYTES * (kept + 1) + 2));
    if machine.gpus == 0 {
        forecast.fits = Some(false);
        forecast.advice.push("there is no GPU here; plan for some with `--devices 8`".into());
        return forecast;
    }
    let gpus = machine.gpus as u64;
    let device = device_bytes(shape, gpus, number("cutoff_len").unwrap_or(16_384.0) as u64);
    if let Some(tokens) = forecast.tokens {
        let seconds = tokens as f64 * shape.flops_per_token()
            / (H100_FLOPS * UTILISATION * machine.gpus as f64);
        forecast.hours = Some(seconds / 3_600.0);
        forecast.advice.push("the hours are those of H100s at 40 % utilisation".into());
    }
    // The streaming exporter holds a shard of 5 GB twice; the loader as well.
    forecast.memory.host_bytes = Some(20 << 30);
    judge(&device, machine, &mut forecast);
    forecast.memory.device_bytes = Some(device);
    forecast
}

fn count_tokens(plan: &Plan, train: &Value, forecast: &mut Forecast) {
    let number = |key: &str| train.get(key).and_then(Value::as_f64);
    let epochs = number("epochs").unwrap_or(1.0);
    let batch = number("global_batch").unwrap_or(1.0).max(1.0);
    let fixed = number("steps").map(|steps| steps as u64);
    let Some(expected) = &plan.expected else {
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

fn device_bytes(shape: &Shape, gpus: u64, tokens: u64) -> DeviceBytes {
    let parameters = shape.parameters();
    let bf16 = 2;
    let width = 3 * shape.feed_forward + 8 * shape.hidden;
    let mut bytes = DeviceBytes {
        weights: bf16 * parameters / gpus,
        gradients: bf16 * parameters / gpus,
        optimizer: 12 * parameters / gpus,
        activations: bf16 * tokens * shape.hidden * shape.layers,
        working_set: bf16 * tokens * width,
        logits: 3 * bf16 * LOGITS_CHUNK * shape.vocabulary,
        gathered: bf16 * (4 * shape.layer() + 2 * shape.vocabulary * shape.hidden),
        reserve: RESERVE_BYTES,
        total: 0,
    };
    bytes.total = bytes.weights
        + bytes.gradients
        + bytes.optimizer
        + bytes.activations
        + bytes.working_set
        + bytes.logits
        + bytes.gathered
        + bytes.reserve;
    bytes
}

fn judge(device: &DeviceBytes, machine: &Machine, forecast: &mut Forecast) {
    let Some(memory) = machine.gpu_memory_bytes else {
        forecast.advice.push("say how large a GPU is with `--device-memory 80GiB`".into());
        return;
    };
    let usable = (memory as f64 * USABLE) as u64;
    forecast.fits = Some(device.total <= usable);
    if device.total > usable {
        let (needed, gib) = (device.total as f64, f64::from(1 << 30));
        forecast.advice.push(format!(
            "each GPU needs {:.1} GiB and can give {:.1}: take more GPUs or larger ones",
            needed / gib,
            usable as f64 / gib
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::{SHAPES, device_bytes};

    #[track_caller]
    fn check(model: usize, parameters: u64, gib_on_8: f64) {
        let shape = SHAPES[model].1;
        assert_eq!(shape.parameters(), parameters);
        let total = device_bytes(&shape, 8, 16_384).total as f64 / f64::from(1 << 30);
        assert!((total - gib_on_8).abs() < 0.3, "{total} GiB, the table says {gib_on_8}");
    }

    #[test]
    fn the_7b_model_needs_what_was_computed_before() {
        // 14.2 states + 3.06 inputs + 2.6 working set + 0.87 logits + 3.76 gathered + 3 reserve.
        check(0, 7_615_616_512, 27.5);
    }

    #[test]
    fn the_32b_model_does_not_fit_with_16_bytes_per_parameter() {
        check(1, 32_763_876_352, 85.2);
    }

    #[test]
    fn the_floor_of_the_7b_model_is_that_of_the_literature() {
        let flops = SHAPES[0].1.flops_per_token();
        assert!((flops / 1e9 - 48.2).abs() < 0.1, "{flops}");
    }
}
