//! Row ids, one type each, so that a trace's id is never taken for a question's.

use serde::{Deserialize, Serialize};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// A row of `questions`.
    QuestionId
);
row_id!(
    /// A row of `traces`.
    TraceId
);
row_id!(
    /// A row of `datasets`.
    DatasetId
);
row_id!(
    /// A row of `runs`: one training run.
    RunId
);
row_id!(
    /// A row of `jobs`.
    JobId
);
row_id!(
    /// A row of `plans`: one resolved recipe.
    PlanId
);
