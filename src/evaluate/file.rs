//! A JSONL file of problems as a benchmark.
//!
//! One object per line: `{id?, problem, domain, reference | tests, starter_code?, family?}`. A line
//! that cannot be read stops it: a benchmark with holes is another benchmark.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::{Benchmark, Problem, Protocol, rehearsal};
use crate::hint::Hinted;
use crate::records::{Domain, NewQuestion, Split, Tests};
use crate::store::Store;

/// The benchmark.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    id: Option<serde_json::Value>,
    problem: String,
    domain: Domain,
    #[serde(default)]
    reference: Option<serde_json::Value>,
    #[serde(default)]
    tests: Option<Tests>,
    #[serde(default)]
    starter_code: Option<String>,
    #[serde(default)]
    family: String,
    /// Taken, so that files of questions are files of problems.
    #[serde(default)]
    source: String,
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_stem().map_or_else(|| "file".into(), |stem| stem.to_string_lossy());
        Self { path: path.to_owned(), name: name.into_owned() }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_file()
    }
}

impl Benchmark for File {
    fn name(&self) -> &str {
        &self.name
    }

    fn protocol(&self) -> Protocol {
        rehearsal::Rehearsal.protocol()
    }

    fn problems(&self, _store: &Store) -> anyhow::Result<Vec<Problem>> {
        let path = self.path.display();
        let text = std::fs::read_to_string(&self.path)
            .with_context(|| format!("could not read the problems in `{path}`"))?;
        let mut problems = Vec::new();
        let mut ids = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            let problem = serde_json::from_str(line)
                .map_err(|error| anyhow!(error))
                .and_then(|row| problem(row, index, &self.name))
                .map_err(|error| {
                    Hinted::new(
                        format!("line {number} of `{path}` is no problem: {error:#}"),
                        "a line is {id?, problem, domain, reference | tests}",
                    )
                })?;
            if !ids.insert(problem.id.clone()) {
                let message = format!("line {number} of `{path}` repeats the id `{}`", problem.id);
                return Err(Hinted::new(message, "ids tell samples apart; make them unique").into());
            }
            problems.push(problem);
        }
        Ok(problems)
    }
}

fn problem(row: Row, index: usize, name: &str) -> anyhow::Result<Problem> {
    let text =
        |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let id = row.id.filter(|id| !id.is_null()).map_or_else(|| index.to_string(), text);
    let reference = row.reference.filter(|value| !value.is_null()).map(text);
    if reference.is_none() && row.tests.is_none() {
        return Err(anyhow!("it has neither `reference` nor `tests`"));
    }
    drop(row.source);
    let question = NewQuestion {
        key: id.clone(),
        domain: row.domain,
        source: name.to_owned(),
        family: row.family,
        split: Split::HeldOut,
        problem: row.problem,
        reference,
        tests: row.tests,
        starter_code: row.starter_code,
    };
    Ok(Problem { id, question })
}
