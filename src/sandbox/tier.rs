//! How well programs are locked in: four tiers, of which the best is taken that this machine holds.
//!
//! A tier is taken when an interpreter starts in it and all [`probes`] are held, never because some
//! version number promises it. Where none is left there is an error: T0 must be asked for.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::Parent;
use super::enter::Layer;
use super::interpreter::{self, Interpreter};
use super::probes::{self, Finding};
use super::slot::{Place, Slot};

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
    /// Every tier, best first.
    pub const ALL: [Self; 4] = [Self::T3, Self::T2, Self::T1, Self::T0];

    /// Its name, as stored with verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::T0 => "T0",
            Self::T1 => "T1",
            Self::T2 => "T2",
            Self::T3 => "T3",
        }
    }

    /// What it is made of, for people.
    pub fn means(self) -> &'static str {
        match self {
            Self::T0 => "limits only",
            Self::T1 => "Landlock, system call filter, limits, one process per run",
            Self::T2 => "namespaces, Landlock, system call filter, limits",
            Self::T3 => "namespaces, control group, Landlock, system call filter, limits",
        }
    }

    /// What is lost against the next better one; nothing in T3.
    pub fn loses(self) -> Option<&'static str> {
        match self {
            Self::T0 => Some("programs may read and send whatever their user may"),
            Self::T1 => Some(
                "programs cannot write files or start processes, see the host's folders by name, \
                 and each starts an interpreter of its own",
            ),
            Self::T2 => Some("memory is counted every 20 ms instead of by the kernel"),
            Self::T3 => None,
        }
    }

    /// What this machine needs for the next better one; nothing in T3.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::T0 => Some("a kernel with Landlock (Linux 5.13) and seccomp, both turned on"),
            Self::T1 => Some(
                "allow user namespaces (sysctl user.max_user_namespaces, \
                 kernel.apparmor_restrict_unprivileged_userns=0), or run as root outside of a \
                 container that refuses them",
            ),
            Self::T2 => Some(
                "let our user make control groups with memory and pids \
                 (systemd: Delegate=yes, or run as root)",
            ),
            Self::T3 => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which tiers may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// The best that holds; never none.
    Holding,
    /// The best that holds, or none where nothing does.
    OrNone,
    /// This one.
    Only(Tier),
}

impl Allowed {
    /// What may be used, best first.
    fn tiers(&self) -> &[Tier] {
        match self {
            Self::Holding => &Tier::ALL[..3],
            Self::OrNone => &Tier::ALL,
            Self::Only(tier) => std::slice::from_ref(tier),
        }
    }
}

/// A tier that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which one.
    pub tier: Tier,
    /// What spoke against it.
    pub why: String,
}

/// What programs run in.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) tier: Tier,
    pub(super) interpreter: Interpreter,
    pub(super) groups: Option<Parent>,
}

/// How the choice went.
#[derive(Debug)]
pub(super) struct Choice {
    /// None if nothing holds, or there is no interpreter.
    pub(super) chosen: Option<Chosen>,
    /// The first interpreter that will do, or why there is none.
    pub(super) interpreter: Result<String, String>,
    /// Better tiers that were not taken.
    pub(super) refused: Vec<Refusal>,
    /// How the probes of the chosen tier came out, or else of the last one that was probed.
    pub(super) findings: Vec<Finding>,
}

impl Choice {
    /// Notes what speaks against a tier, once for all interpreters that it is the same for.
    fn refuse(&mut self, tier: Tier, interpreter: &Interpreter, why: &str) {
        let same = |refusal: &Refusal| refusal.tier == tier && refusal.why.starts_with(why);
        if !self.refused.iter().any(same) {
            let why = format!("{why} (with {interpreter})");
            self.refused.push(Refusal { tier, why });
        }
    }

    /// Why nothing was chosen, for people.
    pub(super) fn why(&self) -> String {
        let one = |refusal: &Refusal| format!("{}: {}", refusal.tier, refusal.why);
        self.refused.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// What is chosen from.
pub(super) struct Search<'a> {
    pub(super) launcher: &'a Path,
    /// Folders in which `python3` is looked for.
    pub(super) folders: &'a [PathBuf],
    pub(super) allowed: Allowed,
    /// Layers to leave out, in tests of their probes.
    pub(super) without: &'a [Layer],
}

impl Search<'_> {
    /// The first tier, best first, in which an interpreter starts and every probe is held; and the
    /// slot in which they were.
    pub(super) fn choose(&self) -> (Choice, Option<Slot>) {
        let (interpreters, none) = self.interpreters();
        let interpreter = interpreters.first().map(ToString::to_string).ok_or(none);
        let mut choice =
            Choice { chosen: None, interpreter, refused: Vec::new(), findings: Vec::new() };
        if interpreters.is_empty() {
            return (choice, None);
        }
        let groups = Parent::find();
        for tier in self.allowed.tiers() {
            if let (Tier::T3, Err(why)) = (tier, &groups) {
                choice.refused.push(Refusal { tier: *tier, why: why.clone() });
                continue;
            }
            for interpreter in &interpreters {
                let place = Place {
                    launcher: self.launcher,
                    interpreter,
                    tier: *tier,
                    groups: groups.as_ref().ok(),
                    without: self.without,
                };
                match try_place(&place, &mut choice.findings) {
                    Ok(slot) => {
                        choice.interpreter = Ok(interpreter.to_string());
                        let interpreter = interpreter.clone();
                        let chosen = Chosen { tier: *tier, interpreter, groups: groups.ok() };
                        choice.chosen = Some(chosen);
                        return (choice, Some(slot));
                    }
                    Err(why) => choice.refuse(*tier, interpreter, &why),
                }
            }
        }
        (choice, None)
    }

    /// Every interpreter that will do; if there is none, why.
    fn interpreters(&self) -> (Vec<Interpreter>, String) {
        let mut found: Vec<Interpreter> = Vec::new();
        let mut refusals = Vec::new();
        for candidate in interpreter::candidates(self.folders) {
            match interpreter::examine(&candidate) {
                Ok(new) if found.iter().any(|old| old.executable == new.executable) => {}
                Ok(new) => found.push(new),
                Err(why) => refusals.push(format!("`{}` {why}", candidate.display())),
            }
        }
        if refusals.is_empty() {
            refusals.push("it is nowhere on the search path".to_owned());
        }
        (found, refusals.join("; "))
    }
}

/// A slot at `place` in which every probe was held, or what speaks against it.
fn try_place(place: &Place<'_>, findings: &mut Vec<Finding>) -> Result<Slot, String> {
    let mut slot = Slot::start(place, &|| false).map_err(|trouble| trouble.to_string())?;
    findings.clear();
    if place.tier == Tier::T0 {
        // Nothing is promised there, and somebody has asked for it.
        return Ok(slot);
    }
    let found = probes::examine(place, &mut slot).map_err(|trouble| trouble.to_string())?;
    let escapes = probes::escapes(&found);
    *findings = found;
    match escapes {
        None => Ok(slot),
        Some(escapes) => Err(escapes),
    }
}
