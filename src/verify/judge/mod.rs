//! A language model as judge: behind any OpenAI-compatible endpoint, our own server included.
//!
//! It decides only what the rules leave open, and may abstain. Every reply is kept before it is
//! parsed, under the hash of what was asked: the same is never paid for twice, and the same comes out.
//! What is asked is `prompts`' business, what counts as an answer `reply`'s; `ask` gets the votes.

mod ask;
mod cascade;
mod opinion;
mod prompts;
mod reply;

use serde::{Deserialize, Serialize};

pub use ask::{Counts, Judge};
pub use opinion::Opinion;
pub use prompts::{Case, Prompt};
pub use reply::{Decision, Vote};

pub(super) use cascade::{cascade, case, run};

/// Raised whenever a change can alter a judgement, so that old ones are found and redone.
pub(super) const VERSION: u32 = 1;

/// Name of the judge as a verifier; never renamed.
pub(super) const NAME: &str = "judge";

/// The bearer key of a judge's endpoint. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("set")
    }
}

/// Whether answers are asked for by JSON schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// If the server takes one; the first request finds out.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: the form is asked for in words, and checked.
    Off,
}

/// How much of an attempt the judge sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shows {
    /// The solution, without the thought. OpenThoughts'.
    #[default]
    Solution,
    /// The last boxed answer alone, if there is one.
    Answer,
}

/// Whom to ask for judgement, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of an OpenAI-compatible endpoint; none: nobody is asked.
    pub endpoint: Option<String>,
    /// What judgements say about where they come from; the endpoint if none.
    pub endpoint_label: Option<String>,
    /// The model's name there. OpenThoughts: `gpt-4o`.
    pub model: String,
    /// `default`, or `compat`: what OpenThoughts' judges were asked.
    pub prompt: Prompt,
    /// Votes per trace, an odd number; more than half of them decide. OpenThoughts: 1.
    pub votes: u32,
    /// Part of the traces that the rules have decided which the judge looks at, too, 0 to 1.
    pub audit: f64,
    /// `solution`, or `answer`: what the judge sees of an attempt.
    pub shows: Shows,
    /// `auto`, `on` or `off`: whether the form of answers is asked for by JSON schema.
    pub schema: Schema,
    /// Sampling temperature. OpenThoughts left it to the endpoint.
    pub temperature: f32,
    /// Tokens of an answer at most.
    pub max_tokens: u32,
    /// Sent with each request, plus the number of the vote and of the try.
    pub seed: u64,
    /// How often a vote is asked for at most while answers have the wrong form.
    pub form_attempts_max: u32,
    /// Requests under way at most.
    pub in_flight: u32,
    /// How often one request is sent at most.
    pub attempts_max: u32,
    /// Wait before the second attempt in milliseconds; doubles with each, with jitter.
    pub backoff_ms: u64,
    /// Seconds without a byte after which a reply counts as lost.
    pub idle_timeout_seconds: u64,
    /// Seconds that a reply may take in all.
    pub total_timeout_seconds: u64,
    /// Whether replies come as server-sent events.
    pub stream: bool,
    /// Stop before teachers and judges together have cost more than this in this data folder; US
    /// dollars.
    pub budget_usd: Option<f64>,
    /// US dollars per million tokens of prompt, where the endpoint does not say what it charged. If both
    /// prices are 0, those of its provider's list, if there is one.
    pub price_prompt: f64,
    /// US dollars per million tokens of answer.
    pub price_completion: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            endpoint_label: None,
            model: String::new(),
            prompt: Prompt::Default,
            votes: 1,
            audit: 0.0,
            shows: Shows::Solution,
            schema: Schema::Auto,
            temperature: 0.0,
            max_tokens: 1_024,
            seed: 0,
            form_attempts_max: 3,
            in_flight: 32,
            attempts_max: 6,
            backoff_ms: 500,
            idle_timeout_seconds: 120,
            total_timeout_seconds: 600,
            stream: false,
            budget_usd: None,
            price_prompt: 0.0,
            price_completion: 0.0,
        }
    }
}

/// Votes at most: beyond it a decision is not what is missing.
const VOTES_MAX: u32 = 99;

impl Config {
    /// Every rule between the settings that is broken; none for a judge that is not asked.
    pub fn problems(&self) -> Vec<String> {
        if self.endpoint.is_none() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        if self.model.trim().is_empty() {
            problems.push("`judge.endpoint` needs `judge.model`, the model's name there".into());
        }
        if self.votes.is_multiple_of(2) || self.votes > VOTES_MAX {
            let votes = self.votes;
            problems
                .push(format!("`judge.votes` is {votes}; an odd number up to {VOTES_MAX} decides"));
        }
        if !(0.0..=1.0).contains(&self.audit) {
            problems.push(format!("`judge.audit` is {}; a part is 0 to 1", self.audit));
        }
        let ones = [
            ("in_flight", self.in_flight),
            ("attempts_max", self.attempts_max),
            ("form_attempts_max", self.form_attempts_max),
            ("max_tokens", self.max_tokens),
        ];
        for (name, _) in ones.iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("`judge.{name}` must be at least 1"));
        }
        let amounts = [
            ("price_prompt", Some(self.price_prompt)),
            ("price_completion", Some(self.price_completion)),
            ("budget_usd", self.budget_usd),
        ];
        for (name, amount) in amounts {
            if let Some(amount) = amount.filter(|amount| !amount.is_finite() || *amount < 0.0) {
                problems.push(format!("`judge.{name}` cannot be {amount}"));
            }
        }
        problems
    }

    /// What judgements say about where they come from; without anything that could be a secret.
    fn label(&self) -> String {
        let label = self.endpoint_label.as_ref().or(self.endpoint.as_ref());
        let label = label.map(String::as_str).unwrap_or_default();
        // `https://user:password@host/v1?key=…`: keep scheme, host and path.
        let plain = label.split(['?', '#']).next().unwrap_or_default();
        match plain.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split('/').next().unwrap_or_default();
                let secret = host.rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}", &rest[secret..])
            }
            None => plain.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
