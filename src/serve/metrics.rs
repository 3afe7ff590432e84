//! Numbers for Prometheus, under the names that vLLM gives them: dashboards made for it fit.

use std::fmt::{Display, Write as _};

use super::Models;
use super::meters::{Ended, Histogram, Meters};
use crate::engine::worker::{Load, STEP_TOKENS_BOUNDS};

/// A number of each engine: its name, kind and meaning, and how it is read.
type Family = (&'static str, &'static str, &'static str, fn(&Load) -> f64);

const FAMILIES: &[Family] = &[
    ("vllm:num_requests_running", "gauge", "Sequences that are worked on.", |load| {
        load.running as f64
    }),
    ("vllm:num_requests_waiting", "gauge", "Requests that wait for a place.", |load| {
        load.waiting as f64
    }),
    ("vllm:kv_cache_usage_perc", "gauge", "Share of the cache that is used; 1 is all.", |load| {
        load.blocks_used as f64 / load.blocks.max(1) as f64
    }),
    ("vllm:prefix_cache_queries", "counter", "Tokens looked up in the cache.", |load| {
        load.prefix_queries as f64
    }),
    ("vllm:prefix_cache_hits", "counter", "Tokens found in the cache.", |load| {
        load.prefix_hits as f64
    }),
    ("vllm:prefix_cache_queries_total", "counter", "Tokens looked up in the cache.", |load| {
        load.prefix_queries as f64
    }),
    ("vllm:prefix_cache_hits_total", "counter", "Tokens found in the cache.", |load| {
        load.prefix_hits as f64
    }),
    ("vllm:prompt_tokens_total", "counter", "Tokens of prompts.", |load| load.prompt_tokens as f64),
    ("vllm:generation_tokens_total", "counter", "Tokens generated.", |load| {
        load.generated_tokens as f64
    }),
    ("vllm:num_preemptions_total", "counter", "Sequences that had to give way.", |load| {
        load.preemptions as f64
    }),
    ("kv_blocks", "gauge", "Blocks of the cache.", |load| load.blocks as f64),
    ("kv_blocks_used", "gauge", "Blocks that sequences hold.", |load| load.blocks_used as f64),
    ("engine_steps_total", "counter", "Steps of the engine.", |load| load.steps as f64),
    ("requests_cancelled_total", "counter", "Requests that nobody waits for.", |load| {
        load.cancelled as f64
    }),
];

/// A histogram of each model: its name and meaning, and how it is read.
type Measured = (&'static str, &'static str, fn(&Meters) -> &Histogram);

const MEASURED: &[Measured] = &[
    ("vllm:time_to_first_token_seconds", "Until the first token.", |meters| &meters.first_token),
    ("vllm:inter_token_latency_seconds", "Between tokens.", |meters| &meters.between_tokens),
    ("vllm:time_per_output_token_seconds", "Between tokens.", |meters| &meters.between_tokens),
    ("vllm:e2e_request_latency_seconds", "Until the end of the answer.", |meters| &meters.request),
    ("vllm:request_prompt_tokens", "Tokens of prompts.", |meters| &meters.prompt_tokens),
    ("vllm:request_generation_tokens", "Tokens of answers.", |meters| &meters.generated_tokens),
];

/// What the models that were asked so far have done.
pub fn text(models: &Models) -> String {
    let mut text = Text::default();
    engines(models, &mut text);
    requests(models, &mut text);
    text.family("requests_rejected_total", "counter", "Requests that were turned away.");
    for (reason, count) in models.rejections().counts() {
        text.sample("requests_rejected_total", &format!("reason=\"{reason}\""), count);
    }
    text.family("http_requests_running", "gauge", "Requests that are answered.");
    text.sample("http_requests_running", "", models.gate().inside());
    text.into_string()
}

fn engines(models: &Models, text: &mut Text) {
    let loads = models.loads();
    let label = |model: &str, engine: usize| format!("{},engine=\"{engine}\"", name_of(model));
    for (name, kind, help, read) in FAMILIES {
        text.family(name, kind, help);
        for ((model, engine), load) in &loads {
            text.sample(name, &label(model, *engine), read(load));
        }
    }
    let name = "engine_last_step_age_seconds";
    text.family(name, "gauge", "Since the engine's last step, while it has work.");
    for ((model, engine), health) in models.health() {
        let age = health.step_age.unwrap_or_default().as_secs_f64();
        text.sample(name, &label(&model, engine), age);
    }
    let name = "vllm:iteration_tokens_total";
    text.family(name, "histogram", "Tokens computed in a step.");
    for ((model, engine), load) in &loads {
        let mut sum = 0;
        let bounds = STEP_TOKENS_BOUNDS.into_iter().map(|bound| bound as f64);
        let counts = bounds.chain([f64::INFINITY]).zip(load.steps_of).map(|(bound, steps)| {
            sum += steps;
            (bound, sum)
        });
        let counts: Vec<(f64, u64)> = counts.collect();
        text.histogram(name, &label(model, *engine), &counts, load.step_tokens as f64);
    }
}

fn requests(models: &Models, text: &mut Text) {
    let meters = models.meters();
    for (name, help, read) in MEASURED {
        text.family(name, "histogram", help);
        for (model, meters) in &meters {
            let histogram = read(meters);
            text.histogram(name, &name_of(model), &histogram.cumulative(), histogram.sum());
        }
    }
    text.family("vllm:request_success_total", "counter", "Answers by how they ended.");
    for (model, meters) in &meters {
        for ended in Ended::ALL {
            let labels = format!("{},finished_reason=\"{}\"", name_of(model), ended.name());
            text.sample("vllm:request_success_total", &labels, meters.ended(ended));
        }
    }
}

fn name_of(model: &str) -> String {
    let model = model.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    format!("model_name=\"{model}\"")
}

/// Prometheus' text format.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family of samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; `labels` without braces, empty for none.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    /// A histogram: how many values were at most as large as each bound, and the sum of all. The
    /// last bound is infinite.
    fn histogram(&mut self, name: &str, labels: &str, counts: &[(f64, u64)], sum: f64) {
        for (bound, count) in counts {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), count);
        }
        let all = counts.last().map_or(0, |(_, count)| *count);
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, all);
    }

    /// All that was written.
    pub fn into_string(self) -> String {
        self.0
    }
}
