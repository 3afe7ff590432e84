//! Numbers for Prometheus, under the names that vLLM gives them: dashboards made for it fit.

use std::fmt::Write as _;

use super::Models;
use crate::engine::worker::Load;

/// A number of each model: its name, kind and meaning, and how it is read.
type Family = (&'static str, &'static str, &'static str, fn(&Load) -> u64);

const FAMILIES: &[Family] = &[
    ("vllm:num_requests_running", "gauge", "Requests being answered.", |load| load.running as u64),
    ("vllm:num_requests_waiting", "gauge", "Requests that wait for a place.", |load| {
        load.waiting as u64
    }),
    ("vllm:prompt_tokens_total", "counter", "Tokens of prompts.", |load| load.prompt_tokens),
    ("vllm:generation_tokens_total", "counter", "Tokens generated.", |load| load.generated_tokens),
];

/// What the models that were asked so far have done.
pub fn text(models: &Models) -> String {
    let loads = models.loads();
    let mut text = Text::default();
    for (name, kind, help, read) in FAMILIES {
        text.family(name, kind, help);
        for (model, load) in &loads {
            let model = model.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            text.sample(name, &format!("model_name=\"{model}\""), read(load));
        }
    }
    text.into_string()
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
    pub fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    /// All that was written.
    pub fn into_string(self) -> String {
        self.0
    }
}
