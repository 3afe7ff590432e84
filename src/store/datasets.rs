//! Statements about datasets and their examples.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Result, Store, now};
use crate::records::{Arm, Dataset, DatasetId, Mode, TraceId};

const COLUMNS: &str = "id, name, arm, hash, rows, path, created_at, verdicts";

fn dataset(row: &Row<'_>) -> rusqlite::Result<Dataset> {
    let arm: String = row.get(2)?;
    Ok(Dataset {
        id: DatasetId(row.get(0)?),
        name: row.get(1)?,
        arm: if arm == Arm::Verified.name() { Arm::Verified } else { Arm::Unverified },
        hash: row.get(3)?,
        rows: row.get(4)?,
        path: row.get(5)?,
        created_at: row.get(6)?,
        verdicts: Mode::from_name(&row.get::<_, String>(7)?).unwrap_or_default(),
    })
}

impl Store {
    /// Adds a dataset with its examples in order, or returns the one that has the same hash.
    ///
    /// # Errors
    /// If the database refuses; then nothing was added.
    pub fn add_dataset(
        &self,
        (name, arm, verdicts): (&str, Arm, Mode),
        hash: &str,
        path: &str,
        traces: &[TraceId],
    ) -> Result<Dataset> {
        self.transaction(|connection| {
            let sql = format!("select {COLUMNS} from datasets where hash = ?1");
            if let Some(found) = connection.query_row(&sql, [hash], dataset).optional()? {
                return Ok(found);
            }
            connection.execute(
                "insert into datasets (name, arm, hash, rows, path, created_at, verdicts)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![name, arm.name(), hash, traces.len() as i64, path, now(), verdicts.name()],
            )?;
            let id = connection.last_insert_rowid();
            let mut statement =
                connection.prepare("insert into dataset_examples values (?1, ?2, ?3)")?;
            for (position, trace) in traces.iter().enumerate() {
                statement.execute(params![id, position as i64, trace.0])?;
            }
            drop(statement);
            Ok(connection.query_row(&sql, [hash], dataset)?)
        })
    }

    /// Every dataset, newest first.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn datasets(&self) -> Result<Vec<Dataset>> {
        let connection = self.lock();
        let sql = format!("select {COLUMNS} from datasets order by id desc");
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], dataset)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One dataset.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn dataset(&self, id: DatasetId) -> Result<Dataset> {
        let sql = format!("select {COLUMNS} from datasets where id = ?1");
        let found = self.lock().query_row(&sql, [id.0], dataset).optional()?;
        found.ok_or_else(|| Error::NotFound { what: "dataset", id: id.to_string() })
    }

    /// The traces of a dataset, in its order.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn dataset_traces(&self, id: DatasetId) -> Result<Vec<TraceId>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select trace_id from dataset_examples where dataset_id = ?1 order by position",
        )?;
        let rows = statement.query_map([id.0], |row| Ok(TraceId(row.get(0)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
