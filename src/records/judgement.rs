//! What judges say of a trace beside the rules, and what people decide about it.

use serde::Serialize;

use super::{Example, TraceId, Verdict, VerdictRow};

/// What a judge or a majority says of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The trace it is about.
    pub trace_id: TraceId,
    /// Correct, wrong, or unchecked: the judge abstained.
    pub verdict: Verdict,
    /// `judge` or `majority`.
    pub verifier: String,
    /// Version of that verifier.
    pub version: u32,
    /// Hash of how it was decided: model, prompt, votes.
    pub settings: String,
    /// What it was based on (votes, reasoning), for people.
    pub detail: serde_json::Value,
}

/// What counts for a trace, and who said it: a person, else the rules, else a judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Name of the verdict.
    pub verdict: String,
    /// Why.
    pub why: String,
    /// Name of the verifier: a rule's, `judge`, `majority` or `human`.
    pub verifier: String,
}

/// Why a person should look at a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewReason {
    /// The rules and the judge say different things.
    Disagreement,
    /// The rules cannot decide, and the judge would not.
    Abstained,
    /// Somebody wanted it.
    Asked,
}

impl ReviewReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Disagreement, Self::Abstained, Self::Asked];

    /// The name used in SQL and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disagreement => "disagreement",
            Self::Abstained => "abstained",
            Self::Asked => "asked",
        }
    }

    /// The reason called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewState {
    /// Waits for a person.
    Open,
    /// A person says the trace is correct.
    Accepted,
    /// A person says it is wrong.
    Rejected,
    /// A person does not want to decide.
    Skipped,
}

impl ReviewState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Accepted, Self::Rejected, Self::Skipped];

    /// The name used in SQL and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
        }
    }

    /// The state called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What a person does with a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewAction {
    /// The trace is correct.
    Accept,
    /// It is wrong.
    Reject,
    /// Nobody is to be asked again.
    Skip,
    /// What was decided is taken back.
    Reopen,
}

impl ReviewAction {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Accept, Self::Reject, Self::Skip, Self::Reopen];

    /// The name used in SQL and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Skip => "skip",
            Self::Reopen => "reopen",
        }
    }

    /// The action called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Where it leaves the review.
    pub fn leads_to(self) -> ReviewState {
        match self {
            Self::Accept => ReviewState::Accepted,
            Self::Reject => ReviewState::Rejected,
            Self::Skip => ReviewState::Skipped,
            Self::Reopen => ReviewState::Open,
        }
    }
}

/// A trace that a person is to look at, or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The trace, and the review's id.
    pub trace_id: TraceId,
    /// Why it is here.
    pub reason: ReviewReason,
    /// Where it stands.
    pub state: ReviewState,
    /// When it came here, RFC 3339, UTC.
    pub opened_at: String,
    /// When a person last did something with it.
    pub decided_at: Option<String>,
    /// Who that was.
    pub decided_by: Option<String>,
}

/// A review with everything needed to decide it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewItem {
    /// The review.
    pub review: Review,
    /// What was asked and answered, and what counts now.
    pub example: Example,
    /// What the rules say.
    pub rule: Option<VerdictRow>,
    /// What the judge says.
    pub judgement: Option<Judgement>,
}

/// One thing a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewEntry {
    /// What.
    pub action: ReviewAction,
    /// Who.
    pub who: String,
    /// In their words; empty if they said nothing.
    pub note: String,
    /// What counted before.
    pub before: Option<(String, String)>,
    /// What counts since: verdict and verifier.
    pub after: Option<(String, String)>,
    /// When, RFC 3339, UTC.
    pub at: String,
}
