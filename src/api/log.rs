//! Reads a job's log in pieces.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use utoipa::ToSchema;

/// Bytes of the tail that is shown first.
const TAIL_BYTES: u64 = 64 * 1024;

/// Bytes of one piece at most.
const PIECE_BYTES_MAX: u64 = 256 * 1024;

/// A piece of a job's log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Log {
    /// Whole lines where possible; invalid UTF-8 replaced.
    pub text: String,
    /// Byte at which `text` begins.
    pub offset: u64,
    /// Byte to ask for next.
    pub next: u64,
    /// Whether the job is over and `text` reaches the end: nothing will follow.
    pub complete: bool,
}

/// The piece of the log `path` that begins at `offset`; without one, the tail. A job that has not
/// begun has no log, which reads as an empty one.
pub(super) fn read(path: &Path, offset: Option<u64>, is_over: bool) -> anyhow::Result<Log> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Log { text: String::new(), offset: 0, next: 0, complete: is_over });
        }
        Err(error) => {
            return Err(error).with_context(|| format!("could not open `{}`", path.display()));
        }
    };
    let size = file.metadata().context("could not look at the log")?.len();
    let offset = offset.unwrap_or_else(|| size.saturating_sub(TAIL_BYTES)).min(size);
    file.seek(SeekFrom::Start(offset)).context("could not read the log")?;
    let mut bytes = Vec::new();
    file.take(PIECE_BYTES_MAX).read_to_end(&mut bytes).context("could not read the log")?;
    let mut end = bytes.len();
    let at_end = offset + end as u64 >= size;
    if !(at_end && is_over) {
        // The rest of a line comes with the next piece, unless it alone fills one.
        end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(end, |last| last + 1);
    }
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let complete = is_over && at_end;
    Ok(Log { text, offset, next: offset + end as u64, complete })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_log_is_read_in_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job-1.log");
        let none = read(&path, None, false).unwrap();
        assert_eq!((none.text.as_str(), none.next, none.complete), ("", 0, false));

        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        let log = read(&path, None, false).unwrap();
        assert_eq!((log.text.as_str(), log.offset, log.next), ("one\ntwo\n", 0, 8));
        assert!(!log.complete);

        std::fs::write(&path, "one\ntwo\nthree").unwrap();
        let rest = read(&path, Some(log.next), true).unwrap();
        assert_eq!((rest.text.as_str(), rest.next, rest.complete), ("three", 13, true));
        let past = read(&path, Some(99), true).unwrap();
        assert_eq!((past.text.as_str(), past.next, past.complete), ("", 13, true));
    }
}
