//! Tests of recipes: what is wrong is said, all of it, with the line and the remedy.

use super::{BUILT_IN, Machine, Origin, Plan, Recipe};

fn plan(text: &str, sets: &[&str]) -> Result<Plan, String> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let recipe = Recipe::parse("mine", text, &sets).map_err(|error| format!("{error:#}"))?;
    recipe.resolve(&Machine::default()).map_err(|problems| problems.to_string())
}

#[track_caller]
fn check(text: &str, sets: &[&str], expected: &str) {
    assert_eq!(plan(text, sets).unwrap_err(), expected);
}

#[test]
fn an_unknown_key_gets_the_nearest() {
    check(
        "[train]\nlearning_rte = 1e-5\n",
        &[],
        "the recipe `mine` has a problem: line 2: unknown key `train.learning_rte` \
         (did you mean `train.learning_rate`?)",
    );
}

#[test]
fn an_optional_key_is_known() {
    assert_eq!(plan("[train]\nsteps = 7", &[]).unwrap().stages["train"]["steps"], 7);
}

#[test]
fn all_problems_are_named_at_once() {
    check(
        "[trian]\nseed = 1\n\n[train]\nseed = \"x\"\nepoch = 1\n\n[questions.rehearsal]\nmaths = 3\n",
        &["distill.model", "distill.in_flights=3"],
        "the recipe `mine` has 6 problems:\n  \
         line 2: unknown section `trian` in `trian.seed` (did you mean `train`?)\n  \
         line 5: `train.seed` cannot be \"x\": invalid type: string \"x\", expected u64\n  \
         line 6: unknown key `train.epoch` (did you mean `train.epochs`?)\n  \
         line 9: unknown key `questions.rehearsal.maths` (did you mean \
         `questions.rehearsal.math`?)\n  \
         `--set distill.model` is no `path=value` (for instance `--set train.steps=100`)\n  \
         unknown key `distill.in_flights` (did you mean `distill.in_flight`?)",
    );
}

#[test]
fn rules_between_settings_are_checked() {
    let problem = plan("[train]\nwarmup_ratio = 2.0\nepochs = -1.0", &[]).unwrap_err();
    assert!(problem.contains("2 problems") && problem.contains("train.epochs"), "{problem}");
}

#[test]
fn every_value_has_an_origin() {
    let plan = plan("[train]\nseed = 3\nepochs = 1.0", &["train.epochs=2.0"]).unwrap();
    assert_eq!(plan.origins["train.seed"], Origin::Recipe);
    assert_eq!(plan.origins["train.epochs"], Origin::Set);
    assert_eq!(plan.origins["train.learning_rate"], Origin::Default);
    assert_eq!(plan.stages["train"]["epochs"], 2.0);
}

#[test]
fn equal_plans_have_equal_hashes_whoever_said_so() {
    let said = plan("[train]\nseed = 42", &[]).unwrap();
    let silent = plan("[train]\nseed = 1", &["train.seed=42"]).unwrap();
    assert_eq!(said.hash(), silent.hash());
    assert_ne!(said.hash(), plan("[train]\nseed = 43", &[]).unwrap().hash());
}

#[test]
fn built_in_recipes_resolve() {
    for (name, _) in BUILT_IN {
        let plan = Recipe::load(name, &[]).unwrap().resolve(&Machine::default()).unwrap();
        assert_eq!(plan.stages().len(), 7, "{name}");
    }
}

#[test]
fn every_value_of_a_built_in_recipe_is_explained() {
    for (name, text) in BUILT_IN {
        let mut explained = false;
        for line in text.lines() {
            explained = line.starts_with('#') || (explained && line.contains('='));
            assert!(explained || !line.contains('='), "{name}: `{line}`");
        }
    }
}

#[test]
fn the_published_plan_takes_the_published_steps() {
    let machine = Machine { gpus: 8, gpu_memory_bytes: Some(80 << 30), ..Machine::default() };
    let plan = Recipe::load("openthinker_7b", &[]).unwrap().resolve(&machine).unwrap();
    let forecast = plan.forecast(&machine);
    assert_eq!(forecast.steps, Some(3_561));
    assert_eq!(forecast.fits, Some(true));
    // 32 H100s took 20 hours; 8 at 40 % utilisation were computed to take 9.7.
    assert!((forecast.hours.unwrap() - 9.7).abs() < 0.3, "{forecast:?}");
}

#[test]
fn a_run_on_the_processor_is_held_against_the_machines_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "vocab_size": 151_936, "tie_word_embeddings": true, "max_position_embeddings": 32_768,
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let model = format!("train.model={}", dir.path().display());
    let sets = [model, "train.device=cpu".into(), "train.cutoff_len=1024".into()];
    let forecast = |gib: u64| {
        let machine = Machine { memory_bytes: gib << 30, ..Machine::default() };
        let plan = Recipe::load("rehearsal", &sets).unwrap().resolve(&machine).unwrap();
        plan.forecast(&machine)
    };
    let fits = forecast(24);
    let device = fits.memory.device_bytes.unwrap();
    let parts = [device.weights, device.gradients, device.optimizer, device.activations];
    let rest = device.working_set + device.logits + device.gathered;
    assert_eq!(device.total, parts.iter().sum::<u64>() + rest);
    // 16 bytes of a number: weight, gradient and two moments in f32.
    assert_eq!(parts[..3].iter().sum::<u64>(), 16 * 494_032_768);
    assert_eq!((fits.fits, forecast(8).fits), (Some(true), Some(false)));
}

#[test]
fn what_a_recipe_leaves_open_is_the_fastest_that_fits() {
    let machine =
        |gpus, gib: u64| Machine { gpus, gpu_memory_bytes: Some(gib << 30), ..Machine::default() };
    let planned = |name: &str, sets: &[String], machine: &Machine| {
        let plan = Recipe::load(name, sets).unwrap().resolve(machine).unwrap();
        let forecast = plan.forecast(machine);
        let train = |key: &str| plan.stages["train"][key].as_str().unwrap().to_owned();
        let kept = (train("keep"), train("offload"), plan.origins["train.keep"]);
        (kept, forecast)
    };
    let derived = |keep: &str, offload: &str| (keep.into(), offload.into(), Origin::Derived);
    let (kept, forecast) = planned("openthinker_7b", &[], &machine(8, 80));
    assert_eq!((kept, forecast.fits), (derived("all", "none"), Some(true)));
    let (kept, forecast) = planned("openthinker_32b", &[], &machine(8, 80));
    assert_eq!((kept, forecast.fits), (derived("inputs", "none"), Some(true)));
    let exact = ["train.state=DX".to_owned(), "expected.usd_per_gpu_hour=2".to_owned()];
    let (kept, forecast) = planned("openthinker_32b", &exact, &machine(8, 80));
    assert_eq!((kept, forecast.fits), (derived("inputs", "activations"), Some(true)));
    assert!((forecast.cost_usd.unwrap() - 42.4 * 16.0).abs() < 2.0, "{:?}", forecast.cost_usd);

    // What somebody says is taken; if it does not fit, the cheapest change that does is named.
    let (kept, forecast) =
        planned("openthinker_32b", &["train.keep=all".to_owned()], &machine(8, 80));
    assert_eq!((kept.0.as_str(), kept.2, forecast.fits), ("all", Origin::Set, Some(false)));
    let told = forecast.advice.last().unwrap();
    assert!(told.ends_with("the cheapest change that fits: train.keep=inputs"), "{told}");
    let (_, forecast) = planned("openthinker_32b", &[], &machine(1, 80));
    assert!(forecast.advice.last().unwrap().ends_with("take more GPUs or larger ones"));
    // Without GPUs nothing is decided for anybody.
    let (kept, _) = planned("openthinker_7b", &[], &Machine::default());
    assert_eq!(kept, ("inputs".into(), "none".into(), Origin::Default));
}
