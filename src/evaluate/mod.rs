//! Lets models answer benchmark problems and scores the answers.
//!
//! A benchmark is one file and one entry in [`BENCHMARKS`]; a JSONL file of problems is one too.
//! Every sample is stored; the missing ones are the work list, so an evaluation resumes and a
//! repeated one costs nothing. Grading is `verify`'s business.

mod file;
mod protocol;
mod rehearsal;
mod report;
mod sample;
mod score;
mod target;

use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

pub use protocol::Protocol;
pub use report::{Report, report};
pub use score::{Mean, mean};

use crate::chat::prompt::{Asked, user_prompt};
use crate::engine::WeightType;
use crate::hint::Hinted;
use crate::records::{Domain, NewQuestion, Score};
use crate::stage;
use crate::store::Store;
use crate::verify::{Tools, verifier};
use file::File;
use target::Target;

/// Every benchmark.
pub static BENCHMARKS: &[&dyn Benchmark] = &[&rehearsal::Rehearsal];

/// A set of problems and how they are asked.
pub trait Benchmark: Sync {
    /// Stored with every sample and score; never renamed.
    fn name(&self) -> &str;

    /// How its publishers ask it; a configuration may differ and says so.
    fn protocol(&self) -> Protocol;

    /// Its problems, in a fixed order.
    ///
    /// # Errors
    /// If they are not there or cannot be read.
    fn problems(&self, store: &Store) -> anyhow::Result<Vec<Problem>>;
}

/// One problem of a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Unique within the benchmark.
    pub id: String,
    /// What is asked, and what the answer is compared with.
    pub question: NewQuestion,
}

impl Problem {
    /// What the user says to ask it: the same words as in training.
    fn asked(&self) -> String {
        let question = &self.question;
        let asked = match question.domain {
            Domain::Math => Asked::Math,
            Domain::Code => Asked::Code {
                fn_name: question.tests.as_ref().and_then(|tests| tests.fn_name.as_deref()),
                starter_code: question.starter_code.as_deref(),
            },
            Domain::Biology | Domain::Chemistry | Domain::Physics | Domain::Puzzle => Asked::Plain,
        };
        user_prompt(asked, &question.problem)
    }

    /// Whether a verifier can decide about an answer.
    fn is_gradable(&self, tools: &Tools) -> bool {
        let answer = self.question.reference.is_some() || self.question.tests.is_some();
        answer && verifier(&self.question, tools.mode).name() != "unchecked"
    }
}

/// Configuration of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where models run: `cpu` or `cuda:0`.
    pub device: String,
    /// What weights are kept as on the processor: `auto` (as in the files), `f32`, `bf16` or `int8`.
    pub weights: WeightType,
    /// Name of a benchmark, or a JSONL file of problems.
    pub benchmark: String,
    /// What is scored: names of finished runs, `untrained` for what they began with, or folders.
    pub models: Vec<String>,
    /// Base address of an OpenAI-compatible server that has the models; empty: this machine.
    pub endpoint: String,
    /// Answers per problem. OpenThoughts: 5 for AIME and AMC.
    pub samples: u32,
    /// Sampling temperature. OpenThoughts: 0.7.
    pub temperature: f64,
    /// Probability mass to sample from. OpenThoughts: 1.
    pub top_p: f64,
    /// Tokens of an answer at most. OpenThoughts: 32768; small models need less.
    pub max_tokens: u32,
    /// Every sample's seed follows from it, the problem and the sample's number.
    pub seed: u64,
    /// Problems of each family at most; 0: all.
    pub problems_per_family: u32,
    /// Requests in flight per model. Ours: enough to fill the engine's slots twice.
    pub in_flight: u32,
}

impl Default for Config {
    fn default() -> Self {
        let protocol = rehearsal::Rehearsal.protocol();
        Self {
            device: "cpu".into(),
            weights: WeightType::Auto,
            benchmark: rehearsal::NAME.into(),
            models: ["untrained", "unverified", "verified"].map(str::to_owned).to_vec(),
            endpoint: String::new(),
            samples: protocol.samples,
            temperature: protocol.temperature,
            top_p: protocol.top_p,
            max_tokens: protocol.max_tokens,
            seed: protocol.seed,
            problems_per_family: 0,
            in_flight: 128,
        }
    }
}

impl Config {
    /// Everything that is wrong with it, all at once; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |wrong: bool, what: &str| {
            if wrong {
                problems.push(what.to_owned());
            }
        };
        check(self.models.is_empty(), "`models` names no model");
        check(self.samples == 0, "`samples` must be at least 1");
        check(self.max_tokens == 0, "`max_tokens` must be at least 1");
        check(self.in_flight == 0, "`in_flight` must be at least 1");
        check(!(0.0..=2.0).contains(&self.temperature), "`temperature` must be between 0 and 2");
        check(!(self.top_p > 0.0 && self.top_p <= 1.0), "`top_p` must be above 0 and at most 1");
        problems
    }

    /// How it asks.
    pub fn protocol(&self) -> Protocol {
        Protocol {
            samples: self.samples,
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            seed: self.seed,
        }
    }
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the benchmark.
    pub benchmark: String,
    /// Problems of it that were asked.
    pub problems: u64,
    /// Samples taken this time.
    pub sampled: u64,
    /// Samples that were there already.
    pub kept: u64,
    /// Tokens generated this time.
    pub tokens: u64,
    /// One per model.
    pub models: Vec<Scored>,
    /// The whole benchmark first, then its families, for every model.
    pub scores: Vec<Score>,
    /// Wall time of this call.
    pub seconds: f64,
}

/// A model that was scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Its name in the score table.
    pub name: String,
    /// Hash of protocol, problems and model; its samples are stored under it.
    pub protocol: String,
    /// Samples that ran into the token limit.
    pub truncated: u64,
}

/// What the stage needs beside the store.
#[derive(Debug, Clone)]
pub struct Means<'a> {
    /// Grades answers.
    pub tools: &'a Tools,
    /// Bearer key of the endpoint, if it wants one.
    pub key: Option<&'a str>,
}

/// Takes every sample that is missing and scores all of them.
///
/// # Errors
/// If a model or the benchmark is not there, nothing can be graded, or somebody asked us to stop.
/// Samples until then are kept.
pub fn run(cx: &stage::Context, config: &Config, means: &Means<'_>) -> anyhow::Result<Summary> {
    let begin = Instant::now();
    let wrong = config.problems();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    let tools = Tools { stop: cx.stop.clone(), ..means.tools.clone() };
    let (name, problems) = problems(&cx.store, config, &tools)?;
    let targets = target::targets(cx, config, &name, &problems)?;
    let taken = sample::take(cx, config, &Means { tools: &tools, ..means.clone() }, &targets)?;
    let mut summary = Summary {
        benchmark: name,
        problems: problems.len() as u64,
        sampled: taken.sampled,
        tokens: taken.tokens,
        kept: targets.iter().map(|target| target.kept).sum(),
        ..Summary::default()
    };
    for target in &targets {
        let (scores, truncated) = score::put(&cx.store, target)?;
        let Target { name, protocol_hash, .. } = target;
        summary.models.push(Scored {
            name: name.clone(),
            protocol: protocol_hash.clone(),
            truncated,
        });
        summary.scores.extend(scores);
    }
    summary.seconds = begin.elapsed().as_secs_f64();
    Ok(summary)
}

/// The benchmark's name and the problems that are to be asked.
fn problems(
    store: &Store,
    config: &Config,
    tools: &Tools,
) -> anyhow::Result<(String, Vec<Problem>)> {
    let file = File::new(Path::new(&config.benchmark));
    let listed = BENCHMARKS.iter().find(|benchmark| benchmark.name() == config.benchmark);
    let benchmark: &dyn Benchmark = match listed {
        Some(benchmark) => *benchmark,
        None if file.exists() => &file,
        None => {
            let names: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name()).collect();
            return Err(Hinted::new(
                format!("`{}` is neither a benchmark nor a file", config.benchmark),
                format!("benchmarks are {}; a file has one problem per line", names.join(", ")),
            )
            .into());
        }
    };
    let mut problems = benchmark.problems(store)?;
    problems.retain(|problem| problem.is_gradable(tools));
    if config.problems_per_family > 0 {
        let mut seen = std::collections::BTreeMap::<String, u32>::new();
        problems.retain(|problem| {
            let count = seen.entry(problem.question.family.clone()).or_default();
            *count += 1;
            *count <= config.problems_per_family
        });
    }
    if problems.is_empty() {
        return Err(Hinted::new(
            format!("the benchmark `{}` has no problem that can be graded", benchmark.name()),
            "problems need a reference answer or tests; the rehearsal needs its questions first",
        )
        .into());
    }
    Ok((benchmark.name().to_owned(), problems))
}

#[cfg(test)]
mod tests;
