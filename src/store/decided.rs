//! What counts for a trace: a person's decision, else the verdict of the rules, else, where the rules
//! say `unchecked`, what a judge says. Everybody who asks for a verdict asks through this.

use rusqlite::{Connection, OptionalExtension};

use super::{Result, Store};
use crate::records::{Decided, Mode, TraceId};

/// The rows that decide about trace `t`, by strict rules.
pub(super) const DECIDED_JOINS: &str =
    "left join verdicts v on v.trace_id = t.id and v.mode = 'strict'
     left join judgements j on j.trace_id = t.id and v.verdict = 'unchecked'
     left join reviews h on h.trace_id = t.id and h.state in ('accepted', 'rejected')";

/// The same by the rules of `mode`.
pub(super) fn decided_joins(mode: Mode) -> String {
    DECIDED_JOINS.replace("'strict'", &format!("'{}'", mode.name()))
}

/// The verdict's name; null if nobody has looked.
pub(super) const DECIDED_VERDICT: &str = "case h.state when 'accepted' then 'correct'
     when 'rejected' then 'wrong' else coalesce(j.verdict, v.verdict) end";

/// Why.
pub(super) const DECIDED_WHY: &str = "case h.state when 'accepted' then ''
     when 'rejected' then 'a person rejected it' else coalesce(j.why, v.why) end";

/// Who says so.
pub(super) const DECIDED_VERIFIER: &str =
    "case when h.state is not null then 'human' else coalesce(j.verifier, v.verifier) end";

impl Store {
    /// What counts for a trace; none if nobody has looked at it.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn decided(&self, trace_id: TraceId) -> Result<Option<Decided>> {
        decided(&self.lock(), trace_id)
    }

    /// Changes whenever a judge or a person decides something.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn decisions_stamp(&self) -> Result<String> {
        let sql = "select (select coalesce(max(id), 0) from review_log) || ' '
             || (select count(*) || ' ' || coalesce(max(created_at), '') from judgements)";
        Ok(self.lock().query_row(sql, [], |row| row.get(0))?)
    }
}

/// The same within a transaction.
pub(super) fn decided(connection: &Connection, trace_id: TraceId) -> Result<Option<Decided>> {
    let sql = format!(
        "select {DECIDED_VERDICT}, {DECIDED_WHY}, {DECIDED_VERIFIER}
         from traces t {DECIDED_JOINS} where t.id = ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement
        .query_row([trace_id.0], |row| {
            let verdict: Option<String> = row.get(0)?;
            Ok(match verdict {
                Some(verdict) => Some(Decided { verdict, why: row.get(1)?, verifier: row.get(2)? }),
                None => None,
            })
        })
        .optional()?;
    Ok(found.flatten())
}
