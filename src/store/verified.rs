//! Statements about how verifying went as a whole: counts for the page that shows it.

use super::decided::{DECIDED_JOINS, DECIDED_VERDICT, DECIDED_VERIFIER};
use super::{Result, Store};
use crate::records::TraceId;

/// How many traces of a domain came out so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixCell {
    /// What the questions are about.
    pub domain: String,
    /// What counts for them; none if nobody has looked.
    pub verdict: Option<String>,
    /// How many.
    pub count: u64,
}

/// How many traces of a domain had this outcome by the strict rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCell {
    /// What the questions are about.
    pub domain: String,
    /// What came of them: `passed`, `time_limit`, …, `equal`, `no_answer`, …
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// How many traces a verifier decides so. A trace counts once: with the one whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierCount {
    /// Name of the verifier: a rule's, `judge`, `majority` or `human`.
    pub verifier: String,
    /// What it says.
    pub verdict: String,
    /// How many.
    pub count: u64,
}

/// How many traces the rules and the judge say this of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// What the rules say.
    pub rule: String,
    /// What the judge says.
    pub judge: String,
    /// How many.
    pub count: u64,
}

/// A trace whose program took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// Which.
    pub trace_id: TraceId,
    /// What counts for it.
    pub verdict: String,
    /// Tests that were run.
    pub tests: u64,
    /// Processor time of all its tests.
    pub cpu_ms: u64,
    /// Processor time of the slowest.
    pub cpu_ms_max: u64,
    /// Tests that came out differently when they were run again.
    pub flaky: u64,
    /// Peak memory of any test.
    pub memory_bytes: u64,
}

impl Store {
    /// How many traces of each domain came out how.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn verdict_matrix(&self) -> Result<Vec<MatrixCell>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "select q.domain, {DECIDED_VERDICT} as decided, count(*)
             from traces t join questions q on q.id = t.question_id {DECIDED_JOINS}
             group by q.domain, decided order by q.domain, decided"
        ))?;
        let rows = statement.query_map([], |row| {
            Ok(MatrixCell { domain: row.get(0)?, verdict: row.get(1)?, count: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How many traces of each domain had which outcome by the strict rules.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn outcomes(&self) -> Result<Vec<OutcomeCell>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select q.domain, v.outcome, count(*)
             from verdicts v join traces t on t.id = v.trace_id
                 join questions q on q.id = t.question_id
             where v.mode = 'strict' and v.outcome is not null
             group by q.domain, v.outcome order by q.domain, v.outcome",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(OutcomeCell { domain: row.get(0)?, outcome: row.get(1)?, count: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How many traces each verifier decides how.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn verifier_counts(&self) -> Result<Vec<VerifierCount>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "select {DECIDED_VERIFIER} as who, {DECIDED_VERDICT} as decided, count(*)
             from traces t {DECIDED_JOINS} where decided is not null
             group by who, decided order by who, decided"
        ))?;
        let rows = statement.query_map([], |row| {
            Ok(VerifierCount { verifier: row.get(0)?, verdict: row.get(1)?, count: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What the rules and the judge say of the traces that both have looked at.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn judge_agreement(&self) -> Result<Vec<Agreement>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select v.verdict, j.verdict, count(*)
             from judgements j join verdicts v on v.trace_id = j.trace_id and v.mode = 'strict'
             where j.verifier = 'judge' group by v.verdict, j.verdict order by 1, 2",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Agreement { rule: row.get(0)?, judge: row.get(1)?, count: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// How many reviews stand how: pairs of state and count.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn review_counts(&self) -> Result<Vec<(String, u64)>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("select state, count(*) from reviews group by state order by 1")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The programs that took the most processor time, slowest first; `flaky` wants those that
    /// came out differently when they were run again, most often first.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn slowest(&self, flaky: bool, limit: u32) -> Result<Vec<Slow>> {
        // An index finds the few that are shown; only their tests are read.
        let few = if flaky {
            "select trace_id from verdicts indexed by verdicts_by_flaky
             where verifier = 'code' and mode = 'strict' and flaky > 0
             order by flaky desc, trace_id limit ?1"
        } else {
            "select trace_id from verdicts indexed by verdicts_by_cpu
             where verifier = 'code' and mode = 'strict'
             order by cpu_ms desc, trace_id limit ?1"
        };
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "select v.trace_id, v.verdict, count(e.value), coalesce(v.cpu_ms, 0),
                 coalesce(max(e.value ->> 'cpu_ms'), 0), coalesce(v.flaky, 0),
                 coalesce(v.memory_bytes, 0)
             from verdicts v left join json_each(v.detail, '$.tests') e
             where v.mode = 'strict' and v.trace_id in ({few}) group by v.trace_id
             order by {} desc, v.trace_id",
            if flaky { "v.flaky" } else { "v.cpu_ms" }
        ))?;
        let rows = statement.query_map([limit], |row| {
            Ok(Slow {
                trace_id: TraceId(row.get(0)?),
                verdict: row.get(1)?,
                tests: row.get(2)?,
                cpu_ms: row.get(3)?,
                cpu_ms_max: row.get(4)?,
                flaky: row.get(5)?,
                memory_bytes: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
