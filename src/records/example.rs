//! Datasets and the examples in them.

use serde::{Deserialize, Serialize};

use super::{DatasetId, Mode, Question, Trace, Verdict};

/// Which traces a dataset admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Correct ones, and unchecked ones where no verifier exists.
    Verified,
    /// Everything that has an answer or not, as OpenThoughts-Unverified-173k.
    Unverified,
}

impl Arm {
    /// Every arm.
    pub const ALL: [Self; 2] = [Self::Verified, Self::Unverified];

    /// The arm called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arm| arm.name() == name)
    }

    /// The name used in SQL, JSON and the panel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
        }
    }
}

/// A trace admitted to a dataset, with what it was asked and what was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What was asked.
    pub question: Question,
    /// What the teacher answered.
    pub trace: Trace,
    /// What the verifier said, if it looked.
    pub verdict: Option<Verdict>,
}

/// A dataset in the store: immutable once it has a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dataset {
    /// Its row.
    pub id: DatasetId,
    /// For people, e.g. `rehearsal`.
    pub name: String,
    /// Which traces it admits.
    pub arm: Arm,
    /// Whose verdicts decided.
    pub verdicts: Mode,
    /// SHA-256 over its configuration and the content of its examples, hex.
    pub hash: String,
    /// How many examples it has.
    pub rows: u64,
    /// Folder of its files, relative to the data folder.
    pub path: String,
    /// When it was made, RFC 3339, UTC.
    pub created_at: String,
}
