//! Whatever is killed, whenever: started again, the work goes on and ends as if nothing had been.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use thinkery::records::{JobId, JobKind, JobState};
use thinkery::store::{DataLock, Store};

use crate::env::{Running, TestEnv};

/// A rehearsal of every stage that takes seconds.
const SMALL: &[&str] = &[
    "run",
    "rehearsal",
    "--json",
    "--set=questions.rehearsal.math=160",
    "--set=questions.rehearsal.held_out_per_family=1",
    "--set=questions.rehearsal.code=12",
    "--set=questions.rehearsal.puzzle=8",
    "--set=questions.rehearsal.science=8",
    "--set=distill.in_flight=4",
    "--set=train.steps=12",
    "--set=train.save_every=4",
    "--set=evaluate.samples=1",
    "--set=evaluate.max_tokens=24",
    "--set=serve.max_tokens=16",
];

/// Longer than anything a test waits for; a hung program fails instead of blocking the suite.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often something is killed.
const KILLS: usize = 24;

/// What a finished rehearsal leaves.
#[derive(Debug, PartialEq)]
struct Left {
    questions: u64,
    traces: String,
    lost_replies: usize,
    datasets: BTreeSet<(String, u64)>,
    steps: Vec<(String, Vec<f64>)>,
    scores: usize,
}

fn left(env: &TestEnv) -> Left {
    let store = Store::open(&env.data()).unwrap();
    assert_eq!(store.integrity_check().unwrap(), "ok");
    let runs = store.runs().unwrap();
    let steps = |run: &thinkery::records::Run| {
        let steps = store.steps(run.id, 0).unwrap();
        let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
        assert_eq!(numbers, Vec::from_iter(0..run.steps_total), "each step once, in order");
        (run.name.clone(), steps.iter().map(|step| step.loss).collect())
    };
    let mut steps: Vec<_> = runs.iter().map(steps).collect();
    steps.sort_by(|a: &(String, Vec<f64>), b| a.0.cmp(&b.0));
    Left {
        questions: store.question_counts().unwrap().iter().map(|count| count.count).sum(),
        traces: format!("{:?}", store.trace_counts().unwrap()),
        lost_replies: store.unparsed_replies("rehearsal-teacher").unwrap().len(),
        datasets: store.datasets().unwrap().into_iter().map(|set| (set.hash, set.rows)).collect(),
        steps,
        scores: store.scores().unwrap().len(),
    }
}

/// Processes that work in this test's folder: ours and whatever they started.
fn processes(env: &TestEnv) -> Vec<(i32, String)> {
    let mark = env.path().to_str().unwrap().as_bytes().to_vec();
    let mentions = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let line = read("cmdline");
        // A zombie has neither; it waits for its parent, which is this test or init.
        if mentions(&read("environ")) || mentions(&line) {
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

#[track_caller]
fn nobody_is_left(env: &TestEnv) {
    let since = Instant::now();
    loop {
        let left = processes(env);
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(40), "orphans: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The job that runs, with its process.
fn running_job(env: &TestEnv) -> Option<(JobId, Pid)> {
    let store = Store::open(&env.data()).ok()?;
    let jobs = store.jobs_in(&[JobState::Running, JobState::Stopping]).ok()?;
    let job = jobs.first()?;
    Some((job.id, Pid::from_raw(i32::try_from(job.pid?).unwrap())?))
}

/// Waits until `done` gives something.
#[track_caller]
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(since.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Debug)]
enum Target {
    Job,
    Owner,
    Everything,
}

fn kill(env: &TestEnv, run: &Running, target: &Target) {
    let owner = Pid::from_raw(run.pid()).unwrap();
    let job = running_job(env).map(|(_, pid)| pid);
    // Whoever is gone already cannot be killed, and that is a moment too.
    if matches!(target, Target::Owner | Target::Everything) {
        _ = kill_process(owner, Signal::KILL);
    }
    if let (Some(job), Target::Job | Target::Everything) = (job, target) {
        _ = kill_process_group(job, Signal::KILL);
    }
}

#[test]
fn killed_anywhere_it_ends_the_same() {
    let straight = TestEnv::new();
    let began = Instant::now();
    straight.run(SMALL).json();
    let whole = began.elapsed();
    let expected = left(&straight);
    assert_eq!(expected.lost_replies, 0);

    let env = TestEnv::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for number in 0..KILLS {
        let run = env.start(SMALL);
        let target = match number % 3 {
            0 => Target::Job,
            1 => Target::Owner,
            _ => Target::Everything,
        };
        // The moments together are longer than a whole run, so that every stage has its turn.
        std::thread::sleep(whole.mul_f64(random.random_range(0.0..0.16)));
        kill(&env, &run, &target);
        drop(run);
        nobody_is_left(&env);
    }
    env.run(SMALL).json();
    assert_eq!(left(&env), expected);
}

#[test]
fn a_model_for_which_there_is_no_room_is_written_when_there_is() {
    let env = TestEnv::new();
    // Room for the database and the tables, not for an optimizer's state.
    let error = env.run_with_small_files(5_120, SMALL).error();
    assert!(error.starts_with("error: `train` failed (job 5): could not "), "{error}");
    assert!(error.contains("\nhint: free some space or raise the quota"), "{error}");
    let unfinished = files(&env.data()).into_keys().find(|path| {
        path.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
    });
    assert_eq!(unfinished, None, "nothing is left half-written");
    env.run(SMALL).json();
}

#[test]
fn a_cancelled_job_ends_within_two_seconds_and_leaves_nobody() {
    let env = TestEnv::new();
    let mut run = env.start(SMALL);
    until("the teacher", || {
        processes(&env).iter().any(|(_, l)| l.contains("teacher")).then_some(())
    });
    let (id, job) = until("a job", || running_job(&env));
    let asked = Instant::now();
    kill_process(Pid::from_raw(run.pid()).unwrap(), Signal::INT).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(test_kill_process(job).is_err(), "the job is still there");
    nobody_is_left(&env);
    let store = Store::open(&env.data()).unwrap();
    assert_eq!(store.job(id).unwrap().state, JobState::Cancelled);
    let waiting = store.jobs_in(&[JobState::Queued, JobState::Running]).unwrap();
    assert!(waiting.is_empty(), "{waiting:?}");
}

#[test]
fn a_cancelled_training_writes_its_checkpoint_first() {
    let env = TestEnv::new();
    let long = [SMALL, &["--set=train.steps=100000", "--set=train.save_every=100000"]].concat();
    let mut run = env.start(&long);
    until("steps of both arms", || {
        let store = Store::open(&env.data()).ok()?;
        let runs = store.runs().ok()?;
        let begun = |run: &thinkery::records::Run| store.last_step(run.id).ok().flatten().is_some();
        (runs.len() == 2 && runs.iter().all(begun)).then_some(())
    });
    kill_process(Pid::from_raw(run.pid()).unwrap(), Signal::INT).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(1));
    nobody_is_left(&env);
    let store = Store::open(&env.data()).unwrap();
    let job = store.jobs(9, None).unwrap().into_iter().find(|job| job.kind == JobKind::Train);
    assert_eq!(job.unwrap().state, JobState::Cancelled);
    for run in store.runs().unwrap() {
        let done = store.last_step(run.id).unwrap().unwrap().step + 1;
        let checkpoints = store.checkpoints(run.id).unwrap();
        assert_eq!(checkpoints.iter().map(|c| c.step).collect::<Vec<_>>(), [done], "{}", run.name);
        assert!(store.absolute(&checkpoints[0].path).join("state/progress.json").is_file());
    }
}

#[test]
fn a_folder_has_one_owner() {
    let env = TestEnv::new();
    let _lock = DataLock::acquire(&env.data()).unwrap();
    let error = env.run(&["run", "rehearsal"]).error();
    let pid = std::process::id();
    assert!(
        error.contains(&format!("is in use by process {pid}\nhint: stop process {pid}")),
        "{error}"
    );
}

#[test]
fn the_second_run_has_nothing_to_do() {
    let env = TestEnv::new();
    let first = env.run(SMALL).json();
    let began = Instant::now();
    let second = env.run(SMALL).json();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(first["stages"], second["stages"]);
    assert_eq!(first["scores"], second["scores"]);
}

/// Every file below `dir` by its path in there.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_path_buf();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The files of a run, where the learning curve is left with what does not depend on the clock.
fn decided(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(dir);
    // The same steps as a table, and what happened with the time of day.
    files.retain(|name, _| !name.ends_with("steps.csv") && !name.ends_with("events.jsonl"));
    for (name, bytes) in &mut files {
        if name.ends_with("steps.jsonl") {
            let line = |line: &str| {
                let step: serde_json::Value = serde_json::from_str(line).unwrap();
                let kept = ["step", "loss", "grad_norm", "learning_rate", "tokens"];
                kept.map(|name| format!("{name} {}", step[name])).join(" ")
            };
            let lines: Vec<String> =
                std::str::from_utf8(bytes).unwrap().lines().map(line).collect();
            assert_eq!(lines.len(), 12);
            *bytes = lines.join("\n").into_bytes();
        }
    }
    files
}

#[track_caller]
fn the_same(what: &str, a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>) {
    assert!(!a.is_empty(), "there are no {what}");
    assert_eq!(Vec::from_iter(a.keys()), Vec::from_iter(b.keys()), "{what}");
    for (name, bytes) in a {
        assert!(*bytes == b[name], "{what}: `{}` differs", name.display());
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_and_the_same_curve() {
    let [one, other] = [TestEnv::new(), TestEnv::new()];
    // Replies come in another order when another number of them is under way.
    one.run(SMALL).json();
    other.run(&[SMALL, &["--set=distill.in_flight=1"]].concat()).json();
    let folder = |env: &TestEnv, name: &str| env.data().join(name);
    for what in ["datasets", "models"] {
        the_same(what, &files(&folder(&one, what)), &files(&folder(&other, what)));
    }
    the_same("runs", &decided(&folder(&one, "runs")), &decided(&folder(&other, "runs")));
}
