//! The real binary against transformers: every architecture, layout of heads, scaling of positions
//! and way to write a folder gives transformers' logits and its greedy answer.
//!
//! `scripts/reference_tensors.py` made the references in f32 on a processor.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::golden_model::{Reference, folder, logits, write_shards};
use crate::openai::send;

/// Of a logit, anywhere.
const APART_MAX: f32 = 1e-4;

/// Every model of the script.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let logits = entries.filter(|path| path.extension().is_some_and(|ext| ext == "safetensors"));
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = logits.map(|path| name(&path)).collect();
    names.sort();
    names
}

/// The logits of the model in `model`, by the real binary, for `reference`'s ids.
fn ours(env: &TestEnv, reference: &Reference) -> Vec<f32> {
    env.file("ids.json", &json!(reference.ids).to_string());
    let args = ["logits", "--model", "model", "--ids", "ids.json", "--out", "l.safetensors"];
    let said = env.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(said["tokens"], reference.ids.len());
    logits(&env.path().join("l.safetensors"))
}

/// Checks the logits of the model in `model` and that its choices are transformers'.
#[track_caller]
fn check(env: &TestEnv, name: &str, reference: &Reference) {
    let right = logits(&folder().join(format!("{name}.safetensors")));
    let ours = ours(env, reference);
    assert_eq!(ours.len(), right.len(), "{name}");
    let apart = ours.iter().zip(&right).map(|(l, r)| (l - r).abs()).fold(0.0, f32::max);
    assert!(apart <= APART_MAX, "{name}: {apart} apart");
    let vocabulary = right.len() / reference.ids.len();
    let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    let choices = |all: &[f32]| all.chunks_exact(vocabulary).map(best).collect::<Vec<usize>>();
    let chosen = choices(&ours);
    assert_eq!(chosen, choices(&right), "{name}: the best token differs");
    // What is chosen after each token is the next one: the greedy answer is transformers'.
    for at in reference.prompt_tokens..reference.ids.len() {
        assert_eq!(chosen[at - 1], reference.ids[at] as usize, "{name}: token {at}");
    }
}

#[test]
fn logits_are_those_of_transformers_for_every_architecture() {
    let names = names();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let (env, reference) = (TestEnv::new(), Reference::read(&name));
        reference.write(&env.path().join("model"));
        check(&env, &name, &reference);
    }
}

#[test]
fn the_dialect_of_transformers_4_gives_the_same() {
    for name in names() {
        let (env, reference) = (TestEnv::new(), Reference::read(&name));
        let dir = env.path().join("model");
        reference.write(&dir);
        fs::write(dir.join("config.json"), reference.version_4().to_string()).unwrap();
        check(&env, &name, &reference);
    }
}

#[test]
fn shards_with_an_index_give_the_same() {
    for (name, count) in [("qwen2_bf16", 3), ("llama_biased", 2), ("qwen3_tied", 7)] {
        let (env, reference) = (TestEnv::new(), Reference::read(name));
        let dir = env.path().join("model");
        reference.write(&dir);
        fs::remove_file(dir.join("model.safetensors")).unwrap();
        write_shards(&dir, reference.tensors(), count);
        check(&env, name, &reference);
    }
}

/// A change to a configuration that changes nothing.
#[track_caller]
fn check_same(name: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let (env, mut reference) = (TestEnv::new(), Reference::read(name));
    change(reference.config.as_object_mut().unwrap());
    reference.write(&env.path().join("model"));
    check(&env, name, &reference);
}

#[test]
fn what_a_configuration_leaves_out_is_what_transformers_assumes() {
    check_same("qwen3_tied", |config| drop(config.remove("head_dim")));
    check_same("qwen3_tied", |config| drop(config.remove("rms_norm_eps")));
    check_same("llama_f16", |config| {
        for key in ["num_key_value_heads", "head_dim", "hidden_act", "tie_word_embeddings"] {
            config.insert(key.into(), Value::Null);
        }
    });
    check_same("qwen2_heads64", |config| drop(config.remove("architectures")));
    check_same("qwen2_bf16", |config| {
        config.insert("rope_theta".into(), json!(10_000.0));
        config.insert("rope_parameters".into(), Value::Null);
    });
}

#[test]
fn a_window_that_is_named_but_not_used_changes_nothing() {
    for (used, window, from) in [(false, 16, 0), (true, 16, 3), (true, 4096, 0)] {
        check_same("qwen2_heads64", |config| {
            config.remove("layer_types");
            config.insert("use_sliding_window".into(), json!(used));
            config.insert("sliding_window".into(), json!(window));
            config.insert("max_window_layers".into(), json!(from));
        });
    }
}

#[test]
fn a_tied_head_that_is_there_as_a_copy_changes_nothing() {
    let (env, reference) = (TestEnv::new(), Reference::read("llama3"));
    let dir = env.path().join("model");
    reference.write(&dir);
    let mut tensors = reference.tensors();
    let mut copy = reference.tensors();
    copy.retain(|tensor| tensor.name == "model.embed_tokens.weight");
    copy[0].name = "lm_head.weight".into();
    tensors.append(&mut copy);
    write_shards(&dir, tensors, 2);
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    check(&env, "llama3", &reference);
}

#[test]
fn a_greedy_answer_through_the_server_is_that_of_transformers() {
    for name in ["qwen2_tied", "qwen2_yarn", "llama3", "llama_biased", "qwen3", "qwen3_biased"] {
        let (env, reference) = (TestEnv::new(), Reference::read(name));
        let dir = env.path().join("model");
        reference.write(&dir);
        fs::copy(folder().join("tokenizer.json"), dir.join("tokenizer.json")).unwrap();
        let template = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
                        {{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant{{ '\\n' }}";
        fs::write(dir.join("chat_template.jinja"), template).unwrap();
        let mut server = env.start(&["serve", "model", "--listen", "127.0.0.1:0", "--json"]);
        let address = server.address();
        let body = json!({
            "messages": [{ "role": "user", "content": "What is 17 + 5, and why?" }],
            "temperature": 0, "max_tokens": 64,
        });
        let (status, answer) = send(&address, "POST", "/v1/chat/completions", Some(&body));
        assert_eq!(status, 200, "{name}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let usage = &answer["usage"];
        assert_eq!(usage["prompt_tokens"], reference.prompt_tokens, "{name}: {answer}");
        assert_eq!(usage["completion_tokens"], 64, "{name}: {answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(text, reference.text, "{name}");
    }
}
