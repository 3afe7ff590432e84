//! The verb `traces`: everything the teachers answered, as JSONL on standard output.

use std::collections::HashSet;
use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context as _;
use serde::Serialize;

use super::Global;
use crate::hint::Hinted;
use crate::records::{Example, RunId, TraceId};
use crate::store::{Store, TraceFilter};

/// Options of `traces`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write traces to standard output, one JSON object per line
    Export {
        /// Only the traces that this training run learned from: its number or name
        #[arg(long, value_name = "ID")]
        run: Option<String>,
    },
}

/// One line of an export. Names and order are a contract.
#[derive(Serialize)]
struct Line<'a> {
    /// The question's `id` in the file it came from.
    question_id: &'a str,
    sample: u32,
    problem: &'a str,
    reasoning: &'a str,
    solution: &'a str,
    finish_reason: &'a str,
    prompt_tokens: u64,
    completion_tokens: u64,
    cost_usd: f64,
    model: &'a str,
    endpoint: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(example: &'a Example) -> Self {
        let Example { question, trace, verdict } = example;
        Self {
            question_id: &question.key,
            sample: trace.sample,
            problem: &question.problem,
            reasoning: &trace.reasoning,
            solution: &trace.solution,
            finish_reason: trace.finish_reason.name(),
            prompt_tokens: trace.prompt_tokens,
            completion_tokens: trace.completion_tokens,
            cost_usd: trace.cost_usd,
            model: &trace.model,
            endpoint: &trace.endpoint,
            attempts: trace.attempts,
            verdict: verdict.as_ref().map(crate::records::Verdict::name),
        }
    }
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Verb::Export { run } = args.verb;
    let store = Store::open(&global.data_dir())?;
    let wanted = run.map(|run| traces_of(&store, &run)).transpose()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&store, wanted.as_ref(), &mut out);
    match written.and_then(|()| out.flush().map_err(Into::into)) {
        // Whoever reads with `head` has enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result.context("could not write the traces"),
    }
}

fn write(
    store: &Store,
    wanted: Option<&HashSet<TraceId>>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    store.each_example(&TraceFilter::default(), |example| {
        if wanted.is_none_or(|wanted| wanted.contains(&example.trace.id)) {
            serde_json::to_writer(&mut *out, &Line::of(&example))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// The traces in the dataset of the training run that `run` names.
fn traces_of(store: &Store, run: &str) -> anyhow::Result<HashSet<TraceId>> {
    let found = match run.parse() {
        Ok(id) => Some(store.run(RunId(id))?),
        Err(_) => store.run_named(run)?,
    };
    let hint = "`thinkery traces export` without --run writes them all";
    let none = || Hinted::new(format!("there is no training run `{run}`"), hint);
    let found = found.ok_or_else(none)?;
    let bare = || Hinted::new(format!("the run `{run}` was not trained on a dataset"), hint);
    let dataset = found.dataset_id.ok_or_else(bare)?;
    Ok(store.dataset_traces(dataset)?.into_iter().collect())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    io.or(json) == Some(ErrorKind::BrokenPipe)
}
