//! Runs a stage as a job in the foreground: what the verbs of the stages have in common.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Global;
use crate::jobs::{ALLOW_UNSANDBOXED, JUDGE_KEY, Kind, Launch, Owner, Secrets, TEACHER_KEY};
use crate::records::{Job, JobState};
use crate::stage::Stop;

/// How often progress is said where there is no terminal.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Runs one stage as a job of its own, with its progress on standard error; Ctrl-C cancels it.
/// Gives the stage's summary.
pub(super) fn run(
    global: &Global,
    kind: Kind,
    config: &impl Serialize,
) -> anyhow::Result<serde_json::Value> {
    Owner::summary(job(global, kind, config)?)
}

/// The same, but gives the job as it ended, well or not.
pub(super) fn job(global: &Global, kind: Kind, config: &impl Serialize) -> anyhow::Result<Job> {
    let owner = Owner::open(&global.data_dir(), launch()?)?;
    let mut meter = Meter::new();
    owner.run_alone(kind, config, &stop_on_signals()?, &mut |job| meter.show(job))
}

/// Set once, before any verb runs, where `--allow-unsandboxed` is given.
static UNSANDBOXED: OnceLock<()> = OnceLock::new();

/// Lets programs run with limits only where nothing can hold them, and says so in red.
#[expect(clippy::print_stderr, reason = "what was asked for is dangerous")]
pub(super) fn allow_unsandboxed() {
    UNSANDBOXED.get_or_init(|| ());
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let red = !plain && std::io::stderr().is_terminal();
    let (on, off) = if red { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    eprintln!(
        "{on}warning: where nothing can hold programs they run with limits only, and may read, \
         change and send whatever this user may{off}"
    );
}

/// How to start this binary again, with the secrets of the environment.
pub(super) fn launch() -> anyhow::Result<Launch> {
    // The link outlives a rebuild of the file: a job is the same binary as its owner.
    let link = PathBuf::from("/proc/self/exe");
    let exe = if link.exists() { link } else { std::env::current_exe()? };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let search_path = std::env::split_paths(&path).collect();
    let allow_unsandboxed = std::env::var_os(ALLOW_UNSANDBOXED).is_some_and(|value| value == "1")
        || UNSANDBOXED.get().is_some();
    Ok(Launch { exe, search_path, allow_unsandboxed, secrets: secrets()? })
}

/// Secrets of the environment: `THINKERY_TEACHER_KEY` and `THINKERY_JUDGE_KEY`, or the files that the
/// same names with `_FILE` name.
pub(super) fn secrets() -> anyhow::Result<Secrets> {
    Ok(Secrets { teacher_key: secret(TEACHER_KEY)?, judge_key: secret(JUDGE_KEY)? })
}

fn secret(name: &str) -> anyhow::Result<Option<String>> {
    use anyhow::Context;
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(key) = set(name) {
        return Ok(Some(key));
    }
    let Some(path) = set(&format!("{name}_FILE")) else { return Ok(None) };
    let whose = if name == JUDGE_KEY { "judge" } else { "teacher" };
    let key = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read the {whose}'s key from `{path}`"))?;
    Ok(Some(key.trim().to_owned()))
}

/// A stop that is requested by the first Ctrl-C or SIGTERM; the second ends this process.
pub(super) fn stop_on_signals() -> anyhow::Result<Stop> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM] {
        register_conditional_shutdown(signal, 128 + signal, stop.flag())?;
        register(signal, stop.flag())?;
    }
    Ok(stop)
}

/// Progress of jobs on standard error: a bar on a terminal, a line every ten seconds otherwise.
pub(super) struct Meter {
    bar: Option<ProgressBar>,
    said: Option<(Instant, Kind, JobState)>,
}

impl Meter {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:>9} {wide_bar} {pos}/{len} {msg}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, said: None }
    }

    /// Shows where `job` stands.
    pub(super) fn show(&mut self, job: &Job) {
        match &self.bar {
            Some(bar) => draw(bar, job),
            None => self.say(job),
        }
    }

    fn say(&mut self, job: &Job) {
        let due = match self.said {
            Some((at, kind, state)) => {
                kind != job.kind || state != job.state || at.elapsed() >= LINE_INTERVAL
            }
            None => true,
        };
        if due {
            self.said = Some((Instant::now(), job.kind, job.state));
            say_line(&line(job));
        }
    }
}

fn draw(bar: &ProgressBar, job: &Job) {
    bar.set_prefix(job.kind.name());
    bar.set_length(job.progress.total);
    bar.set_position(job.progress.done);
    bar.set_message(job.progress.note.clone());
    if job.state.is_over() {
        bar.suspend(|| say_line(&line(job)));
        bar.reset();
    }
}

#[expect(clippy::print_stderr, reason = "progress for people")]
fn say_line(line: &str) {
    eprintln!("{line}");
}

/// `distill   running 120/3000 asking the teacher`.
fn line(job: &Job) -> String {
    let progress = &job.progress;
    let count = match (progress.done, progress.total) {
        (0, 0) => String::new(),
        (done, 0) => format!(" {done}"),
        (done, total) => format!(" {done}/{total}"),
    };
    let note = if progress.note.is_empty() { "" } else { " " };
    format!("{:<9} {}{count}{note}{}", job.kind.name(), job.state.name(), progress.note)
}
