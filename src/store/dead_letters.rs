//! Statements about dead letters: requests that an endpoint refused for good.

use std::collections::HashMap;

use rusqlite::params;

use super::{Result, Store, now};
use crate::records::{DeadLetter, QuestionId};

impl Store {
    /// Keeps dead letters in one transaction, replacing older ones of the same question, sample and
    /// model.
    ///
    /// # Errors
    /// If the database refuses; then none was kept.
    pub fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert or replace into dead_letters
                     (question_id, sample, model, request, why, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for letter in letters {
                statement.execute(params![
                    letter.question_id.0,
                    letter.sample,
                    letter.model,
                    letter.request,
                    letter.why,
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// The hash of the request that was refused, by question and sample.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn dead_letters(&self, model: &str) -> Result<HashMap<(QuestionId, u32), String>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select question_id, sample, request from dead_letters where model = ?1")?;
        let rows = statement
            .query_map([model], |row| Ok(((QuestionId(row.get(0)?), row.get(1)?), row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets the dead letters of `model`, so that they are asked again.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn forget_dead_letters(&self, model: &str) -> Result<()> {
        self.lock().execute("delete from dead_letters where model = ?1", [model])?;
        Ok(())
    }
}
