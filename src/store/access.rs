//! Statements about passwords, sessions and keys. Only hashes are ever stored.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{Result, Store};

/// A browser session; times are unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// When it began.
    pub created_at: i64,
    /// When it was last seen.
    pub last_used_at: i64,
}

/// A key for `/v1`, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    /// Its row.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// Its last four characters.
    pub last4: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub last_used_at: Option<i64>,
}

impl Store {
    /// The password's hash, if one was chosen.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn password_hash(&self) -> Result<Option<String>> {
        let sql = "select hash from passwords where id = 1";
        Ok(self.lock().query_row(sql, [], |row| row.get(0)).optional()?)
    }

    /// Stores the first password if the setup token is good and no password exists; says whether.
    /// Check and write are one transaction, so that two visitors cannot both win.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn claim_setup(&self, token_hash: &str, password_hash: &str, time: i64) -> Result<bool> {
        self.transaction(|connection| {
            let good: bool = connection.query_row(
                "select exists (select 1 from setup_tokens where token_hash = ?1
                     and expires_at > ?2) and not exists (select 1 from passwords)",
                params![token_hash, time],
                |row| row.get(0),
            )?;
            if good {
                connection.execute(
                    "insert into passwords values (1, ?1, ?2)",
                    params![password_hash, time],
                )?;
                connection.execute("delete from setup_tokens", [])?;
            }
            Ok(good)
        })
    }

    /// Replaces the password and ends every session.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_password(&self, password_hash: &str, time: i64) -> Result<()> {
        self.transaction(|connection| {
            connection.execute(
                "insert or replace into passwords values (1, ?1, ?2)",
                params![password_hash, time],
            )?;
            connection.execute("delete from sessions", [])?;
            connection.execute("delete from setup_tokens", [])?;
            Ok(())
        })
    }

    /// Makes this the only setup token.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn set_setup_token(&self, token_hash: &str, expires_at: i64) -> Result<()> {
        self.transaction(|connection| {
            connection.execute("delete from setup_tokens", [])?;
            connection.execute(
                "insert into setup_tokens values (?1, ?2)",
                params![token_hash, expires_at],
            )?;
            Ok(())
        })
    }

    /// Begins a session.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_session(&self, token_hash: &str, time: i64) -> Result<()> {
        let sql = "insert into sessions values (?1, ?2, ?2)";
        self.lock().execute(sql, params![token_hash, time])?;
        Ok(())
    }

    /// A session, if it exists.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn session(&self, token_hash: &str) -> Result<Option<Session>> {
        let sql = "select created_at, last_used_at from sessions where token_hash = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Session { created_at: row.get(0)?, last_used_at: row.get(1)? })
        };
        Ok(self.lock().query_row(sql, [token_hash], read).optional()?)
    }

    /// Notes that a session was used.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn touch_session(&self, token_hash: &str, time: i64) -> Result<()> {
        let sql = "update sessions set last_used_at = ?2 where token_hash = ?1";
        self.lock().execute(sql, params![token_hash, time])?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn drop_session(&self, token_hash: &str) -> Result<()> {
        self.lock().execute("delete from sessions where token_hash = ?1", [token_hash])?;
        Ok(())
    }

    /// Adds a key for `/v1`.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_api_token(&self, name: &str, hash: &str, last4: &str, time: i64) -> Result<i64> {
        let connection = self.lock();
        connection.execute(
            "insert into api_tokens (name, token_hash, last4, created_at) values (?1, ?2, ?3, ?4)",
            params![name, hash, last4, time],
        )?;
        Ok(connection.last_insert_rowid())
    }

    /// Whether there is such a key; notes that it was used.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn use_api_token(&self, hash: &str, time: i64) -> Result<bool> {
        let sql = "update api_tokens set last_used_at = ?2 where token_hash = ?1";
        Ok(self.lock().execute(sql, params![hash, time])? == 1)
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn api_tokens(&self) -> Result<Vec<ApiToken>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "select id, name, last4, created_at, last_used_at from api_tokens order by id",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(ApiToken {
                id: row.get(0)?,
                name: row.get(1)?,
                last4: row.get(2)?,
                created_at: row.get(3)?,
                last_used_at: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Revokes a key; says whether there was one.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn drop_api_token(&self, id: i64) -> Result<bool> {
        Ok(self.lock().execute("delete from api_tokens where id = ?1", [id])? == 1)
    }
}
