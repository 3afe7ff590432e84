//! How well programs are locked in: four tiers, the best that this machine allows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands between a program and this machine. Ordered: more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Nothing but limits. Only where somebody asked for it.
    T0,
    /// One process per run without namespaces: Landlock, a system call filter without fork and
    /// sockets, limits.
    T1,
    /// Namespaces, a file system of its own, Landlock, a system call filter, limits.
    T2,
    /// The same in a control group, so that memory and processes are counted together.
    T3,
}

impl Tier {
    /// Its name, as stored with verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::T0 => "T0",
            Self::T1 => "T1",
            Self::T2 => "T2",
            Self::T3 => "T3",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
