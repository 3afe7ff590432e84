//! Statements about jobs and plans. Every change of a job is also an event, in one transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events::add_event;
use super::{Error, Result, Store, json, now};
use crate::records::{Job, JobId, JobKind, JobProgress, JobState, PlanId, PlanRow};

/// A job that has no row yet.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The recipe run it belongs to.
    pub plan_id: Option<PlanId>,
    /// What it does.
    pub kind: JobKind,
    /// Its stage's resolved configuration.
    pub config: serde_json::Value,
}

const COLUMNS: &str = "id, plan_id, kind, config, state, done, total, note, pid, error, hint, \
     summary, inputs, created_at, started_at, finished_at";

fn job(row: &Row<'_>) -> Result<Job> {
    let bad = |name: &str| Error::Decode { what: "job", message: format!("unknown `{name}`") };
    let kind: String = row.get(2)?;
    let config: String = row.get(3)?;
    let state: String = row.get(4)?;
    let summary: Option<String> = row.get(11)?;
    Ok(Job {
        id: JobId(row.get(0)?),
        plan_id: row.get::<_, Option<i64>>(1)?.map(PlanId),
        kind: JobKind::from_name(&kind).ok_or_else(|| bad(&kind))?,
        config: json(&config, "job")?,
        state: JobState::from_name(&state).ok_or_else(|| bad(&state))?,
        progress: JobProgress { done: row.get(5)?, total: row.get(6)?, note: row.get(7)? },
        pid: row.get(8)?,
        error: row.get(9)?,
        hint: row.get(10)?,
        summary: summary.map(|text| json(&text, "job summary")).transpose()?,
        inputs: row.get(12)?,
        created_at: row.get(13)?,
        started_at: row.get(14)?,
        finished_at: row.get(15)?,
    })
}

fn find(connection: &Connection, id: JobId) -> Result<Job> {
    let sql = format!("select {COLUMNS} from jobs where id = ?1");
    let found = connection.query_row(&sql, [id.0], |row| Ok(job(row))).optional()?;
    found.ok_or_else(|| Error::NotFound { what: "job", id: id.to_string() })?
}

fn announce(connection: &Connection, id: JobId) -> Result<Job> {
    let job = find(connection, id)?;
    let data = serde_json::to_value(&job)
        .map_err(|error| Error::Decode { what: "job", message: error.to_string() })?;
    add_event(connection, "job", &data)?;
    Ok(job)
}

impl Store {
    /// Stores a resolved plan, or returns the one that is equal.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_plan(&self, recipe: &str, plan: &serde_json::Value, hash: &str) -> Result<PlanRow> {
        self.transaction(|connection| {
            connection.execute(
                "insert into plans (recipe, plan, hash, created_at) values (?1, ?2, ?3, ?4)
                 on conflict (hash) do nothing",
                params![recipe, plan.to_string(), hash, now()],
            )?;
            let sql = "select id, recipe, plan, created_at from plans where hash = ?1";
            connection.query_row(sql, [hash], |row| Ok(plan_row(row)))?
        })
    }

    /// The plan that was added last, if there is one.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn newest_plan(&self) -> Result<Option<PlanRow>> {
        let sql = "select id, recipe, plan, created_at from plans order by id desc limit 1";
        self.lock().query_row(sql, [], |row| Ok(plan_row(row))).optional()?.transpose()
    }

    /// Queues jobs in order, in one transaction.
    ///
    /// # Errors
    /// If the database refuses; then none was queued.
    pub fn add_jobs(&self, jobs: &[NewJob]) -> Result<Vec<Job>> {
        self.transaction(|connection| {
            let mut added = Vec::new();
            for new in jobs {
                connection.execute(
                    "insert into jobs (plan_id, kind, config, state, created_at)
                     values (?1, ?2, ?3, 'queued', ?4)",
                    params![
                        new.plan_id.map(|id| id.0),
                        new.kind.name(),
                        new.config.to_string(),
                        now()
                    ],
                )?;
                added.push(announce(connection, JobId(connection.last_insert_rowid()))?);
            }
            Ok(added)
        })
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub fn job(&self, id: JobId) -> Result<Job> {
        find(&self.lock(), id)
    }

    /// Jobs, newest first: at most `limit`, only those before `before` if given.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn jobs(&self, limit: u32, before: Option<JobId>) -> Result<Vec<Job>> {
        let connection = self.lock();
        let sql = format!(
            "select {COLUMNS} from jobs where ?1 is null or id < ?1 order by id desc limit ?2"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params![before.map(|id| id.0), limit])?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next()? {
            jobs.push(job(row)?);
        }
        Ok(jobs)
    }

    /// Jobs of one plan, in order.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn plan_jobs(&self, plan: PlanId) -> Result<Vec<Job>> {
        let connection = self.lock();
        let sql = format!("select {COLUMNS} from jobs where plan_id = ?1 order by id");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([plan.0])?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next()? {
            jobs.push(job(row)?);
        }
        Ok(jobs)
    }

    /// Jobs in one of `states`, oldest first.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn jobs_in(&self, states: &[JobState]) -> Result<Vec<Job>> {
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        let names = serde_json::Value::from(names).to_string();
        let connection = self.lock();
        let sql = format!(
            "select {COLUMNS} from jobs
             where state in (select value from json_each(?1)) order by id"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([names])?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next()? {
            jobs.push(job(row)?);
        }
        Ok(jobs)
    }

    /// Moves a job to `to` if it is in one of `from`; says whether it was.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn move_job(&self, id: JobId, from: &[JobState], to: JobState) -> Result<bool> {
        let names: Vec<&str> = from.iter().map(|state| state.name()).collect();
        let names = serde_json::Value::from(names).to_string();
        self.transaction(|connection| {
            let time = now();
            let started = (to == JobState::Running).then_some(&time);
            let finished = to.is_over().then_some(&time);
            let moved = connection.execute(
                "update jobs set state = ?2, started_at = coalesce(?4, started_at),
                     finished_at = ?5, pid = case when ?5 is null then pid end
                 where id = ?1 and state in (select value from json_each(?3))",
                params![id.0, to.name(), names, started, finished],
            )?;
            if moved == 1 {
                announce(connection, id)?;
            }
            Ok(moved == 1)
        })
    }

    /// Notes the process that works on a job.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_job_pid(&self, id: JobId, pid: u32) -> Result<()> {
        self.transaction(|connection| {
            connection.execute("update jobs set pid = ?2 where id = ?1", params![id.0, pid])?;
            announce(connection, id)?;
            Ok(())
        })
    }

    /// Notes how far a job is.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_job_progress(&self, id: JobId, progress: &JobProgress) -> Result<()> {
        self.transaction(|connection| {
            connection.execute(
                "update jobs set done = ?2, total = ?3, note = ?4 where id = ?1",
                params![id.0, progress.done, progress.total, progress.note],
            )?;
            announce(connection, id)?;
            Ok(())
        })
    }

    /// Ends a job well: what its stage counted, and the fingerprint of what it read.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn finish_job(&self, id: JobId, summary: &serde_json::Value, inputs: &str) -> Result<()> {
        self.transaction(|connection| {
            connection.execute(
                "update jobs set state = 'done', summary = ?2, inputs = ?3, finished_at = ?4,
                     pid = null, error = null, hint = null
                 where id = ?1 and state in ('running', 'stopping')",
                params![id.0, summary.to_string(), inputs, now()],
            )?;
            announce(connection, id)?;
            Ok(())
        })
    }

    /// Stores why a job failed, with its hint.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_job_error(&self, id: JobId, error: &str, hint: Option<&str>) -> Result<()> {
        self.transaction(|connection| {
            connection.execute(
                "update jobs set error = ?2, hint = ?3 where id = ?1",
                params![id.0, error, hint],
            )?;
            announce(connection, id)?;
            Ok(())
        })
    }

    /// Stores what a job counted that could not finish.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_job_summary(&self, id: JobId, summary: &serde_json::Value) -> Result<()> {
        self.transaction(|connection| {
            let sql = "update jobs set summary = ?2 where id = ?1";
            connection.execute(sql, params![id.0, summary.to_string()])?;
            announce(connection, id)?;
            Ok(())
        })
    }

    /// Queues a job again that is over, forgetting its error.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn requeue_job(&self, id: JobId) -> Result<Job> {
        self.transaction(|connection| {
            connection.execute(
                "update jobs set state = 'queued', error = null, hint = null, summary = null,
                     inputs = null, started_at = null, finished_at = null, pid = null,
                     done = 0, total = 0, note = ''
                 where id = ?1 and state in ('done', 'failed', 'cancelled', 'interrupted')",
                [id.0],
            )?;
            announce(connection, id)
        })
    }
}

fn plan_row(row: &Row<'_>) -> Result<PlanRow> {
    let plan: String = row.get(2)?;
    Ok(PlanRow {
        id: PlanId(row.get(0)?),
        recipe: row.get(1)?,
        plan: json(&plan, "plan")?,
        created_at: row.get(3)?,
    })
}
