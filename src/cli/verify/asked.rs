//! Who is asked to judge what the rules leave open, as written on the command line.

use crate::verify::judge::{Config, Prompt};

/// A judge.
#[derive(Debug, clap::Args)]
pub(super) struct JudgeArgs {
    /// Address of a judge's OpenAI-compatible endpoint; its key comes from `THINKERY_JUDGE_KEY`
    #[arg(long, value_name = "URL", requires = "model")]
    endpoint: Option<String>,
    /// The judge's name there
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    model: Option<String>,
    /// What the judge is asked: our words, or what OpenThoughts' judges were asked
    #[arg(long, value_name = "PROMPT", default_value = "default", value_parser = ["default", "compat"])]
    prompt: String,
    /// Votes per row, an odd number
    #[arg(long, value_name = "K", default_value_t = 1)]
    votes: u32,
    /// Stop before teachers and judges have cost more than this, in US dollars
    #[arg(long, value_name = "X")]
    budget_usd: Option<f64>,
    /// US dollars per million tokens of prompt; the provider's if no price is given
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    price_prompt: f64,
    /// US dollars per million tokens of answer; the provider's if no price is given
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    price_completion: f64,
}

impl From<JudgeArgs> for Config {
    fn from(args: JudgeArgs) -> Self {
        Self {
            endpoint: args.endpoint,
            model: args.model.unwrap_or_default(),
            prompt: if args.prompt == "compat" { Prompt::Compat } else { Prompt::Default },
            votes: args.votes,
            budget_usd: args.budget_usd,
            price_prompt: args.price_prompt,
            price_completion: args.price_completion,
            ..Self::default()
        }
    }
}
