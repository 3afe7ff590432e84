//! The command line: one file per verb, one variant per file.
//!
//! The only place that reads the environment and prints. Decides nothing itself.

mod admin;
mod completions;
mod config;
mod dataset;
mod distill;
mod doctor;
mod evaluate;
mod foreground;
mod gpu_check;
mod grade;
mod job;
mod lines;
mod logits;
mod machine;
mod openapi;
mod plan;
mod questions;
mod run;
mod sandboxed;
mod serve;
mod teacher;
mod tokenize;
mod traces;
mod train;
mod units;
mod up;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::stage;

/// Reproduce OpenThinker end to end on one server, from a browser.
#[derive(Debug, Parser)]
#[command(name = "thinkery", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The data folder: database, datasets, models
    #[arg(
        long = "data",
        value_name = "DIR",
        env = "THINKERY_DATA_DIR",
        hide_env_values = true,
        global = true
    )]
    pub data: Option<PathBuf>,
    /// Print the result as one JSON object on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Run programs with limits only where this machine cannot hold them
    #[arg(long, global = true)]
    pub allow_unsandboxed: bool,
    /// Say more on standard error; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

impl Global {
    /// The data folder: `--data`, else `THINKERY_DATA_DIR`, else `$XDG_DATA_HOME/thinkery`, else
    /// `~/.local/share/thinkery`.
    pub fn data_dir(&self) -> PathBuf {
        if let Some(dir) = &self.data {
            return dir.clone();
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = set("XDG_DATA_HOME").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(set("HOME").unwrap_or_else(|| ".".into())).join(".local/share")
        });
        base.join("thinkery")
    }
}

/// The verbs, in the order of the pipeline, then the helpers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the panel, the API and the job runner
    Up(up::Args),
    /// Run every stage of a recipe; again = resume
    Run(run::Args),
    /// Show what a recipe resolves to and what it will take
    Plan(plan::Args),
    /// Import questions
    Questions(questions::Args),
    /// Ask a teacher every question that has no trace yet
    Distill(distill::Args),
    /// Export traces
    Traces(traces::Args),
    /// Judge every trace that has no verdict yet
    Verify(verify::Args),
    /// Grade answers from standard input
    Grade(grade::Args),
    /// Build, list and export datasets
    Dataset(dataset::Args),
    /// Fine-tune a model
    Train(train::Args),
    /// Score a model on a benchmark
    Evaluate(evaluate::Args),
    /// Serve a model with an OpenAI-compatible API
    Serve(serve::Args),
    /// Write the logits of one sequence
    Logits(logits::Args),
    /// Turn lines into token ids, as the model sees them
    Tokenize(tokenize::Args),
    /// Turn token ids into text
    Detokenize(tokenize::Args),
    /// Start the rehearsal teacher
    Teacher(teacher::Args),
    /// Show what this machine has and lacks
    Doctor(doctor::Args),
    /// Show where each setting comes from
    Config(config::Args),
    /// Setup link, password and keys of the panel
    Admin(admin::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Compare a GPU's results with the processor's
    #[command(hide = true)]
    GpuCheck(gpu_check::Args),
    /// Print the API's description
    #[command(hide = true)]
    Openapi(openapi::Args),
    /// Work on one job (started by `up` and `run`)
    #[command(hide = true)]
    Job(job::Args),
    /// Limit this process, then become a program (started by the sandbox)
    #[command(hide = true)]
    Sandboxed(sandboxed::Args),
}

/// Parses the command line, runs the verb, reports an error with its hint. Exit codes: 0 done, 1
/// could not, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Sends the log to standard error: warnings, and from `up`, `job` and `-v` on what happens.
fn log_to_stderr(cli: &Cli) {
    use tracing_subscriber::filter::LevelFilter;
    let talks = matches!(cli.command, Command::Up(_) | Command::Job(_));
    let level = match cli.global.verbose + u8::from(talks) {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(!no_color && std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let global = &cli.global;
    if global.allow_unsandboxed {
        foreground::allow_unsandboxed();
    }
    match cli.command {
        Command::Up(args) => up::run(global, args),
        Command::Run(args) => run::run(global, &args),
        Command::Plan(args) => plan::run(global, &args),
        Command::Questions(args) => questions::run(global, args),
        Command::Distill(args) => distill::run(global, args),
        Command::Traces(args) => traces::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Grade(args) => grade::run(global, args),
        Command::Dataset(args) => dataset::run(global, args),
        Command::Train(args) => train::run(global, args),
        Command::Evaluate(args) => evaluate::run(global, args),
        Command::Serve(args) => serve::run(global, args),
        Command::Logits(args) => logits::run(global, args),
        Command::Tokenize(args) => tokenize::tokenize(global, args),
        Command::Detokenize(args) => tokenize::detokenize(global, args),
        Command::Teacher(args) => teacher::run(global, &args),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Config(args) => config::run(global, &args),
        Command::Admin(args) => admin::run(global, args),
        Command::Completions(args) => completions::run(global, &args),
        Command::GpuCheck(args) => gpu_check::run(global, &args),
        Command::Openapi(args) => openapi::run(global, args),
        Command::Job(args) => job::run(global, &args),
        Command::Sandboxed(args) => sandboxed::run(global, &args),
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors reach people")]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(hint) = stage::hint_of(error) {
        eprintln!("hint: {hint}");
    }
}
