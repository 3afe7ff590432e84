//! The verb `serve`: the OpenAI-compatible server alone.
//!
//! Asks for no key unless `THINKERY_API_KEY` (or the file that `THINKERY_API_KEY_FILE` names) sets
//! one. Loads the model before it says that it listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::Global;
use crate::chat::local::{LocalModel, Place};
use crate::engine::{Device, WeightType};
use crate::serve::{KeyCheck, Models, Offer, listen, standalone};

/// The environment variable of the key.
const KEY: &str = "THINKERY_API_KEY";

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model's folder, in Hugging Face layout
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Where the model runs: `cpu` or `cuda:0`
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// What clients call the model; its folder's name if not given
    #[arg(long, value_name = "NAME")]
    served_name: Option<String>,
    /// Tokens of conversation and answer together at most; the model's own limit if not given
    #[arg(long, value_name = "TOKENS")]
    max_context: Option<usize>,
    /// What weights are kept as on the processor: `auto` (as in the files), `f32`, `bf16` or `int8`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weights: WeightType,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let name = args.served_name.unwrap_or_else(|| {
        let dir = std::path::absolute(&args.model).unwrap_or_else(|_| args.model.clone());
        dir.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned())
    });
    let place =
        Place { max_context: args.max_context, weights: args.weights, ..Place::on(args.device) };
    let model = LocalModel::open(&name, &args.model, place)?;
    let models = Arc::new(Models::new(place));
    let created = std::fs::metadata(&args.model).and_then(|data| data.modified()).ok();
    let created = created.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let created = created.map_or(0, |age| age.as_secs() as i64);
    models.add_loaded(Offer { name, dir: args.model, created }, model);
    let router = standalone(models, key()?.map(check));
    listen(args.listen, router, |address| say(global, address))
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
