//! The review queue: traces on which rules and judge disagree, and what people decide.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, ErrorBody, Result};
use super::extract::{Json, Path, Query};
use super::verdict::{Decided, JudgeVerdict};
use super::{AppState, Page, limit_of};
use crate::records::{self, TraceId};
use crate::store::ReviewFilter;

/// Who decides here: the panel has one password and one person.
const WHO: &str = "panel";

/// Characters of a note at most.
const NOTE_CHARACTERS_MAX: usize = 2_000;

/// Why a person should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReviewReason {
    /// The rules and the judge say different things.
    Disagreement,
    /// The rules cannot decide, and the judge would not.
    Abstained,
    /// Somebody wanted it.
    Asked,
}

impl From<records::ReviewReason> for ReviewReason {
    fn from(reason: records::ReviewReason) -> Self {
        match reason {
            records::ReviewReason::Disagreement => Self::Disagreement,
            records::ReviewReason::Abstained => Self::Abstained,
            records::ReviewReason::Asked => Self::Asked,
        }
    }
}

impl From<ReviewReason> for records::ReviewReason {
    fn from(reason: ReviewReason) -> Self {
        match reason {
            ReviewReason::Disagreement => Self::Disagreement,
            ReviewReason::Abstained => Self::Abstained,
            ReviewReason::Asked => Self::Asked,
        }
    }
}

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReviewState {
    /// Waits for a person.
    Open,
    /// A person says the trace is correct.
    Accepted,
    /// A person says it is wrong.
    Rejected,
    /// A person does not want to decide.
    Skipped,
}

impl From<records::ReviewState> for ReviewState {
    fn from(state: records::ReviewState) -> Self {
        match state {
            records::ReviewState::Open => Self::Open,
            records::ReviewState::Accepted => Self::Accepted,
            records::ReviewState::Rejected => Self::Rejected,
            records::ReviewState::Skipped => Self::Skipped,
        }
    }
}

impl From<ReviewState> for records::ReviewState {
    fn from(state: ReviewState) -> Self {
        match state {
            ReviewState::Open => Self::Open,
            ReviewState::Accepted => Self::Accepted,
            ReviewState::Rejected => Self::Rejected,
            ReviewState::Skipped => Self::Skipped,
        }
    }
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReviewAction {
    /// The trace is correct.
    Accept,
    /// It is wrong.
    Reject,
    /// Nobody is to be asked again.
    Skip,
    /// What was decided is taken back.
    Reopen,
}

impl From<ReviewAction> for records::ReviewAction {
    fn from(action: ReviewAction) -> Self {
        match action {
            ReviewAction::Accept => Self::Accept,
            ReviewAction::Reject => Self::Reject,
            ReviewAction::Skip => Self::Skip,
            ReviewAction::Reopen => Self::Reopen,
        }
    }
}

impl From<records::ReviewAction> for ReviewAction {
    fn from(action: records::ReviewAction) -> Self {
        match action {
            records::ReviewAction::Accept => Self::Accept,
            records::ReviewAction::Reject => Self::Reject,
            records::ReviewAction::Skip => Self::Skip,
            records::ReviewAction::Reopen => Self::Reopen,
        }
    }
}

/// Which reviews are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many at most, 1 to 1000; 100 if not given.
    pub limit: Option<u32>,
    /// Only those after this one: the `next` of the page before.
    pub after: Option<i64>,
    /// Only those that stand so.
    pub state: Option<ReviewState>,
    /// Only those that are here for this.
    pub reason: Option<ReviewReason>,
}

/// A trace that a person is to look at, or has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Review {
    /// The trace, and the review's id.
    pub id: i64,
    /// Why it is here.
    pub reason: ReviewReason,
    /// Where it stands.
    pub state: ReviewState,
    /// What was asked.
    pub question_id: i64,
    /// What the question is about.
    pub domain: String,
    /// The text that was asked.
    pub problem: String,
    /// Reference answer, if there is one.
    pub reference: Option<String>,
    /// The final answer.
    pub solution: String,
    /// What the rules say; null if they have not looked.
    pub rule: Option<Decided>,
    /// How the rules read the answer; null if they did not.
    pub answer: Option<String>,
    /// What the judge says; null if it was not asked.
    pub judge: Option<JudgeVerdict>,
    /// What counts now: correct, wrong, unchecked or unreadable; null if nobody has looked.
    pub verdict: Option<String>,
    /// When it came here, RFC 3339, UTC.
    pub opened_at: String,
    /// When a person last did something with it.
    pub decided_at: Option<String>,
    /// Who that was.
    pub decided_by: Option<String>,
}

impl From<records::ReviewItem> for Review {
    fn from(item: records::ReviewItem) -> Self {
        let records::ReviewItem { review, example, rule, judgement } = item;
        let records::Example { question, trace, verdict } = example;
        let answer = rule.as_ref().and_then(|row| row.detail.get("answer"));
        let answer = answer.and_then(serde_json::Value::as_str).map(str::to_owned);
        Self {
            id: review.trace_id.0,
            reason: review.reason.into(),
            state: review.state.into(),
            question_id: question.id.0,
            domain: question.domain.name().to_owned(),
            problem: question.content.problem,
            reference: question.content.reference,
            solution: trace.content.solution,
            answer,
            rule: rule.map(|row| Decided {
                verdict: row.verdict.name().to_owned(),
                why: row.verdict.why().to_owned(),
                verifier: row.verifier,
            }),
            judge: judgement.map(JudgeVerdict::from),
            verdict: verdict.map(|verdict| verdict.name().to_owned()),
            opened_at: review.opened_at,
            decided_at: review.decided_at,
            decided_by: review.decided_by,
        }
    }
}

/// One thing a person did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogEntry {
    /// What.
    pub action: ReviewAction,
    /// Who: `panel`, or the user of the command line.
    pub who: String,
    /// In their words; empty if they said nothing.
    pub note: String,
    /// What counted before: correct, wrong, …; null if nothing did.
    pub before: Option<String>,
    /// Who said so.
    pub before_verifier: Option<String>,
    /// What counts since.
    pub after: Option<String>,
    /// Who says so.
    pub after_verifier: Option<String>,
    /// When, RFC 3339, UTC.
    pub at: String,
}

impl From<records::ReviewEntry> for LogEntry {
    fn from(entry: records::ReviewEntry) -> Self {
        let records::ReviewEntry { action, who, note, before, after, at } = entry;
        let (before, before_verifier) = before.unzip();
        let (after, after_verifier) = after.unzip();
        let action = action.into();
        Self { action, who, note, before, before_verifier, after, after_verifier, at }
    }
}

/// What a person decides.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Decision {
    /// What to do.
    pub action: ReviewAction,
    /// Why, for whoever asks later.
    #[serde(default)]
    pub note: String,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_reviews)).routes(routes!(decide_review))
}

/// Reviews, by trace.
#[utoipa::path(get, path = "/reviews", tag = "verify", params(Wanted),
    responses((status = OK, body = Page<Review>), (status = "default", body = ErrorBody)))]
async fn list_reviews(
    State(state): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Result<Answer<Page<Review>>> {
    let limit = limit_of(wanted.limit);
    let after = TraceId(wanted.after.unwrap_or(0));
    let filter =
        ReviewFilter { state: wanted.state.map(Into::into), reason: wanted.reason.map(Into::into) };
    let items = state.store(move |store| store.reviews_page(filter, after, limit)).await?;
    Ok(Answer(Page::new(items, limit, |item| item.review.trace_id.0)))
}

/// Decides about a trace, whether it is in the queue or not. The decision overrules rules and judge
/// until it is taken back; who decided what is kept.
#[utoipa::path(post, path = "/reviews/{id}", tag = "verify", request_body = Decision,
    params(("id" = i64, Path, description = "Id of the trace")),
    responses((status = OK, body = Review), (status = "default", body = ErrorBody)))]
async fn decide_review(
    State(state): State<AppState>,
    Path(id): Path<i64>,
    Json(decision): Json<Decision>,
) -> Result<Answer<Review>> {
    if decision.note.chars().count() > NOTE_CHARACTERS_MAX {
        let message = format!("a note has at most {NOTE_CHARACTERS_MAX} characters");
        return Err(Error::Invalid(message));
    }
    let decided = state
        .store(move |store| {
            store.decide_review(TraceId(id), decision.action.into(), WHO, &decision.note)?;
            store.review(TraceId(id))
        })
        .await?;
    let missing = || Error::NotFound(format!("there is no review `{id}`"));
    Ok(Answer(decided.ok_or_else(missing)?.into()))
}
