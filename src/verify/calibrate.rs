//! How far engine, judge and the cascade of both agree with people, on rows that people have labelled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::graders::Grader;
use super::judge::{Case, Counts, Decision, Judge, Prompt, Shows, cascade, case};
use super::latex::{self, Policy};
use super::{Tools, math};
use crate::records::{Domain, NewQuestion, Split, Verdict, kappa};

/// A row that a person has labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// What it is called in the report.
    pub id: Value,
    /// What it is about.
    pub domain: Domain,
    /// What was asked; empty if that is not known.
    pub problem: String,
    /// What is right.
    pub reference: String,
    /// What was answered.
    pub given: Given,
    /// Whether that is right, as a person says.
    pub correct: bool,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The answer alone.
    Answer(String),
    /// A whole solution, with its answer in a box.
    Solution(String),
}

impl Given {
    fn text(&self) -> &str {
        match self {
            Self::Answer(text) | Self::Solution(text) => text,
        }
    }
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    domain: Option<Domain>,
    #[serde(default)]
    problem: Option<String>,
    reference: String,
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    solution: Option<String>,
    label: Value,
}

impl Labelled {
    /// The row in `line`, the `number`th from 1.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str, number: usize) -> Result<Self, String> {
        let row: Row = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let label = row.label.as_bool().or_else(|| match row.label.as_str() {
            Some("correct") => Some(true),
            Some("wrong") => Some(false),
            Some(_) | None => None,
        });
        let bad = || format!("`label` is {}; it must be `correct` or `wrong`", row.label);
        let correct = label.ok_or_else(bad)?;
        let given = match (row.answer, row.solution) {
            (Some(answer), None) => Given::Answer(answer),
            (None, Some(solution)) => Given::Solution(solution),
            (Some(_), Some(_)) => return Err("there are both `answer` and `solution`".into()),
            (None, None) => return Err("there is neither `answer` nor `solution`".into()),
        };
        let domain = row.domain.unwrap_or(Domain::Math);
        if domain == Domain::Code {
            return Err("programs are run, not judged: see `thinkery grade code`".into());
        }
        if row.reference.trim().is_empty() {
            return Err("`reference` is empty".into());
        }
        Ok(Self {
            id: row.id.unwrap_or_else(|| json!(number)),
            domain,
            problem: row.problem.unwrap_or_default(),
            reference: row.reference,
            given,
            correct,
        })
    }

    /// What the rules say of it.
    fn ruled(&self, tools: &Tools) -> anyhow::Result<Verdict> {
        let (reference, domain) = (&self.reference, self.domain);
        match &self.given {
            Given::Answer(answer) if domain == Domain::Math => {
                Ok(math::compare(reference, answer, Grader::Engine, &Policy::default()).verdict)
            }
            Given::Answer(_) => {
                Ok(Verdict::Unchecked(format!("no rule can check domain `{domain}`")))
            }
            Given::Solution(solution) => {
                let question = NewQuestion {
                    key: self.id.to_string(),
                    domain,
                    source: "calibrate".into(),
                    family: String::new(),
                    split: Split::HeldOut,
                    problem: self.problem.clone(),
                    reference: Some(reference.clone()),
                    tests: None,
                    starter_code: None,
                };
                Ok(super::grade(&question, solution, tools)?.verdict)
            }
        }
    }
}

/// What somebody says of rows that are labelled correct or wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Of the correct rows.
    pub correct: Said,
    /// Of the wrong rows.
    pub wrong: Said,
    /// Part of all rows that it decides.
    pub coverage: Option<f64>,
    /// Part of the rows it decides that it decides rightly.
    pub accuracy: Option<f64>,
    /// Part of the rows it calls correct that are.
    pub precision: Option<f64>,
    /// Part of the correct rows that it calls correct.
    pub recall: Option<f64>,
    /// Cohen's κ over all rows; an undecided one never agrees.
    pub kappa: Option<f64>,
    /// Cohen's κ over the rows it decides.
    pub kappa_decided: Option<f64>,
}

/// How many rows are called what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Correct.
    pub correct: u64,
    /// Wrong.
    pub wrong: u64,
    /// Neither.
    pub undecided: u64,
}

impl Confusion {
    fn count(&mut self, correct: bool, said: &Verdict) {
        let row = if correct { &mut self.correct } else { &mut self.wrong };
        match said {
            Verdict::Correct => row.correct += 1,
            Verdict::Wrong(_) => row.wrong += 1,
            Verdict::Unchecked(_) | Verdict::Unreadable(_) => row.undecided += 1,
        }
    }

    fn conclude(mut self) -> Self {
        let (yes, no) = (self.correct, self.wrong);
        let part = |some: u64, all: u64| (all > 0).then(|| some as f64 / all as f64);
        let decided = yes.correct + yes.wrong + no.correct + no.wrong;
        let all = decided + yes.undecided + no.undecided;
        self.coverage = part(decided, all);
        self.accuracy = part(yes.correct + no.wrong, decided);
        self.precision = part(yes.correct, yes.correct + no.correct);
        self.recall = part(yes.correct, yes.correct + yes.wrong + yes.undecided);
        self.kappa_decided = kappa(&[[yes.correct, yes.wrong], [no.correct, no.wrong]]);
        self.kappa = kappa(&[
            [yes.correct, yes.wrong, yes.undecided],
            [no.correct, no.wrong, no.undecided],
            [0, 0, 0],
        ]);
        self
    }
}

/// A row that somebody calls something else than its label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Differs {
    /// Which.
    pub id: Value,
    /// What the person says: `correct` or `wrong`.
    pub label: String,
    /// What each says: correct, wrong, unchecked, unreadable.
    pub said: BTreeMap<String, String>,
}

/// How far everybody agrees with the labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Rows.
    pub rows: u64,
    /// The rules: for math the engine, for the rest nobody.
    pub engine: Confusion,
    /// The judge, asked about every row; none if there is none.
    pub judge: Option<Confusion>,
    /// The rules where they decide, else the judge.
    pub cascade: Confusion,
    /// What the judge did.
    pub asked: Option<Counts>,
    /// Rows that the engine or the judge decides otherwise than the label says.
    pub differs: Vec<Differs>,
}

/// Compares everybody with the labels of `rows`. The judge is asked about every row that its prompt
/// covers.
///
/// # Errors
/// If the judge cannot be asked, or the store refuses.
pub fn calibrate(
    rows: &[Labelled],
    tools: &Tools,
    judge: Option<(&mut Judge<'_>, Prompt, Shows)>,
) -> anyhow::Result<Report> {
    let ruled: Vec<Verdict> =
        rows.iter().map(|row| row.ruled(tools)).collect::<anyhow::Result<_>>()?;
    let asks = judge.is_some();
    let mut judged: Vec<Option<Decision>> = vec![None; rows.len()];
    let mut asked = None;
    if let Some((judge, prompt, shows)) = judge {
        ask(rows, judge, (prompt, shows), &mut judged)?;
        asked = Some(judge.counts.clone());
    }
    let (mut engine, mut by_judge, mut both) =
        (Confusion::default(), Confusion::default(), Confusion::default());
    let mut differs = Vec::new();
    for ((row, rule), decision) in rows.iter().zip(&ruled).zip(&judged) {
        let judge = verdict(*decision);
        engine.count(row.correct, rule);
        by_judge.count(row.correct, &judge);
        both.count(row.correct, &cascade(rule, *decision));
        let label = if row.correct { "correct" } else { "wrong" };
        let against = |said: &Verdict| {
            matches!(said, Verdict::Correct | Verdict::Wrong(_)) && said.name() != label
        };
        if against(rule) || against(&judge) {
            let mut said = BTreeMap::from([("engine".to_owned(), rule.name().to_owned())]);
            if asks {
                said.insert("judge".into(), judge.name().into());
            }
            differs.push(Differs { id: row.id.clone(), label: label.into(), said });
        }
    }
    Ok(Report {
        rows: rows.len() as u64,
        engine: engine.conclude(),
        judge: asks.then(|| by_judge.conclude()),
        cascade: both.conclude(),
        asked,
        differs,
    })
}

fn verdict(decision: Option<Decision>) -> Verdict {
    match decision {
        Some(Decision::Correct) => Verdict::Correct,
        Some(Decision::Wrong) => Verdict::Wrong(String::new()),
        Some(Decision::Unsure) | None => Verdict::Unchecked(String::new()),
    }
}

fn ask(
    rows: &[Labelled],
    judge: &mut Judge<'_>,
    (prompt, shows): (Prompt, Shows),
    judged: &mut [Option<Decision>],
) -> anyhow::Result<()> {
    let covered: Vec<usize> =
        (0..rows.len()).filter(|index| prompt.covers(rows[*index].domain)).collect();
    let answers: Vec<Option<String>> =
        covered.iter().map(|index| latex::last_boxes(rows[*index].given.text())).collect();
    let cases: Vec<Case<'_>> = covered
        .iter()
        .zip(&answers)
        .map(|(index, answer)| {
            let row = &rows[*index];
            let asked = (row.domain, row.problem.as_str());
            case(shows, asked, (row.given.text(), answer.as_deref()), &row.reference)
        })
        .collect();
    judge.ask(&cases, &mut |index, opinion| {
        judged[covered[index]] = Some(opinion.decision);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Labelled, Said, calibrate};
    use crate::sandbox::Sandbox;
    use crate::verify::Tools;

    #[test]
    fn rows_are_read_or_refused_with_a_reason() {
        let check = |line: &str, expected: &str| {
            let found = Labelled::parse(line, 7).map_or_else(|why| why, |row| row.id.to_string());
            assert!(found.starts_with(expected), "{line}: {found}");
        };
        check(r#"{"reference": "5", "answer": "5", "label": "correct"}"#, "7");
        check(r#"{"id": "a", "reference": "5", "solution": "5", "label": false}"#, "\"a\"");
        check(r#"{"reference": "5", "answer": "5", "label": "maybe"}"#, "`label` is \"maybe\"");
        check(r#"{"reference": "5", "label": true}"#, "there is neither");
        check(
            r#"{"reference": "5", "answer": "", "solution": "", "label": true}"#,
            "there are both",
        );
        check(r#"{"reference": " ", "answer": "5", "label": true}"#, "`reference` is empty");
        check(r#"{"domain": "code", "reference": "5", "answer": "5", "label": true}"#, "programs");
        check(r#"{"answer": "5", "label": true}"#, "missing field `reference`");
        check("[]", "invalid");
    }

    #[test]
    fn the_table_counts_what_the_engine_says_of_labelled_rows() {
        let row = |reference: &str, answer: &str, label: bool| {
            let line =
                serde_json::json!({"reference": reference, "answer": answer, "label": label});
            Labelled::parse(&line.to_string(), 1).unwrap()
        };
        let mut rows = vec![
            row("0.5", r"\frac{1}{2}", true),
            row("3", "3", true),
            row("4", "3", false),
            row("2", "3", false),
            row("7", "7", false),
            row("some words here", "other words there, or the same", true),
        ];
        rows.push(Labelled { domain: crate::records::Domain::Physics, ..row("1", "1", true) });
        let tools = Tools::new(Sandbox::new(PathBuf::from("none"), Vec::new()));
        let report = calibrate(&rows, &tools, None).unwrap();
        let engine = &report.engine;
        assert_eq!(engine.wrong, Said { correct: 1, wrong: 2, undecided: 0 });
        assert_eq!(engine.correct.correct, 2);
        assert_eq!(engine.correct.correct + engine.correct.wrong + engine.correct.undecided, 4);
        assert_eq!(report.cascade, *engine);
        assert!(report.judge.is_none() && report.asked.is_none());
        assert!(engine.kappa.unwrap() < engine.kappa_decided.unwrap());
        assert!(report.differs.iter().any(|row| row.label == "wrong"));
    }
}
