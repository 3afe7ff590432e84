//! Which Python programs run in, and which files it needs.
//!
//! Any `python3` on the search path from 3.9 on will do. Whether it works inside a slot is found out
//! by starting one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::process;
use super::{Setting, Tier};

/// Says what an interpreter needs; see the file's own head.
const EXAMINE: &str = include_str!("interpreter.py");

/// The oldest version whose `os` module has what the harness uses (`pidfd_open`).
const OLDEST: [u32; 2] = [3, 9];

/// An interpreter and what it needs of the file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Interpreter {
    pub(super) version: [u32; 3],
    pub(super) executable: PathBuf,
    /// What the kernel starts in its place to load its libraries.
    pub(super) loader: Option<PathBuf>,
    /// Folders of modules: where they are asked for, and where they are.
    pub(super) folders: Vec<(PathBuf, PathBuf)>,
    /// The executable, its loader and libraries, in the same way.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
    /// Links and what is written in them.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// SHA-256 of the executable, in hexadecimal.
    #[serde(default)]
    pub(super) sha256: String,
}

impl Interpreter {
    /// What programs in it run in.
    pub(super) fn setting(&self, tier: Tier) -> Setting {
        Setting {
            tier,
            interpreter: self.executable.display().to_string(),
            version: self.version.map(|number| number.to_string()).join("."),
            sha256: self.sha256.clone(),
        }
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.version;
        write!(f, "Python {major}.{minor}.{patch} ({})", self.executable.display())
    }
}

/// Every `python3` in `folders`, in order.
pub(super) fn candidates(folders: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    folders.iter().map(|folder| folder.join("python3")).filter(|candidate| candidate.is_file())
}

/// What the interpreter behind `candidate` is and needs. The error ends a sentence about it.
pub(super) fn examine(candidate: &Path) -> Result<Interpreter, String> {
    // A version manager's shim is a script that finds its way by the environment: ask it for the
    // interpreter behind it, and then only that.
    let ask = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')";
    let said = process::say(candidate, &["-I", "-S", "-c", ask], true)?;
    let mut lines = said.lines();
    let executable = lines.next().filter(|path| !path.is_empty()).ok_or("is no Python")?;
    let version: Vec<u32> = lines.filter_map(|line| line.parse().ok()).collect();
    let [major, minor] = version[..] else { return Err("is no Python".into()) };
    if [major, minor] < OLDEST {
        return Err(format!("is Python {major}.{minor}, older than 3.9"));
    }
    let said = process::say(Path::new(executable), &["-I", "-S", "-B", "-c", EXAMINE], false)?;
    let mut found: Interpreter = serde_json::from_str(said.trim())
        .map_err(|error| format!("does not say what it needs: {error}"))?;
    let bytes = fs::read(&found.executable).map_err(|error| format!("cannot be read: {error}"))?;
    found.sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(found)
}
