//! The verb `plan`: what a recipe resolves to, and what it will take.

use serde_json::{Value, json};

use super::{Global, machine, units};
use crate::hint::Hinted;
use crate::jobs::Kind;
use crate::recipe::{Forecast, Machine, Origin, Plan, Recipe};

/// Options of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `rehearsal`, `openthinker_7b`, `openthinker_32b`, or a TOML file
    recipe: String,
    /// Give a setting another value, e.g. `train.steps=100`
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Plan for this many GPUs instead of those of this machine
    #[arg(long, value_name = "N")]
    devices: Option<usize>,
    /// Memory of one GPU, e.g. 80GiB
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    device_memory: Option<u64>,
}

/// The stage called `name`.
pub(super) fn stage(name: &str) -> Result<Kind, String> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    Kind::from_name(name)
        .ok_or_else(|| format!("there is no such stage; stages are {}", names.join(", ")))
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let mut machine = machine::here()?;
    machine.gpus = args.devices.unwrap_or(machine.gpus);
    machine.gpu_memory_bytes = args.device_memory.or(machine.gpu_memory_bytes);
    let plan = resolve(&Recipe::load(&args.recipe, &args.set)?, &machine)?;
    let forecast = plan.forecast(&machine);
    show(global, &plan, &forecast, &machine);
    let asked = args.devices.is_some() || args.device_memory.is_some();
    if asked && forecast.fits == Some(false) {
        let message = format!("`{}` does not fit on {} GPUs", plan.recipe, machine.gpus);
        return Err(Hinted::new(message, forecast.advice.join("; ")).into());
    }
    Ok(())
}

/// The plan of `recipe` on `machine`, or all its problems and where to look.
pub(super) fn resolve(recipe: &Recipe, machine: &Machine) -> anyhow::Result<Plan> {
    recipe.resolve(machine).map_err(|problems| {
        let hint = "`thinkery plan rehearsal --json` shows every setting with its value";
        Hinted::new(problems.to_string(), hint).into()
    })
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, plan: &Plan, forecast: &Forecast, machine: &Machine) {
    if global.json {
        let mut value = json!({
            "recipe": plan.recipe, "hash": plan.hash(), "stages": plan.stages,
            "origins": plan.origins, "machine": machine,
        });
        if let (Value::Object(value), Ok(Value::Object(forecast))) =
            (&mut value, serde_json::to_value(forecast))
        {
            value.extend(forecast);
        }
        println!("{value}");
        return;
    }
    for (name, settings) in &plan.stages {
        println!("[{name}]");
        lines(plan, name, name, settings);
        println!();
    }
    print!("{}", forecast_text(forecast));
}

/// One line per value below `path`: its name within the section, the value, who says so.
#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn lines(plan: &Plan, section: &str, path: &str, value: &Value) {
    if let Value::Object(table) = value
        && !table.is_empty()
    {
        for (key, inner) in table {
            lines(plan, section, &format!("{path}.{key}"), inner);
        }
        return;
    }
    let name = path.strip_prefix(section).unwrap_or(path).trim_start_matches('.');
    let origin = plan.origins.get(path).copied().unwrap_or(Origin::Default);
    println!("{:<44} # {}", format!("{name} = {value}"), origin.name());
}

fn forecast_text(forecast: &Forecast) -> String {
    let number = |value: Option<u64>| value.map_or("unknown".into(), |value| value.to_string());
    let size = |value: Option<u64>| value.map_or("unknown".into(), units::bytes);
    let device = forecast.memory.device_bytes.as_ref().map(|memory| memory.total);
    let hours = forecast.hours.map_or("unknown".into(), |hours| format!("{hours:.1}"));
    let fits = match forecast.fits {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let mut text = format!(
        "parameters     {}\ntokens         {}\nsteps          {}\nhours          {hours}\n\
         GPU memory     {}\nhost memory    {}\ndisk           {}\nfits           {fits}\n",
        number(forecast.parameters),
        number(forecast.tokens),
        number(forecast.steps),
        size(device),
        size(forecast.memory.host_bytes),
        size(forecast.memory.disk_bytes),
    );
    text.extend(forecast.advice.iter().map(|advice| format!("note: {advice}\n")));
    text
}
