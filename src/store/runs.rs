//! Statements about training runs, their steps and checkpoints.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Result, Store, json, now};
use crate::records::{Checkpoint, DatasetId, Model, Run, RunId, RunState, Step};

/// A run that has no row yet.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// For people and for the score table.
    pub name: String,
    /// What it is trained on, if that is a dataset of ours.
    pub dataset_id: Option<DatasetId>,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// SHA-256 of configuration and data, hex: the same run is resumed, not repeated.
    pub hash: String,
    /// Optimizer steps in total.
    pub steps_total: u64,
    /// Folder, relative to the data folder or absolute.
    pub path: String,
}

/// The run whose model answers where no model is named; without it, the newest.
const SERVED: &str = "verified";

/// The folder of a finished run's model, inside the run's.
const FINAL: &str = "final";

const COLUMNS: &str = "id, name, dataset_id, config, state, steps_total, path, created_at";

fn run(row: &Row<'_>) -> Result<Run> {
    let config: String = row.get(3)?;
    let state: String = row.get(4)?;
    Ok(Run {
        id: RunId(row.get(0)?),
        name: row.get(1)?,
        dataset_id: row.get::<_, Option<i64>>(2)?.map(DatasetId),
        config: json(&config, "run")?,
        state: if state == RunState::Done.name() { RunState::Done } else { RunState::Running },
        steps_total: row.get(5)?,
        path: row.get(6)?,
        created_at: row.get(7)?,
    })
}

impl Store {
    /// Adds a run, or returns the one that has the same hash.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_run(&self, new: &NewRun) -> Result<Run> {
        self.transaction(|connection| {
            connection.execute(
                "insert into runs (name, dataset_id, config, hash, state, steps_total, path,
                     created_at)
                 values (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7) on conflict (hash) do nothing",
                params![
                    new.name,
                    new.dataset_id.map(|id| id.0),
                    new.config.to_string(),
                    new.hash,
                    new.steps_total,
                    new.path,
                    now()
                ],
            )?;
            let sql = format!("select {COLUMNS} from runs where hash = ?1");
            connection.query_row(&sql, [&new.hash], |row| Ok(run(row)))?
        })
    }

    /// Marks a run as finished.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn finish_run(&self, id: RunId) -> Result<()> {
        self.lock().execute("update runs set state = 'done' where id = ?1", [id.0])?;
        Ok(())
    }

    /// Marks a run as one that has steps left, again.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn reopen_run(&self, id: RunId) -> Result<()> {
        self.lock().execute("update runs set state = 'running' where id = ?1", [id.0])?;
        Ok(())
    }

    /// Every run, newest first.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let connection = self.lock();
        let sql = format!("select {COLUMNS} from runs order by id desc");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            runs.push(run(row)?);
        }
        Ok(runs)
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn run(&self, id: RunId) -> Result<Run> {
        let sql = format!("select {COLUMNS} from runs where id = ?1");
        let found = self.lock().query_row(&sql, [id.0], |row| Ok(run(row))).optional()?;
        found.ok_or_else(|| Error::NotFound { what: "run", id: id.to_string() })?
    }

    /// The newest run called `name`, if there is one.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn run_named(&self, name: &str) -> Result<Option<Run>> {
        let sql = format!("select {COLUMNS} from runs where name = ?1 order by id desc limit 1");
        self.lock().query_row(&sql, [name], |row| Ok(run(row))).optional()?.transpose()
    }

    /// The models of finished runs, the newest of each name; the one that answers where none is
    /// named comes first, then the newest.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn models(&self) -> Result<Vec<Model>> {
        let mut models: Vec<Model> = Vec::new();
        for run in self.runs()? {
            let path = format!("{}/{FINAL}", run.path.trim_end_matches('/'));
            let is_there = self.absolute(&path).join("config.json").is_file();
            let is_new = models.iter().all(|model| model.name != run.name);
            if run.state == RunState::Done && is_there && is_new {
                let Run { id: run_id, name, created_at, .. } = run;
                models.push(Model { name, run_id, path, created_at });
            }
        }
        // Stable: the others stay in their order.
        models.sort_by_key(|model| model.name != SERVED);
        Ok(models)
    }

    /// Adds steps in one transaction, replacing those that a resumed run repeats.
    ///
    /// # Errors
    /// If the database refuses; then none was added.
    pub fn put_steps(&self, id: RunId, steps: &[Step]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement =
                connection.prepare_cached("insert or replace into steps values (?1, ?2, ?3)")?;
            for step in steps {
                let data = serde_json::to_string(step)
                    .map_err(|error| Error::Decode { what: "step", message: error.to_string() })?;
                statement.execute(params![id.0, step.step, data])?;
            }
            Ok(())
        })
    }

    /// Forgets steps from `first` on: a resumed run makes them again.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn drop_steps_from(&self, id: RunId, first: u64) -> Result<()> {
        let sql = "delete from steps where run_id = ?1 and step >= ?2";
        self.lock().execute(sql, params![id.0, first])?;
        Ok(())
    }

    /// Steps of a run from `first` on, in order.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn steps(&self, id: RunId, first: u64) -> Result<Vec<Step>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select data from steps where run_id = ?1 and step >= ?2 order by step")?;
        let rows = statement.query_map(params![id.0, first], |row| row.get::<_, String>(0))?;
        let mut steps = Vec::new();
        for data in rows {
            let step = serde_json::from_str(&data?)
                .map_err(|error| Error::Decode { what: "step", message: error.to_string() })?;
            steps.push(step);
        }
        Ok(steps)
    }

    /// The last step of a run, if it has made one.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn last_step(&self, id: RunId) -> Result<Option<Step>> {
        let sql = "select data from steps where run_id = ?1 order by step desc limit 1";
        let connection = self.lock();
        let data: Option<String> =
            connection.query_row(sql, [id.0], |row| row.get(0)).optional()?;
        let bad =
            |error: serde_json::Error| Error::Decode { what: "step", message: error.to_string() };
        data.map(|data| serde_json::from_str(&data).map_err(bad)).transpose()
    }

    /// Adds a complete checkpoint.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.lock().execute(
            "insert or replace into checkpoints values (?1, ?2, ?3)",
            params![checkpoint.run_id.0, checkpoint.step, checkpoint.path],
        )?;
        Ok(())
    }

    /// Forgets a checkpoint whose folder is gone.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn drop_checkpoint(&self, id: RunId, step: u64) -> Result<()> {
        let sql = "delete from checkpoints where run_id = ?1 and step = ?2";
        self.lock().execute(sql, params![id.0, step])?;
        Ok(())
    }

    /// Forgets the checkpoints with more than `step` steps: the run makes them again.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn drop_checkpoints_after(&self, id: RunId, step: u64) -> Result<()> {
        let sql = "delete from checkpoints where run_id = ?1 and step > ?2";
        self.lock().execute(sql, params![id.0, step])?;
        Ok(())
    }

    /// Checkpoints of a run, oldest first.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn checkpoints(&self, id: RunId) -> Result<Vec<Checkpoint>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("select step, path from checkpoints where run_id = ?1 order by step")?;
        let rows = statement.query_map([id.0], |row| {
            Ok(Checkpoint { run_id: id, step: row.get(0)?, path: row.get(1)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
