//! Statements about reviews: what people are asked, and what they decided.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::decided::decided;
use super::{Error, Result, Store, now};
use crate::records::{
    Decided, Mode, Review, ReviewAction, ReviewEntry, ReviewItem, ReviewReason, ReviewState,
    TraceId,
};

/// Which reviews are wanted; empty fields want all.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReviewFilter {
    /// Only those that stand so.
    pub state: Option<ReviewState>,
    /// Only those that are here for this.
    pub reason: Option<ReviewReason>,
}

/// Columns of a review, in the order [`review`] reads them.
const COLUMNS: &str = "trace_id, reason, state, opened_at, decided_at, decided_by";

/// Traces that a person should look at, and why. Where the rules have decided, an abstaining judge
/// is no reason to.
const WANTED: &str = "select j.trace_id,
         case when v.verdict = 'unchecked' then 'abstained' else 'disagreement' end as reason
     from judgements j join verdicts v on v.trace_id = j.trace_id and v.mode = 'strict'
     where j.verifier = 'judge' and (
         (v.verdict = 'unchecked' and j.verdict = 'unchecked')
         or (v.verdict in ('correct', 'wrong') and j.verdict in ('correct', 'wrong')
             and v.verdict <> j.verdict))";

fn review(row: &Row<'_>) -> Result<Review> {
    let bad = |what: &'static str, name: &str| Error::Decode {
        what: "review",
        message: format!("`{name}` is no {what}"),
    };
    let reason: String = row.get(1)?;
    let state: String = row.get(2)?;
    Ok(Review {
        trace_id: TraceId(row.get(0)?),
        reason: ReviewReason::from_name(&reason).ok_or_else(|| bad("reason", &reason))?,
        state: ReviewState::from_name(&state).ok_or_else(|| bad("state", &state))?,
        opened_at: row.get(3)?,
        decided_at: row.get(4)?,
        decided_by: row.get(5)?,
    })
}

impl Store {
    /// Puts every trace into the queue that a person should look at, and takes out what has settled
    /// itself. What a person has decided or skipped stays as it is.
    ///
    /// # Errors
    /// If the database refuses; then nothing has changed.
    pub fn refresh_reviews(&self) -> Result<()> {
        self.transaction(|connection| {
            connection.execute(
                &format!(
                    "insert into reviews (trace_id, reason, state, opened_at)
                     select trace_id, reason, 'open', ?1 from ({WANTED}) where true
                     on conflict (trace_id) do update set reason = excluded.reason
                         where state = 'open' and reason <> 'asked'"
                ),
                [now()],
            )?;
            connection.execute(
                &format!(
                    "delete from reviews where state = 'open' and reason <> 'asked'
                         and trace_id not in (select trace_id from ({WANTED}))"
                ),
                [],
            )?;
            Ok(())
        })
    }

    /// Reviews after `after`, by trace, with all that is needed to decide them.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn reviews_page(
        &self,
        filter: ReviewFilter,
        after: TraceId,
        limit: u32,
    ) -> Result<Vec<ReviewItem>> {
        let reviews = {
            let connection = self.lock();
            let mut statement = connection.prepare(&format!(
                "select {COLUMNS} from reviews where trace_id > ?1
                     and (?2 is null or state = ?2) and (?3 is null or reason = ?3)
                 order by trace_id limit ?4"
            ))?;
            let (state, reason) = (filter.state, filter.reason);
            let mut rows = statement.query(params![
                after.0,
                state.map(ReviewState::name),
                reason.map(ReviewReason::name),
                limit
            ])?;
            let mut reviews = Vec::new();
            while let Some(row) = rows.next()? {
                reviews.push(review(row)?);
            }
            reviews
        };
        reviews.into_iter().map(|review| self.item(review)).collect()
    }

    /// The review of a trace, if it has one.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn review(&self, trace_id: TraceId) -> Result<Option<ReviewItem>> {
        let found = find(&self.lock(), trace_id)?;
        found.map(|review| self.item(review)).transpose()
    }

    fn item(&self, review: Review) -> Result<ReviewItem> {
        let id = review.trace_id;
        Ok(ReviewItem {
            review,
            example: self.example(id)?,
            rule: self.verdict(id, Mode::Strict)?,
            judgement: self.judgement(id)?,
        })
    }

    /// Does what a person decided, and notes who it was and what it changed. A trace that is not in
    /// the queue is put there.
    ///
    /// # Errors
    /// If there is no such trace, or the database refuses; then nothing has changed.
    pub fn decide_review(
        &self,
        trace_id: TraceId,
        action: ReviewAction,
        who: &str,
        note: &str,
    ) -> Result<Review> {
        self.transaction(|connection| {
            let known: bool = connection.query_row(
                "select exists (select 1 from traces where id = ?1)",
                [trace_id.0],
                |row| row.get(0),
            )?;
            if !known {
                return Err(Error::NotFound { what: "trace", id: trace_id.to_string() });
            }
            let before = decided(connection, trace_id)?;
            let at = now();
            connection.execute(
                "insert into reviews values (?1, 'asked', ?2, ?3, ?3, ?4)
                 on conflict (trace_id) do update
                 set state = ?2, decided_at = ?3, decided_by = ?4",
                params![trace_id.0, action.leads_to().name(), at, who],
            )?;
            let after = decided(connection, trace_id)?;
            log(connection, trace_id, (before, after), (action, who, note, &at))?;
            let missing = || Error::NotFound { what: "review", id: trace_id.to_string() };
            find(connection, trace_id)?.ok_or_else(missing)
        })
    }

    /// What people did with a trace, oldest first.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn review_log(&self, trace_id: TraceId) -> Result<Vec<ReviewEntry>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select action, who, note, before_verdict, before_verifier, after_verdict,
                 after_verifier, at
             from review_log where trace_id = ?1 order by id",
        )?;
        let mut rows = statement.query([trace_id.0])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let action: String = row.get(0)?;
            let bad =
                || Error::Decode { what: "review", message: format!("`{action}` is no action") };
            let pair = |at: usize| -> Result<Option<(String, String)>> {
                let verdict: Option<String> = row.get(at)?;
                let verifier: Option<String> = row.get(at + 1)?;
                Ok(verdict.zip(verifier))
            };
            entries.push(ReviewEntry {
                action: ReviewAction::from_name(&action).ok_or_else(bad)?,
                who: row.get(1)?,
                note: row.get(2)?,
                before: pair(3)?,
                after: pair(5)?,
                at: row.get(7)?,
            });
        }
        Ok(entries)
    }
}

fn find(connection: &Connection, trace_id: TraceId) -> Result<Option<Review>> {
    let sql = format!("select {COLUMNS} from reviews where trace_id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row([trace_id.0], |row| Ok(review(row))).optional()?.transpose()
}

fn log(
    connection: &Connection,
    trace_id: TraceId,
    (before, after): (Option<Decided>, Option<Decided>),
    (action, who, note, at): (ReviewAction, &str, &str, &str),
) -> Result<()> {
    let verdict = |decided: &Option<Decided>| decided.as_ref().map(|d| d.verdict.clone());
    let verifier = |decided: &Option<Decided>| decided.as_ref().map(|d| d.verifier.clone());
    connection.execute(
        "insert into review_log (trace_id, action, who, note, before_verdict, before_verifier,
             after_verdict, after_verifier, at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            trace_id.0,
            action.name(),
            who,
            note,
            verdict(&before),
            verifier(&before),
            verdict(&after),
            verifier(&after),
            at
        ],
    )?;
    Ok(())
}
