//! Twins: the same thing computed in two ways.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::device::{self, Place};
use super::generator::BurnGenerator;
use super::ops::Kernels;
use super::trainer::BurnTrainer;
use super::weights::{FILE_BYTES, Model, convert};
use crate::{
    Adam, Device, Error, IGNORE, Result, Room, Sequence, Trainer, Training, Weighted, Weights,
};

pub(crate) const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };

/// A small model with everything that the architecture has.
pub(crate) fn config(heads: usize, kv_heads: usize, tied: bool) -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
        "vocab_size": 61, "hidden_size": heads * 8, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": tied, "initializer_range": 0.1, "eos_token_id": 2,
    })
}

pub(crate) fn place() -> Place {
    device::open(Device::Cpu).unwrap()
}

fn trainer(seed: u64) -> BurnTrainer {
    let config = config(4, 2, true);
    open(place(), Weights::Random { config: &config, seed })
}

fn open(place: Place, weights: Weights<'_>) -> BurnTrainer {
    BurnTrainer::open(vec![place], weights, &Training::from(ADAM)).unwrap()
}

/// The sum of the losses of a pack, each counted `1 / divisor`.
fn accumulate(trainer: &mut BurnTrainer, batch: &[Sequence], divisor: f64) -> Result<f64> {
    let pack = batch.iter().map(|sequence| Weighted { sequence, weight: 1.0 / divisor }).collect();
    Ok(trainer.accumulate(&[pack])?.concat().iter().sum())
}

/// Sequences of these lengths, the first third of each not trained on.
pub(crate) fn sequences(lengths: &[usize]) -> Vec<Sequence> {
    let one = |(number, length): (usize, &usize)| {
        let input_ids: Vec<u32> =
            (0..*length).map(|at| ((at * 7 + number * 13) % 61) as u32).collect();
        let label = |(at, id): (usize, &u32)| if at < length / 3 { IGNORE } else { i64::from(*id) };
        let labels = input_ids.iter().enumerate().map(label).collect();
        Sequence { input_ids, labels }
    };
    lengths.iter().enumerate().map(one).collect()
}

/// The largest difference, relative to the largest value.
#[track_caller]
pub(crate) fn check_close(name: &str, left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len(), "{name}");
    let largest = right.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
    let apart = left.iter().zip(right).map(|(l, r)| (l - r).abs()).fold(0.0, f32::max);
    assert!(apart <= tolerance * largest, "{name}: {apart} apart, largest {largest}");
}

fn check_same_gradients(left: &BurnTrainer, right: &BurnTrainer, tolerance: f32) {
    for ((name, left), (_, right)) in left.gradients().iter().zip(&right.gradients()) {
        check_close(name, left, right, tolerance);
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let batch = sequences(&[17, 33, 9]);
    let (mut together, mut apart) = (trainer(1), trainer(1));
    let whole = accumulate(&mut together, &batch, 10.0).unwrap();
    let mut sum = 0.0;
    for sequence in &batch {
        sum += accumulate(&mut apart, std::slice::from_ref(sequence), 10.0).unwrap();
    }
    assert!((whole - sum).abs() < 1e-4, "{whole} {sum}");
    check_same_gradients(&together, &apart, 1e-5);
}

#[test]
fn a_resumed_run_is_bit_for_bit_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let batch = |step: usize| sequences(&[9 + step, 20, 5]);
    let train = |trainer: &mut BurnTrainer, steps: std::ops::Range<usize>| {
        for step in steps {
            accumulate(trainer, &batch(step), 17.0).unwrap();
            trainer.apply(1e-2, 1.0).unwrap();
        }
    };
    let mut straight = trainer(3);
    train(&mut straight, 0..6);
    let mut first = trainer(3);
    train(&mut first, 0..3);
    let saved = first.snapshot().unwrap();
    saved.save_model(dir.path()).unwrap();
    saved.save_state(dir.path()).unwrap();
    let mut second = open(place(), Weights::Folder(dir.path()));
    second.load_state(dir.path()).unwrap();
    train(&mut second, 3..6);
    assert_eq!(straight.weights(), second.weights());
}

#[test]
fn fused_and_plain_operations_agree() {
    for (heads, kv_heads, tied) in [(4, 2, true), (14, 2, false), (3, 3, true)] {
        let config = config(heads, kv_heads, tied);
        let open = |kernels| {
            open(Place { kernels, ..place() }, Weights::Random { config: &config, seed: 9 })
        };
        let (mut plain, mut fused) = (open(Kernels::Plain), open(Kernels::Fused));
        for step in 0..3 {
            let batch = sequences(&[70 + step, 1, 129, 13]);
            let left = accumulate(&mut plain, &batch, 100.0).unwrap();
            let right = accumulate(&mut fused, &batch, 100.0).unwrap();
            assert!((left / right - 1.0).abs() < 2e-6, "{left} {right}");
            check_same_gradients(&fused, &plain, 2e-5);
            let left = plain.apply(1e-3, 0.5).unwrap();
            let right = fused.apply(1e-3, 0.5).unwrap();
            assert!((left / right - 1.0).abs() < 1e-5, "{left} {right}");
        }
    }
}

/// Saves a model as it is.
fn saved(model: &Model, dir: &Path) {
    model.save(dir, FILE_BYTES, |one| model.bits(one)).unwrap();
}

/// Saves a small model, spoils the folder, and gives the error.
#[track_caller]
fn check_bad(spoil: impl FnOnce(&Path), expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    saved(&Model::random(&config(4, 2, true), 5).unwrap(), dir.path());
    spoil(dir.path());
    match BurnGenerator::open(vec![place()], dir.path(), Room::default()) {
        Err(Error::BadModel { message, .. }) => {
            assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a bad folder was loaded: {expected}"),
    }
}

/// Changes `config.json`.
fn set(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_bad_folder_says_which_file_or_tensor_is_wrong() {
    let weights = |dir: &Path| dir.join("model.safetensors");
    check_bad(
        |dir| fs::remove_file(dir.join("config.json")).unwrap(),
        "`config.json` is not there",
    );
    check_bad(|dir| fs::remove_file(weights(dir)).unwrap(), "model.safetensors");
    check_bad(
        |dir| {
            let bytes = fs::read(weights(dir)).unwrap();
            fs::write(weights(dir), &bytes[..bytes.len() - 10]).unwrap();
        },
        "broken or cut off",
    );
    check_bad(|dir| fs::write(weights(dir), b"short").unwrap(), "broken or cut off");
    check_bad(
        rename_norm,
        "`model.layers.0.input_layernorm.weight` is in `model.safetensors` twice",
    );
    check_bad(|dir| set(dir, "num_hidden_layers", json!(3)), "`model.layers.2.");
    check_bad(|dir| set(dir, "num_hidden_layers", json!(1)), "`model.layers.1.");
    check_bad(|dir| set(dir, "vocab_size", json!(60)), "`model.embed_tokens.weight` has shape");
    check_bad(|dir| set(dir, "tie_word_embeddings", json!(false)), "`lm_head.weight` is missing");
    check_bad(|dir| set(dir, "architectures", json!(["Mystery"])), "architecture `Mystery`");
    let sliding = json!(["sliding_attention", "full_attention"]);
    check_bad(|dir| set(dir, "layer_types", sliding), "sliding-window");
    check_bad(|dir| set(dir, "hidden_act", json!("gelu")), "activation `gelu`");
    check_bad(|dir| set(dir, "rope_scaling", json!({"type": "dynamic"})), "`dynamic`");
    check_bad(|dir| set(dir, "num_attention_heads", json!(0)), "`num_attention_heads` is 0");
    check_bad(|dir| set(dir, "hidden_size", json!("wide")), "`config.json`");
}

/// Gives the second layer's norm in the file's header the name of the first one's.
fn rename_norm(dir: &Path) {
    let path = dir.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let name = b"model.layers.1.input_layernorm.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"model.layers.0.input_layernorm.weight");
    fs::write(path, bytes).unwrap();
}

/// Splits a model over two files with an index.
fn shard(dir: &Path) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (number, wanted) in [(1, true), (2, false)] {
        let file = format!("model-0000{number}-of-00002.safetensors");
        let part: Vec<_> =
            (tensors.iter()).filter(|(name, _)| name.contains("layers.0") == wanted).collect();
        map.extend(part.iter().map(|(name, _)| ((*name).to_owned(), json!(file))));
        fs::write(dir.join(&file), safetensors::serialize(part, None).unwrap()).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn a_model_in_shards_is_the_same_model() {
    let model = Model::random(&config(4, 2, false), 5).unwrap();
    let bytes = 4 * model.values.iter().map(Vec::len).sum::<usize>();
    for (most, files) in [(FILE_BYTES, 1..=1), (bytes / 3, 4..=9), (1, 27..=27)] {
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path(), most, |one| model.bits(one)).unwrap();
        let index = fs::read(dir.path().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], bytes);
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let weights = |name: &std::ffi::OsString| name.to_str().unwrap().ends_with(".safetensors");
        let found = names.filter(weights).count();
        assert!(files.contains(&found), "{found} files of at most {most} bytes");
        assert_eq!(Model::load(dir.path()).unwrap().values, model.values);
    }
}

#[test]
fn a_missing_shard_is_named() {
    let second = "model-00002-of-00002.safetensors";
    check_bad(
        |dir| {
            shard(dir);
            fs::remove_file(dir.join(second)).unwrap();
        },
        &format!("names `{second}`, which is not there"),
    );
    check_bad(
        |dir| {
            shard(dir);
            let nothing: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
            fs::write(dir.join(second), safetensors::serialize(nothing, None).unwrap()).unwrap();
        },
        &format!("in `{second}`, which lacks it"),
    );
}

#[test]
fn half_precision_weights_are_read() {
    let values = [1.0_f32, -2.5, 0.125];
    let mut read = [0.0; 3];
    let f16: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    convert(&f16, Dtype::F16, &mut read).unwrap();
    assert_eq!(read, values);
    let bf16: Vec<u8> =
        values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    convert(&bf16, Dtype::BF16, &mut read).unwrap();
    assert_eq!(read, values);
}

#[test]
fn bad_input_is_refused() {
    let mut trainer = trainer(1);
    let bad = |input_ids: &[u32], labels: &[i64]| Sequence {
        input_ids: input_ids.to_vec(),
        labels: labels.to_vec(),
    };
    for sequence in [bad(&[1, 2], &[1]), bad(&[61], &[1]), bad(&[1], &[61]), bad(&[], &[])] {
        let result = accumulate(&mut trainer, &[sequence], 1.0);
        assert!(matches!(result, Err(Error::BadInput(_))), "{result:?}");
    }
    assert!(matches!(trainer.apply(1e-3, 1.0), Err(Error::BadInput(_))));
}

#[test]
fn a_diverged_model_stops_before_its_weights_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::random(&config(4, 2, true), 5).unwrap();
    model.values[0].fill(f32::INFINITY);
    saved(&model, dir.path());
    let mut trainer = open(place(), Weights::Folder(dir.path()));
    let result = accumulate(&mut trainer, &sequences(&[9]), 1.0);
    assert!(matches!(result, Err(Error::NotFinite { what: "loss" })), "{result:?}");
}
