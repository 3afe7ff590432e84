//! One process owns a data folder.
//!
//! The lock is the kernel's (`flock`), so it dies with its holder; the pid inside the file is for
//! people, and for the children that a holder starts.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use fs4::fs_std::FileExt;

use super::{Error, Result};

/// Name of the lock file in the data folder.
const LOCK: &str = "thinkery.lock";

/// Makes the data folder where it is missing. What we make is our user's alone: password and keys
/// are only hashed in it, but traces and models are nobody else's business either.
pub(super) fn make_folder(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Held for as long as a process owns the data folder.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "dropping it releases the lock")] File);

impl DataLock {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder's pid if another process has it.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: dir.display().to_string(), source };
        make_folder(dir).map_err(io)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(dir.join(LOCK)).map_err(io)?;
        if !file.try_lock_exclusive().map_err(io)? {
            let path = dir.display().to_string();
            return Err(Error::Locked { path, pid: Self::holder(dir).unwrap_or(0) });
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        write!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self(file))
    }

    /// The pid that the lock file names, whether or not that process still lives.
    pub fn holder(dir: &Path) -> Option<u32> {
        let mut text = String::new();
        File::open(dir.join(LOCK)).ok()?.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}
