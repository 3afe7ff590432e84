//! Where questions come from, and which of them stay.
//!
//! A source reads rows and hands on questions; a row that cannot be a question is rejected with its
//! number and the reason, and the rest goes on. Knows neither teachers nor tokens.

pub mod jsonl;
pub mod rehearsal;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hint::Hinted;
use crate::records::NewQuestion;
use crate::stage::Context;

/// Questions added per transaction: large enough to be quick, small enough to stop within 2 s.
const BATCH: usize = 500;

/// Rejected rows that are listed one by one; the rest is only counted.
const REJECTIONS_LISTED: usize = 1_000;

/// Which questions to import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of a source: `rehearsal` or `jsonl`. Default `rehearsal`.
    pub source: String,
    /// The file to read, for sources that read one.
    pub path: Option<PathBuf>,
    /// What the questions are filed under; if none, each row's `source`, or else the file's stem.
    /// Only for `jsonl`.
    pub source_name: Option<String>,
    /// Which column holds which field, where the names differ: `problem = "question"`.
    pub map: BTreeMap<String, String>,
    /// How much the rehearsal generates.
    pub rehearsal: rehearsal::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: rehearsal::SOURCE.into(),
            path: None,
            source_name: None,
            map: BTreeMap::new(),
            rehearsal: rehearsal::Config::default(),
        }
    }
}

/// A row that is no question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its number, from 1.
    pub row: u64,
    /// Why.
    pub why: String,
}

/// One row of a source.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A question.
    Question(Box<NewQuestion>),
    /// Something else.
    Rejected(Rejected),
}

/// A place that questions come from.
pub trait Source: Sync {
    /// What it is called in recipes and on the command line; never renamed.
    fn name(&self) -> &'static str;

    /// Hands every row on, in order.
    ///
    /// # Errors
    /// If the source cannot be read at all, or `sink` fails.
    fn read(
        &self,
        config: &Config,
        sink: &mut dyn FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()>;
}

/// Every source, in the order in which they are listed to people.
pub static SOURCES: &[&dyn Source] = &[&rehearsal::Rehearsal, &jsonl::Jsonl];

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// New questions.
    pub imported: u64,
    /// Questions that were there already.
    pub duplicates: u64,
    /// Rows that are no question.
    pub rejected: u64,
    /// The first thousand of them.
    pub rejections: Vec<Rejected>,
}

/// Imports the questions that `config` names; those already there are left alone.
///
/// # Errors
/// If there is no such source, it cannot be read, or the store refuses.
pub fn run(cx: &Context, config: &Config) -> anyhow::Result<Summary> {
    let source = find(&config.source)?;
    let mut summary = Summary::default();
    let mut batch = Vec::new();
    source.read(config, &mut |row| {
        cx.stop_requested()?;
        match row {
            Row::Question(question) => batch.push(*question),
            Row::Rejected(rejected) => {
                summary.rejected += 1;
                if summary.rejections.len() < REJECTIONS_LISTED {
                    summary.rejections.push(rejected);
                }
            }
        }
        if batch.len() >= BATCH { add(cx, &mut batch, &mut summary) } else { Ok(()) }
    })?;
    add(cx, &mut batch, &mut summary)?;
    let done = summary.imported + summary.duplicates;
    cx.progress.set(done, done, "questions imported");
    Ok(summary)
}

fn add(cx: &Context, batch: &mut Vec<NewQuestion>, summary: &mut Summary) -> anyhow::Result<()> {
    let added = cx.store.add_questions(batch)?;
    summary.imported += added;
    summary.duplicates += batch.len() as u64 - added;
    batch.clear();
    cx.progress.set(summary.imported + summary.duplicates, 0, "importing questions");
    Ok(())
}

/// The source called `name`.
fn find(name: &str) -> anyhow::Result<&'static dyn Source> {
    SOURCES.iter().copied().find(|source| source.name() == name).ok_or_else(|| {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name()).collect();
        let hint = format!("there are {}", names.join(" and "));
        Hinted::new(format!("there is no source of questions called `{name}`"), hint).into()
    })
}

#[cfg(test)]
mod tests;
