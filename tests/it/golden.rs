//! The engine against PyTorch: logits, loss, every gradient by name, twenty steps of AdamW.
//!
//! `scripts/reference_tensors.py` wrote `golden/`; transformers 5.23 saved the models, so loading
//! its dialect is tested too. The script also made the same run with ten deliberate mistakes (an
//! epsilon, a dropped bias, a shifted warm-up, …): at these thresholds each of them is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;
use thinkery::engine::{
    Adam, Device, Keep, Room, Sequence, Shard, Trainer, Training, Weighted, Weights,
    open_generator, open_trainer,
};

/// What the script wrote down beside the tensors.
#[derive(Deserialize)]
struct Reference {
    adam: Adam,
    max_norm: f64,
    logits_ids: Vec<u32>,
    steps: Vec<Step>,
}

/// Runs of PyTorch with one deliberate mistake each.
#[derive(Deserialize)]
struct Mutations {
    model: String,
    curves: BTreeMap<String, Vec<Line>>,
}

/// A step of such a run.
#[derive(Deserialize)]
struct Line {
    loss: f64,
    grad_norm: f64,
}

#[derive(Deserialize)]
struct Step {
    micro_batches: Vec<Vec<Sequence>>,
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
}

/// Numbers by name.
pub(crate) type Tensors = BTreeMap<String, Vec<f32>>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name)
}

/// The tensors of a file that are f32.
pub(crate) fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| {
        data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let named = tensors.iter().map(|(name, view)| (name.to_owned(), floats(view.data())));
    named.collect()
}

fn load(name: &str) -> (Reference, Tensors) {
    let text = fs::read_to_string(folder(name).join("reference.json")).unwrap();
    (serde_json::from_str(&text).unwrap(), read(&folder(name).join("reference.safetensors")))
}

/// The length of the difference, relative to the reference's.
pub(crate) fn apart(ours: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(ours.len(), reference.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = ours.iter().zip(reference);
    let difference = square(&mut pairs.map(|(l, r)| f64::from(*l) - f64::from(*r)));
    difference / square(&mut reference.iter().map(|value| f64::from(*value))).max(1e-30)
}

fn trainer(name: &str, adam: Adam) -> Box<dyn Trainer> {
    trainer_with(name, 1, &adam.into())
}

fn trainer_with(name: &str, ranks: usize, training: &Training) -> Box<dyn Trainer> {
    open_trainer(&vec![Device::Cpu; ranks], Weights::Folder(&folder(name)), training).unwrap()
}

fn trained_tokens(step: &Step) -> f64 {
    step.micro_batches.iter().flatten().map(Sequence::trained_tokens).sum::<usize>() as f64
}

/// The sum of the losses of a micro-batch, each counted `1 / divisor`.
fn accumulate_one(trainer: &mut dyn Trainer, batch: &[Sequence], divisor: f64) -> f64 {
    let pack = batch.iter().map(|sequence| Weighted { sequence, weight: 1.0 / divisor }).collect();
    trainer.accumulate(&[pack]).unwrap().concat().iter().sum()
}

/// The mean loss of a step, its micro-batches one after the other over the ranks, its gradients left
/// in the trainer.
fn accumulate(trainer: &mut dyn Trainer, step: &Step) -> f64 {
    let divisor = trained_tokens(step);
    let mut loss = 0.0;
    for packs in step.micro_batches.chunks(trainer.ranks()) {
        let mut ranks: Vec<Vec<Weighted<'_>>> = vec![Vec::new(); trainer.ranks()];
        for (rank, pack) in ranks.iter_mut().zip(packs) {
            let weight = 1.0 / divisor;
            rank.extend(pack.iter().map(|sequence| Weighted { sequence, weight }));
        }
        loss += trainer.accumulate(&ranks).unwrap().concat().iter().sum::<f64>();
    }
    loss / divisor
}

/// Loss and norm of every step of a whole run.
fn run(trainer: &mut dyn Trainer, reference: &Reference) -> Vec<Line> {
    let step = |step: &Step| {
        let loss = accumulate(trainer, step);
        let grad_norm = trainer.apply(step.learning_rate, reference.max_norm).unwrap();
        Line { loss, grad_norm }
    };
    reference.steps.iter().map(step).collect()
}

/// Of a loss, absolute; and of a norm, relative.
const LOSS_APART: f64 = 5e-6;
const NORM_APART: f64 = 1e-5;

/// Greatest differences of loss and norm between two curves.
fn curves_apart<'a>(
    ours: &[Line],
    theirs: impl Iterator<Item = (f64, f64)> + Clone + 'a,
) -> (f64, f64) {
    let losses = ours.iter().zip(theirs.clone()).map(|(own, (loss, _))| (own.loss - loss).abs());
    let norms = ours.iter().zip(theirs).map(|(own, (_, norm))| (own.grad_norm / norm - 1.0).abs());
    (losses.fold(0.0, f64::max), norms.fold(0.0, f64::max))
}

const MODELS: [&str; 5] = ["gqa2", "gqa7_tied", "gqa5", "llama_biased", "qwen3_tied"];

#[test]
fn logits_are_those_of_transformers() {
    for name in MODELS {
        let (reference, tensors) = load(name);
        let mut generator = open_generator(Device::Cpu, &folder(name), Room::default()).unwrap();
        let logits = generator.logits(&reference.logits_ids).unwrap();
        let most = logits.iter().zip(&tensors["logits"]).map(|(l, r)| (l - r).abs());
        let most = most.fold(0.0, f32::max);
        assert!(most <= 1e-4, "{name}: {most} apart");
    }
}

#[test]
fn every_gradient_is_that_of_pytorch() {
    for name in MODELS {
        let (reference, tensors) = load(name);
        let mut trainer = trainer(name, reference.adam);
        accumulate(&mut *trainer, &reference.steps[0]);
        let gradients = trainer.gradients();
        let expected = tensors.keys().filter(|key| key.starts_with("gradient.")).count();
        assert_eq!(gradients.len(), expected, "{name}");
        let whole: f64 = reference.steps[0].grad_norm;
        for (tensor, ours) in gradients {
            let right = &tensors[&format!("gradient.{tensor}")];
            let length = right.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            // The true gradient of a key's bias is 0 (softmax does not see a shift): what is left
            // is rounding, measured against the whole gradient.
            let error = apart(&ours, right) * (length / whole).min(1.0);
            let limit = if tensor.ends_with("k_proj.bias") { 1e-6 } else { 1e-5 };
            let relative = apart(&ours, right);
            assert!(error <= limit, "{name}: {tensor}: {error} of the norm, {relative} of itself");
            assert!(relative <= 1e-5 || error <= 1e-6, "{name}: {tensor}: {relative} apart");
        }
    }
}

/// Checks a whole run of a model against PyTorch's.
#[track_caller]
fn check_run(what: &str, name: &str, trainer: &mut dyn Trainer) {
    let (reference, tensors) = load(name);
    let start: Tensors = read(&folder(name).join("model.safetensors"));
    let ours = run(trainer, &reference);
    let theirs = reference.steps.iter().map(|step| (step.loss, step.grad_norm));
    let (loss, norm) = curves_apart(&ours, theirs);
    assert!(loss <= LOSS_APART && norm <= NORM_APART, "{what}: loss {loss}, norm {norm} apart");
    for (tensor, weights) in trainer.weights() {
        let change: Vec<f32> =
            weights.iter().zip(&start[&tensor]).map(|(end, start)| end - start).collect();
        let error = apart(&change, &tensors[&format!("change.{tensor}")]);
        // Adam turns the rounding noise of a key's bias into whole steps.
        let limit = if tensor.ends_with("k_proj.bias") { 2e-2 } else { 4e-4 };
        assert!(error <= limit, "{what}: {tensor} changed otherwise: {error}");
    }
}

#[test]
fn twenty_steps_are_those_of_pytorch() {
    for name in MODELS {
        let (reference, _) = load(name);
        assert_eq!(reference.steps.len(), 20);
        for keep in Keep::ALL {
            let training = Training { keep: *keep, ..reference.adam.into() };
            check_run(&format!("{name}, {keep}"), name, &mut *trainer_with(name, 1, &training));
        }
    }
}

#[test]
fn twenty_steps_over_ranks_are_those_of_pytorch() {
    for name in &MODELS[..3] {
        let (reference, _) = load(name);
        for (ranks, shard) in
            [2, 4, 8].iter().flat_map(|n| Shard::ALL.iter().map(move |s| (*n, *s)))
        {
            let training = Training { shard, ..reference.adam.into() };
            let what = format!("{name}, {ranks} ranks, {shard}");
            check_run(&what, name, &mut *trainer_with(name, ranks, &training));
        }
    }
}

#[test]
fn ten_deliberate_mistakes_are_each_found() {
    let text = fs::read_to_string(folder("mutations.json")).unwrap();
    let mutations: Mutations = serde_json::from_str(&text).unwrap();
    let (reference, _) = load(&mutations.model);
    let ours = run(&mut *trainer(&mutations.model, reference.adam), &reference);
    assert_eq!(mutations.curves.len(), 11);
    for (mistake, curve) in &mutations.curves {
        let theirs = curve.iter().map(|line| (line.loss, line.grad_norm));
        let (loss, norm) = curves_apart(&ours, theirs);
        let found = loss > LOSS_APART || norm > NORM_APART;
        assert_eq!(found, mistake != "none", "{mistake}: loss {loss}, norm {norm} apart");
    }
}

#[test]
fn accumulating_in_other_pieces_gives_the_same_step() {
    let (reference, _) = load("gqa2");
    let step = &reference.steps[0];
    let divisor = trained_tokens(step);
    let whole: Vec<Sequence> = step.micro_batches.concat();
    let run = |pieces: usize| {
        let mut trainer = trainer("gqa2", reference.adam);
        for piece in whole.chunks(pieces) {
            accumulate_one(&mut *trainer, piece, divisor);
        }
        let norm = trainer.apply(1e-3, 1.0).unwrap();
        (norm, trainer.weights())
    };
    let (norm, weights) = run(whole.len());
    for pieces in [1, 2, 3] {
        let (other_norm, other) = run(pieces);
        assert!((other_norm / norm - 1.0).abs() <= 1e-6, "{pieces} at a time: {other_norm}");
        for ((name, left), (_, right)) in weights.iter().zip(&other) {
            assert!(apart(left, right) <= 1e-4, "{pieces} at a time: {name}");
        }
    }
}

#[test]
fn the_same_run_twice_is_bit_for_bit_the_same() {
    let (reference, _) = load("gqa7_tied");
    let run = || {
        let mut trainer = trainer("gqa7_tied", reference.adam);
        let step = |step: &Step| {
            let loss = accumulate(&mut *trainer, step);
            (loss.to_bits(), trainer.apply(step.learning_rate, 1.0).unwrap().to_bits())
        };
        reference.steps.iter().map(step).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
