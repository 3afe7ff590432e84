//! Model folders that are wrong: the real binary names what is wrong and reads nothing.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::golden_model::{Reference, Tensor, write_shards, write_tensors};

/// A whole folder, to be broken.
struct Folder {
    env: TestEnv,
    dir: PathBuf,
    reference: Reference,
}

impl Folder {
    fn new(name: &str) -> Self {
        let (env, reference) = (TestEnv::new(), Reference::read(name));
        let dir = env.path().join("model");
        reference.write(&dir);
        env.file("ids.json", "[5, 6, 7]");
        Self { env, dir, reference }
    }

    /// The same in three files with an index.
    fn sharded(name: &str) -> Self {
        let folder = Self::new(name);
        fs::remove_file(folder.dir.join("model.safetensors")).unwrap();
        write_shards(&folder.dir, folder.reference.tensors(), 3);
        folder
    }

    /// Writes the weights again after `change`.
    fn with_tensors(name: &str, change: impl FnOnce(&mut Vec<Tensor>)) -> Self {
        let folder = Self::new(name);
        let mut tensors = folder.reference.tensors();
        change(&mut tensors);
        write_tensors(&folder.dir.join("model.safetensors"), &tensors);
        folder
    }

    /// Changes `config.json`.
    fn with_config(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let folder = Self::new(name);
        let mut config = folder.reference.config.clone();
        change(&mut config);
        fs::write(folder.dir.join("config.json"), config.to_string()).unwrap();
        folder
    }

    /// Changes the index of a sharded folder.
    fn with_index(change: impl FnOnce(&mut Value)) -> Self {
        let folder = Self::sharded("qwen3");
        let path = folder.dir.join("model.safetensors.index.json");
        let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        fs::write(path, index.to_string()).unwrap();
        folder
    }

    /// Loading it must fail in one line that says all of `said`, with a hint, and write nothing.
    #[track_caller]
    fn check(self, said: &[&str]) {
        let args = ["logits", "--model", "model", "--ids", "ids.json", "--out", "l.safetensors"];
        let error = self.env.run(&args).error();
        let lines: Vec<&str> = error.lines().collect();
        let [message, hint] = lines[..] else { panic!("not one line and a hint: {error}") };
        assert!(message.starts_with("error: could not load the model in `model`: "), "{message}");
        assert!(said.iter().all(|said| message.contains(said)), "{said:?} in {message}");
        assert!(hint.starts_with("hint: check that the folder is complete"), "{hint}");
        assert!(!self.env.path().join("l.safetensors").exists());
    }
}

fn cut(path: &Path, length: impl Fn(u64) -> u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(length(whole)).unwrap();
}

const QUERY: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn a_missing_tensor_is_named() {
    for (model, name) in [
        ("qwen2_heads64", "lm_head.weight"),
        ("qwen2_heads64", "model.layers.2.self_attn.k_proj.bias"),
        ("qwen3", "model.layers.0.self_attn.q_norm.weight"),
        ("llama_biased", "model.layers.1.mlp.down_proj.bias"),
        ("llama3", "model.embed_tokens.weight"),
    ] {
        Folder::with_tensors(model, |tensors| tensors.retain(|tensor| tensor.name != name))
            .check(&[&format!("tensor `{name}` is missing")]);
    }
}

#[test]
fn an_extra_tensor_is_named() {
    for name in ["model.layers.3.mlp.up_proj.weight", "model.layers.0.self_attn.q_norm.weight"] {
        let extra =
            Tensor { name: name.into(), dtype: Dtype::F32, shape: vec![2], bytes: vec![0; 8] };
        Folder::with_tensors("llama3", |tensors| tensors.push(extra))
            .check(&[&format!("tensor `{name}` is not part of the architecture")]);
    }
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    let turn = |tensors: &mut Vec<Tensor>| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == QUERY).unwrap();
        tensor.shape.reverse();
    };
    Folder::with_tensors("qwen3", turn).check(&[QUERY, "[64, 192]", "[192, 64]"]);
    Folder::with_config("qwen3", |config| config["vocab_size"] = json!(129)).check(&[
        "[128, 64]",
        "[129, 64]",
        "embed_tokens",
    ]);
}

#[test]
fn a_type_that_cannot_be_read_is_named() {
    let fp8 = |tensors: &mut Vec<Tensor>| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == QUERY).unwrap();
        tensor.dtype = Dtype::F8_E4M3;
        tensor.bytes.truncate(tensor.bytes.len() / 4);
    };
    Folder::with_tensors("qwen3", fp8).check(&[QUERY, "F8_E4M3", "f32, f16 and bf16"]);
}

#[test]
fn a_tensor_in_two_shards_is_named_with_both() {
    let folder = Folder::sharded("qwen3");
    let twice: Vec<Tensor> = folder.reference.tensors();
    let keep = |tensors: Vec<Tensor>| {
        let chosen = tensors.into_iter().enumerate();
        chosen.filter(|(at, tensor)| at % 3 == 0 || tensor.name == QUERY).map(|(_, t)| t).collect()
    };
    let shard: Vec<Tensor> = keep(twice);
    write_tensors(&folder.dir.join("model-00001-of-00003.safetensors"), &shard);
    folder.check(&[QUERY, "is in `model-0000", "and in `model-0000"]);
}

#[test]
fn a_file_that_is_cut_off_is_named() {
    let whole = "model.safetensors";
    for cut_to in [|length: u64| length - 1, |length| length / 2, |_| 20, |_| 7, |_| 1] {
        let folder = Folder::new("llama3");
        cut(&folder.dir.join(whole), cut_to);
        folder.check(&["`model.safetensors` (", " bytes) is broken or cut off"]);
    }
    let folder = Folder::new("llama3");
    cut(&folder.dir.join(whole), |_| 0);
    folder.check(&["`model.safetensors` is empty"]);
    let folder = Folder::sharded("llama3");
    cut(&folder.dir.join("model-00002-of-00003.safetensors"), |length| length - 4);
    folder.check(&["`model-00002-of-00003.safetensors` (", "broken or cut off"]);
    // A web page instead of the file, as a failed download leaves it.
    let folder = Folder::new("llama3");
    fs::write(folder.dir.join(whole), "<html>404: not found, sorry about that</html>").unwrap();
    folder.check(&["`model.safetensors` (", "broken or cut off"]);
}

#[test]
fn an_index_that_lies_is_caught() {
    let index = "model.safetensors.index.json";
    let absent = |index: &mut Value| {
        index["weight_map"]["lm_head.weight"] = json!("model-00009-of-00003.safetensors");
    };
    Folder::with_index(absent).check(&[index, "model-00009-of-00003.safetensors"]);
    let elsewhere = |index: &mut Value| {
        index["weight_map"]["lm_head.weight"] = json!("model-00003-of-00003.safetensors");
    };
    Folder::with_index(elsewhere).check(&["puts `lm_head.weight`", "-00003-of-", "which lacks it"]);
    let outside = |index: &mut Value| index["weight_map"]["x"] = json!("../model.safetensors");
    Folder::with_index(outside).check(&["`../model.safetensors`, which is not a file of this"]);
    Folder::with_index(|index| *index = json!({})).check(&["has no `weight_map`"]);
    Folder::with_index(|index| index["weight_map"] = json!({})).check(&["names no tensor"]);
    Folder::with_index(|index| index["weight_map"] = json!([1])).check(&[index, "invalid type"]);
    let folder = Folder::sharded("qwen3");
    fs::write(folder.dir.join(index), "{\"weight_map\": {").unwrap();
    folder.check(&[index, "EOF"]);
}

#[test]
fn a_folder_without_weights_or_configuration_says_so() {
    let folder = Folder::new("qwen3");
    fs::remove_file(folder.dir.join("model.safetensors")).unwrap();
    folder.check(&["neither `model.safetensors` nor `model.safetensors.index.json`"]);
    let folder = Folder::new("qwen3");
    fs::remove_file(folder.dir.join("config.json")).unwrap();
    folder.check(&["`config.json` is not there"]);
    let folder = Folder::new("qwen3");
    fs::write(folder.dir.join("config.json"), "{\"architectures\": [").unwrap();
    folder.check(&["`config.json`: EOF"]);
}

#[test]
fn a_tied_head_that_differs_is_refused() {
    let differs = |tensors: &mut Vec<Tensor>| {
        let at = tensors.iter().position(|t| t.name == "model.embed_tokens.weight").unwrap();
        let (shape, mut bytes) = (tensors[at].shape.clone(), tensors[at].bytes.clone());
        bytes[0] ^= 1;
        let name = "lm_head.weight".to_owned();
        tensors.push(Tensor { name, dtype: tensors[at].dtype, shape, bytes });
    };
    Folder::with_tensors("llama3", differs).check(&["`lm_head.weight` differs from", "ties them"]);
}

#[test]
fn what_the_decoder_would_compute_wrongly_is_refused() {
    let sliding = |config: &mut Value| {
        config["layer_types"] = Value::Null;
        config["use_sliding_window"] = json!(true);
        config["sliding_window"] = json!(16);
        config["max_window_layers"] = json!(1);
    };
    Folder::with_config("qwen2_heads64", sliding).check(&["sliding-window attention"]);
    let mixed = |config: &mut Value| {
        config["layer_types"] = json!(["full_attention", "sliding_attention", "full_attention"]);
        config["sliding_window"] = json!(16);
    };
    Folder::with_config("qwen3", mixed).check(&["sliding-window attention"]);
    for kind in ["linear", "dynamic", "longrope", "su"] {
        let scaled = |config: &mut Value| {
            config["rope_parameters"] = Value::Null;
            config["rope_scaling"] = json!({ "type": kind, "factor": 2.0 });
        };
        let said = format!("rotary scaling `{kind}` is not supported");
        Folder::with_config("llama_f16", scaled).check(&[&said]);
    }
    let partial = |config: &mut Value| config["rope_parameters"]["factor"] = Value::Null;
    Folder::with_config("llama3", partial).check(&["`llama3` has no `factor`"]);
    let gelu = |config: &mut Value| config["hidden_act"] = json!("gelu");
    Folder::with_config("llama3", gelu).check(&["activation `gelu`"]);
    let other = |config: &mut Value| config["architectures"] = json!(["MambaForCausalLM"]);
    Folder::with_config("llama3", other).check(&["`MambaForCausalLM`; known: Qwen2ForCausalLM, "]);
    let quantised =
        |config: &mut Value| config["quantization_config"] = json!({ "quant_method": "gptq" });
    Folder::with_config("llama3", quantised).check(&["quantised with `gptq`"]);
}

#[test]
fn sizes_that_make_no_sense_are_refused_before_anything_is_allocated() {
    for (name, value, said) in [
        ("vocab_size", json!(1_u64 << 62), "`vocab_size` is 4611686018427387904"),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("num_hidden_layers", json!(1_000_000), "`num_hidden_layers` is 1000000"),
        ("num_key_value_heads", json!(3), "8 attention heads cannot share 3 key-value heads"),
        ("head_dim", json!(15), "head size 15 is not even"),
        ("rms_norm_eps", json!(-1.0), "`rms_norm_eps` is -1"),
        ("hidden_size", json!(-4), "invalid value"),
        ("hidden_size", json!("many"), "invalid type"),
        // So large that only the tensors' own shapes can contradict it.
        ("intermediate_size", json!(4_000_000), "has shape [96, 128]"),
    ] {
        Folder::with_config("llama3", |config| config[name] = value).check(&[said]);
    }
    let missing = |config: &mut Value| drop(config.as_object_mut().unwrap().remove("hidden_size"));
    Folder::with_config("llama3", missing).check(&["missing field `hidden_size`"]);
}

#[test]
fn the_old_rotary_buffers_of_a_file_are_no_extra_tensors() {
    let old = |tensors: &mut Vec<Tensor>| {
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
        tensors.push(Tensor { name, dtype: Dtype::F32, shape: vec![2], bytes: vec![0; 8] });
    };
    let folder = Folder::with_tensors("llama3", old);
    let args = ["logits", "--model", "model", "--ids", "ids.json", "--out", "l.safetensors"];
    assert_eq!(folder.env.run(&args).code, Some(0));
}
