//! Statements about replies and traces.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::decided::{DECIDED_JOINS, DECIDED_VERDICT, DECIDED_WHY, decided_joins};
use super::questions::{QUESTION_COLUMNS, question};
use super::{Error, Result, Store, now, pack, unpack};
use crate::records::{
    Example, FinishReason, Mode, NewTrace, Question, QuestionId, Reply, Trace, TraceId, Verdict,
};

/// A trace that is still missing.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItem {
    /// What to ask.
    pub question: Question,
    /// Which sample.
    pub sample: u32,
}

/// Which traces are wanted, and with whose verdicts; empty fields want all.
#[derive(Debug, Clone, Default)]
pub struct TraceFilter {
    /// Only this model's.
    pub model: Option<String>,
    /// Only those of this source of questions.
    pub source: Option<String>,
    /// Whose verdicts come with them.
    pub mode: Mode,
}

/// How many traces there are, by verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TraceCounts {
    /// All traces.
    pub traces: u64,
    /// Cut off by the token limit.
    pub truncated: u64,
    /// Judged correct.
    pub correct: u64,
    /// Judged wrong.
    pub wrong: u64,
    /// No verifier can decide.
    pub unchecked: u64,
    /// No answer found.
    pub unreadable: u64,
}

/// Columns of a trace, in the order [`trace`] reads them.
pub(super) const TRACE_COLUMNS: &str = "t.id, t.question_id, t.sample, t.model, t.endpoint, t.finish_reason, \
     t.prompt_tokens, t.completion_tokens, t.cost_usd, t.attempts, x.reasoning, x.solution";

/// Which examples there are, in order. Cross joins keep this order of tables, and with it both
/// unique indices give the rows sorted: a sort would carry every text.
fn examples(mode: Mode) -> String {
    let joins = decided_joins(mode);
    format!(
        "from questions q cross join traces t on t.question_id = q.id
         cross join trace_texts x on x.trace_id = t.id {joins}
         where (?1 is null or t.model = ?1) and (?2 is null or q.source = ?2)
         order by q.source, q.key, t.sample, t.model"
    )
}

/// How many columns [`TRACE_COLUMNS`] names.
pub(super) const TRACE_WIDTH: usize = 12;

/// How many columns a question takes.
const QUESTION_WIDTH: usize = 10;

pub(super) fn trace(row: &Row<'_>, at: usize) -> Result<Trace> {
    let finish: String = row.get(at + 5)?;
    let content = NewTrace {
        question_id: QuestionId(row.get(at + 1)?),
        sample: row.get(at + 2)?,
        model: row.get(at + 3)?,
        endpoint: row.get(at + 4)?,
        finish_reason: FinishReason::from_name(&finish),
        prompt_tokens: row.get(at + 6)?,
        completion_tokens: row.get(at + 7)?,
        cost_usd: row.get(at + 8)?,
        attempts: row.get(at + 9)?,
        reasoning: unpack(&row.get::<_, Vec<u8>>(at + 10)?)?,
        solution: unpack(&row.get::<_, Vec<u8>>(at + 11)?)?,
    };
    Ok(Trace { id: TraceId(row.get(at)?), content })
}

impl Store {
    /// Keeps what came over the wire. Call before parsing it.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_reply(&self, reply: &Reply) -> Result<()> {
        self.add_replies(std::slice::from_ref(reply))
    }

    /// Keeps several replies in one transaction.
    ///
    /// # Errors
    /// If the database refuses; then none was kept.
    pub fn add_replies(&self, replies: &[Reply]) -> Result<()> {
        self.transaction(|connection| {
            let mut statement = connection.prepare_cached(
                "insert into replies
                     (question_id, sample, model, attempt, status, body, received_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for reply in replies {
                let body = zstd::bulk::compress(&reply.body, 3)
                    .map_err(|error| Error::Decode { what: "reply", message: error.to_string() })?;
                statement.execute(params![
                    reply.question_id.0,
                    reply.sample,
                    reply.model,
                    reply.attempt,
                    reply.status,
                    body,
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// The stored replies of `model` with status 200 that no trace was made of, newest per question and sample
    /// last: what a crash between storing and parsing left behind.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn unparsed_replies(&self, model: &str) -> Result<Vec<Reply>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select r.question_id, r.sample, r.model, r.attempt, r.status, r.body
             from replies r where r.model = ?1 and r.status = 200 and not exists (
                 select 1 from traces t where t.question_id = r.question_id
                     and t.sample = r.sample and t.model = ?1)
             order by r.id",
        )?;
        let mut rows = statement.query([model])?;
        let mut replies = Vec::new();
        while let Some(row) = rows.next()? {
            let blob: Vec<u8> = row.get(5)?;
            replies.push(Reply {
                question_id: QuestionId(row.get(0)?),
                sample: row.get(1)?,
                model: row.get(2)?,
                attempt: row.get(3)?,
                status: row.get(4)?,
                body: zstd::stream::decode_all(blob.as_slice())
                    .map_err(|error| Error::Decode { what: "reply", message: error.to_string() })?,
            });
        }
        Ok(replies)
    }

    /// Adds a trace unless its question, sample and model have one; says whether it was new.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_trace(&self, trace: &NewTrace) -> Result<bool> {
        Ok(self.add_traces(std::slice::from_ref(trace))? == 1)
    }

    /// Adds several traces in one transaction; says how many were new.
    ///
    /// # Errors
    /// If the database refuses; then none was added.
    pub fn add_traces(&self, traces: &[NewTrace]) -> Result<u64> {
        self.transaction(|connection| {
            let mut added = 0;
            for trace in traces {
                let mut statement = connection.prepare_cached(
                    "insert into traces (question_id, sample, model, endpoint, finish_reason,
                         prompt_tokens, completion_tokens, cost_usd, attempts, created_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     on conflict (question_id, sample, model) do nothing
                     returning id",
                )?;
                let id: Option<i64> = statement
                    .query_row(
                        params![
                            trace.question_id.0,
                            trace.sample,
                            trace.model,
                            trace.endpoint,
                            trace.finish_reason.name(),
                            trace.prompt_tokens,
                            trace.completion_tokens,
                            trace.cost_usd,
                            trace.attempts,
                            now()
                        ],
                        |row| row.get(0),
                    )
                    .optional()?;
                let Some(id) = id else { continue };
                connection
                    .prepare_cached("insert into trace_texts values (?1, ?2, ?3)")?
                    .execute(params![id, pack(&trace.reasoning)?, pack(&trace.solution)?])?;
                added += 1;
            }
            Ok(added)
        })
    }

    /// Training questions of `source` (all if none) that lack some of their first `samples` traces
    /// by `model`: the work list.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn missing_traces(
        &self,
        model: &str,
        samples: u32,
        source: Option<&str>,
    ) -> Result<Vec<WorkItem>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "with recursive n(sample) as (
                 select 0 union all select sample + 1 from n where sample + 1 < ?2)
             select {QUESTION_COLUMNS}, n.sample from n, questions q
             where q.split = 'train' and (?3 is null or q.source = ?3) and not exists (
                 select 1 from traces t
                 where t.question_id = q.id and t.sample = n.sample and t.model = ?1)
             order by n.sample, q.id"
        ))?;
        let mut rows = statement.query(params![model, samples, source])?;
        let mut items = Vec::new();
        while let Some(row) = rows.next()? {
            let item = WorkItem { question: question(row, 0)?, sample: row.get(QUESTION_WIDTH)? };
            items.push(item);
        }
        Ok(items)
    }

    /// Traces with their questions and verdicts, by source and key of the question, then by sample
    /// and model: an order that does not know in which order anything came. `visit` is called for
    /// each and must not call the store: the connection is busy.
    ///
    /// # Errors
    /// If the database refuses, a row cannot be read, or `visit` fails.
    pub fn each_example<E: From<Error>>(
        &self,
        filter: &TraceFilter,
        mut visit: impl FnMut(Example) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "select {TRACE_COLUMNS}, {QUESTION_COLUMNS}, {DECIDED_VERDICT}, {DECIDED_WHY} {}",
            examples(filter.mode)
        );
        let connection = self.lock();
        let mut statement = connection.prepare(&sql).map_err(Error::from)?;
        let mut rows =
            statement.query(params![filter.model, filter.source]).map_err(Error::from)?;
        while let Some(row) = rows.next().map_err(Error::from)? {
            visit(example(row)?)?;
        }
        Ok(())
    }

    /// Traces after `after` with their questions and verdicts, in the order in which they came;
    /// only those with `verdict` if given, where `none` wants those that have none.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn traces_page(
        &self,
        verdict: Option<&str>,
        after: TraceId,
        limit: u32,
    ) -> Result<Vec<Example>> {
        let sql = format!(
            "select {TRACE_COLUMNS}, {QUESTION_COLUMNS}, {DECIDED_VERDICT}, {DECIDED_WHY}
             from traces t join trace_texts x on x.trace_id = t.id
             join questions q on q.id = t.question_id {DECIDED_JOINS}
             where t.id > ?1 and (?2 is null or coalesce({DECIDED_VERDICT}, 'none') = ?2)
             order by t.id limit ?3"
        );
        let connection = self.lock();
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params![after.0, verdict, limit])?;
        let mut examples = Vec::new();
        while let Some(row) = rows.next()? {
            examples.push(example(row)?);
        }
        Ok(examples)
    }

    /// One trace with its question and what counts for it.
    ///
    /// # Errors
    /// If there is no such trace, the database refuses or the row cannot be read.
    pub fn example(&self, id: TraceId) -> Result<Example> {
        let found = self.traces_page(None, TraceId(id.0.saturating_sub(1)), 1)?.pop();
        found
            .filter(|example| example.trace.id == id)
            .ok_or(Error::NotFound { what: "trace", id: id.to_string() })
    }

    /// How many traces there are, by verdict.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn trace_counts(&self) -> Result<TraceCounts> {
        let connection = self.lock();
        let sql = format!(
            "select count(*), count(*) filter (where finish_reason = 'length'),
                 count(*) filter (where verdict = 'correct'),
                 count(*) filter (where verdict = 'wrong'),
                 count(*) filter (where verdict = 'unchecked'),
                 count(*) filter (where verdict = 'unreadable')
             from (select t.finish_reason, {DECIDED_VERDICT} as verdict
                 from traces t {DECIDED_JOINS})"
        );
        Ok(connection.query_row(&sql, [], |row| {
            Ok(TraceCounts {
                traces: row.get(0)?,
                truncated: row.get(1)?,
                correct: row.get(2)?,
                wrong: row.get(3)?,
                unchecked: row.get(4)?,
                unreadable: row.get(5)?,
            })
        })?)
    }

    /// What `model` has cost so far for the questions of `source` (all if none), in US dollars.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn cost_usd_of(&self, model: &str, source: Option<&str>) -> Result<f64> {
        let sql = "select coalesce(sum(t.cost_usd), 0.0) from traces t
             join questions q on q.id = t.question_id
             where t.model = ?1 and (?2 is null or q.source = ?2)";
        Ok(self.lock().query_row(sql, params![model, source], |row| row.get(0))?)
    }

    /// What the teachers have cost so far, in US dollars.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn cost_usd(&self) -> Result<f64> {
        let sql = "select coalesce(sum(cost_usd), 0.0) from traces";
        Ok(self.lock().query_row(sql, [], |row| row.get(0))?)
    }
}

fn example(row: &Row<'_>) -> Result<Example> {
    let at = TRACE_WIDTH + QUESTION_WIDTH;
    let verdict: Option<String> = row.get(at)?;
    let verdict = match verdict {
        Some(name) => {
            let why: String = row.get(at + 1)?;
            let bad = |message| Error::Decode { what: "verdict", message };
            Some(Verdict::from_parts(&name, why).map_err(bad)?)
        }
        None => None,
    };
    Ok(Example { question: question(row, TRACE_WIDTH)?, trace: trace(row, 0)?, verdict })
}
