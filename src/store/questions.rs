//! Statements about questions.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{Error, Result, Store, pack, unpack};
use crate::records::{Domain, NewQuestion, Question, QuestionId, Split, Tests};

/// Which questions are wanted; empty fields want all.
#[derive(Debug, Clone, Default)]
pub struct QuestionFilter {
    /// Only this split.
    pub split: Option<Split>,
    /// Only this source.
    pub source: Option<String>,
    /// Only this domain.
    pub domain: Option<Domain>,
}

/// How many questions there are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuestionCount {
    /// `train` or `held_out`.
    pub split: String,
    /// What they are about.
    pub domain: String,
    /// Where they come from.
    pub source: String,
    /// The finer grouping.
    pub family: String,
    /// How many.
    pub count: u64,
}

/// Columns of a question, in the order [`question`] reads them.
pub(super) const QUESTION_COLUMNS: &str = "q.id, q.source, q.key, q.domain, q.family, q.split, \
     q.problem, q.reference, q.tests, q.starter_code";

/// Reads a question from `row`, beginning at column `at`.
pub(super) fn question(row: &Row<'_>, at: usize) -> Result<Question> {
    let bad = |message: String| Error::Decode { what: "question", message };
    let domain: String = row.get(at + 3)?;
    let split: String = row.get(at + 5)?;
    let tests: Option<Vec<u8>> = row.get(at + 8)?;
    let tests: Option<Tests> = match tests {
        Some(blob) => {
            Some(serde_json::from_str(&unpack(&blob)?).map_err(|error| bad(error.to_string()))?)
        }
        None => None,
    };
    let content = NewQuestion {
        key: row.get(at + 2)?,
        domain: domain.parse().map_err(bad)?,
        source: row.get(at + 1)?,
        family: row.get(at + 4)?,
        split: if split == Split::Train.name() { Split::Train } else { Split::HeldOut },
        problem: unpack(&row.get::<_, Vec<u8>>(at + 6)?)?,
        reference: row.get(at + 7)?,
        tests,
        starter_code: row.get(at + 9)?,
    };
    Ok(Question { id: QuestionId(row.get(at)?), content })
}

impl Store {
    /// Questions after `after`, in the order in which they were imported.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn questions_page(
        &self,
        filter: &QuestionFilter,
        after: QuestionId,
        limit: u32,
    ) -> Result<Vec<Question>> {
        let sql = format!(
            "select {QUESTION_COLUMNS} from questions q
             where q.id > ?1 and (?2 is null or q.split = ?2) and (?3 is null or q.source = ?3)
                 and (?4 is null or q.domain = ?4)
             order by q.id limit ?5"
        );
        let connection = self.lock();
        let mut statement = connection.prepare(&sql)?;
        let split = filter.split.map(Split::name);
        let domain = filter.domain.map(Domain::name);
        let mut rows = statement.query(params![after.0, split, filter.source, domain, limit])?;
        let mut questions = Vec::new();
        while let Some(row) = rows.next()? {
            questions.push(question(row, 0)?);
        }
        Ok(questions)
    }

    /// Adds the questions that are not there yet, in one transaction; says how many were new.
    ///
    /// # Errors
    /// If the database refuses; then none was added.
    pub fn add_questions(&self, questions: &[NewQuestion]) -> Result<u64> {
        self.transaction(|connection| {
            let mut added = 0;
            for question in questions {
                added += insert(connection, question)?;
            }
            Ok(added)
        })
    }

    /// The questions that `filter` wants, by id.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn questions(&self, filter: &QuestionFilter) -> Result<Vec<Question>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "select {QUESTION_COLUMNS} from questions q
             where (?1 is null or q.split = ?1) and (?2 is null or q.source = ?2)
               and (?3 is null or q.domain = ?3)
             order by q.id"
        ))?;
        let mut rows = statement.query(params![
            filter.split.map(Split::name),
            filter.source,
            filter.domain.map(Domain::name)
        ])?;
        let mut questions = Vec::new();
        while let Some(row) = rows.next()? {
            questions.push(question(row, 0)?);
        }
        Ok(questions)
    }

    /// One question.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn question(&self, id: QuestionId) -> Result<Question> {
        let connection = self.lock();
        let sql = format!("select {QUESTION_COLUMNS} from questions q where q.id = ?1");
        let found = connection.query_row(&sql, [id.0], |row| Ok(question(row, 0))).optional()?;
        found.ok_or_else(|| Error::NotFound { what: "question", id: id.to_string() })?
    }

    /// How many questions there are, by split, domain, source and family.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn question_counts(&self) -> Result<Vec<QuestionCount>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select split, domain, source, family, count(*) from questions
             group by 1, 2, 3, 4 order by 1, 2, 3, 4",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(QuestionCount {
                split: row.get(0)?,
                domain: row.get(1)?,
                source: row.get(2)?,
                family: row.get(3)?,
                count: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn insert(connection: &Connection, question: &NewQuestion) -> Result<u64> {
    let tests = match &question.tests {
        Some(tests) => Some(pack(
            &serde_json::to_string(tests)
                .map_err(|error| Error::Decode { what: "tests", message: error.to_string() })?,
        )?),
        None => None,
    };
    let mut statement = connection.prepare_cached(
        "insert into questions
             (source, key, domain, family, split, problem, reference, tests, starter_code)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         on conflict (source, key) do nothing",
    )?;
    let added = statement.execute(params![
        question.source,
        question.key,
        question.domain.name(),
        question.family,
        question.split.name(),
        pack(&question.problem)?,
        question.reference,
        tests,
        question.starter_code,
    ])?;
    Ok(added as u64)
}
