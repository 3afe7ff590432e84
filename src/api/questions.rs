//! Questions, in pages.

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, ErrorBody, Result};
use super::extract::Query;
use super::{AppState, Page, limit_of};
use crate::records::{self, QuestionId, Split};
use crate::store::QuestionFilter;

/// Which questions are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many at most, 1 to 1000; 100 if not given.
    pub limit: Option<u32>,
    /// Only those after this one: the `next` of the page before.
    pub after: Option<i64>,
    /// Only this domain: math, code, biology, chemistry, physics or puzzle.
    pub domain: Option<String>,
    /// Only this split: `train` or `held_out`.
    pub split: Option<String>,
    /// Only this source.
    pub source: Option<String>,
}

/// A question.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Question {
    /// Its id.
    pub id: i64,
    /// Unique within its source.
    pub key: String,
    /// What it is about.
    pub domain: String,
    /// Where it comes from.
    pub source: String,
    /// A finer grouping inside the source; empty if there is none.
    pub family: String,
    /// `train` or `held_out`.
    pub split: String,
    /// The text that is asked.
    pub problem: String,
    /// Reference answer, if the source has one.
    pub reference: Option<String>,
    /// How many tests it has.
    pub tests: u64,
    /// Code the answer must start from, if any.
    pub starter_code: Option<String>,
}

impl From<records::Question> for Question {
    fn from(question: records::Question) -> Self {
        let id = question.id.0;
        let content = question.content;
        Self {
            id,
            key: content.key,
            domain: content.domain.name().to_owned(),
            source: content.source,
            family: content.family,
            split: content.split.name().to_owned(),
            problem: content.problem,
            reference: content.reference,
            tests: content.tests.map_or(0, |tests| tests.inputs.len() as u64),
            starter_code: content.starter_code,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_questions))
}

/// Questions, in the order in which they were imported.
#[utoipa::path(get, path = "/questions", tag = "questions", params(Wanted),
    responses((status = OK, body = Page<Question>), (status = "default", body = ErrorBody)))]
async fn list_questions(
    State(state): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Result<Answer<Page<Question>>> {
    let limit = limit_of(wanted.limit);
    let after = QuestionId(wanted.after.unwrap_or(0));
    let filter = filter(wanted)?;
    let questions = state.store(move |store| store.questions_page(&filter, after, limit)).await?;
    Ok(Answer(Page::new(questions, limit, |question| question.id.0)))
}

fn filter(wanted: Wanted) -> Result<QuestionFilter> {
    let split = match wanted.split.as_deref() {
        None => None,
        Some("train") => Some(Split::Train),
        Some("held_out") => Some(Split::HeldOut),
        Some(other) => {
            return Err(Error::Invalid(format!("`{other}` is no split; train or held_out")));
        }
    };
    let domain = wanted.domain.map(|name| name.parse()).transpose().map_err(Error::Invalid)?;
    Ok(QuestionFilter { split, source: wanted.source, domain })
}
