//! A question: what a teacher is asked, and how an answer to it can be checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{QuestionId, Tests};

/// What a question is about; decides which verifier looks at its traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// An answer in `\boxed{}` that can be compared with a reference.
    Math,
    /// A program that can be run against tests.
    Code,
    /// Life sciences; no rule can check it.
    Biology,
    /// Chemistry; no rule can check it.
    Chemistry,
    /// Physics; no rule can check it.
    Physics,
    /// Riddles and multiple choice.
    Puzzle,
}

impl Domain {
    /// Every domain, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Math, Self::Code, Self::Biology, Self::Chemistry, Self::Physics, Self::Puzzle];

    /// The name used in files, SQL and the panel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Code => "code",
            Self::Biology => "biology",
            Self::Chemistry => "chemistry",
            Self::Physics => "physics",
            Self::Puzzle => "puzzle",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|domain| domain.name() == text).ok_or_else(|| {
            format!(
                "`{text}` is no domain; expected math, code, biology, chemistry, physics or puzzle"
            )
        })
    }
}

/// Whether a question may be trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May be asked of a teacher and trained on.
    Train,
    /// Kept for evaluation; no teacher ever sees it.
    HeldOut,
}

impl Split {
    /// The name used in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::HeldOut => "held_out",
        }
    }
}

/// A question that has no row yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewQuestion {
    /// Unique within `source`: importing the same row twice changes nothing.
    pub key: String,
    /// What the question is about.
    pub domain: Domain,
    /// Where it comes from, e.g. `numina_math` or `rehearsal`.
    pub source: String,
    /// A finer grouping inside the source, e.g. a rehearsal family; empty if there is none.
    pub family: String,
    /// Whether it may be trained on.
    pub split: Split,
    /// The text that is asked.
    pub problem: String,
    /// Reference answer, if the source has one.
    pub reference: Option<String>,
    /// Tests, for code.
    pub tests: Option<Tests>,
    /// Code the answer must start from, if any.
    pub starter_code: Option<String>,
}

/// A question in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its row.
    pub id: QuestionId,
    /// Its content.
    pub content: NewQuestion,
}

impl std::ops::Deref for Question {
    type Target = NewQuestion;

    fn deref(&self) -> &NewQuestion {
        &self.content
    }
}
