//! Asks a teacher each question and keeps what it answers.
//!
//! The work list is the traces that are missing, so that a second run asks only for those. A reply
//! is kept as it came before it is parsed: whatever happens then, nothing is paid for twice.

mod asking;
mod dead;
mod prompt;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::chat::remote::{Endpoint, Kind, Outcome, Remote, in_flight_of, parse, price_of};
use crate::hint::Hinted;
use crate::records::NewTrace;
use crate::stage::{Context, Stopped};

pub use prompt::request;

use asking::{Asking, trace};

/// What `endpoint` says when the rehearsal teacher is meant; the job that runs us starts it and
/// gives its address.
pub const REHEARSAL: &str = "rehearsal";

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of an OpenAI-compatible endpoint, or `rehearsal` for the built-in teacher.
    pub endpoint: String,
    /// What traces say about where they come from; the endpoint if none.
    pub endpoint_label: Option<String>,
    /// The model's name there. OpenThoughts: `deepseek-reasoner`.
    pub model: String,
    /// Only questions of this source; all if none.
    pub source: Option<String>,
    /// Traces per question. OpenThoughts-114k: 1.
    pub samples: u32,
    /// Sampling temperature. DeepSeek advises 0.6 for R1 and ignores it on its own endpoint.
    pub temperature: f32,
    /// Probability mass to sample from. DeepSeek advises 0.95 for R1.
    pub top_p: f32,
    /// Tokens of an answer at most. OpenThoughts: 8000.
    pub max_tokens: u32,
    /// Sent with each request, plus the number of the sample.
    pub seed: u64,
    /// Whether to send the teacher's system prompt. OpenThoughts did; DeepSeek advises against it.
    pub system_prompt: bool,
    /// Whether replies come as server-sent events.
    pub stream: bool,
    /// Requests under way at most.
    pub in_flight: u32,
    /// How often one request is sent at most.
    pub attempts_max: u32,
    /// Wait before the second attempt in milliseconds; doubles with each, with jitter.
    pub backoff_ms: u64,
    /// Seconds without a byte after which a reply counts as lost. Blank lines are bytes.
    pub idle_timeout_seconds: u64,
    /// Seconds that a reply may take in all. OpenThoughts: 1800.
    pub total_timeout_seconds: u64,
    /// Stop before more than this is spent: on these questions, earlier runs included, and on judges in
    /// this data folder; US dollars.
    pub budget_usd: Option<f64>,
    /// Whether to send again what the endpoint refused for good.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry_dead_letters: bool,
    /// US dollars per million tokens of prompt. DeepSeek R1 when OpenThoughts was made: 0.55. If both
    /// prices are 0, those of the provider's list, if there is one.
    pub price_prompt: f64,
    /// US dollars per million tokens of thought and solution. The same: 2.19.
    pub price_completion: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: REHEARSAL.into(),
            endpoint_label: None,
            model: REHEARSAL_MODEL.into(),
            source: None,
            samples: 1,
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 8_000,
            seed: 0,
            system_prompt: true,
            stream: false,
            in_flight: 64,
            attempts_max: 6,
            backoff_ms: 500,
            idle_timeout_seconds: 300,
            total_timeout_seconds: 1_800,
            budget_usd: None,
            retry_dead_letters: false,
            price_prompt: 0.0,
            price_completion: 0.0,
        }
    }
}

/// The model that the rehearsal teacher calls itself.
pub const REHEARSAL_MODEL: &str = "rehearsal-teacher";

/// What asking needs and no configuration may hold.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The bearer key of the teacher's endpoint.
    pub teacher_key: Option<String>,
    /// The bearer key of the judge's endpoint; the teacher's if there is none.
    pub judge_key: Option<String>,
}

impl Secrets {
    /// The key for a judge: its own, else the teacher's.
    pub fn for_judge(&self) -> Option<String> {
        self.judge_key.clone().or_else(|| self.teacher_key.clone())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = |key: &Option<String>| if key.is_some() { "set" } else { "not set" };
        f.debug_struct("Secrets")
            .field("teacher_key", &said(&self.teacher_key))
            .field("judge_key", &said(&self.judge_key))
            .finish()
    }
}

/// What one run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Traces that were missing when it began.
    pub requested: u64,
    /// Those that are there now, truncated ones among them.
    pub succeeded: u64,
    /// Those whose answer ran into the token limit.
    pub truncated: u64,
    /// Requests given up after every attempt; the next run asks again.
    pub failed: u64,
    /// Requests that the endpoint refused for good, now or before: they are not sent again by
    /// themselves.
    pub dead_letter: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Those sent because an earlier one failed.
    pub retries: u64,
    /// Tokens of prompts, as billed; those of replies that an earlier run kept and did not live to
    /// count are counted here.
    pub prompt_tokens: u64,
    /// Tokens of answers, as billed.
    pub completion_tokens: u64,
    /// What this run cost, in US dollars.
    pub cost_usd: f64,
    /// How long it took.
    pub seconds: f64,
    /// Whether it ended early because there is no more money: the account's or the budget's.
    pub paused: bool,
}

/// The account at the endpoint is empty: nothing can be asked before somebody pays.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Paused {
    /// What the endpoint says.
    pub why: String,
    /// What was done until then.
    pub summary: Summary,
}

/// Asks for every trace that is missing.
///
/// # Errors
/// [`Paused`] if the account is empty; if the endpoint does not work or does not accept the key, the
/// store refuses, or somebody stopped it. What came until then is kept.
pub fn run(cx: &Context, config: &Config, secrets: &Secrets) -> anyhow::Result<Summary> {
    let begun = Instant::now();
    check(config)?;
    let config = &with_list_price(config);
    let recovered = parse_what_is_left(cx, config)?;
    let missing =
        cx.store.missing_traces(&config.model, config.samples, config.source.as_deref())?;
    let (work, refused_before) = dead::without(cx, config, missing)?;
    let teachers = cx.store.cost_usd_of(&config.model, config.source.as_deref())?;
    let judges = cx.store.judges_cost_usd()?;
    let mut asking = Asking::new(cx, config, work, (teachers, judges));
    asking.count_earlier(&recovered, refused_before);
    let outcome =
        if asking.has_work() { remote(config, secrets)?.ask(&mut asking)? } else { Outcome::Done };
    asking.flush()?;
    if let Outcome::Done = outcome {
        asking.bury()?;
    }
    let stopped_early = asking.stopped_early();
    let (mut summary, last_error) = asking.into_summary();
    summary.seconds = (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
    match outcome {
        Outcome::Done => {}
        Outcome::Stopped => return Err(Stopped.into()),
        Outcome::Account(error) if error.kind == Kind::Money => {
            summary.paused = true;
            let context = format!("could not go on asking `{}`", label(config));
            let context = Hinted::new(context, error.hint());
            return Err(anyhow::Error::new(Paused { why: error.message, summary }).context(context));
        }
        Outcome::Account(error) | Outcome::Down(error) => {
            let context = format!("could not distill from `{}`", label(config));
            return Err(error.hinted().context(context));
        }
    }
    summary.paused |= stopped_early;
    let got_nothing = summary.requested > 0 && summary.succeeded == 0 && !summary.paused;
    if let (true, Some(error)) = (got_nothing, last_error) {
        let context = format!("`{}` answered none of the questions", label(config));
        return Err(error.hinted().context(context));
    }
    Ok(summary)
}

/// What traces say about where they come from; without anything that could be a secret.
fn label(config: &Config) -> String {
    let label = config.endpoint_label.as_ref().unwrap_or(&config.endpoint);
    // `https://user:password@host/v1?key=…`: keep scheme, host and path.
    let plain = label.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            let slash = if path.is_empty() { "" } else { "/" };
            format!("{scheme}://{host}{slash}{path}")
        }
        None => plain.to_owned(),
    }
}

/// Whether what is asked for can be done at all.
fn check(config: &Config) -> anyhow::Result<()> {
    let wrong = |message: String, hint: &str| Err(Hinted::new(message, hint).into());
    if config.endpoint == REHEARSAL {
        let hint = "start `thinkery teacher` and give its address as the endpoint";
        return wrong("the rehearsal teacher was not started".into(), hint);
    }
    if config.samples == 0 || config.in_flight == 0 || config.attempts_max == 0 {
        let message = "`samples`, `in_flight` and `attempts_max` must be at least 1".into();
        return wrong(message, "leave them out for the defaults");
    }
    let prices = [config.price_prompt, config.price_completion];
    if prices.iter().any(|price| !price.is_finite() || *price < 0.0) {
        let message = format!("a price cannot be {} or {}", prices[0], prices[1]);
        return wrong(message, "prices are US dollars per million tokens");
    }
    if config.budget_usd.is_some_and(|budget| !budget.is_finite() || budget < 0.0) {
        return wrong("a budget cannot be negative".into(), "give it in US dollars");
    }
    Ok(())
}

/// With the provider's prices where none are set.
fn with_list_price(config: &Config) -> Config {
    let set = (config.price_prompt, config.price_completion);
    let price = price_of(&config.endpoint, &config.model, set);
    Config { price_prompt: price.prompt, price_completion: price.completion, ..config.clone() }
}

fn remote(config: &Config, secrets: &Secrets) -> anyhow::Result<Remote> {
    Remote::new(Endpoint {
        stream: config.stream,
        in_flight: in_flight_of(&config.endpoint, &config.model, config.in_flight) as usize,
        attempts_max: config.attempts_max,
        backoff: Duration::from_millis(config.backoff_ms),
        idle_timeout: Duration::from_secs(config.idle_timeout_seconds),
        total_timeout: Duration::from_secs(config.total_timeout_seconds),
        ..Endpoint::new(&config.endpoint, &config.model, secrets.teacher_key.clone())
    })
}

/// Makes traces of the replies that an earlier run kept and did not live to parse.
fn parse_what_is_left(cx: &Context, config: &Config) -> anyhow::Result<Vec<NewTrace>> {
    let mut traces: Vec<NewTrace> = Vec::new();
    let mut seen = HashSet::new();
    for reply in cx.store.unparsed_replies(&config.model)? {
        cx.stop_requested()?;
        // What could not be parsed then cannot be parsed now; its question is asked again.
        if let Ok(parsed) = parse(&reply.body)
            && seen.insert((reply.question_id, reply.sample))
        {
            traces.push(trace(config, (reply.question_id, reply.sample), reply.attempt, parsed));
        }
    }
    cx.store.add_traces(&traces).context("could not keep traces of an earlier run")?;
    Ok(traces)
}

#[cfg(test)]
mod tests;
