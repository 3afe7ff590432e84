//! One model over several ranks, through the real binary: split over parts of the processor it says
//! what it says whole.

use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::golden_model::{Reference, logits};
use crate::openai::send;

/// Of a logit, anywhere, over 3 ranks: there sums are taken in another order, and the models of the
/// golden tests multiply what was rounded differently in each layer.
const APART_MAX: f32 = 1e-4;

/// The logits of the model in `model` over so many ranks.
fn over(env: &TestEnv, ranks: usize) -> Vec<f32> {
    let ranks = ranks.to_string();
    let args = ["logits", "--model", "model", "--ids", "ids.json", "--out", "l.safetensors"];
    env.run(&[&args[..], &["--tensor-parallel", &ranks, "--json"]].concat()).json();
    logits(&env.path().join("l.safetensors"))
}

fn written(name: &str) -> (TestEnv, Reference) {
    let (env, reference) = (TestEnv::new(), Reference::read(name));
    reference.write(&env.path().join("model"));
    env.file("ids.json", &json!(reference.ids).to_string());
    (env, reference)
}

#[test]
fn a_model_over_several_ranks_has_the_logits_of_the_whole() {
    let tied = ["qwen2_tied", "llama3"];
    let untied =
        ["qwen2_heads64", "qwen2_bf16", "qwen2_yarn", "llama_biased", "qwen3", "qwen3_biased"];
    for name in tied.into_iter().chain(untied) {
        let (env, reference) = written(name);
        let heads = |key: &str| reference.config[key].as_u64().unwrap() as usize;
        let (heads, kv_heads) = (heads("num_attention_heads"), heads("num_key_value_heads"));
        let whole = over(&env, 1);
        let can = |ranks: &usize| {
            heads.is_multiple_of(*ranks)
                && (kv_heads.is_multiple_of(*ranks) || ranks.is_multiple_of(kv_heads))
        };
        let choices: Vec<usize> = [2, 3, 4, 8].into_iter().filter(can).collect();
        assert!(!choices.is_empty(), "{name}: {heads} and {kv_heads} heads");
        for ranks in choices {
            let parts = over(&env, ranks);
            let apart = parts.iter().zip(&whole).map(|(l, r)| (l - r).abs()).fold(0.0, f32::max);
            let most = if ranks.is_power_of_two() { 0.0 } else { APART_MAX };
            assert!(apart <= most, "{name} over {ranks}: {apart} apart");
        }
    }
}

#[test]
fn a_split_that_cannot_be_is_refused_with_those_that_can() {
    let (env, _) = written("qwen2_tied");
    let refused = |args: &[&str]| env.run(&[args, &["--ids", "ids.json", "--out", "l"]].concat());
    let error = refused(&["logits", "--model", "dummy:qwen2.5-7b", "--tensor-parallel", "8"]);
    let error = error.error();
    assert!(
        error.starts_with(
            "error: 28 query heads and 4 key-value heads cannot be split over 8 ranks; 1, 2 or 4 can"
        ) && error.contains("hint: "),
        "{error}"
    );
    let gpus = ["logits", "--model", "model", "--tensor-parallel", "2", "--device"];
    let error = refused(&[&gpus[..], &["cuda:0,cuda:1,cuda:2"]].concat()).error();
    assert!(error.contains("3 GPUs are no whole replicas"), "{error}");
    assert_eq!(refused(&["logits", "--model", "model", "--tensor-parallel", "9"]).code, Some(2));
    assert!(!env.path().join("l").exists());
}

/// What a served model answers to a few requests, drawn with a seed each.
fn answers(env: &TestEnv, options: &[&str]) -> Vec<String> {
    let args = ["--json", "serve", "dummy:tiny", "--listen", "127.0.0.1:0"];
    let mut server = env.start(&[&args[..], options].concat());
    let address = server.address();
    let one = |seed: u32| {
        let body = json!({
            "model": "dummy:tiny", "messages": [{ "role": "user", "content": "What is 2 + 2?" }],
            "max_tokens": 24, "seed": seed, "temperature": 1.0, "ignore_eos": true,
        });
        let (status, answer) = send(&address, "POST", "/v1/chat/completions", Some(&body));
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["choices"][0]["message"].to_string()
    };
    let answers = (0..6).map(one).collect();
    let (status, health) = send(&address, "GET", "/health", None);
    assert_eq!(status, 200, "{health}");
    answers
}

#[test]
fn a_split_model_and_its_replicas_answer_as_one() {
    let env = TestEnv::new();
    let alone = answers(&env, &[]);
    assert!(alone.windows(2).any(|pair| pair[0] != pair[1]), "seeds matter: {alone:?}");
    for options in [
        &["--tensor-parallel", "2"][..],
        &["--tensor-parallel", "4"],
        &["--device", "cpu,cpu", "--tensor-parallel", "2"],
        &["--device", "cpu,cpu,cpu"],
    ] {
        assert_eq!(answers(&env, options), alone, "{options:?}");
    }
}
