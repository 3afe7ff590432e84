//! Jobs: work in progress, and the plans they belong to.

use serde::{Deserialize, Serialize};

use super::{JobId, PlanId};

/// What a job does; one per stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Import or make questions.
    Questions,
    /// Ask the teacher.
    Distill,
    /// Judge traces.
    Verify,
    /// Build datasets.
    Dataset,
    /// Fine-tune.
    Train,
    /// Score models.
    Evaluate,
    /// Start the server once and ask it one question.
    Serve,
}

impl JobKind {
    /// Every kind, in the order of the pipeline.
    pub const ALL: [Self; 7] = [
        Self::Questions,
        Self::Distill,
        Self::Verify,
        Self::Dataset,
        Self::Train,
        Self::Evaluate,
        Self::Serve,
    ];

    /// The name used in SQL, JSON and the panel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Questions => "questions",
            Self::Distill => "distill",
            Self::Verify => "verify",
            Self::Dataset => "dataset",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Serve => "serve",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Has a process.
    Running,
    /// Was asked to stop and has not yet.
    Stopping,
    /// Finished.
    Done,
    /// Could not; the row says why.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Its process vanished (power, kill); start it again to go on.
    Interrupted,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Stopping,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    /// The name used in SQL, JSON and the panel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// The state called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing will happen any more unless somebody starts it again.
    pub fn is_over(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Stopping => false,
            Self::Done | Self::Failed | Self::Cancelled | Self::Interrupted => true,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobProgress {
    /// Units finished.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// What is being done, for people.
    pub note: String,
}

/// A job in the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// The recipe run it belongs to; none when started alone.
    pub plan_id: Option<PlanId>,
    /// What it does.
    pub kind: JobKind,
    /// Its stage's resolved configuration.
    pub config: serde_json::Value,
    /// Where it stands.
    pub state: JobState,
    /// How far it is.
    pub progress: JobProgress,
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// The whole error chain, if it failed.
    pub error: Option<String>,
    /// What to do about it, if it failed.
    pub hint: Option<String>,
    /// What the stage counted, once done.
    pub summary: Option<serde_json::Value>,
    /// Fingerprint of what it read, once done: equal again, there is nothing to do.
    #[serde(skip)]
    pub inputs: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// RFC 3339, UTC.
    pub finished_at: Option<String>,
}

/// A resolved recipe in the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanRow {
    /// Its row.
    pub id: PlanId,
    /// Name of the recipe.
    pub recipe: String,
    /// The resolved plan.
    pub plan: serde_json::Value,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// Something the panel should know, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Monotone; the SSE id.
    pub id: i64,
    /// `job`, `step`, `counts`, `score`, …
    pub topic: String,
    /// The news.
    pub data: serde_json::Value,
}
