//! The rehearsal's own benchmark.
//!
//! What it measures: whether a small model has learnt to solve the rehearsal's families, on
//! problems that never occur in training. Protocol: five samples at temperature 0.7, as
//! OpenThoughts has it for AIME; the answer is what stands in the last box of the solution, or the
//! program that passes every test. Source: the held-out questions in the store. There are no
//! published scores.

use super::{Benchmark, Problem, Protocol};
use crate::records::Split;
use crate::store::{QuestionFilter, Store};

/// Its name.
pub(super) const NAME: &str = "rehearsal";

/// The benchmark.
#[derive(Debug)]
pub(super) struct Rehearsal;

impl Benchmark for Rehearsal {
    fn name(&self) -> &str {
        NAME
    }

    fn protocol(&self) -> Protocol {
        // The longest solution of the rehearsal teacher is about 300 tokens.
        Protocol { samples: 5, temperature: 0.7, top_p: 1.0, max_tokens: 400, seed: 0 }
    }

    fn problems(&self, store: &Store) -> anyhow::Result<Vec<Problem>> {
        let filter = QuestionFilter {
            split: Some(Split::HeldOut),
            source: Some(NAME.into()),
            ..QuestionFilter::default()
        };
        let questions = store.questions(&filter)?;
        let problem = |question: crate::records::Question| Problem {
            id: question.key.clone(),
            question: question.content,
        };
        Ok(questions.into_iter().map(problem).collect())
    }
}
