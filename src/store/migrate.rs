//! Brings a database to the newest schema, forward only.
//!
//! `migrations/` is embedded; a merged file is never edited (a test compares their hashes).

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, Result};

/// Every migration in order. SQLite's `user_version` counts how many have been applied.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_questions.sql"),
    include_str!("../../migrations/0002_traces.sql"),
    include_str!("../../migrations/0003_jobs.sql"),
    include_str!("../../migrations/0004_datasets.sql"),
    include_str!("../../migrations/0005_scores.sql"),
    include_str!("../../migrations/0006_access.sql"),
    include_str!("../../migrations/0007_dead_letters.sql"),
    include_str!("../../migrations/0009_judges.sql"),
    include_str!("../../migrations/0010_verdicts.sql"),
    include_str!("../../migrations/0011_ledger.sql"),
];

/// Applies what is missing, all in one transaction.
pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<()> {
    // `immediate`: two processes that start together must not both apply the same file.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: usize = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > MIGRATIONS.len() {
        let path = file.display().to_string();
        return Err(Error::Newer { path, found, known: MIGRATIONS.len() });
    }
    for sql in &MIGRATIONS[found..] {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    transaction.commit()?;
    Ok(())
}
