//! Training runs, their steps and checkpoints.

use serde::{Deserialize, Serialize};

use super::{DatasetId, RunId};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Has steps left.
    Running,
    /// Its last checkpoint is final.
    Done,
}

impl RunState {
    /// The name used in SQL and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// One training run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its row.
    pub id: RunId,
    /// For people and for the score table: `verified`, `unverified`, `untrained`, …
    pub name: String,
    /// What it was trained on; none for a folder of files given on the command line.
    pub dataset_id: Option<DatasetId>,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// How far it is.
    pub state: RunState,
    /// Optimizer steps in total.
    pub steps_total: u64,
    /// Folder of its checkpoints and `steps.jsonl`, relative to the data folder or absolute.
    pub path: String,
    /// When it was started, RFC 3339, UTC.
    pub created_at: String,
}

/// The model that a finished run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The run's name, and the model's.
    pub name: String,
    /// The run that made it.
    pub run_id: RunId,
    /// Its folder, relative to the data folder or absolute.
    pub path: String,
    /// When the run was started, RFC 3339, UTC.
    pub created_at: String,
}

/// One optimizer step, as in `steps.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 0.
    pub step: u64,
    /// Passes over the data so far.
    pub epoch: f64,
    /// Mean loss over the trained tokens, before the update, in nats.
    pub loss: f64,
    /// Global L2 norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// The learning rate this step used.
    pub learning_rate: f64,
    /// Tokens in the step.
    pub tokens: u64,
    /// Of these, tokens with a loss.
    pub trained_tokens: u64,
    /// Throughput of this step.
    pub tokens_per_second: f64,
    /// Model FLOP utilisation, where the device's peak is known.
    pub mfu: Option<f64>,
    /// Duration of the step.
    pub seconds: f64,
    /// Peak memory of the process or the device so far.
    pub peak_memory_bytes: u64,
    /// What the ranks have to do on average over what the busiest has, by what its examples cost: at 1
    /// no rank waits for another. None on one rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<f64>,
}

/// The columns of [`table`].
const COLUMNS: &str = "step,epoch,loss,grad_norm,learning_rate,tokens,trained_tokens,\
                       tokens_per_second,mfu,seconds,peak_memory_bytes,balance\n";

/// Steps as comma-separated values with a line of names, as in `steps.csv`.
pub fn table(steps: &[Step]) -> String {
    steps.iter().fold(COLUMNS.to_owned(), |text, step| text + &step.row())
}

impl Step {
    /// Its line of [`table`].
    pub fn row(&self) -> String {
        let cells = [
            self.step.to_string(),
            self.epoch.to_string(),
            self.loss.to_string(),
            self.grad_norm.to_string(),
            self.learning_rate.to_string(),
            self.tokens.to_string(),
            self.trained_tokens.to_string(),
            self.tokens_per_second.to_string(),
            self.mfu.map(|mfu| mfu.to_string()).unwrap_or_default(),
            self.seconds.to_string(),
            self.peak_memory_bytes.to_string(),
            self.balance.map(|balance| balance.to_string()).unwrap_or_default(),
        ];
        format!("{}\n", cells.join(","))
    }
}

/// What kind of thing happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEventKind {
    /// It began; says what it is trained on.
    Began,
    /// It went on after it had been stopped or killed.
    Resumed,
    /// It was put back to an earlier checkpoint; later ones were deleted.
    WentBack,
    /// Its first steps agree with the plain way, or were not computed a second time.
    Certified,
    /// They do not agree.
    Disagreed,
    /// Loss or gradient was no number.
    NonFinite,
    /// The loss was far above the ones before.
    LossSpike,
    /// A step had no token with a loss.
    ZeroTokens,
    /// The clock was set.
    ClockJump,
    /// A device or the host had too little memory.
    OutOfMemory,
    /// A checkpoint could not be written.
    SaveFailed,
}

impl RunEventKind {
    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Resumed => "resumed",
            Self::WentBack => "went_back",
            Self::Certified => "certified",
            Self::Disagreed => "disagreed",
            Self::NonFinite => "non_finite",
            Self::LossSpike => "loss_spike",
            Self::ZeroTokens => "zero_tokens",
            Self::ClockJump => "clock_jump",
            Self::OutOfMemory => "out_of_memory",
            Self::SaveFailed => "save_failed",
        }
    }

    /// Whether somebody should look at it.
    pub fn is_warning(self) -> bool {
        !matches!(self, Self::Began | Self::Resumed | Self::WentBack | Self::Certified)
    }
}

/// What happened in a run besides its steps, as in `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// In which step, or before it.
    pub step: u64,
    /// What kind of thing.
    pub kind: RunEventKind,
    /// One line for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Ids of the examples it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<i64>,
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checkpoint {
    /// The run it belongs to.
    pub run_id: RunId,
    /// Steps that are in it.
    pub step: u64,
    /// Its folder, relative to the data folder or absolute.
    pub path: String,
}

/// What lies in the folder of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointFiles {
    /// All of its files.
    pub bytes: u64,
    /// Mean loss of the steps since the checkpoint before, in nats, if there were any.
    pub loss: Option<f64>,
    /// When it was complete, RFC 3339, UTC.
    pub saved_at: String,
}
