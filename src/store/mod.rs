//! Everything that must survive: one SQLite file, `thinkery.db`, and the folders beside it.
//!
//! The only module that knows SQL. One function per statement; a write that must survive a crash is
//! one `immediate` transaction. Not a cache: nothing here decides anything.

mod access;
mod counts;
mod datasets;
mod dead_letters;
mod decided;
mod events;
mod jobs;
mod judgements;
mod lock;
mod migrate;
mod questions;
mod reviews;
mod run_files;
mod runs;
mod scores;
mod to_judge;
mod traces;
mod verdicts;
mod verified;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use access::{ApiToken, Session};
pub use jobs::NewJob;
pub use judgements::{JudgeReply, Spent};
pub use lock::DataLock;
pub use questions::{QuestionCount, QuestionFilter};
pub use reviews::ReviewFilter;
pub use runs::NewRun;
pub use to_judge::ToJudge;
pub use traces::{TraceCounts, TraceFilter, WorkItem};
pub use verdicts::ModeCount;
pub use verified::{Agreement, MatrixCell, OutcomeCell, Slow, VerifierCount};

/// How long a writer waits for another process before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Name of the database file in the data folder.
const DATABASE: &str = "thinkery.db";

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Which one.
        id: String,
    },
    /// Another process works in this data folder.
    #[error("the data folder `{path}` is in use by process {pid}")]
    Locked {
        /// The data folder.
        path: String,
        /// Who holds it.
        pid: u32,
    },
    /// The disk is full.
    #[error("could not write to `{path}`: the disk is full")]
    DiskFull {
        /// The database file.
        path: String,
    },
    /// The system refuses to write, by a quota or a limit, or because the disk fails.
    #[error("could not write to `{path}`: no room by quota or limit, or the disk fails")]
    NoRoom {
        /// The database file.
        path: String,
    },
    /// The file is no database or is damaged.
    #[error("the database `{path}` is damaged: {message}")]
    Corrupt {
        /// The database file.
        path: String,
        /// What SQLite says.
        message: String,
    },
    /// The schema is newer than this binary.
    #[error("the database `{path}` has schema {found}, this binary knows up to {known}")]
    Newer {
        /// The database file.
        path: String,
        /// Its schema version.
        found: usize,
        /// The newest we know.
        known: usize,
    },
    /// A file or folder could not be read or written.
    #[error("could not use `{path}`")]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A stored value cannot be read back.
    #[error("could not read the stored {what}: {message}")]
    Decode {
        /// Which value.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// Anything else SQLite says.
    #[error("the database refused: {0}")]
    Sqlite(rusqlite::Error),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { pid, .. } => Some(format!(
                "stop process {pid}, or give this one a folder of its own with --data DIR"
            )),
            Self::DiskFull { path } => {
                Some(format!("free some space under `{path}`, or move the data with --data DIR"))
            }
            Self::NoRoom { .. } => Some(
                "look at the quota, the limit on files (`ulimit -f`) and the disk, or move the data \
                 with --data DIR"
                    .into(),
            ),
            Self::Corrupt { .. } => Some("restore a backup, or move the file away".into()),
            Self::Newer { .. } => Some("use a newer thinkery; nothing was changed".into()),
            Self::Io { .. } => Some("check that the folder exists and is yours".into()),
            Self::NotFound { .. } | Self::Decode { .. } | Self::Sqlite(_) => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, SystemIoFailure};
        match error.sqlite_error_code() {
            Some(DiskFull) => Self::DiskFull { path: DATABASE.into() },
            Some(SystemIoFailure) if is_refused_write(&error) => {
                Self::NoRoom { path: DATABASE.into() }
            }
            Some(DatabaseCorrupt | NotADatabase) => {
                Self::Corrupt { path: DATABASE.into(), message: error.to_string() }
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// Whether SQLite could not write or grow a file. A full disk has a code of its own (`SQLITE_FULL`),
/// a full quota has not.
fn is_refused_write(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE))
}

/// Result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The store. Cheap to clone; clones share one connection.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store in `dir`, making folder, file and schema where they are missing.
    ///
    /// # Errors
    /// If the folder cannot be made, the file is no database, or its schema is newer than ours.
    pub fn open(dir: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: dir.display().to_string(), source };
        lock::make_folder(dir).map_err(io)?;
        let file = dir.join(DATABASE);
        let mut connection = Connection::open(&file)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL costs little with grouped commits (reference: 14.6k against 19.2k replies/s) and
        // keeps every paid reply through a power cut.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate::migrate(&mut connection, &file)?;
        Ok(Self(Arc::new(Inner { dir: dir.to_path_buf(), connection: Mutex::new(connection) })))
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// A stored path made absolute: relative ones live in the data folder.
    pub fn absolute(&self, path: &str) -> PathBuf {
        self.0.dir.join(path)
    }

    /// `ok`, or what SQLite's integrity check complains of.
    ///
    /// # Errors
    /// If the check itself cannot run.
    pub fn integrity_check(&self) -> Result<String> {
        Ok(self.lock().query_row("pragma integrity_check", [], |row| row.get(0))?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in another thread cannot leave a transaction open: it is rolled back on drop.
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one `immediate` transaction: all of it or nothing.
    fn transaction<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Compresses `text` for a blob column.
fn pack(text: &str) -> Result<Vec<u8>> {
    // Level 3: 114k traces of 20 kB in seconds, at a third of their size.
    zstd::bulk::compress(text.as_bytes(), 3)
        .map_err(|error| Error::Decode { what: "text", message: error.to_string() })
}

/// Text of a blob column.
fn unpack(blob: &[u8]) -> Result<String> {
    let decode = |message: String| Error::Decode { what: "text", message };
    let bytes = zstd::stream::decode_all(blob).map_err(|error| decode(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| decode(error.to_string()))
}

/// Now, RFC 3339 in UTC with milliseconds.
fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.3}")
}

/// A value of a `text` column that holds JSON.
fn json(text: &str, what: &'static str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| Error::Decode { what, message: error.to_string() })
}

#[cfg(test)]
mod tests;
