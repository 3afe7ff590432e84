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
