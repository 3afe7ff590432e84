//! Statements about what judges and majorities have to look at: the work lists.

use rusqlite::{Params, params};

use super::questions::{QUESTION_COLUMNS, question};
use super::traces::{TRACE_COLUMNS, TRACE_WIDTH, trace};
use super::{Error, Result, Store};
use crate::records::{Question, QuestionId, Trace, TraceId};

/// What a judge is asked about.
#[derive(Debug, Clone, Copy)]
pub struct ToJudge<'a> {
    /// Judgements of another version do not count.
    pub version: u32,
    /// Judgements under other settings do not count.
    pub settings: &'a str,
    /// Questions about these.
    pub domains: &'a [&'a str],
    /// How many of a million traces that the rules have decided are looked at, too.
    pub audit_per_million: u32,
}

/// Traces with a reference that the rules leave open, and some of those they decide, without a
/// current judgement and without a person's word. The sample is spread by Knuth's multiplicative hash
/// and is the same in every run.
const TO_JUDGE: &str = "from traces t join questions q on q.id = t.question_id
     join verdicts v on v.trace_id = t.id and v.mode = 'strict'
     where q.domain in (select value from json_each(?1)) and coalesce(trim(q.reference), '') <> ''
         and (v.verdict = 'unchecked' or (v.verdict in ('correct', 'wrong')
             and t.id * 2654435761 % 1000000 < ?2))
         and not exists (select 1 from judgements j where j.trace_id = t.id
             and j.verifier = 'judge' and j.version = ?3 and j.settings = ?4)
         and not exists (select 1 from reviews h where h.trace_id = t.id
             and h.state in ('accepted', 'rejected'))
         and t.id > ?5";

impl Store {
    /// How many traces a judge has to look at.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn count_to_judge(&self, wanted: &ToJudge<'_>) -> Result<u64> {
        let domains = domains(wanted)?;
        let sql = format!("select count(*) {TO_JUDGE}");
        let given = params![domains, wanted.audit_per_million, wanted.version, wanted.settings, 0];
        Ok(self.lock().query_row(&sql, given, |row| row.get(0))?)
    }

    /// The traces after `after` that a judge has to look at, with their questions.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn traces_to_judge(
        &self,
        wanted: &ToJudge<'_>,
        after: TraceId,
        limit: u32,
    ) -> Result<Vec<(Question, Trace)>> {
        let domains = domains(wanted)?;
        let sql = format!(
            "select {TRACE_COLUMNS}, {QUESTION_COLUMNS} from trace_texts x, (
                 select t.*, q.id as asked {TO_JUDGE} order by t.id limit ?6) t
             join questions q on q.id = t.asked where x.trace_id = t.id order by t.id"
        );
        let ToJudge { version, settings, audit_per_million, .. } = *wanted;
        let given = params![domains, audit_per_million, version, settings, after.0, limit];
        self.pairs(&sql, given)
    }

    fn pairs(&self, sql: &str, given: impl Params) -> Result<Vec<(Question, Trace)>> {
        let connection = self.lock();
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(given)?;
        let mut pairs = Vec::new();
        while let Some(row) = rows.next()? {
            pairs.push((question(row, TRACE_WIDTH)?, trace(row, 0)?));
        }
        Ok(pairs)
    }

    /// Questions without a reference that have at least `min_samples` traces; programs have tests.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn questions_to_vote_on(&self, min_samples: u32) -> Result<Vec<QuestionId>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select q.id from questions q join traces t on t.question_id = q.id
             where q.domain <> 'code' and coalesce(trim(q.reference), '') = ''
             group by q.id having count(*) >= ?1 order by q.id",
        )?;
        let rows = statement.query_map([min_samples], |row| Ok(QuestionId(row.get(0)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every trace of a question, in the order in which they came.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn traces_of(&self, question: QuestionId) -> Result<Vec<Trace>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "select {TRACE_COLUMNS} from traces t join trace_texts x on x.trace_id = t.id
             where t.question_id = ?1 order by t.id"
        ))?;
        let mut rows = statement.query([question.0])?;
        let mut traces = Vec::new();
        while let Some(row) = rows.next()? {
            traces.push(trace(row, 0)?);
        }
        Ok(traces)
    }
}

fn domains(wanted: &ToJudge<'_>) -> Result<String> {
    serde_json::to_string(wanted.domains)
        .map_err(|error| Error::Decode { what: "domains", message: error.to_string() })
}
