//! What one can do with a training run besides making it: find its job, go on with it, write it as a
//! command, and look at what it is trained on.

use anyhow::Context;
use serde_json::{Map, Value};

use super::Kind;
use crate::dataset::encode::{self, Shown};
use crate::hint::Hinted;
use crate::records::{Arm, Job, Run};
use crate::store::{self, Store};
use crate::train::{self, Config};

/// Jobs that are looked at to find a run's: it is a recent one, or nobody can stop or repeat it.
const JOBS_MAX: u32 = 1_000;

/// Settings by which runs of one job differ from it, or that change nothing of a run.
const OWN: [&str; 4] = ["arms", "dataset", "steps", "resume_from"];

/// Settings that a command names in another way, or that are not the run's.
const NAMED_APART: [&str; 4] = ["arms", "dataset", "model", "resume_from"];

/// Letters of a hash in the name of a folder.
const HASH_LETTERS: usize = 8;

/// The job that makes `run`, or made it last; none if it is long ago, or another run of the same name
/// has taken its place.
///
/// # Errors
/// If the store refuses.
pub fn job_of(store: &Store, run: &Run) -> store::Result<Option<Job>> {
    let is_newer = |other: &Run| {
        other.id > run.id && other.name == run.name && same(&other.config, &run.config)
    };
    if store.runs()?.iter().any(is_newer) {
        return Ok(None);
    }
    let jobs = store.jobs(JOBS_MAX, None)?;
    Ok(jobs.into_iter().find(|job| job.kind == Kind::Train && makes(&job.config, run)))
}

/// Whether a job with this configuration makes `run`.
fn makes(job: &Value, run: &Run) -> bool {
    let arms = job["arms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let steps = job["steps"].as_u64().unwrap_or(run.steps_total);
    arms.iter().any(|arm| arm == run.name.as_str())
        && steps == run.steps_total
        && same(job, &run.config)
}

/// Whether two configurations are equal but for what runs of one job have of their own.
fn same(a: &Value, b: &Value) -> bool {
    let rest = |value: &Value| -> Map<String, Value> {
        let mut settings = value.as_object().cloned().unwrap_or_default();
        settings.retain(|name, _| !OWN.contains(&name.as_str()));
        settings
    };
    rest(a) == rest(b)
}

/// The configuration of a job that goes on with `run` and with nothing else: its arm, and exactly
/// the dataset it began with.
pub(super) fn config_to_go_on(store: &Store, run: &Run) -> anyhow::Result<Value> {
    let arm = Arm::from_name(&run.name)
        .with_context(|| format!("`{}` is no arm of a dataset", run.name))?;
    let id = run.dataset_id.context("the run does not say what it was trained on")?;
    let config = Config {
        arms: vec![arm],
        dataset: store.dataset(id)?.hash,
        resume_from: None,
        ..serde_json::from_value(run.config.clone()).context("could not read the run's settings")?
    };
    Ok(serde_json::to_value(config)?)
}

/// The command line that makes `run` once more, in a folder of its own: same data, same settings,
/// same seed. Without what is not known any more where the run is older than this version.
///
/// # Errors
/// If the store refuses.
pub fn command_of(store: &Store, run: &Run) -> anyhow::Result<String> {
    let model = run.config["model"].as_str().unwrap_or_default();
    let named = store.dir().join("models").join(model);
    let model = if named.is_dir() { named.display().to_string() } else { model.to_owned() };
    let hash = match run.dataset_id {
        Some(id) => store.dataset(id)?.hash.chars().take(HASH_LETTERS).collect(),
        None => String::new(),
    };
    let mut words = vec!["thinkery train".to_owned()];
    words.push(format!("--model {}", quoted(&model)));
    words.push(format!("--examples {}", quoted(&hash)));
    words.push(format!("--out {}", quoted(&format!("{}-again", run.name))));
    let default = serde_json::to_value(Config::default())?;
    for (name, value) in run.config.as_object().into_iter().flatten() {
        if default.get(name) == Some(value) || NAMED_APART.contains(&name.as_str()) {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.push(format!("--set {}", quoted(&format!("train.{name}={value}"))));
    }
    Ok(words.join(" "))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/+=-,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Row `row`, from 1, of what the `[train]` settings in `config` train on, as tokens; of the first arm
/// if none is named.
///
/// # Errors
/// If there is no such dataset, row or model, or the row cannot be encoded.
pub fn example(
    store: &Store,
    config: &Value,
    arm: Option<&str>,
    row: u64,
) -> anyhow::Result<(Arm, Shown)> {
    let config: Config =
        serde_json::from_value(config.clone()).context("could not read the settings")?;
    let arm = match arm {
        Some(name) => Arm::from_name(name).with_context(|| {
            let known = format!("arms are {}", Arm::ALL.map(Arm::name).join(" and "));
            Hinted::new(format!("there is no arm `{name}`"), known)
        })?,
        None => *config.arms.first().context("`train.arms` is empty")?,
    };
    let dataset = train::dataset_of(&store.datasets()?, &config, arm)?;
    let model = train::model_folder(store, &config);
    if !model.join("config.json").is_file() {
        return Err(Hinted::new(
            format!("the model `{}` is not on this machine", config.model),
            "put its folder under models/ of the data folder, or set train.model to a path",
        )
        .into());
    }
    let encoding = config.encoding(train::cutoff(&config, &model)?);
    Ok((arm, encode::row_of_dataset(store, &dataset, (&model, &encoding), row)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{command_of, job_of, quoted};
    use crate::records::{JobKind, Mode, Run};
    use crate::store::{NewJob, NewRun, Store};
    use crate::train::Config;

    fn config(change: &Value) -> Value {
        let mut config = serde_json::to_value(Config::default()).unwrap();
        for (name, value) in change.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    }

    fn run(store: &Store, hash: &str, change: &Value) -> Run {
        let arm = crate::records::Arm::Verified;
        let dataset = (hash, arm, Mode::Strict);
        let dataset = store.add_dataset(dataset, &format!("{hash}0123456789"), hash, &[]).unwrap();
        let new = NewRun {
            name: "verified".into(),
            dataset_id: Some(dataset.id),
            config: config(change),
            hash: hash.into(),
            steps_total: 50,
            path: format!("runs/{hash}"),
        };
        store.add_run(&new).unwrap()
    }

    #[test]
    fn a_run_finds_the_job_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let job = |change: &Value| {
            let new = NewJob { plan_id: None, kind: JobKind::Train, config: config(change) };
            store.add_jobs(&[new]).unwrap().remove(0).id
        };
        let steps = json!({ "steps": 50, "seed": 7 });
        let first = run(&store, "aaaaaaaa", &steps);
        assert_eq!(job_of(&store, &first).unwrap(), None);
        let made = job(&json!({ "seed": 7 }));
        job(&json!({ "seed": 7, "steps": 60 }));
        job(&json!({ "seed": 8 }));
        job(&json!({ "seed": 7, "arms": ["unverified"] }));
        let found = |run: &Run| job_of(&store, run).unwrap().map(|job| job.id);
        assert_eq!(found(&first), Some(made));
        let again = job(&json!({ "seed": 7, "steps": 50, "dataset": "aaaaaaaa0123456789" }));
        assert_eq!(found(&first), Some(again));
        let second = run(&store, "bbbbbbbb", &steps);
        assert_eq!((found(&first), found(&second)), (None, Some(again)));
    }

    #[test]
    fn a_run_is_a_command_with_what_is_not_usual() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let change = json!({
            "steps": 50, "learning_rate": 3e-3, "state": "A'", "model": "tiny", "dataset": "d",
        });
        let run = run(&store, "aaaaaaaa", &change);
        assert_eq!(
            command_of(&store, &run).unwrap(),
            r"thinkery train --model tiny --examples aaaaaaaa --out verified-again --set train.learning_rate=0.003 --set 'train.state=A'\''' --set train.steps=50"
        );
        assert_eq!((quoted("a b"), quoted("")), ("'a b'".into(), "''".into()));
    }
}
