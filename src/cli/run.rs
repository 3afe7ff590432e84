//! The verb `run`: every stage of a recipe, in the foreground; again = resume.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{Global, foreground, machine};
use crate::engine::{self, Device};
use crate::hint::Hinted;
use crate::jobs::{self, Kind, Owner};
use crate::recipe::{Machine, Plan, Recipe};
use crate::records::{Job, JobState, Score};

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `rehearsal`, `openthinker_7b`, `openthinker_32b`, or a TOML file
    recipe: String,
    /// Give a setting another value, e.g. `train.steps=100`
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE", value_parser = super::plan::stage)]
    until: Option<Kind>,
    /// Where to train, evaluate and serve: `cpu` or `cuda:0`
    #[arg(long)]
    device: Option<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut recipe = Recipe::load(&args.recipe, &args.set)?;
    if let Some(device) = &args.device {
        recipe.set_device(device);
    }
    let machine = machine::here()?;
    let plan = super::plan::resolve(&recipe, &machine)?;
    ensure_it_fits(&plan, &machine)?;
    let mut stages = plan.stages();
    if let Some(until) = args.until {
        let end = stages.iter().position(|(kind, _)| *kind == until);
        let end = end.with_context(|| format!("the recipe has no stage `{}`", until.name()))?;
        stages.truncate(end + 1);
    }
    stages.iter().try_for_each(ensure_device)?;
    let owner = Owner::open(&global.data_dir(), foreground::launch()?)?;
    let row = owner.store().add_plan(&plan.recipe, &plan.to_json(), &plan.hash())?;
    let queue = owner.prepare(row.id, &stages)?;
    let mut meter = foreground::Meter::new();
    let stop = foreground::stop_on_signals()?;
    let over = owner.run_jobs(&queue, &stop, &mut |job| meter.show(job))?;
    // The first that did not finish is why the later ones were not started.
    let broken = over.iter().find(|job| job.state != JobState::Done || jobs::is_paused(job));
    let spent = |job: &&&Job| job.state == JobState::Done && jobs::is_paused(job);
    if let Some(paused) = broken.as_ref().filter(spent) {
        let message = format!("`{}` is paused: the budget is spent", paused.kind.name());
        let hint = "raise `distill.budget_usd`, then run the same again";
        return Err(Hinted::new(message, hint).into());
    }
    if let Some(broken) = broken {
        return Owner::summary(broken.clone()).map(drop);
    }
    let seconds = began.elapsed().as_secs_f64();
    let scores = owner.store().scores()?;
    report(global, &plan, &over, &scores, seconds)
}

/// A model that cannot be trained here is refused before anything is begun.
fn ensure_it_fits(plan: &Plan, machine: &Machine) -> anyhow::Result<()> {
    let forecast = plan.forecast(machine);
    if forecast.fits != Some(false) {
        return Ok(());
    }
    let gpus = machine.gpus;
    let message = format!("`{}` cannot be trained on this machine's {gpus} GPUs", plan.recipe);
    let hint = format!("see `thinkery plan {} --devices 8 --device-memory 80GiB`", plan.recipe);
    Err(Hinted::new(message, hint).into())
}

/// A device that is not there is told now, not when training begins hours later.
fn ensure_device((kind, config): &(Kind, Value)) -> anyhow::Result<()> {
    let Some(device) = config.get("device").and_then(Value::as_str) else { return Ok(()) };
    let device = device.parse::<Device>().map_err(|why| anyhow::anyhow!(why))?;
    engine::ensure_device(device).map_err(|error| {
        let message = format!("`{}` cannot run: {error}", kind.name());
        match error.hint() {
            Some(hint) => Hinted::new(message, hint).into(),
            None => anyhow::anyhow!(message),
        }
    })
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn report(
    global: &Global,
    plan: &Plan,
    jobs: &[Job],
    scores: &[Score],
    seconds: f64,
) -> anyhow::Result<()> {
    if global.json {
        let stages: Map<String, Value> = jobs.iter().map(stage).collect();
        let result = json!({
            "recipe": plan.recipe, "seconds": seconds, "stages": stages, "scores": scores,
        });
        println!("{result}");
        return Ok(());
    }
    print!("{}", table(scores));
    if let Some(served) = jobs.iter().find(|job| job.kind == Kind::Serve) {
        print!("{}", answer(served));
    }
    println!("\n`{}` is done in {}", plan.recipe, super::units::duration(seconds));
    Ok(())
}

/// One entry of `stages`: the state, the seconds it took, and what it counted.
fn stage(job: &Job) -> (String, Value) {
    let time = |text: &Option<String>| text.as_ref()?.parse::<jiff::Timestamp>().ok();
    let seconds = match (time(&job.started_at), time(&job.finished_at)) {
        (Some(start), Some(end)) => end.duration_since(start).as_secs_f64(),
        _ => 0.0,
    };
    let counts = job.summary.clone().unwrap_or(Value::Null);
    let value = json!({ "state": job.state, "seconds": seconds, "counts": counts });
    (job.kind.name().to_owned(), value)
}

/// The score table: a row per benchmark or family, a column per model, mean ± standard error.
fn table(scores: &[Score]) -> String {
    let order =
        |model: &str| ["untrained", "unverified", "verified"].iter().position(|m| *m == model);
    let mut models: Vec<&str> = scores.iter().map(|score| score.model.as_str()).collect();
    models.sort_by_key(|model| (order(model).unwrap_or(usize::MAX), *model));
    models.dedup();
    let mut benchmarks: Vec<&str> = scores.iter().map(|s| s.benchmark.as_str()).collect();
    benchmarks.sort_unstable();
    benchmarks.dedup();
    if models.is_empty() {
        return String::new();
    }
    let width = benchmarks.iter().map(|name| name.len()).max().unwrap_or(0).max(9);
    let mut text = format!("\n{:<width$} {:>5}", "benchmark", "n");
    text.extend(models.iter().map(|model| format!(" {model:>16}")));
    text.push('\n');
    for benchmark in benchmarks {
        let of = |model: &str| {
            scores.iter().find(|score| score.benchmark == benchmark && score.model == model)
        };
        let n = models.iter().find_map(|model| of(model)).map_or(0, |score| score.n);
        text += &format!("{benchmark:<width$} {n:>5}");
        for model in &models {
            let cell = of(model).map_or_else(String::new, |score| {
                format!("{:.1} ± {:.1}", score.mean, score.standard_error)
            });
            text += &format!(" {cell:>16}");
        }
        text.push('\n');
    }
    text
}

/// The question that was asked of the served model, and its answer.
fn answer(job: &Job) -> String {
    let text = |name: &str| job.summary.as_ref()?.get(name)?.as_str().map(str::to_owned);
    match (text("question"), text("answer")) {
        (Some(question), Some(answer)) => {
            format!("\nasked over HTTP: {}\nanswered: {}\n", question.trim(), answer.trim())
        }
        _ => String::new(),
    }
}
