//! Statements about verdicts: one per trace and mode.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::questions::{QUESTION_COLUMNS, question};
use super::traces::{TRACE_COLUMNS, TRACE_WIDTH, trace};
use super::{Error, Result, Store, json, now};
use crate::records::{Mode, Question, Trace, TraceId, Unresolved, Verdict, VerdictRow};

/// Columns of a verdict, in the order [`verdict_row`] reads them.
const VERDICT_COLUMNS: &str = "trace_id, mode, verdict, why, verifier, version, detail";

/// How the verdicts of a mode compare with the strict ones of the same traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModeCount {
    /// Verdicts by name.
    pub verdicts: BTreeMap<String, u64>,
    /// Traces that have a strict verdict too.
    pub compared: u64,
    /// Correct by this mode, and not by the strict one.
    pub only_here: u64,
    /// Correct by the strict one, and not by this mode.
    pub only_strict: u64,
    /// Traces that could not be judged.
    pub unresolved: u64,
}

impl Store {
    /// Stores verdicts in one transaction, replacing older ones of the same traces and mode. A
    /// trace that is judged is no longer unresolved.
    ///
    /// # Errors
    /// If the database refuses; then none was stored.
    pub fn put_verdicts(&self, verdicts: &[VerdictRow]) -> Result<()> {
        self.transaction(|connection| {
            for row in verdicts {
                put(connection, row)?;
            }
            Ok(())
        })
    }

    /// Keeps traces that could not be judged, in one transaction.
    ///
    /// # Errors
    /// If the database refuses; then none was stored.
    pub fn put_unresolved(&self, rows: &[Unresolved]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection
                .prepare_cached("insert or replace into unresolved values (?1, ?2, ?3, ?4)")?;
            for row in rows {
                statement.execute(params![row.trace_id.0, row.mode.name(), row.why, now()])?;
            }
            Ok(())
        })
    }

    /// The traces that could not be judged by `mode`, and why.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn unresolved(&self, mode: Mode) -> Result<Vec<Unresolved>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select trace_id, why from unresolved where mode = ?1 order by trace_id")?;
        let rows = statement.query_map([mode.name()], |row| {
            Ok(Unresolved { trace_id: TraceId(row.get(0)?), mode, why: row.get(1)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The traces that could not be judged by `mode`.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn unresolved_traces(&self, mode: Mode) -> Result<HashSet<TraceId>> {
        Ok(self.unresolved(mode)?.into_iter().map(|row| row.trace_id).collect())
    }

    /// Traces after `after` without a verdict of `mode` by the current version of their verifier.
    /// `current` says which version of which verifier counts: pairs of name and version.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn traces_without_verdict(
        &self,
        mode: Mode,
        current: &[(&str, u32)],
        after: TraceId,
        limit: u32,
    ) -> Result<Vec<TraceId>> {
        let pairs = serde_json::to_string(current)
            .map_err(|error| Error::Decode { what: "versions", message: error.to_string() })?;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "select t.id from traces t
             where t.id > ?3 and not exists (
                 select 1 from verdicts v, json_each(?2) c where v.trace_id = t.id
                     and v.mode = ?1 and v.verifier = c.value ->> 0
                     and v.version = c.value ->> 1)
             order by t.id limit ?4",
        )?;
        let rows =
            statement.query_map(params![mode.name(), pairs, after.0, limit], |row| row.get(0))?;
        Ok(rows.map(|id| id.map(TraceId)).collect::<rusqlite::Result<_>>()?)
    }

    /// One trace with its question.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; else if the database refuses or it cannot be read.
    pub fn asked_and_answered(&self, id: TraceId) -> Result<(Question, Trace)> {
        let sql = format!(
            "select {TRACE_COLUMNS}, {QUESTION_COLUMNS}
             from traces t join trace_texts x on x.trace_id = t.id
             join questions q on q.id = t.question_id where t.id = ?1"
        );
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement
            .query_row([id.0], |row| {
                Ok(question(row, TRACE_WIDTH).and_then(|q| Ok((q, trace(row, 0)?))))
            })
            .optional()?;
        found.ok_or_else(|| Error::NotFound { what: "trace", id: id.to_string() })?
    }

    /// Who judged each trace that has a verdict of `mode`: name and version of the verifier.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn verifiers(&self, mode: Mode) -> Result<HashMap<TraceId, (String, u32)>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select trace_id, verifier, version from verdicts where mode = ?1")?;
        let rows = statement.query_map([mode.name()], |row| {
            Ok((TraceId(row.get(0)?), (row.get(1)?, row.get(2)?)))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The verdict of `mode` on one trace, if there is one.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn verdict(&self, trace_id: TraceId, mode: Mode) -> Result<Option<VerdictRow>> {
        let sql =
            format!("select {VERDICT_COLUMNS} from verdicts where trace_id = ?1 and mode = ?2");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement
            .query_row(params![trace_id.0, mode.name()], |row| Ok(verdict_row(row)))
            .optional()?;
        found.transpose()
    }

    /// Every verdict, of `mode` if given, by trace and mode. `visit` must not call the store: the
    /// connection is busy.
    ///
    /// # Errors
    /// If the database refuses, a row cannot be read, or `visit` fails.
    pub fn each_verdict<E: From<Error>>(
        &self,
        mode: Option<Mode>,
        mut visit: impl FnMut(VerdictRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "select {VERDICT_COLUMNS} from verdicts where ?1 is null or mode = ?1
             order by trace_id, mode"
        );
        let connection = self.lock();
        let mut statement = connection.prepare(&sql).map_err(Error::from)?;
        let mut rows = statement.query([mode.map(Mode::name)]).map_err(Error::from)?;
        while let Some(row) = rows.next().map_err(Error::from)? {
            visit(verdict_row(row)?)?;
        }
        Ok(())
    }

    /// How the verdicts of `mode` compare with the strict ones.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn mode_count(&self, mode: Mode) -> Result<ModeCount> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select verdict, count(*) from verdicts where mode = ?1 group by 1")?;
        let verdicts = statement.query_map([mode.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let verdicts = verdicts.collect::<rusqlite::Result<_>>()?;
        let mut count = connection.query_row(
            "select count(*),
                 count(*) filter (where m.verdict = 'correct' and s.verdict <> 'correct'),
                 count(*) filter (where m.verdict <> 'correct' and s.verdict = 'correct')
             from verdicts m join verdicts s on s.trace_id = m.trace_id and s.mode = 'strict'
             where m.mode = ?1",
            [mode.name()],
            |row| {
                Ok(ModeCount {
                    compared: row.get(0)?,
                    only_here: row.get(1)?,
                    only_strict: row.get(2)?,
                    ..ModeCount::default()
                })
            },
        )?;
        count.verdicts = verdicts;
        let sql = "select count(*) from unresolved where mode = ?1";
        count.unresolved = connection.query_row(sql, [mode.name()], |row| row.get(0))?;
        Ok(count)
    }

    /// Verdicts of `mode` on programs by comparator, and how many of them are `correct`.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn comparator_counts(&self, mode: Mode) -> Result<BTreeMap<String, (u64, u64)>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select comparator, count(*), count(*) filter (where verdict = 'correct')
             from verdicts where mode = ?1 and comparator is not null group by 1",
        )?;
        let rows = statement
            .query_map([mode.name()], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn put(connection: &Connection, row: &VerdictRow) -> Result<()> {
    connection
        .prepare_cached(
            "insert into verdicts
                 (trace_id, mode, verdict, why, verifier, version, detail, created_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             on conflict (trace_id, mode) do update set
                 verdict = excluded.verdict, why = excluded.why, verifier = excluded.verifier,
                 version = excluded.version, detail = excluded.detail,
                 created_at = excluded.created_at",
        )?
        .execute(params![
            row.trace_id.0,
            row.mode.name(),
            row.verdict.name(),
            row.verdict.why(),
            row.verifier,
            row.version,
            row.detail.to_string(),
            now()
        ])?;
    connection
        .prepare_cached("delete from unresolved where trace_id = ?1 and mode = ?2")?
        .execute(params![row.trace_id.0, row.mode.name()])?;
    Ok(())
}

fn verdict_row(row: &Row<'_>) -> Result<VerdictRow> {
    let bad = |message| Error::Decode { what: "verdict", message };
    let (mode, name, why): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let detail: String = row.get(6)?;
    Ok(VerdictRow {
        trace_id: TraceId(row.get(0)?),
        mode: Mode::from_name(&mode).ok_or_else(|| bad(format!("`{mode}` is no mode")))?,
        verdict: Verdict::from_parts(&name, why).map_err(bad)?,
        verifier: row.get(4)?,
        version: row.get(5)?,
        detail: json(&detail, "verdict detail")?,
    })
}
