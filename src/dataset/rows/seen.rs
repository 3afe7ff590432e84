//! The hash of a file of examples, remembered: reading gigabytes again to find that they are the same
//! would take longer than a second start may.
//!
//! As `make` and `git` do, a file counts as the same while place, size and times are. Times have a
//! grain: a file that was changed moments ago is hashed and not remembered.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::shards::hex;

/// A change within the same tick of a file system's clock would not show; the coarsest tick in use is
/// two seconds (FAT).
const GRAIN: Duration = Duration::from_secs(2);

/// What a file was when it was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of its name, owner or content.
    changed: (i64, i64),
}

impl Looks {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Whether a change from now on would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let last = self.modified.0.max(self.changed.0);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(last).is_ok_and(|last| Duration::from_secs(last) + GRAIN < now)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    file: PathBuf,
    looks: Looks,
    sha256: String,
}

/// Hash of a file's content, remembered in the folder `notes`.
///
/// # Errors
/// If the file cannot be read, or the note not written.
pub(super) fn hash(path: &Path, notes: &Path) -> std::io::Result<String> {
    let path = fs::canonicalize(path)?;
    let name = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
    let note = notes.join(format!(".seen-{}.json", &name[..16]));
    let mut file = File::open(&path)?;
    let looks = Looks::of(&file.metadata()?);
    // One that cannot be read is made again.
    let seen = fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Seen>(&text).ok());
    if let Some(seen) = seen.filter(|seen| seen.file == path && seen.looks == looks) {
        return Ok(seen.sha256);
    }
    let now = SystemTime::now();
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher)?;
    let sha256 = hex(&hasher.finalize());
    if looks.is_settled(now) && Looks::of(&file.metadata()?) == looks {
        fs::create_dir_all(notes)?;
        let unfinished = tempfile::NamedTempFile::new_in(notes)?;
        let seen = Seen { file: path, looks, sha256: sha256.clone() };
        fs::write(unfinished.path(), serde_json::to_vec(&seen)?)?;
        unfinished.persist(&note)?;
    }
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_when_it_looks_different_or_has_just_been_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, notes) = (dir.path().join("rows.jsonl"), dir.path().join("notes"));
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::write(&path, "one").unwrap();
        let one = hash(&path, &notes).unwrap();
        assert!(!notes.exists(), "what has just been written is not remembered");
        // A note that claims another hash shows whether the file was read.
        let remember = |looks: Looks| {
            let seen = Seen {
                file: fs::canonicalize(&path).unwrap(),
                looks,
                sha256: "remembered".to_owned(),
            };
            fs::create_dir_all(&notes).unwrap();
            let name = hex(&Sha256::digest(seen.file.as_os_str().as_encoded_bytes()));
            let note = notes.join(format!(".seen-{}.json", &name[..16]));
            fs::write(note, serde_json::to_vec(&seen).unwrap()).unwrap();
        };
        let looks = Looks::of(&fs::metadata(&path).unwrap());
        remember(looks.clone());
        assert_eq!(hash(&path, &notes).unwrap(), "remembered");
        for other in [
            Looks { bytes: 4, ..looks.clone() },
            Looks { inode: looks.inode + 1, ..looks.clone() },
            Looks { modified: (looks.modified.0, looks.modified.1 + 1), ..looks.clone() },
            Looks { changed: (looks.changed.0 - 1, 0), ..looks },
        ] {
            remember(other);
            assert_eq!(hash(&path, &notes).unwrap(), one);
        }
        fs::write(&path, "two").unwrap();
        assert_ne!(hash(&path, &notes).unwrap(), one);
        let settled = Looks { modified: (1, 0), changed: (1, 0), ..looks };
        assert!(settled.is_settled(old) && !looks.is_settled(old));
        assert!(!looks.is_settled(SystemTime::now()));
    }
}
