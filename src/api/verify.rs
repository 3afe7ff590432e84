//! How verifying went: every domain's outcomes beside the published ones, who decided, what took
//! long; and everything that is known about the verdict on one trace.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::{Error, ErrorBody, Result};
use super::extract::{Path, Query};
use super::verdict::{Replay, VerdictDetail};
use crate::chat::remote::Provider;
use crate::records::{self, Domain, Mode, TraceId, kappa};
use crate::store::{self, Store};

/// Traces in the lists of the slowest and the flakiest.
const SLOWEST: u32 = 10;

/// How verifying went.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifySummary {
    /// One row per domain that has traces.
    pub domains: Vec<DomainVerdicts>,
    /// The same over all domains; its `domain` is `total`.
    pub total: DomainVerdicts,
    /// Who decides how many traces. A trace counts once, with the one whose word counts.
    pub verifiers: Vec<VerifierVerdicts>,
    /// What the language model that judges has done.
    pub judge: JudgeSummary,
    /// What teachers and judges have cost, endpoint by endpoint: budgets count all of it.
    pub ledger: Vec<Account>,
    /// How many reviews stand how.
    pub reviews: ReviewCounts,
    /// Programs that took the most processor time, slowest first.
    pub slowest: Vec<SlowTrace>,
    /// Programs with tests that came out differently when they were run again.
    pub flakiest: Vec<SlowTrace>,
}

/// Outcomes of a domain.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct DomainVerdicts {
    /// math, code, biology, chemistry, physics, puzzle or `total`.
    pub domain: String,
    /// All traces.
    pub traces: u64,
    /// Judged correct.
    pub correct: u64,
    /// Judged wrong.
    pub wrong: u64,
    /// Nobody can decide.
    pub unchecked: u64,
    /// No answer found.
    pub unreadable: u64,
    /// Nobody has looked yet.
    pub not_judged: u64,
    /// What the strict rules found, by outcome: passed, wrong_answer, time_limit, … of programs; equal,
    /// different, open, unmarked, … of math.
    pub outcomes: BTreeMap<String, u64>,
    /// Correct ones as a part of those that were looked at, 0 to 1.
    pub keep_rate: Option<f64>,
    /// What OpenThoughts published for it.
    pub published: Option<Published>,
}

/// What was published of OpenThoughts-114k.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Published {
    /// Rows that were kept.
    pub kept: u64,
    /// Rows that were judged; null where that was not published.
    pub of: Option<u64>,
    /// Kept ones as a part of those, 0 to 1.
    pub keep_rate: Option<f64>,
    /// Where the numbers are from, and what they mean.
    pub note: String,
}

/// How many traces a verifier decides.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifierVerdicts {
    /// `math`, `code`, …, `judge`, `majority` or `human`.
    pub verifier: String,
    /// How many it calls what, by verdict.
    pub verdicts: BTreeMap<String, u64>,
}

/// What the judge has done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JudgeSummary {
    /// Traces it has looked at.
    pub judged: u64,
    /// What it says where the rules have looked too.
    pub agreement: Vec<AgreementCell>,
    /// Cohen's κ of rules and judge, over the traces that both call correct or wrong.
    pub kappa: Option<f64>,
    /// What judging has cost, in US dollars.
    pub cost_usd: f64,
}

/// What was spent at one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Account {
    /// Which, without secrets; empty for judges' replies that were kept before that was noted.
    pub endpoint: String,
    /// Who runs it; `unknown` if we know nothing of them.
    pub provider: String,
    /// Traces from there.
    pub traces: u64,
    /// Judges' replies from there.
    pub judge_replies: u64,
    /// What teachers cost there, in US dollars.
    pub teachers_usd: f64,
    /// What judges cost there, in US dollars.
    pub judges_usd: f64,
}

impl From<store::Spent> for Account {
    fn from(spent: store::Spent) -> Self {
        let store::Spent { endpoint, traces, judge_replies, teachers_usd, judges_usd } = spent;
        let provider = Provider::of(&endpoint).name.to_owned();
        Self { endpoint, provider, traces, judge_replies, teachers_usd, judges_usd }
    }
}

/// How many traces the rules and the judge say this of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgreementCell {
    /// What the rules say.
    pub rule: String,
    /// What the judge says; `unchecked` if it abstains.
    pub judge: String,
    /// How many.
    pub count: u64,
}

/// How many reviews stand how.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ReviewCounts {
    /// Wait for a person.
    pub open: u64,
    /// A person says the trace is correct.
    pub accepted: u64,
    /// A person says it is wrong.
    pub rejected: u64,
    /// A person does not want to decide.
    pub skipped: u64,
}

/// A trace whose program took long, or did not do the same twice.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SlowTrace {
    /// Which.
    pub trace_id: i64,
    /// What the rules say of it.
    pub verdict: String,
    /// Tests that were run.
    pub tests: u64,
    /// Processor time of all its tests, in milliseconds.
    pub cpu_ms: u64,
    /// Processor time of the slowest.
    pub cpu_ms_max: u64,
    /// Tests that came out differently when they were run again.
    pub flaky: u64,
    /// Peak memory of any test, in bytes.
    pub memory_bytes: u64,
}

/// How programs are confined.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Sandbox {
    /// `T3`, the best, to `T0`, nothing but limits; `none` if no program can be run.
    pub tier: String,
    /// Whether programs are run and confined.
    pub healthy: bool,
    /// The interpreter, or why there is none.
    pub note: String,
    /// What the tier is made of; empty if there is none.
    pub means: String,
    /// What is lost against the next better tier; null in the best.
    pub lost: Option<String>,
    /// How to get the next better one, or programs to run at all; null where nothing is to do.
    pub fix: Option<String>,
    /// Better tiers, and why they were not taken.
    pub refused: Vec<RefusedTier>,
    /// The hostile programs that were tried here before any other, and whether the tier held them.
    pub probes: Vec<Probe>,
}

/// A tier that was not taken.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RefusedTier {
    /// Which one.
    pub tier: String,
    /// What spoke against it.
    pub why: String,
}

/// A hostile program.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// What it tries to do.
    pub tries: String,
    /// Whether it was held.
    pub held: bool,
    /// How it got through; empty if it did not.
    pub why: String,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_verify_summary))
        .routes(routes!(get_verify_sandbox))
        .routes(routes!(get_trace_verdict))
        .routes(routes!(replay_trace))
}

/// How verifying went.
#[utoipa::path(get, path = "/verify/summary", tag = "verify",
    responses((status = OK, body = VerifySummary), (status = "default", body = ErrorBody)))]
async fn get_verify_summary(State(state): State<AppState>) -> Result<Answer<VerifySummary>> {
    Ok(Answer(state.store(summary).await?))
}

/// How programs are confined on this machine. The first time hostile ones are tried, which takes a
/// second or two.
#[utoipa::path(get, path = "/verify/sandbox", tag = "verify",
    responses((status = OK, body = Sandbox), (status = "default", body = ErrorBody)))]
async fn get_verify_sandbox(State(state): State<AppState>) -> Result<Answer<Sandbox>> {
    Ok(Answer(state.sandbox().await?))
}

/// Everything that is known about the verdict on a trace.
#[utoipa::path(get, path = "/traces/{id}/verdict", tag = "verify",
    params(("id" = i64, Path, description = "Id of the trace")),
    responses((status = OK, body = VerdictDetail), (status = "default", body = ErrorBody)))]
async fn get_trace_verdict(
    State(state): State<AppState>,
    Path(id): Path<i64>,
) -> Result<Answer<VerdictDetail>> {
    Ok(Answer(state.store(move |store| VerdictDetail::of(store, TraceId(id))).await?))
}

/// By whose rules a trace is to be judged again.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplayWanted {
    /// strict, upstream, lcb or evalchemy-lcb; strict if not given.
    pub mode: Option<String>,
}

impl ReplayWanted {
    fn mode(&self) -> Result<Mode> {
        let Some(name) = &self.mode else { return Ok(Mode::Strict) };
        let known = || Mode::ALL.map(Mode::name).join(", ");
        Mode::from_name(name)
            .ok_or_else(|| Error::Invalid(format!("`{name}` is no mode; one of {}", known())))
    }
}

/// Judges a trace again, as `thinkery verify replay` does, and says whether the same comes out. Stores
/// nothing.
#[utoipa::path(post, path = "/traces/{id}/replay", tag = "verify",
    params(("id" = i64, Path, description = "Id of the trace"), ReplayWanted),
    responses((status = OK, body = Replay), (status = "default", body = ErrorBody)))]
async fn replay_trace(
    State(state): State<AppState>,
    Path(id): Path<i64>,
    Query(wanted): Query<ReplayWanted>,
) -> Result<Answer<Replay>> {
    Ok(Answer(state.replay(TraceId(id), wanted.mode()?).await?.into()))
}

fn summary(store: &Store) -> store::Result<VerifySummary> {
    let mut total = DomainVerdicts { domain: "total".into(), ..DomainVerdicts::default() };
    let mut domains: BTreeMap<String, DomainVerdicts> = BTreeMap::new();
    for cell in store.verdict_matrix()? {
        let domain = domains.entry(cell.domain.clone()).or_default();
        domain.domain = cell.domain;
        for row in [domain, &mut total] {
            row.count(cell.verdict.as_deref(), cell.count);
        }
    }
    for cell in store.outcomes()? {
        for row in domains.get_mut(&cell.domain).into_iter().chain([&mut total]) {
            *row.outcomes.entry(cell.outcome.clone()).or_default() += cell.count;
        }
    }
    let place =
        |domain: &DomainVerdicts| Domain::ALL.iter().position(|d| d.name() == domain.domain);
    let mut domains: Vec<DomainVerdicts> = domains.into_values().collect();
    domains.sort_by_key(place);
    domains.iter_mut().chain([&mut total]).for_each(DomainVerdicts::conclude);
    Ok(VerifySummary {
        domains,
        total,
        verifiers: verifiers(store)?,
        judge: judge(store)?,
        ledger: store.ledger()?.into_iter().map(Account::from).collect(),
        reviews: reviews(store)?,
        slowest: store.slowest(false, SLOWEST)?.into_iter().map(SlowTrace::from).collect(),
        flakiest: store.slowest(true, SLOWEST)?.into_iter().map(SlowTrace::from).collect(),
    })
}

impl DomainVerdicts {
    fn count(&mut self, verdict: Option<&str>, count: u64) {
        self.traces += count;
        match verdict {
            Some("correct") => self.correct += count,
            Some("wrong") => self.wrong += count,
            Some("unreadable") => self.unreadable += count,
            Some(_) => self.unchecked += count,
            None => self.not_judged += count,
        }
    }

    fn conclude(&mut self) {
        let judged = self.traces - self.not_judged;
        self.keep_rate = (judged > 0).then(|| self.correct as f64 / judged as f64);
        self.published = published(&self.domain);
    }
}

/// What is known of OpenThoughts-114k: how many rows of each domain its judges kept. How many they
/// were given was published as a whole only, and rounded: 173k.
fn published(domain: &str) -> Option<Published> {
    let (kept, of, note): (u64, Option<u64>, &str) = match domain {
        "math" => (
            89_120,
            None,
            "rows of open-r1/OpenThoughts-114k-math; a language model judged them, and Math-Verify \
             confirms 56730 (63.7 %)",
        ),
        "code" => (
            19_904,
            None,
            "rows of mlfoundations-dev/openthoughts_code; the published judge counts time-outs and \
             syntax errors as correct",
        ),
        "total" => (
            113_957,
            Some(173_000),
            "rows of OpenThoughts-114k, of 173k as the authors rounded them; science was not judged",
        ),
        _ => return None,
    };
    let keep_rate = of.map(|of| kept as f64 / of as f64);
    Some(Published { kept, of, keep_rate, note: note.to_owned() })
}

fn verifiers(store: &Store) -> store::Result<Vec<VerifierVerdicts>> {
    let mut verifiers: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for row in store.verifier_counts()? {
        verifiers.entry(row.verifier).or_default().insert(row.verdict, row.count);
    }
    let one = |(verifier, verdicts)| VerifierVerdicts { verifier, verdicts };
    Ok(verifiers.into_iter().map(one).collect())
}

fn judge(store: &Store) -> store::Result<JudgeSummary> {
    let cells = store.judge_agreement()?;
    let place = |verdict: &str| ["correct", "wrong"].iter().position(|name| *name == verdict);
    let mut table = [[0; 2]; 2];
    for cell in &cells {
        if let (Some(rule), Some(judge)) = (place(&cell.rule), place(&cell.judge)) {
            table[rule][judge] += cell.count;
        }
    }
    let judged = cells.iter().map(|cell| cell.count).sum();
    let cell = |cell: store::Agreement| {
        let store::Agreement { rule, judge, count } = cell;
        AgreementCell { rule, judge, count }
    };
    let agreement = cells.into_iter().map(cell).collect();
    Ok(JudgeSummary { judged, agreement, kappa: kappa(&table), cost_usd: store.judges_cost_usd()? })
}

fn reviews(store: &Store) -> store::Result<ReviewCounts> {
    let counts: BTreeMap<String, u64> = store.review_counts()?.into_iter().collect();
    let of = |state: records::ReviewState| counts.get(state.name()).copied().unwrap_or(0);
    Ok(ReviewCounts {
        open: of(records::ReviewState::Open),
        accepted: of(records::ReviewState::Accepted),
        rejected: of(records::ReviewState::Rejected),
        skipped: of(records::ReviewState::Skipped),
    })
}

impl From<store::Slow> for SlowTrace {
    fn from(slow: store::Slow) -> Self {
        let store::Slow { trace_id, verdict, tests, cpu_ms, cpu_ms_max, flaky, memory_bytes } =
            slow;
        Self { trace_id: trace_id.0, verdict, tests, cpu_ms, cpu_ms_max, flaky, memory_bytes }
    }
}
