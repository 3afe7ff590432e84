//! Runs with a trainer that fails on command.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::fit::run_for_test;
use super::{Config, Observer, Task};
use crate::dataset::shards::{Counts, Shards};
use crate::engine::{Error, Memory, ModelInfo, Result, Sequence, Snapshot, Trainer, Weighted};
use crate::records::{RunEvent, RunEventKind, Step};

/// A trainer whose only weight counts its updates.
struct Fake {
    info: ModelInfo,
    updates: u64,
    /// The call of `accumulate`, from 0, that fails, and how.
    fails: Option<(u64, fn() -> Error)>,
    calls: u64,
    /// Snapshots, from 0, that cannot be written.
    unwritable: Vec<u64>,
    snapshots: RefCell<u64>,
}

struct Copied {
    updates: u64,
    writable: bool,
}

impl Fake {
    fn new() -> Self {
        let info = ModelInfo { vocabulary: 10, context: 64, parameters: 1, eos_ids: Vec::new() };
        Self {
            info,
            updates: 0,
            fails: None,
            calls: 0,
            unwritable: Vec::new(),
            snapshots: RefCell::new(0),
        }
    }
}

impl Trainer for Fake {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn ranks(&self) -> usize {
        2
    }

    fn accumulate(&mut self, ranks: &[Vec<Weighted<'_>>]) -> Result<Vec<Vec<f64>>> {
        let call = self.calls;
        self.calls += 1;
        if let Some((_, error)) = self.fails.filter(|(at, _)| *at == call) {
            return Err(error());
        }
        assert_eq!(ranks.len(), 2, "every rank has a micro-batch");
        let loss = |weighted: &Weighted<'_>| weighted.sequence.trained_tokens() as f64;
        Ok(ranks.iter().map(|pack| pack.iter().map(loss).collect()).collect())
    }

    fn apply(&mut self, _learning_rate: f64, _max_norm: f64) -> Result<f64> {
        self.updates += 1;
        Ok(1.0)
    }

    fn discard(&mut self) {}

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let number = self.snapshots.replace_with(|number| *number + 1);
        let writable = !self.unwritable.contains(&number);
        Ok(Box::new(Copied { updates: self.updates, writable }))
    }

    fn load_state(&mut self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        Vec::new()
    }

    fn weights(&self) -> Vec<(String, Vec<f32>)> {
        Vec::new()
    }

    fn peak_memory_bytes(&self) -> u64 {
        0
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }
}

impl Snapshot for Copied {
    fn save_model(&self, dir: &Path) -> Result<()> {
        let path = dir.join("model");
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let written = if self.writable {
            std::fs::write(&path, self.updates.to_string())
        } else {
            Err(full())
        };
        written.map_err(|source| Error::Io { path: path.display().to_string(), source })
    }

    fn export(&self, dir: &Path) -> Result<()> {
        self.save_model(dir)
    }

    fn save_state(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
}

/// The model: only its shape is looked at.
const SHAPE: &str = "{\"vocab_size\":10,\"hidden_size\":4,\"intermediate_size\":8,\
                     \"num_hidden_layers\":1,\"num_attention_heads\":1}";

/// Remembers all it is told.
#[derive(Default)]
struct Heard {
    steps: Vec<u64>,
    saved: Vec<u64>,
    events: Vec<RunEvent>,
}

impl Observer for Rc<RefCell<Heard>> {
    fn began(&mut self, _first: u64) -> anyhow::Result<()> {
        Ok(())
    }

    fn stepped(&mut self, step: &Step) -> anyhow::Result<()> {
        self.borrow_mut().steps.push(step.step);
        Ok(())
    }

    fn saved(&mut self, step: u64, _gone: &[u64]) -> anyhow::Result<()> {
        self.borrow_mut().saved.push(step);
        Ok(())
    }

    fn happened(&mut self, event: &RunEvent) -> anyhow::Result<()> {
        self.borrow_mut().events.push(event.clone());
        Ok(())
    }
}

/// Six steps over six examples of which the third has no loss, two examples a step.
fn train(mut fake: Fake, settings: &str) -> (anyhow::Result<()>, Heard, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let example = |n: u32| {
        let labels = if n == 3 { vec![-100; 4] } else { vec![-100, 1, 2, 3] };
        (i64::from(n), Sequence { input_ids: vec![0, 1, 2, 3], labels })
    };
    let shards = Shards::from_memory((1..=6).map(example).collect(), Counts::default());
    std::fs::write(dir.path().join("config.json"), SHAPE).unwrap();
    let base = Config {
        steps: Some(6),
        global_batch: 2,
        save_every: 2,
        shuffle: false,
        certificate_steps: 0,
        ..Config::default()
    };
    let mut table = toml::Table::try_from(&base).unwrap();
    table.extend(toml::from_str::<toml::Table>(settings).unwrap());
    let config: Config = table.try_into().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let task = Task { model: dir.path(), shards: &shards, out: &out, config: &config };
    let heard = Rc::new(RefCell::new(Heard::default()));
    let ended = run_for_test(task, &mut fake, &mut Rc::clone(&heard));
    (ended, heard.take(), dir)
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_end_the_run() {
    let (ended, heard, dir) = train(Fake { unwritable: vec![0], ..Fake::new() }, "");
    ended.unwrap();
    assert_eq!((heard.steps.len(), heard.saved), (6, vec![4, 6]));
    let events = heard.events;
    assert_eq!((events.len(), events[1].kind), (2, RunEventKind::SaveFailed), "{events:#?}");
    assert_eq!(events[1].step, 2);
    assert!(events[1].hint.as_deref().unwrap().starts_with("free some space"), "{events:#?}");
    let folders = std::fs::read_dir(dir.path().join("out")).unwrap();
    let hidden =
        folders.filter(|f| f.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
    let (ended, _, _dir) = train(Fake { unwritable: vec![2], ..Fake::new() }, "");
    assert!(ended.is_err(), "the last one has to be written");
}

#[test]
fn a_loss_that_is_no_number_stops_before_the_update_and_names_the_examples() {
    let fails = Some((4, (|| Error::NotFinite { what: "loss" }) as fn() -> Error));
    let (ended, heard, _dir) = train(Fake { fails, ..Fake::new() }, "");
    let error = format!("{:#}", ended.unwrap_err());
    assert_eq!(
        error,
        "could not finish step 4: could not train on examples 3, 4: loss is not finite"
    );
    let event = heard.events.last().unwrap();
    assert_eq!(
        (event.kind, event.step, &event.examples),
        (RunEventKind::NonFinite, 4, &vec![3, 4])
    );
    assert!(event.hint.as_deref().unwrap().contains("train.non_finite"), "{event:?}");
    let (ended, heard, _dir) = train(Fake { fails, ..Fake::new() }, "non_finite = \"skip\"");
    ended.unwrap();
    assert_eq!(heard.steps, [0, 1, 2, 3, 5]);
}

#[test]
fn too_little_memory_says_what_to_change() {
    let fails =
        Some((0, (|| Error::OutOfMemory { needed_bytes: 9, free_bytes: 1 }) as fn() -> Error));
    let (ended, heard, _dir) = train(Fake { fails, ..Fake::new() }, "");
    assert!(ended.is_err());
    let event = heard.events.last().unwrap();
    assert_eq!(event.kind, RunEventKind::OutOfMemory);
    assert!(event.hint.as_deref().unwrap().contains("train.keep"), "{event:?}");
}

#[test]
fn a_step_without_a_loss_is_left_out_and_told() {
    let (ended, heard, _dir) = train(Fake::new(), "global_batch = 1");
    ended.unwrap();
    assert_eq!(heard.steps, [0, 1, 3, 4, 5]);
    let event = &heard.events[1];
    assert_eq!((event.kind, &event.examples), (RunEventKind::ZeroTokens, &vec![3]));
}
