//! The verb `serve`: the OpenAI-compatible server alone.
//!
//! Asks for no key unless `THINKERY_API_KEY` (or the file that `THINKERY_API_KEY_FILE` names) sets
//! one. Takes connections at once and says that it listens when the model is loaded.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::Global;
use crate::chat::local::{LocalModel, PARROT, Place};
use crate::engine::{Device, WeightType};
use crate::serve::{KeyCheck, Limits, Models, Offer, REQUESTS_MAX, Serving, listen, standalone};

/// The environment variable of the key.
const KEY: &str = "THINKERY_API_KEY";

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model's folder, in Hugging Face layout; `dummy:NAME` for random weights of a known shape,
    /// `parrot:` for no model at all
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Where the model runs: `cpu` or `cuda:0`; on several, separated by commas, once on each
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "cpu")]
    device: Vec<Device>,
    /// Copies of the model on each device, which share the requests
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    replicas: u16,
    /// Ranks that each copy of the model is split over: GPUs next to each other, or parts of the
    /// processor
    #[arg(long, value_name = "RANKS", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=8))]
    tensor_parallel: u8,
    /// What clients call the model; its folder's name if not given
    #[arg(long, value_name = "NAME")]
    served_name: Option<String>,
    /// Tokens of conversation and answer together at most; the model's own limit if not given
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    max_context: Option<u32>,
    /// What weights are kept as on the processor: `auto` (as in the files), `f32`, `bf16` or `int8`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weights: WeightType,
    /// Memory for keys and values of what is being answered, e.g. 4GiB; 2 GiB, or a sequence of full
    /// length, if not given
    #[arg(long, value_name = "BYTES", value_parser = super::units::parse_bytes)]
    cache: Option<u64>,
    /// Requests in flight at most, running and waiting; more are told to come back
    #[arg(long, value_name = "NUMBER", default_value_t = REQUESTS_MAX as u32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_requests: u32,
    /// How long a step of the engine may take before `/health` says that it is stuck
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..))]
    step_timeout: u32,
    /// How long answers may go on after the first SIGTERM; a second one ends them
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    shutdown_timeout: u32,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let name = args.served_name.clone().unwrap_or_else(|| name_of(&args.model));
    let devices: Vec<Device> = args
        .device
        .iter()
        .flat_map(|device| std::iter::repeat_n(*device, usize::from(args.replicas)))
        .collect();
    let place = Place {
        max_context: args.max_context.map(|tokens| tokens as usize),
        threads: threads(&devices),
        weights: args.weights,
        cache_bytes: args.cache,
        tensor_parallel: args.tensor_parallel.into(),
        ..Place::on(devices[0])
    };
    let limits = Limits {
        requests: args.max_requests as usize,
        step_time: Duration::from_secs(args.step_timeout.into()),
    };
    let models = Arc::new(Models::loading(place, limits));
    let serving = Serving {
        address: args.listen,
        router: standalone(Arc::clone(&models), key()?.map(check)),
        models: Arc::clone(&models),
        patience: Duration::from_secs(args.shutdown_timeout.into()),
    };
    let load = move || {
        let model = LocalModel::open_on(&name, &args.model, place, &devices)?;
        if let Some(asked) = place.max_context.filter(|asked| *asked > model.context()) {
            let context = model.context();
            warn!(
                "--max-context {asked} is more than `{name}` has: requests may have {context} tokens"
            );
        }
        let created = created(&args.model);
        models.add_loaded(Offer { name, dir: args.model, created }, model);
        Ok(())
    };
    listen(serving, load, |address| say(global, address))
}

/// A folder's own name; that of a dummy as it was asked for.
fn name_of(model: &Path) -> String {
    if model.to_str().is_some_and(|model| model.starts_with(PARROT)) {
        return PARROT.trim_end_matches(':').to_owned();
    }
    let dir = std::path::absolute(model).unwrap_or_else(|_| model.to_owned());
    dir.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

/// When the model was written, in Unix seconds.
fn created(model: &Path) -> i64 {
    let time = std::fs::metadata(model).and_then(|data| data.modified()).ok();
    let age = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    age.map_or(0, |age| age.as_secs() as i64)
}

/// Threads of the processor for each engine: replicas side by side get a share each.
fn threads(devices: &[Device]) -> usize {
    let here = devices.iter().filter(|device| **device == Device::Cpu).count();
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    if here > 1 { (all / here).max(1) } else { 0 }
}

/// Every connection is a file; the usual soft limit of 1024 is for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("could not raise the limit of open files: {error}");
    }
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn say(global: &Global, address: SocketAddr) -> anyhow::Result<()> {
    use std::io::Write;
    if global.json {
        println!("{}", serde_json::json!({ "listening": format!("http://{address}") }));
    } else {
        println!("listening on http://{address}");
    }
    std::io::stdout().flush().context("could not say where the server listens")
}

/// The key that clients need, if there is one.
fn key() -> anyhow::Result<Option<String>> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(key) = set(KEY) {
        return Ok(Some(key));
    }
    let Some(path) = set(&format!("{KEY}_FILE")) else { return Ok(None) };
    let key = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read the API key from `{path}`"))?;
    Ok(Some(key.trim().to_owned()))
}

/// Compares digests, so that the time it takes says nothing about the key.
fn check(key: String) -> KeyCheck {
    let expected = Sha256::digest(key);
    Arc::new(move |given| Sha256::digest(given) == expected)
}
