//! Gets votes: from replies that are kept already, else from the endpoint, within the budget.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::opinion::Opinion;
use super::prompts::{Case, messages};
use super::reply::{Decision, Tally, Vote, read, tally};
use super::{Config, Key, Schema};
use crate::chat::Request;
use crate::chat::remote::{
    Budget, Caller, Endpoint, Error, Kind, Next, Outcome, Price, Provider, Received, Remote, Reply,
    in_flight_of, parse, price_of,
};
use crate::hint::Hinted;
use crate::stage::{Context, Stopped};
use crate::store::JudgeReply;

/// Tokens of the longest prompt: 28,000 characters of at least two bytes per token, and the rules.
const PROMPT_TOKENS_MAX: f64 = 14_500.0;

/// Cases given up in a row before the endpoint counts as down, as in `chat::remote`.
const GIVEN_UP_MAX: u32 = 20;

/// How often is looked up what teachers have spent in the meantime.
const LEDGER_INTERVAL: Duration = Duration::from_secs(1);

/// Prices are per million tokens.
const PER_MILLION: f64 = 1e-6;

/// What a judge did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Traces it looked at.
    pub judged: u64,
    /// Those it calls correct.
    pub correct: u64,
    /// Those it calls wrong.
    pub wrong: u64,
    /// Those it would not decide.
    pub abstained: u64,
    /// Those that got no answer; the next run asks again.
    pub failed: u64,
    /// Requests sent.
    pub requests: u64,
    /// Votes taken from replies that were kept.
    pub cached: u64,
    /// Answers that had not the form asked for.
    pub malformed: u64,
    /// Tokens of prompts, as billed.
    pub prompt_tokens: u64,
    /// Tokens of answers, as billed.
    pub completion_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
    /// Whether it ended early because there is no more money: the account's or the budget's.
    pub paused: bool,
}

/// A judge at work: an endpoint, what it may cost, and what it has done so far.
pub struct Judge<'a> {
    cx: &'a Context,
    config: &'a Config,
    endpoint: String,
    key: Option<Key>,
    salt: String,
    budget: Budget,
    price: Price,
    /// What teachers had cost when that was looked up last, and when that was.
    teachers: (f64, Instant),
    /// Whether the server sees to the form of answers, once that is known.
    form: Option<bool>,
    /// What it has done.
    pub counts: Counts,
    /// Cases given up since the last answer.
    given_up: u32,
    last_error: Option<Error>,
}

impl<'a> Judge<'a> {
    /// The judge that `config` names.
    ///
    /// # Errors
    /// If it names none, its settings make no sense, or the store refuses.
    pub fn new(cx: &'a Context, config: &'a Config, key: Option<Key>) -> anyhow::Result<Self> {
        let hint = "set `verify.judge.endpoint` to the address of an OpenAI-compatible endpoint";
        let none = || Hinted::new("no judge is named", hint);
        let endpoint = config.endpoint.clone().ok_or_else(none)?;
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(Hinted::new(problem, "see the settings of [verify.judge]").into());
        }
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh)
            .map_err(|error| anyhow::anyhow!("could not get random numbers: {error}"))?;
        let fresh: String = fresh.iter().map(|byte| format!("{byte:02x}")).collect();
        let teachers = cx.store.cost_usd()?;
        let spent = teachers + cx.store.judges_cost_usd()?;
        let set = (config.price_prompt, config.price_completion);
        let price = price_of(&endpoint, &config.model, set);
        let each_max =
            PROMPT_TOKENS_MAX * price.prompt + f64::from(config.max_tokens) * price.completion;
        let form = match config.schema {
            Schema::Auto => Provider::of(&endpoint).json_schema,
            Schema::On => Some(true),
            Schema::Off => Some(false),
        };
        Ok(Self {
            cx,
            config,
            endpoint,
            key,
            salt: cx.store.judge_salt(&fresh)?,
            budget: Budget::new(config.budget_usd, spent, each_max * PER_MILLION),
            price,
            teachers: (teachers, Instant::now()),
            form,
            counts: Counts::default(),
            given_up: 0,
            last_error: None,
        })
    }

    /// The last reason why a case got no answer.
    pub(super) fn last_error(&self) -> Option<Error> {
        self.last_error.clone()
    }

    /// Gets an opinion on each of `cases` and hands it to `sink` with its index as soon as it is
    /// there, in any order. Cases that get no answer are counted as failed; where the money runs out,
    /// `counts.paused` says so and the rest is left.
    ///
    /// # Errors
    /// If the account is empty or the key is not accepted, the endpoint does not work, the store or
    /// `sink` refuses, or somebody asked us to stop. Every reply that came is kept.
    pub fn ask(
        &mut self,
        cases: &[Case<'_>],
        sink: &mut dyn FnMut(usize, Opinion) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let first = self.config.votes / 2 + 1;
        let item = |(case, vote)| Item { case, vote, attempt: 0 };
        let queue =
            (0..cases.len()).flat_map(|case| (0..first).map(move |vote| item((case, vote))));
        let mut round = Round {
            cases,
            desks: vec![Desk { votes: Vec::new(), asked: first, over: false }; cases.len()],
            queue: queue.collect(),
            sent: Vec::new(),
            flying: 0,
            form: true,
            broken: None,
            judge: self,
            sink,
        };
        while !round.queue.is_empty() && !round.judge.counts.paused {
            round.form = round.judge.form.unwrap_or(true);
            round.sent.clear();
            let outcome = round.judge.remote(round.form)?.ask(&mut round)?;
            if let Some(error) = round.broken.take() {
                return Err(error);
            }
            round.judge.conclude(outcome)?;
            if let Some(error) = round.judge.last_error.clone()
                && round.judge.given_up >= GIVEN_UP_MAX
            {
                return Err(round.judge.explained(error));
            }
        }
        Ok(())
    }

    fn conclude(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Stopped => Err(Stopped.into()),
            Outcome::Account(error) if error.kind == Kind::Money => {
                self.counts.paused = true;
                let context = format!("could not go on asking `{}`", self.config.label());
                let context = Hinted::new(context, error.hint());
                Err(anyhow::Error::new(OutOfMoney(error.message)).context(context))
            }
            Outcome::Account(error) | Outcome::Down(error) => Err(self.explained(error)),
        }
    }

    /// `error` with what to do about it: a judge has a key of its own.
    pub(super) fn explained(&self, error: Error) -> anyhow::Error {
        let hint = match error.kind {
            Kind::Key => {
                "set the key in THINKERY_JUDGE_KEY, or name its file in THINKERY_JUDGE_KEY_FILE"
            }
            Kind::Connect
            | Kind::Cut
            | Kind::Timeout
            | Kind::Busy
            | Kind::Server
            | Kind::Garbage
            | Kind::Money
            | Kind::Refused => error.hint(),
        };
        let context = format!("could not get judgements from `{}`", self.config.label());
        anyhow::Error::new(error).context(Hinted::new(context, hint))
    }

    fn remote(&self, form: bool) -> anyhow::Result<Remote> {
        let config = self.config;
        let form = form.then(|| config.prompt.response_format());
        let key = self.key.as_ref().map(|key| key.0.clone());
        Remote::new(Endpoint {
            stream: config.stream,
            response_format: form,
            in_flight: in_flight_of(&self.endpoint, &config.model, config.in_flight) as usize,
            attempts_max: config.attempts_max,
            backoff: Duration::from_millis(config.backoff_ms),
            idle_timeout: Duration::from_secs(config.idle_timeout_seconds),
            total_timeout: Duration::from_secs(config.total_timeout_seconds),
            ..Endpoint::new(&self.endpoint, &config.model, key)
        })
    }

    fn request(&self, case: &Case<'_>, item: Item, form: bool) -> Request {
        let again = item.attempt > 0;
        Request {
            messages: messages(self.config.prompt, case, &self.salt, (form, again)),
            temperature: self.config.temperature,
            top_p: 1.0,
            max_tokens: self.config.max_tokens,
            seed: self
                .config
                .seed
                .wrapping_add(u64::from(item.vote))
                .wrapping_add(u64::from(item.attempt) << 32),
        }
    }

    /// Hash of what is sent, and where.
    fn hash(&self, request: &Request, form: bool) -> String {
        let parts = serde_json::json!([
            self.config.label(),
            self.config.model,
            request.messages,
            request.temperature,
            request.top_p,
            request.max_tokens,
            request.seed,
            form.then(|| self.config.prompt.response_format()),
        ]);
        format!("{:x}", Sha256::digest(parts.to_string()))
    }

    /// The reply that is kept for `item`, whichever form it was asked for in.
    fn kept(&self, case: &Case<'_>, item: Item) -> anyhow::Result<Option<Reply>> {
        let forms: &[bool] = match self.form {
            Some(true) => &[true],
            Some(false) => &[false],
            None => &[true, false],
        };
        for form in forms {
            let key = self.hash(&self.request(case, item, *form), *form);
            if let Some(body) = self.cx.store.judge_reply(&key)? {
                return Ok(parse(&body).ok());
            }
        }
        Ok(None)
    }

    fn cost(&self, reply: &Reply) -> f64 {
        let listed = reply.prompt_tokens as f64 * self.price.prompt
            + reply.completion_tokens as f64 * self.price.completion;
        reply.cost_usd.unwrap_or(listed * PER_MILLION)
    }
}

/// The account at the endpoint is empty.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutOfMoney(String);

/// One vote to get.
#[derive(Debug, Clone, Copy)]
struct Item {
    case: usize,
    vote: u32,
    /// How many answers had the wrong form.
    attempt: u32,
}

/// A case on the judge's desk.
#[derive(Debug, Clone)]
struct Desk {
    votes: Vec<Vote>,
    /// Votes asked for so far.
    asked: u32,
    /// Decided, or given up.
    over: bool,
}

/// A request under way.
struct Sent {
    item: Item,
    key: String,
}

struct Round<'a, 'j, 'c> {
    judge: &'a mut Judge<'j>,
    cases: &'a [Case<'c>],
    desks: Vec<Desk>,
    queue: VecDeque<Item>,
    sent: Vec<Sent>,
    flying: usize,
    /// Whether requests of this round ask for the form by schema.
    form: bool,
    broken: Option<anyhow::Error>,
    sink: &'a mut dyn FnMut(usize, Opinion) -> anyhow::Result<()>,
}

impl Round<'_, '_, '_> {
    /// The next vote that is not kept already.
    fn next_item(&mut self) -> anyhow::Result<Option<Item>> {
        while let Some(item) = self.queue.pop_front() {
            if self.desks[item.case].over {
                continue;
            }
            match self.judge.kept(&self.cases[item.case], item)? {
                Some(reply) => {
                    self.judge.counts.cached += 1;
                    self.take(item, &reply)?;
                }
                None => return Ok(Some(item)),
            }
        }
        Ok(None)
    }

    /// What to do now, `item` being the next vote to get.
    fn next_of(&mut self, item: Item) -> Next {
        // The first request finds out about the form; the others wait for it, and for another round
        // if it has to be another one.
        let hold = match self.judge.form {
            None => !self.sent.is_empty(),
            Some(form) => form != self.form,
        };
        if !hold && self.judge.budget.reserve() {
            let request = self.judge.request(&self.cases[item.case], item, self.form);
            let key = self.judge.hash(&request, self.form);
            self.sent.push(Sent { item, key });
            self.flying += 1;
            return Next::Ask(self.sent.len() - 1, Box::new(request));
        }
        self.queue.push_front(item);
        if self.flying > 0 {
            return Next::Wait;
        }
        self.judge.counts.paused = !hold;
        Next::Done
    }

    /// Takes the vote in `reply`, or asks again if it has the wrong form.
    fn take(&mut self, item: Item, reply: &Reply) -> anyhow::Result<()> {
        let config = self.judge.config;
        let vote = match reply.finish_reason.as_str() {
            "length" => Err("it ran into the token limit".to_owned()),
            _ => read(config.prompt, &reply.solution),
        };
        let vote = match vote {
            Ok(vote) => vote,
            Err(why) => {
                self.judge.counts.malformed += 1;
                let attempt = item.attempt + 1;
                if attempt < config.form_attempts_max {
                    self.queue.push_front(Item { attempt, ..item });
                    return Ok(());
                }
                let reasoning = format!("the judge did not answer in the form asked for: {why}");
                Vote { decision: Decision::Unsure, reasoning }
            }
        };
        let desk = &mut self.desks[item.case];
        if desk.over {
            return Ok(());
        }
        desk.votes.push(vote);
        let tally = tally(&desk.votes, config.votes);
        if let Tally::Open(needed) = tally {
            let under_way = desk.asked - desk.votes.len() as u32;
            for vote in desk.asked..desk.asked + needed.saturating_sub(under_way) {
                self.queue.push_back(Item { case: item.case, vote, attempt: 0 });
                desk.asked += 1;
            }
            return Ok(());
        }
        desk.over = true;
        let opinion = Opinion::of(std::mem::take(&mut desk.votes), &tally);
        let counts = &mut self.judge.counts;
        counts.judged += 1;
        match opinion.decision {
            Decision::Correct => counts.correct += 1,
            Decision::Wrong => counts.wrong += 1,
            Decision::Unsure => counts.abstained += 1,
        }
        (self.sink)(item.case, opinion)
    }
}

impl Caller for Round<'_, '_, '_> {
    fn next(&mut self) -> Next {
        if self.broken.is_some() {
            return Next::Done;
        }
        match self.next_item() {
            Ok(Some(item)) => self.next_of(item),
            Ok(None) if self.flying > 0 => Next::Wait,
            Ok(None) => Next::Done,
            Err(error) => {
                self.broken = Some(error);
                Next::Done
            }
        }
    }

    fn received(&mut self, replies: &[Received]) -> anyhow::Result<()> {
        let counts = &mut self.judge.counts;
        counts.requests += replies.len() as u64;
        let mut kept = Vec::new();
        for received in replies.iter().filter(|reply| (200..300).contains(&reply.status)) {
            // What is no reply at all is asked for again, and must not be found instead of it.
            let Ok(reply) = parse(&received.body) else { continue };
            kept.push(JudgeReply {
                key: self.sent[received.index].key.clone(),
                model: self.judge.config.model.clone(),
                endpoint: self.judge.config.label(),
                body: received.body.clone(),
                prompt_tokens: reply.prompt_tokens,
                completion_tokens: reply.completion_tokens,
                cost_usd: self.judge.cost(&reply),
            });
        }
        Ok(self.judge.cx.store.add_judge_replies(&kept)?)
    }

    fn answered(&mut self, index: usize, _: u32, reply: Reply) -> anyhow::Result<()> {
        let item = self.sent[index].item;
        let cost = self.judge.cost(&reply);
        self.flying -= 1;
        self.judge.budget.settle(cost);
        self.judge.form = Some(self.form);
        self.judge.given_up = 0;
        let counts = &mut self.judge.counts;
        counts.prompt_tokens += reply.prompt_tokens;
        counts.completion_tokens += reply.completion_tokens;
        counts.cost_usd += cost;
        self.take(item, &reply)
    }

    fn failed(&mut self, index: usize, _: u32, error: Error) -> anyhow::Result<()> {
        let item = self.sent[index].item;
        self.flying -= 1;
        self.judge.budget.settle(0.0);
        let schema_perhaps = matches!(error.kind, Kind::Refused | Kind::Server | Kind::Garbage);
        if self.form && self.judge.form.is_none() && schema_perhaps {
            // Perhaps the server does not know schemas: the same again in words.
            self.judge.form = Some(false);
            self.queue.push_front(item);
            return Ok(());
        }
        let desk = &mut self.desks[item.case];
        if !desk.over {
            desk.over = true;
            self.judge.counts.failed += 1;
            self.judge.given_up += 1;
        }
        tracing::warn!("a judgement was given up: {error}");
        self.judge.last_error = Some(error);
        Ok(())
    }

    fn go_on(&mut self) -> anyhow::Result<bool> {
        let (before, looked) = self.judge.teachers;
        if looked.elapsed() >= LEDGER_INTERVAL {
            // A teacher at work spends of the same money.
            let now = self.judge.cx.store.cost_usd()?;
            self.judge.budget.spend(now - before);
            self.judge.teachers = (now, Instant::now());
        }
        Ok(!self.judge.cx.stop.is_requested())
    }
}
