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
    /// The body as received.
    pub body: Vec<u8>,
    /// Tokens of the prompt, as billed.
    pub prompt_tokens: u64,
    /// Tokens of the answer, as billed.
    pub completion_tokens: u64,
    /// What it cost, in US dollars.
    pub cost_usd: f64,
}

impl Store {
    /// Keeps replies in one transaction; those that are there stay.
    ///
    /// # Errors
    /// If the database refuses; then none was kept.
    pub fn add_judge_replies(&self, replies: &[JudgeReply]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert into judge_replies values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
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
                    now()
                ])?;
            }
            Ok(())
        })
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
