//! Statements about judges: their replies, which are never paid for twice, and what follows.

use rusqlite::{OptionalExtension, params};

use super::{Error, Result, Store, json, now};
use crate::records::{Judgement, TraceId, Verdict};

/// A judge's reply as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeReply {
    /// Hash of what was asked, and of whom.
    pub key: String,
    /// The judge's name at its endpoint.
    pub model: String,
    /// Where it answers, without secrets.
    pub endpoint: String,
    /// The body as received.
    pub body: Vec<u8>,
    /// Tokens of the prompt, as billed.
    pub prompt_tokens: u64,
    /// Tokens of the answer, as billed.
    pub completion_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
}

/// What was spent at one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Which; empty for judges' replies that were kept before that was noted.
    pub endpoint: String,
    /// Traces from there.
    pub traces: u64,
    /// Judges' replies from there.
    pub judge_replies: u64,
    /// What teachers cost there, in US dollars.
    pub teachers_usd: f64,
    /// What judges cost there, in US dollars.
    pub judges_usd: f64,
}

impl Store {
    /// Keeps replies in one transaction; those that are there stay.
    ///
    /// # Errors
    /// If the database refuses; then none was kept.
    pub fn add_judge_replies(&self, replies: &[JudgeReply]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert into judge_replies values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 on conflict (key) do nothing",
            )?;
            for reply in replies {
                let body = zstd::bulk::compress(&reply.body, 3)
                    .map_err(|error| Error::Decode { what: "reply", message: error.to_string() })?;
                statement.execute(params![
                    reply.key,
                    reply.model,
                    body,
                    reply.prompt_tokens,
                    reply.completion_tokens,
                    reply.cost_usd,
                    now(),
                    reply.endpoint
                ])?;
            }
            Ok(())
        })
    }

    /// What was spent where, by teachers and by judges; in the order of the endpoints' names.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn ledger(&self) -> Result<Vec<Spent>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select endpoint, sum(teachers), sum(judges), sum(teachers_usd), sum(judges_usd) from (
                 select endpoint, count(*) as teachers, 0 as judges, sum(cost_usd) as teachers_usd,
                     0.0 as judges_usd from traces group by endpoint
                 union all
                 select endpoint, 0, count(*), 0.0, sum(cost_usd) from judge_replies group by endpoint
             ) group by endpoint order by endpoint",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Spent {
                endpoint: row.get(0)?,
                traces: row.get(1)?,
                judge_replies: row.get(2)?,
                teachers_usd: row.get(3)?,
                judges_usd: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The body of the reply to what has this hash, byte for byte.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn judge_reply(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("select body from judge_replies where key = ?1")?;
        let found: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
        let unpacked = found.map(|blob| zstd::stream::decode_all(blob.as_slice())).transpose();
        unpacked.map_err(|error| Error::Decode { what: "reply", message: error.to_string() })
    }

    /// What judges have cost so far, in US dollars.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn judges_cost_usd(&self) -> Result<f64> {
        let sql = "select coalesce(sum(cost_usd), 0.0) from judge_replies";
        Ok(self.lock().query_row(sql, [], |row| row.get(0))?)
    }

    /// The salt of this folder: `fresh` if it has none yet.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn judge_salt(&self, fresh: &str) -> Result<String> {
        self.transaction(|connection| {
            connection.execute(
                "insert into judge_salts values (1, ?1) on conflict (id) do nothing",
                [fresh],
            )?;
            let sql = "select salt from judge_salts where id = 1";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })
    }

    /// Stores judgements in one transaction, replacing older ones of the same traces.
    ///
    /// # Errors
    /// If the database refuses; then none was stored.
    pub fn put_judgements(&self, judgements: &[Judgement]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert or replace into judgements values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for judgement in judgements {
                statement.execute(params![
                    judgement.trace_id.0,
                    judgement.verdict.name(),
                    judgement.verdict.why(),
                    judgement.verifier,
                    judgement.version,
                    judgement.settings,
                    judgement.detail.to_string(),
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// What a judge or a majority says of a trace, if one was asked.
    ///
    /// # Errors
    /// If the database refuses or the row cannot be read.
    pub fn judgement(&self, trace_id: TraceId) -> Result<Option<Judgement>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "select verdict, why, verifier, version, settings, detail
             from judgements where trace_id = ?1",
        )?;
        let mut rows = statement.query([trace_id.0])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (name, why, detail): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(5)?);
        let bad = |message| Error::Decode { what: "judgement", message };
        Ok(Some(Judgement {
            trace_id,
            verdict: Verdict::from_parts(&name, why).map_err(bad)?,
            verifier: row.get(2)?,
            version: row.get(3)?,
            settings: row.get(4)?,
            detail: json(&detail, "judgement detail")?,
        }))
    }
}
