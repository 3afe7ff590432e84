//! Decides of each trace whether its answer is right.
//!
//! A verifier is one file and one entry in [`VERIFIERS`]. Running programs is `sandbox`'s job.

pub mod judge;
pub mod majority;

mod calibrate;
mod code;
mod graders;
mod latex;
mod math;
mod replay;
mod rules;
mod run;
mod unchecked;

use std::sync::Arc;

pub use calibrate::{Confusion, Differs, Given, Labelled, Report, Said, calibrate};
pub use code::{
    CodeGrade, Inferred, Measure, Outcome, Soundness, TestResult, grade_code, infer,
    limits as code_limits,
};
pub use graders::Grader;
pub use latex::{Mark, Policy};
pub use math::{Compared, compare};
pub use replay::{Replay, replay};
pub use run::{Config, Counts, Paused, Summary, run};

pub use crate::records::Mode;
use crate::records::{NewQuestion, Verdict};
use crate::sandbox::{Limits, Sandbox};
use crate::stage::Stop;

/// Every verifier. The first that accepts a question judges its traces, so the one that accepts
/// everything comes last.
pub static VERIFIERS: &[&dyn Verifier] = &[
    &math::Math,
    &code::Code(Mode::Strict),
    &code::Code(Mode::Upstream),
    &code::Code(Mode::Lcb),
    &code::Code(Mode::EvalchemyLcb),
    &unchecked::Unchecked,
];

/// Judges attempts at the questions it accepts.
pub trait Verifier: Sync {
    /// Stored with every verdict; never renamed.
    fn name(&self) -> &'static str;

    /// Raised whenever a change can alter a verdict, so that old verdicts can be found and redone.
    fn version(&self) -> u32;

    /// The modes in which it judges.
    fn modes(&self) -> &'static [Mode] {
        &Mode::ALL
    }

    /// Whether it can judge attempts at `question`.
    fn accepts(&self, question: &NewQuestion) -> bool;

    /// Judges one attempt. Whatever the attempt does is a verdict.
    ///
    /// # Errors
    /// [`Unjudged`] if this attempt could not be judged, anything else if no attempt can be.
    fn verify(
        &self,
        question: &NewQuestion,
        attempt: &Attempt<'_>,
        tools: &Tools,
    ) -> anyhow::Result<Judgement>;
}

/// What a verifier looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The solution, without the thought.
    pub solution: &'a str,
    /// Whether the token limit cut it off.
    pub truncated: bool,
}

/// What verifiers work with. Cheap to clone; clones share the sandbox.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Runs programs.
    pub sandbox: Arc<Sandbox>,
    /// What a program may use.
    pub limits: Limits,
    /// How strict to be with programs.
    pub mode: Mode,
    /// Whether to go on.
    pub stop: Stop,
    /// The key of the judge's endpoint, if it needs one.
    pub judge_key: Option<judge::Key>,
}

impl Tools {
    /// Strict, with the usual limits.
    pub fn new(sandbox: impl Into<Arc<Sandbox>>) -> Self {
        Self {
            sandbox: sandbox.into(),
            limits: Limits::default(),
            mode: Mode::default(),
            stop: Stop::default(),
            judge_key: None,
        }
    }
}

/// This attempt could not be judged, through no fault of its own: neither right nor wrong.
#[derive(Debug, thiserror::Error)]
#[error("could not judge: {0}")]
pub struct Unjudged(pub String);

/// What a verifier says, with what it saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The decision.
    pub verdict: Verdict,
    /// What it was based on (extracted answer, tests' outcomes), for people.
    pub detail: serde_json::Value,
}

impl Judgement {
    fn unchecked(why: &str) -> Self {
        Self { verdict: Verdict::Unchecked(why.to_owned()), detail: serde_json::Value::Null }
    }

    fn unreadable(why: &str) -> Self {
        Self { verdict: Verdict::Unreadable(why.to_owned()), detail: serde_json::Value::Null }
    }
}

/// The verifier that judges attempts at `question`.
pub fn verifier(question: &NewQuestion, mode: Mode) -> &'static dyn Verifier {
    let fits =
        |verifier: &&&dyn Verifier| verifier.modes().contains(&mode) && verifier.accepts(question);
    let found = VERIFIERS.iter().find(fits);
    *found.expect("the last verifier accepts every question")
}

/// Grades `solution`, a complete answer to `question`.
///
/// # Errors
/// If we could not do our job.
pub fn grade(question: &NewQuestion, solution: &str, tools: &Tools) -> anyhow::Result<Judgement> {
    let attempt = Attempt { solution, truncated: false };
    verifier(question, tools.mode).verify(question, &attempt, tools)
}

#[cfg(test)]
mod tests;
