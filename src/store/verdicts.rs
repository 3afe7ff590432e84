//! Statements about verdicts.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::{Error, Result, Store, json, now};
use crate::records::{TraceId, Verdict, VerdictRow};

impl Store {
    /// Stores verdicts in one transaction, replacing older ones of the same traces.
    ///
    /// # Errors
    /// If the database refuses; then none was stored.
    pub fn put_verdicts(&self, verdicts: &[VerdictRow]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert or replace into verdicts
                     (trace_id, verdict, why, verifier, version, detail, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for row in verdicts {
                statement.execute(params![
                    row.trace_id.0,
                    row.verdict.name(),
                    row.verdict.why(),
                    row.verifier,
                    row.version,
                    row.detail.to_string(),
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// Who judged each trace that has a verdict: name and version of the verifier.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn verifiers(&self) -> Result<HashMap<TraceId, (String, u32)>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("select trace_id, verifier, version from verdicts")?;
        let rows = statement
            .query_map([], |row| Ok((TraceId(row.get(0)?), (row.get(1)?, row.get(2)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The verdict on one trace, if there is one.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn verdict(&self, trace_id: TraceId) -> Result<Option<VerdictRow>> {
        let connection = self.lock();
        let found = connection
            .query_row(
                "select verdict, why, verifier, version, detail from verdicts where trace_id = ?1",
                [trace_id.0],
                |row| {
                    let name: String = row.get(0)?;
                    let why: String = row.get(1)?;
                    let detail: String = row.get(4)?;
                    Ok((name, why, row.get(2)?, row.get(3)?, detail))
                },
            )
            .optional()?;
        let Some((name, why, verifier, version, detail)) = found else { return Ok(None) };
        let bad = |message| Error::Decode { what: "verdict", message };
        let verdict = Verdict::from_parts(&name, why).map_err(bad)?;
        let detail = json(&detail, "verdict detail")?;
        Ok(Some(VerdictRow { trace_id, verdict, verifier, version, detail }))
    }
}
