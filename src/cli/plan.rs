//! The verb `plan`: what a recipe resolves to, and what it will take.

use serde_json::{Value, json};

use super::{Global, machine, units};
use crate::hint::Hinted;
use crate::jobs::Kind;
use crate::recipe::{Forecast, Machine, Origin, Plan, Recipe, Row, Way};

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
        // What would help stands last.
        let hint = forecast.advice.last().cloned().unwrap_or_default();
        return Err(Hinted::new(message, hint).into());
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
    let hours = forecast.hours.map_or("unknown".into(), |hours| format!("{hours:.1}"));
    let cost = forecast.cost_usd.map_or("unknown".into(), |cost| format!("{cost:.0} US dollars"));
    let fits = match forecast.fits {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let device = forecast.memory.device_bytes.as_ref();
    let mut text = format!(
        "parameters     {}\ntokens         {}\nsteps          {}\nhours          {hours}\n\
         cost           {cost}\nGPU memory     {}\n",
        number(forecast.parameters),
        number(forecast.tokens),
        number(forecast.steps),
        size(device.map(|memory| memory.total)),
    );
    if let Some(device) = device {
        text.extend(
            device.parts().map(|(name, bytes)| format!("  {name:<12} {}\n", units::bytes(bytes))),
        );
    }
    text += &format!(
        "host memory    {}\ndisk           {}\nfits           {fits}\n",
        size(forecast.memory.host_bytes),
        size(forecast.memory.disk_bytes),
    );
    text += &table_text(&forecast.table, forecast.memory.usable_bytes);
    text.extend(forecast.advice.iter().map(|advice| format!("note: {advice}\n")));
    text
}

/// What each layout of the state takes, in GiB, for each way of keeping the forward pass.
fn table_text(table: &[Row], usable: Option<u64>) -> String {
    let Some(first) = table.first() else { return String::new() };
    let gib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 30));
    let mut text = format!(
        "\nGiB of each GPU by train.state and what is kept; * does not fit into {}\n{:<6}",
        usable.map_or_else(|| "an unknown size".to_owned(), &gib),
        ""
    );
    text.extend(first.ways.iter().map(|way| format!("{:>20}", way.name)));
    for row in table {
        text += &format!("\n{:<6}", row.state);
        let mark = |way: &Way| if way.fits { "" } else { "*" };
        text.extend(row.ways.iter().map(|way| format!("{:>20}", gib(way.bytes) + mark(way))));
    }
    text + "\n\n"
}
