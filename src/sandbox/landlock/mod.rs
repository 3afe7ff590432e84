//! Which files a program may use, by path, and whom it may reach: the kernel's Landlock.
//!
//! Works without privileges, so it is what protects files where no namespaces can be had, and the
//! second lock where they can. Each kernel knows a part of it ([`abi`]); all that it knows is
//! enforced. Which calls may be made at all is `seccomp`'s business.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest generation of rights that this file was written for. Kernels know it from 6.15 on.
const KNOWN: ABI = ABI::V7;

/// From here on TCP is refused (Linux 6.7).
pub const ABI_TCP: u32 = 4;

/// From here on abstract sockets and signals stay inside (Linux 6.12).
pub const ABI_SCOPES: u32 = 6;

/// What a program may do with files. Everything else is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access<'a> {
    /// Files and folders to read, list and map. A path that does not exist is passed over.
    pub read: &'a [&'a Path],
    /// Devices to read and write, and nothing else.
    pub devices: &'a [&'a Path],
    /// Folders in which to make, change and remove files and folders, but no links to elsewhere,
    /// sockets, queues or devices.
    pub write: &'a [&'a Path],
    /// Files that may be started: the interpreter and its loader.
    pub execute: &'a [&'a Path],
}

/// The generation of Landlock that this kernel offers; 0 where it has none or has it turned off.
pub fn abi() -> u32 {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = |rights: BitFlags<AccessFs>| strict().handle_access(rights).is_ok();
    // What each generation brought; 7 brought control over the audit log, which we leave as it is.
    let news = [
        files(AccessFs::from_all(ABI::V1)),
        files(AccessFs::Refer.into()),
        files(AccessFs::Truncate.into()),
        strict().handle_access(AccessNet::from_all(ABI::V4)).is_ok(),
        files(AccessFs::IoctlDev.into()),
        strict().scope(Scope::from_all(ABI::V6)).is_ok(),
    ];
    news.iter().take_while(|offered| **offered).map(|_| 1).sum()
}

/// Restricts the calling thread and all that it starts, for ever, by all that the kernel offers.
///
/// # Errors
/// If the kernel has no Landlock, or refuses.
pub fn restrict(access: &Access<'_>) -> Result<(), String> {
    match enforce(access) {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => {
            Err("could not restrict files: this kernel has no Landlock".into())
        }
        Err(error) => Err(format!("could not restrict files: {error}")),
    }
}

fn enforce(access: &Access<'_>) -> Result<RulesetStatus, RulesetError> {
    let list = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let rights = [
        (access.read, list),
        (access.devices, device),
        (access.write, list | changes()),
        (access.execute, AccessFs::ReadFile | AccessFs::Execute),
    ];
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for (paths, rights) in rights {
        for path in paths {
            // What is not there needs no right.
            let Ok(opened) = PathFd::new(path) else { continue };
            let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(KNOWN) };
            rules = rules.add_rule(PathBeneath::new(opened, rights))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// What a program may do in its own folder. No sockets, queues, devices or links by name, through
/// which somebody outside could be led on or spoken to; and nothing is started from there.
fn changes() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

#[cfg(test)]
mod tests;
