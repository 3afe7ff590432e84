//! However many ranks a model is split over, it says the same.

use serde_json::{Value, json};

use crate::burn::device::Place;
use crate::burn::generator::BurnGenerator;
use crate::burn::ops::Kernels;
use crate::burn::parameters::parameters;
use crate::burn::plan::Plan;
use crate::burn::share;
use crate::burn::source::Source;
use crate::burn::tests::{check_close, config, place};
use crate::burn::weights::{FILE_BYTES, Model};
use crate::{CacheType, Error, Generator, Piece, Room, WeightType};

/// Of a logit, anywhere.
const APART_MAX: f32 = 1e-5;

/// A small model of an architecture with everything that it may have.
fn model(name: &str, heads: (usize, usize), tied: bool) -> Value {
    let mut config = config(heads.0, heads.1, tied);
    match name {
        "llama" => {
            config["architectures"] = json!(["LlamaForCausalLM"]);
            config["model_type"] = json!("llama");
            config["attention_bias"] = json!(true);
            config["mlp_bias"] = json!(true);
            config["rope_scaling"] = json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            });
        }
        "qwen3" => {
            config["architectures"] = json!(["Qwen3ForCausalLM"]);
            config["model_type"] = json!("qwen3");
            config["head_dim"] = json!(16);
        }
        _ => assert_eq!(name, "qwen2"),
    }
    config
}

/// The model over so many ranks, its biases not zero and its norms not one.
fn split(config: &Value, ranks: usize, kernels: Kernels, room: Room) -> BurnGenerator {
    let mut model = Model::random(config, 5).unwrap();
    let vectors = model.values.iter_mut().zip(parameters(&model.config));
    for (number, (values, _)) in vectors.filter(|(_, p)| !p.decays).enumerate() {
        let noise = |at: usize| ((at * 37 + number * 11) % 29) as f32 / 29.0 - 0.5;
        values.iter_mut().enumerate().for_each(|(at, value)| *value += 0.4 * noise(at));
    }
    let source = Source::values_of(&std::mem::take(&mut model.values));
    let plan = Plan::new(&share::held(&model.config, ranks), 0, room, None).unwrap();
    let places = vec![Place { kernels, ..place() }; ranks];
    BurnGenerator::new(places, model, &source, (plan, room)).unwrap()
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|at| (at * 17 % 61) as u32).collect()
}

/// The logits of a sequence from the paged cache, its tokens given in two pieces and one by one.
fn paged(generator: &mut BurnGenerator, ids: &[u32]) -> Vec<f32> {
    let blocks: Vec<u32> = (0..ids.len().div_ceil(16) as u32).map(|at| at ^ 1).collect();
    let mut logits = Vec::new();
    let mut start = 0;
    for length in [9, ids.len() - 29].into_iter().chain([1; 20]) {
        let tokens = &ids[start..start + length];
        let piece = Piece { tokens, start, blocks: &blocks, logits: 0..length };
        logits.extend(generator.step(&[piece]).unwrap().concat());
        start += length;
    }
    logits
}

#[track_caller]
fn check(config: &Value, ranks: &[usize], kernels: Kernels) {
    let ids = ids(90);
    let open = |ranks| split(config, ranks, kernels, Room::default());
    let both = |mut generator: BurnGenerator| {
        let whole = generator.logits(&ids).unwrap();
        [("whole", whole), ("paged", paged(&mut generator, &ids))]
    };
    let right = both(open(1));
    let largest = right[0].1.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    assert!(largest > 1.0, "{largest}");
    for ranks in ranks {
        // The processor adds up in the same order over 1, 2, 4 and 8 ranks.
        let exact = kernels == Kernels::Fused && ranks.is_power_of_two();
        let most = if exact { 0.0 } else { APART_MAX };
        for ((how, got), (_, right)) in both(open(*ranks)).into_iter().zip(&right) {
            assert_eq!(got.len(), right.len());
            let apart = got.iter().zip(right).map(|(l, r)| (l - r).abs()).fold(0.0, f32::max);
            assert!(apart <= most, "{how} {ranks} {kernels:?} {config}: {apart} apart");
        }
    }
}

#[test]
fn a_split_model_gives_the_logits_of_the_whole() {
    for kernels in [Kernels::Fused, Kernels::Plain] {
        for (name, heads, tied) in [
            ("qwen2", (4, 2), true),
            ("qwen2", (8, 2), false),
            ("qwen2", (4, 4), false),
            ("qwen2", (8, 1), true),
            ("llama", (8, 4), false),
            ("llama", (4, 2), true),
            ("qwen3", (4, 4), true),
            ("qwen3", (8, 2), false),
        ] {
            check(&model(name, heads, tied), &[2, 4], kernels);
        }
        check(&model("qwen2", (8, 2), true), &[8], kernels);
        check(&model("qwen2", (6, 3), true), &[3], kernels);
    }
}

/// What follows greedily.
fn greedy(generator: &mut BurnGenerator, count: usize) -> Vec<u32> {
    let blocks: Vec<u32> = (0..8).collect();
    let mut tokens = ids(12);
    let mut start = 0;
    for _ in 0..count {
        let new = &tokens[start..];
        let piece = Piece { tokens: new, start, blocks: &blocks, logits: new.len() - 1..new.len() };
        let logits = generator.step(&[piece]).unwrap().concat();
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        start = tokens.len();
        tokens.push(best as u32);
    }
    tokens
}

#[test]
fn a_split_model_answers_as_the_whole_one() {
    for (name, heads) in [("qwen2", (8, 2)), ("llama", (8, 4)), ("qwen3", (4, 4))] {
        let open =
            |ranks| split(&model(name, heads, false), ranks, Kernels::Fused, Room::default());
        let right = greedy(&mut open(1), 64);
        for ranks in [2, 4] {
            assert_eq!(greedy(&mut open(ranks), 64), right, "{name} over {ranks}");
        }
    }
}

#[test]
fn weights_and_caches_of_every_type_can_be_split() {
    let ids = ids(90);
    let config = model("qwen2", (8, 2), true);
    // Sums of other parts are rounded otherwise; blocks of int8 begin elsewhere.
    for (weights, cache_type, tolerance) in [
        (WeightType::F32, CacheType::Bf16, 0.01),
        (WeightType::Bf16, CacheType::F32, 0.02),
        (WeightType::Int8, CacheType::Bf16, 0.05),
    ] {
        let room = Room { weights, cache_type, ..Room::default() };
        let right = paged(&mut split(&config, 1, Kernels::Fused, room), &ids);
        for ranks in [2, 4] {
            let got = paged(&mut split(&config, ranks, Kernels::Fused, room), &ids);
            check_close(&format!("{weights} over {ranks}"), &got, &right, tolerance);
        }
    }
}

#[test]
fn a_rank_loads_only_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::random(&config(4, 2, false), 5).unwrap();
    model.save(dir.path(), FILE_BYTES, |one| model.bits(one)).unwrap();
    let (model, source) = Model::open(dir.path()).unwrap();
    let whole: u64 = model.info.parameters;
    let shares = share::Share::all(&model.config, 2).unwrap();
    let mut held = 0;
    for share in &shares {
        let pieces = source.pieces(&model.config, share).unwrap();
        let own = parameters(&share.config);
        for (number, parameter) in own.iter().enumerate() {
            let length: usize = pieces(number).iter().map(|piece| piece.length()).sum();
            assert_eq!(length, parameter.length());
            held += length as u64;
        }
    }
    // Norms are on both: five of 32.
    assert_eq!(held, whole + 5 * 32);
}

#[test]
fn a_split_that_cannot_be_is_refused_before_anything_is_loaded() {
    let places = vec![place(); 8];
    let refused = BurnGenerator::open(places, "dummy:qwen2.5-7b".as_ref(), Room::default());
    match refused.err() {
        Some(Error::CannotSplit { choices, .. }) => assert_eq!(choices, [1, 2, 4]),
        other => panic!("{other:?}"),
    }
}
