//! `thinkery train` over several ranks, in every kind of layout, and of adapters: killed, and gone on
//! with, also over another number of ranks.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use thinkery::engine::{Device, Room, open_generator};

use crate::env::TestEnv;
use crate::golden::{Tensors, apart, read};
use crate::openai::tiny_model;
use crate::train::{arguments, curve, end_after, examples};

/// How far a curve or the weights may be from those of a run that was not interrupted, relative.
const APART: f64 = 1e-6;

fn weights(out: &Path) -> Tensors {
    read(&out.join("final/model.safetensors"))
}

/// How often a run went on.
fn resumed(out: &Path) -> usize {
    let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
    events.matches("\"kind\":\"resumed\"").count()
}

/// The greatest relative difference of a loss or a norm.
fn curves_apart(ours: &[Vec<Value>], theirs: &[Vec<Value>]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs).flat_map(|(a, b)| [(&a[2], &b[2]), (&a[3], &b[3])]);
    pairs.map(|(a, b)| (a.as_f64().unwrap() / b.as_f64().unwrap() - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn a_run_goes_on_over_another_number_of_ranks() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let (model, examples) = (model.to_str().unwrap(), examples(&env));
    for packing in ["train.packing=none", "train.packing=step"] {
        let on = |out: &Path, ranks: &str| -> Vec<String> {
            let arguments = arguments(model, &examples, out.to_str().unwrap());
            let ranks = format!("train.ranks={ranks}");
            // Packs that are put together differently round differently, and each step adds to it.
            let short = "train.steps=150";
            let sets = [packing, short, "train.global_batch=8", "train.device_batch=1", &ranks];
            let sets = sets.iter().flat_map(|set| ["--set", *set]);
            arguments.into_iter().chain(sets).map(str::to_owned).collect()
        };
        let straight = env.path().join(format!("{packing}-straight"));
        let words = on(&straight, "8");
        env.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).json();
        let out = env.path().join(packing);
        for (ranks, steps) in [("8", 20), ("4", 50), ("8", usize::MAX)] {
            let words = on(&out, ranks);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match steps {
                usize::MAX => drop(env.run(&words).json()),
                _ => end_after(&env, &words, (&out, steps), Signal::KILL),
            }
        }
        assert_eq!(resumed(&out), 2, "{packing}");
        let far = curves_apart(&curve(&out), &curve(&straight));
        assert!(far <= APART, "{packing}: the curve is {far} off");
        let expected = weights(&straight);
        for (name, own) in weights(&out) {
            // Adam turns the rounding noise of a key's bias into whole steps (`golden`).
            let noise = name.ends_with("k_proj.bias") && packing.ends_with("step");
            let far = apart(&own, &expected[&name]);
            assert!(noise || far <= APART, "{packing}: {name} is {far} off");
        }
    }
}

#[test]
fn rounded_states_and_adapters_go_on_bit_for_bit() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let (dir, model, examples) = (model.clone(), model.to_str().unwrap(), examples(&env));
    for (name, sets) in [
        ("D+", ["train.state=D+", "train.ranks=2", "train.shard=parameters"]),
        ("B", ["train.state=B", "train.ranks=2", "train.shard=optimizer"]),
        ("lora", ["train.method=lora", "train.ranks=1", "train.lora_rank=4"]),
    ] {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        let straight = env.path().join(format!("{name}-straight"));
        let whole = arguments(model, &examples, straight.to_str().unwrap());
        env.run(&[&whole[..], &sets].concat()).json();
        let out = env.path().join(name);
        let killed = [&arguments(model, &examples, out.to_str().unwrap())[..], &sets].concat();
        end_after(&env, &killed, (&out, 20), Signal::KILL);
        env.run(&killed).json();
        assert_eq!(resumed(&out), 1, "{name}");
        assert_eq!(curve(&out), curve(&straight), "{name}");
        let bytes = |out: &Path, file: &str| fs::read(out.join(file)).unwrap();
        for file in ["final/model.safetensors", "checkpoint-300/state/optimizer.safetensors"] {
            assert!(bytes(&out, file) == bytes(&straight, file), "{name}: {file} differs");
        }
        let certificate = fs::read_to_string(out.join("certificate.json")).unwrap();
        assert!(certificate.contains("\"agrees\": true"), "{name}: {certificate}");
        let before = read(&dir.join("model.safetensors"));
        for (tensor, after) in weights(&out) {
            let adapted = tensor.contains("_proj.weight");
            let moved = after != before[&tensor];
            assert!(moved == adapted || name != "lora", "{tensor} moved: {moved}");
        }
        let mut generator =
            open_generator(Device::Cpu, &out.join("final"), Room::default()).unwrap();
        let logits = generator.logits(&[5, 9, 17]).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()), "{name}");
    }
}
