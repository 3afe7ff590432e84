//! Starts processes: interpreters to ask, launchers of slots, and what launchers become.
//!
//! The only file of the sandbox that does. What is started has an environment made from nothing.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use super::enter::Plan;

/// The hidden verb that a launcher is started with.
const VERB: &str = "sandboxed";

/// What `program` prints. The error ends a sentence about it. With `surroundings` it gets our
/// environment, which finds what a version manager's script stands for.
pub(super) fn say(
    program: &Path,
    arguments: &[&str],
    surroundings: bool,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").stdin(Stdio::null());
    if !surroundings {
        command.env_clear();
    }
    let output = command.output().map_err(|error| format!("does not start: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let why = stderr.lines().last().unwrap_or("it said nothing");
        return Err(format!("ended with {}: {why}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "does not speak UTF-8".into())
}

/// Starts the launcher of a slot: `control` becomes its standard input, `errors` its standard error.
pub(super) fn launch(plan: &Plan, control: OwnedFd, errors: File) -> anyhow::Result<Child> {
    Command::new(&plan.launcher)
        .arg(VERB)
        .arg(plan.written()?)
        .env_clear()
        .current_dir(plan.folder.as_deref().unwrap_or(Path::new("/")))
        .stdin(control)
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("could not start `{}`", plan.launcher.display()))
}

/// Starts the same launcher again, with the same files, as the first process of a new namespace.
pub(super) fn launch_inside(plan: &Plan) -> anyhow::Result<Child> {
    Command::new(&plan.launcher)
        .arg(VERB)
        .arg(plan.written()?)
        .env_clear()
        .spawn()
        .context("could not start the first process of a namespace")
}

/// The command line with which a harness starts one run in a process of its own.
pub(super) fn launch_line(plan: &Plan) -> anyhow::Result<Vec<OsString>> {
    Ok(vec![plan.launcher.clone().into(), VERB.into(), plan.written()?.into()])
}

/// Becomes `program`. `last` is called before with the very text that `program` will be started
/// from. Returns only if it could not.
///
/// # Errors
/// If `last` fails or the program cannot be started.
pub(super) fn become_program(
    program: &Path,
    arguments: &[OsString],
    folder: &Path,
    last: impl FnOnce(&OsStr) -> anyhow::Result<()>,
) -> anyhow::Result<Infallible> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        // Sets of strings are ordered by hash: the same program prints the same twice.
        .envs([("PYTHONHASHSEED", "0"), ("PYTHONUTF8", "1"), ("PYTHONSAFEPATH", "1")])
        // Functions of libraries are found once, not again in every fork. The harness takes it out.
        .env("LD_BIND_NOW", "1")
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .current_dir(folder);
    last(command.get_program())?;
    let error = command.exec();
    anyhow::bail!("could not start `{}`: {error}", program.display())
}
