//! Finds out from reference solutions how a problem's outputs are to be compared, and whether its tests
//! are sound.
//!
//! The strictest comparator by which the references agree with the expected outputs is the problem's.
//! Where they agree with each other but not with the tests, the tests are broken; where they differ
//! among themselves as well, there is more than one right answer, which needs a checker.

use std::ops::ControlFlow;

use serde::Serialize;

use super::compare::{Comparison, same_text};
use super::json::{self, Json};
use super::runner::{Runner, Watch};
use super::usable;
use super::value::same_value;
use crate::chat::answer::last_code_block;
use crate::records::{Cases, Comparator, Tests, Tolerance};
use crate::sandbox::{Ended, Limits, Program, Run};
use crate::verify::Tools;

/// References that must run through, at least: two could err alike.
const REFERENCES_MIN: usize = 3;

/// References that are run at most: more tell nothing new.
const REFERENCES_MAX: usize = 10;

/// Tests that are looked at; a comparator that fits a hundred fits the rest.
const TESTS_MAX: usize = 100;

/// Output of one run that is kept.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// What became clear about a problem's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Soundness {
    /// The references agree with them.
    Sound,
    /// The references differ among themselves: there is more than one right answer.
    MultiAnswer,
    /// The references agree with each other, or on nothing, but not with the tests.
    Broken,
    /// Too few references ran through.
    Unknown,
}

impl Soundness {
    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::MultiAnswer => "multi-answer",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

/// What was inferred about a problem's tests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inferred {
    /// Whether they are sound.
    pub soundness: Soundness,
    /// How outputs are to be compared; only for sound tests.
    pub comparator: Option<Comparator>,
    /// How far decimals may be off, where that is the comparator's point.
    pub tolerance: Option<Tolerance>,
    /// References that ran through.
    pub references: usize,
    /// How many of them agree with the tests by that comparator.
    pub agreeing: usize,
    /// For people.
    pub why: String,
}

/// What a reference said, test by test; none where it did not end normally.
type Said = Vec<Option<Output>>;

#[derive(Debug, Clone, PartialEq)]
enum Output {
    Text(Vec<u8>),
    Value(serde_json::Value),
}

/// Infers the comparator of `tests` from `references`, Python programs with or without a fence.
///
/// # Errors
/// If no program can be run.
pub fn infer(tests: &Tests, references: &[String], tools: &Tools) -> anyhow::Result<Inferred> {
    let unknown = |references, why: String| Inferred {
        soundness: Soundness::Unknown,
        comparator: None,
        tolerance: None,
        references,
        agreeing: 0,
        why,
    };
    if let Some(why) = usable::why_not(tests) {
        return Ok(Inferred { soundness: Soundness::Broken, ..unknown(0, why) });
    }
    if tests.checker.is_some() {
        return Ok(unknown(0, "a checker compares the outputs already".into()));
    }
    let mut inputs = Cases::default();
    for json in tests.inputs.iter().take(TESTS_MAX) {
        inputs.push(json).map_err(anyhow::Error::msg)?;
    }
    let mut all: Vec<Said> = Vec::new();
    for reference in references.iter().take(REFERENCES_MAX) {
        let source = last_code_block(reference).unwrap_or(reference);
        let said = listen(source, tests.function(), &inputs, tools)?;
        if said.len() == inputs.len() && said.iter().all(Option::is_some) {
            all.push(said);
        }
    }
    if all.len() < REFERENCES_MIN {
        let why = format!("{} of {} references ran through", all.len(), references.len());
        return Ok(unknown(all.len(), why));
    }
    decide(tests, &all).map_err(anyhow::Error::msg)
}

fn listen(
    source: &str,
    function: Option<&str>,
    inputs: &Cases,
    tools: &Tools,
) -> anyhow::Result<Said> {
    struct Listen(Said, bool);

    impl Watch for Listen {
        fn see(&mut self, _index: usize, run: Run) -> ControlFlow<()> {
            let normal = run.ended == Ended::Normally;
            self.0.push(match (normal, self.1) {
                (false, _) => None,
                (true, false) => Some(Output::Text(run.stdout)),
                (true, true) => run.value.map(Output::Value),
            });
            if normal { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }

    let limits = Limits { output_bytes: OUTPUT_BYTES_MAX, ..tools.limits };
    let mut heard = Listen(Vec::new(), function.is_some());
    let program = Program { source, function, ..Program::default() };
    Runner::new(tools.sandbox.as_ref(), &tools.stop, limits).run(&program, inputs, &mut heard)?;
    Ok(heard.0)
}

/// The comparators that are tried, the strictest first.
fn candidates(called: bool) -> Vec<Comparison> {
    let usual = Tolerance::default();
    let loose = Tolerance { abs: 1e-4, rel: 1e-4 };
    let plain = if called { Comparator::CallJson } else { Comparator::Tokens };
    let mut all = vec![
        (plain, usual),
        (Comparator::TokensCi, usual),
        (Comparator::Float, loose),
        (Comparator::LinesUnordered, usual),
        (Comparator::TokensUnordered, usual),
    ];
    all.retain(|(comparator, _)| !(called && *comparator == Comparator::LinesUnordered));
    all.into_iter().map(|(comparator, tolerance)| Comparison { comparator, tolerance }).collect()
}

fn decide(tests: &Tests, all: &[Said]) -> Result<Inferred, String> {
    let inferred = |soundness, agreeing, why: String| Inferred {
        soundness,
        comparator: None,
        tolerance: None,
        references: all.len(),
        agreeing,
        why,
    };
    let mut agreed_once = false;
    let mut most = 0;
    for how in candidates(tests.function().is_some()) {
        let mut agreeing = 0;
        for said in all {
            let right = agreements(tests, said, &how)?;
            agreed_once |= right > 0;
            agreeing += usize::from(right == said.len());
        }
        most = most.max(agreeing);
        // References err too; four of five that agree with the tests are no accident.
        if agreeing >= REFERENCES_MIN && agreeing * 5 >= all.len() * 4 {
            let found = inferred(Soundness::Sound, agreeing, String::new());
            let tolerance = (how.comparator == Comparator::Float).then_some(how.tolerance);
            return Ok(Inferred { comparator: Some(how.comparator), tolerance, ..found });
        }
    }
    if !agreed_once {
        let why = "no reference passes a single test".into();
        return Ok(inferred(Soundness::Broken, most, why));
    }
    Ok(if agree_with_each_other(all, tests.function().is_some()) {
        let why = "the references agree with each other, but not with the tests".into();
        inferred(Soundness::Broken, most, why)
    } else {
        let why = "the references differ among themselves".into();
        inferred(Soundness::MultiAnswer, most, why)
    })
}

/// On how many tests a reference says what is expected.
fn agreements(tests: &Tests, said: &Said, how: &Comparison) -> Result<usize, String> {
    let mut right = 0;
    for (index, output) in said.iter().enumerate() {
        let expected = tests.outputs.get(index).unwrap_or("null");
        let same = match output {
            None => false,
            Some(Output::Text(given)) => same_text(given, &json::text(expected)?, how).is_ok(),
            Some(Output::Value(given)) => {
                let expected = Json::parse(expected)?;
                let only = match &expected {
                    Json::List(items) => items.first().filter(|_| items.len() == 1),
                    Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Map(_) => {
                        None
                    }
                };
                same_value(given, &expected, how)
                    || only.is_some_and(|only| same_value(given, only, how))
            }
        };
        right += usize::from(same);
    }
    Ok(right)
}

/// Whether by any one comparator all references say the same on every test.
fn agree_with_each_other(all: &[Said], called: bool) -> bool {
    let same = |a: &Option<Output>, b: &Option<Output>, how: &Comparison| match (a, b) {
        (Some(Output::Text(a)), Some(Output::Text(b))) => {
            same_text(a, &String::from_utf8_lossy(b), how).is_ok()
        }
        (Some(Output::Value(a)), Some(Output::Value(b))) => a == b,
        _ => false,
    };
    let Some((first, others)) = all.split_first() else { return false };
    candidates(called)
        .iter()
        .any(|how| others.iter().all(|said| said.iter().zip(first).all(|(a, b)| same(a, b, how))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Output, Said, Soundness, decide};
    use crate::records::{Comparator, Tests};

    /// What references print on two tests, against `a b` and `2.0`.
    #[track_caller]
    fn check(references: &[[&str; 2]], soundness: Soundness, comparator: Option<Comparator>) {
        let tests: Tests =
            serde_json::from_value(json!({"inputs": ["", ""], "outputs": ["a b", "2.0"]})).unwrap();
        let text = |text: &&str| Some(Output::Text(text.as_bytes().to_vec()));
        let all: Vec<Said> =
            references.iter().map(|said| said.iter().map(text).collect()).collect();
        let found = decide(&tests, &all).unwrap();
        assert_eq!((found.soundness, found.comparator), (soundness, comparator), "{found:?}");
    }

    #[test]
    fn the_strictest_comparator_that_fits_is_the_problems() {
        let right = ["a b", "2.0"];
        check(&[right; 3], Soundness::Sound, Some(Comparator::Tokens));
        check(&[right, ["A b", "2"], right], Soundness::Sound, Some(Comparator::TokensCi));
        check(&[right, ["a b", "2.0001"], right], Soundness::Sound, Some(Comparator::Float));
        check(&[right, ["b a", "2.0"], right], Soundness::Sound, Some(Comparator::TokensUnordered));
    }

    #[test]
    fn one_reference_in_five_may_err() {
        let right = ["a b", "2.0"];
        check(
            &[right, right, ["x", "y"], right, right],
            Soundness::Sound,
            Some(Comparator::Tokens),
        );
        check(&[right, right, ["x", "y"], right], Soundness::MultiAnswer, None);
    }

    #[test]
    fn tests_that_nobody_passes_are_broken() {
        check(&[["x", "y"]; 3], Soundness::Broken, None);
        check(&[["x", "y"], ["z", "y"], ["x", "y"]], Soundness::Broken, None);
        check(&[["a b", "3"]; 3], Soundness::Broken, None);
    }

    #[test]
    fn references_that_differ_among_themselves_have_more_than_one_answer() {
        check(&[["a b", "3"], ["a b", "4"], ["a b", "2.0"]], Soundness::MultiAnswer, None);
    }

    #[test]
    fn returned_values_are_compared_as_data() {
        let tests = json!({"inputs": [[1]], "outputs": [[1, 2]], "fn_name": "f"});
        let tests: Tests = serde_json::from_value(tests).unwrap();
        let set = || vec![Some(Output::Value(json!(["l", [["i", "2"], ["i", "1"]]])))];
        let found = decide(&tests, &[set(), set(), set()]).unwrap();
        assert_eq!(found.comparator, Some(Comparator::TokensUnordered), "{found:?}");
    }
}
