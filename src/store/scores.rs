//! Statements about samples and scores.

use std::collections::BTreeSet;

use rusqlite::{Row, params};

use super::{Result, Store, now, pack, unpack};
use crate::records::{Sample, Score};

impl Store {
    /// Adds samples of a protocol in one transaction; those that are there stay.
    ///
    /// # Errors
    /// If the database refuses; then none was added.
    pub fn add_samples(&self, protocol: &str, samples: &[Sample]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert into samples (model, benchmark, protocol, problem, sample, family, text,
                     answer, correct, tokens, finish_reason)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) on conflict do nothing",
            )?;
            for sample in samples {
                statement.execute(params![
                    sample.model,
                    sample.benchmark,
                    protocol,
                    sample.problem,
                    sample.sample,
                    sample.family,
                    pack(&sample.text)?,
                    sample.answer,
                    sample.correct,
                    sample.tokens,
                    sample.finish_reason
                ])?;
            }
            Ok(())
        })
    }

    /// Every sample of one model, benchmark and protocol, by problem and sample.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn samples(&self, model: &str, benchmark: &str, protocol: &str) -> Result<Vec<Sample>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select model, benchmark, problem, family, sample, text, answer, correct, tokens,
                 finish_reason
             from samples where model = ?1 and benchmark = ?2 and protocol = ?3
             order by problem, sample",
        )?;
        let mut rows = statement.query([model, benchmark, protocol])?;
        let mut samples = Vec::new();
        while let Some(row) = rows.next()? {
            samples.push(sample(row)?);
        }
        Ok(samples)
    }

    /// The pairs of problem and sample that are there: what need not be asked again.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn sampled(
        &self,
        model: &str,
        benchmark: &str,
        protocol: &str,
    ) -> Result<BTreeSet<(String, u32)>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select problem, sample from samples
             where model = ?1 and benchmark = ?2 and protocol = ?3",
        )?;
        let rows = statement
            .query_map([model, benchmark, protocol], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Stores scores in one transaction, replacing older ones of the same cells.
    ///
    /// # Errors
    /// If the database refuses; then none was stored.
    pub fn put_scores(&self, protocol: &str, scores: &[Score]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert or replace into scores
                     (model, benchmark, protocol, mean, standard_error, n, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for score in scores {
                statement.execute(params![
                    score.model,
                    score.benchmark,
                    protocol,
                    score.mean,
                    score.standard_error,
                    score.n,
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// The whole score table, by benchmark and model.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn scores(&self) -> Result<Vec<Score>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select model, benchmark, mean, standard_error, n from scores order by 2, 1",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Score {
                model: row.get(0)?,
                benchmark: row.get(1)?,
                mean: row.get(2)?,
                standard_error: row.get(3)?,
                n: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn sample(row: &Row<'_>) -> Result<Sample> {
    Ok(Sample {
        model: row.get(0)?,
        benchmark: row.get(1)?,
        problem: row.get(2)?,
        family: row.get(3)?,
        sample: row.get(4)?,
        text: unpack(&row.get::<_, Vec<u8>>(5)?)?,
        answer: row.get(6)?,
        correct: row.get(7)?,
        tokens: row.get(8)?,
        finish_reason: row.get(9)?,
    })
}
