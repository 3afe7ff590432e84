//! Statements about events: what the panel is told, in order.

use rusqlite::{Connection, params};

use super::{Error, Result, Store, json};
use crate::records::{Counts, Event};

/// How many events are kept for replay: an hour of training at 4 Hz.
const EVENTS_KEPT: i64 = 20_000;

/// Adds an event; prunes the oldest now and then.
pub(super) fn add_event(
    connection: &Connection,
    topic: &str,
    data: &serde_json::Value,
) -> Result<i64> {
    connection
        .prepare_cached("insert into events (topic, data) values (?1, ?2)")?
        .execute(params![topic, data.to_string()])?;
    let id = connection.last_insert_rowid();
    if id % 1_000 == 0 {
        connection.execute("delete from events where id <= ?1", [id - EVENTS_KEPT])?;
    }
    Ok(id)
}

impl Store {
    /// Tells the panel something.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_event(&self, topic: &str, data: &serde_json::Value) -> Result<i64> {
        self.transaction(|connection| add_event(connection, topic, data))
    }

    /// Tells the panel how much there is of everything.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn add_counts_event(&self, counts: &Counts) -> Result<i64> {
        let data = serde_json::to_value(counts)
            .map_err(|error| Error::Decode { what: "counts", message: error.to_string() })?;
        self.add_event("counts", &data)
    }

    /// Events after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// If the database refuses or a row cannot be read.
    pub fn events_after(&self, after: i64, limit: u32) -> Result<Vec<Event>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "select id, topic, data from events where id > ?1 order by id limit ?2",
        )?;
        let mut rows = statement.query(params![after, limit])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let data: String = row.get(2)?;
            let data = json(&data, "event")?;
            events.push(Event { id: row.get(0)?, topic: row.get(1)?, data });
        }
        Ok(events)
    }

    /// Ids of the oldest and the newest event that are kept; zeros if there is none.
    ///
    /// # Errors
    /// If the database refuses.
    pub fn event_range(&self) -> Result<(i64, i64)> {
        let sql = "select coalesce(min(id), 0), coalesce(max(id), 0) from events";
        Ok(self.lock().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}
