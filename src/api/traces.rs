//! Traces with their verdicts, in pages.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, ErrorBody, Result};
use super::extract::Query;
use super::{AppState, Page, limit_of};
use crate::records::{Example, TraceId};

/// The verdicts that can be asked for.
const VERDICTS: [&str; 5] = ["correct", "wrong", "unchecked", "unreadable", "none"];

/// Which traces are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many at most, 1 to 1000; 100 if not given.
    pub limit: Option<u32>,
    /// Only those after this one: the `next` of the page before.
    pub after: Option<i64>,
    /// Only this verdict: correct, wrong, unchecked, unreadable; or `none`: not judged yet.
    pub verdict: Option<String>,
}

/// One teacher's thought and solution for one question, and what was decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Trace {
    /// Its id.
    pub id: i64,
    /// What was asked.
    pub question_id: i64,
    /// What the question is about.
    pub domain: String,
    /// The text that was asked.
    pub problem: String,
    /// Reference answer, if there is one.
    pub reference: Option<String>,
    /// Which of the samples of this question, from 0.
    pub sample: u32,
    /// The teacher.
    pub model: String,
    /// The thought.
    pub reasoning: String,
    /// The final answer.
    pub solution: String,
    /// `stop`, `length`, `content_filter` or `other`.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of thought and solution.
    pub completion_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// How many requests it took.
    pub attempts: u32,
    /// correct, wrong, unchecked or unreadable; none before a verifier looked.
    pub verdict: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl From<Example> for Trace {
    fn from(example: Example) -> Self {
        let Example { question, trace, verdict } = example;
        let id = trace.id.0;
        let content = trace.content;
        Self {
            id,
            question_id: question.id.0,
            domain: question.domain.name().to_owned(),
            problem: question.content.problem,
            reference: question.content.reference,
            sample: content.sample,
            model: content.model,
            reasoning: content.reasoning,
            solution: content.solution,
            finish_reason: content.finish_reason.name().to_owned(),
            prompt_tokens: content.prompt_tokens,
            completion_tokens: content.completion_tokens,
            cost_usd: content.cost_usd,
            attempts: content.attempts,
            verdict: verdict.as_ref().map(|verdict| verdict.name().to_owned()),
            why: verdict.map(|verdict| verdict.why().to_owned()),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_traces))
}

/// Traces, in the order in which they came.
#[utoipa::path(get, path = "/traces", tag = "traces", params(Wanted),
    responses((status = OK, body = Page<Trace>), (status = "default", body = ErrorBody)))]
async fn list_traces(
    State(state): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Result<Answer<Page<Trace>>> {
    let limit = limit_of(wanted.limit);
    let after = TraceId(wanted.after.unwrap_or(0));
    if let Some(verdict) = &wanted.verdict
        && !VERDICTS.contains(&verdict.as_str())
    {
        let known = VERDICTS.join(", ");
        return Err(Error::Invalid(format!("`{verdict}` is no verdict; one of {known}")));
    }
    let verdict = wanted.verdict;
    let examples =
        state.store(move |store| store.traces_page(verdict.as_deref(), after, limit)).await?;
    Ok(Answer(Page::new(examples, limit, |example| example.trace.id.0)))
}
