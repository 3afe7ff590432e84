//! The words of the house. Values only: no SQL, no HTTP, no files, no time of day.

mod agreement;
mod cases;
mod counts;
mod example;
mod id;
mod job;
mod judgement;
mod question;
mod run;
mod score;
mod trace;
mod verdict;

pub use agreement::kappa;
pub use cases::{Cases, Comparator, TestLimits, Tests, Tolerance};
pub use counts::{Counts, QuestionTotals, TraceTotals, VerdictTotals};
pub use example::{Arm, Dataset, Example};
pub use id::{DatasetId, JobId, PlanId, QuestionId, RunId, TraceId};
pub use job::{Event, Job, JobKind, JobProgress, JobState, PlanRow};
pub use judgement::{
    Decided, Judgement, Review, ReviewAction, ReviewEntry, ReviewItem, ReviewReason, ReviewState,
};
pub use question::{Domain, NewQuestion, Question, Split};
pub use run::{
    Checkpoint, CheckpointFiles, Model, Run, RunEvent, RunEventKind, RunState, Step, table,
};
pub use score::{Sample, Score};
pub use trace::{DeadLetter, FinishReason, NewTrace, Reply, Trace};
pub use verdict::{Mode, Unresolved, Verdict, VerdictRow};
