//! How much there is of everything, put together from the tables' own counts.

use super::{Result, Store};
use crate::records::{Counts, QuestionTotals, Split, TraceTotals, VerdictTotals};

impl Store {
    /// How many questions, traces and verdicts there are.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn counts(&self) -> Result<Counts> {
        let mut questions = QuestionTotals::default();
        for count in self.question_counts()? {
            questions.total += count.count;
            if count.split == Split::Train.name() {
                questions.train += count.count;
            } else {
                questions.held_out += count.count;
            }
            *questions.domains.entry(count.domain).or_default() += count.count;
        }
        let traces = self.trace_counts()?;
        let verdicts = VerdictTotals {
            total: traces.correct + traces.wrong + traces.unchecked + traces.unreadable,
            correct: traces.correct,
            wrong: traces.wrong,
            unchecked: traces.unchecked,
            unreadable: traces.unreadable,
        };
        let cost_usd = self.cost_usd()?;
        let traces = TraceTotals { total: traces.traces, truncated: traces.truncated, cost_usd };
        Ok(Counts { questions, traces, verdicts })
    }
}
