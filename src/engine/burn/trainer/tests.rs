//! Twins: the same training on other ranks, kept, cut and stored in other ways.

use super::numbers::Kind;
use super::store::Kinds;
use super::*;
use crate::burn::tests::{ADAM, check_close, config, place, sequences};
use crate::{Lora, Precision, Sequence, Shard};

type Tensors = Vec<(String, Vec<f32>)>;

fn open(ranks: usize, training: &Training) -> BurnTrainer {
    open_with(ranks, training, Kernels::Fused)
}

fn open_with(ranks: usize, training: &Training, kernels: Kernels) -> BurnTrainer {
    let (config, place) = (config(4, 2, true), Place { kernels, ..place() });
    let weights = Weights::Random { config: &config, seed: 7 };
    BurnTrainer::open(vec![place; ranks], weights, training).unwrap()
}

fn default() -> Training {
    Training { seed: 3, ..Training::from(ADAM) }
}

/// Eight packs, the fifth of them empty.
fn packs(step: usize) -> Vec<Vec<Sequence>> {
    let lengths = |pack: usize| vec![9 + (pack * 7 + step) % 20, 5 + pack, 3];
    let pack = |pack| if pack == 4 { Vec::new() } else { sequences(&lengths(pack)) };
    (0..8).map(pack).collect()
}

fn weighted(pack: &[Sequence]) -> Vec<Weighted<'_>> {
    pack.iter().map(|sequence| Weighted { sequence, weight: 1.0 / 90.0 }).collect()
}

/// Eight packs over the ranks, in order; the sum of the losses.
fn accumulate(trainer: &mut BurnTrainer, step: usize) -> f64 {
    let packs = packs(step);
    let mut sum = 0.0;
    for packs in packs.chunks(trainer.ranks()) {
        let packs: Vec<Vec<Weighted<'_>>> = packs.iter().map(|pack| weighted(pack)).collect();
        sum += trainer.accumulate(&packs).unwrap().concat().iter().sum::<f64>();
    }
    sum
}

/// Some steps; losses and norms of each.
fn train(trainer: &mut BurnTrainer, steps: std::ops::Range<usize>) -> Vec<(f64, f64)> {
    let step = |step| (accumulate(trainer, step), trainer.apply(1e-3, 0.5).unwrap());
    steps.map(step).collect()
}

/// Many steps on the same packs: the first loss and the last one.
fn learn(trainer: &mut BurnTrainer) -> (f64, f64) {
    let mut losses = (0..12).map(|_| {
        let loss = accumulate(trainer, 0);
        trainer.apply(1e-2, 0.5).unwrap();
        loss
    });
    (losses.next().unwrap(), losses.last().unwrap())
}

#[track_caller]
fn check_same(what: &str, left: &Tensors, right: &Tensors, tolerance: f32) {
    assert_eq!(left.len(), right.len(), "{what}");
    for ((name, left), (_, right)) in left.iter().zip(right) {
        match tolerance == 0.0 {
            true => assert!(left == right, "{what}: {name} has other bits"),
            // Adam turns the rounding noise of a key's bias into whole steps.
            false if name.ends_with("k_proj.bias") => check_close(name, left, right, 2e-2),
            false => check_close(&format!("{what}: {name}"), left, right, tolerance),
        }
    }
}

#[test]
fn any_number_of_ranks_has_the_same_bits_where_gradients_are_sharded() {
    let mut one = open(1, &default());
    accumulate(&mut one, 0);
    let gradients = one.gradients();
    let norm = one.apply(1e-3, 0.5).unwrap();
    let curve = train(&mut one, 1..3);
    for (ranks, shard) in [1, 2, 4, 8].iter().flat_map(|n| Shard::ALL.iter().map(move |s| (*n, *s)))
    {
        let what = format!("{ranks} ranks, {shard}");
        let exact = ranks == 1 || matches!(shard, Shard::Gradients | Shard::Parameters);
        let tolerance = if exact { 0.0 } else { 1e-6 };
        let mut many = open(ranks, &Training { shard, ..default() });
        accumulate(&mut many, 0);
        check_same(&what, &many.gradients(), &gradients, tolerance);
        let own = many.apply(1e-3, 0.5).unwrap();
        assert!((own / norm - 1.0).abs() <= f64::from(tolerance), "{what}: norm {own}, not {norm}");
        for ((loss, norm), (right, right_norm)) in train(&mut many, 1..3).into_iter().zip(&curve) {
            assert!((loss / right - 1.0).abs() <= f64::from(tolerance), "{what}: loss {loss}");
            assert!((norm / right_norm - 1.0).abs() <= 10.0 * f64::from(tolerance), "{what}");
        }
        check_same(&what, &many.weights(), &one.weights(), tolerance * 10.0);
    }
}

#[test]
fn what_is_kept_does_not_change_a_bit() {
    let mut inputs = open(2, &default());
    let curve = train(&mut inputs, 0..2);
    for keep in [Keep::Attention, Keep::All] {
        let mut other = open(2, &Training { keep, ..default() });
        assert_eq!(train(&mut other, 0..2), curve, "{keep}");
        check_same(keep.name(), &other.weights(), &inputs.weights(), 0.0);
    }
}

#[test]
fn plain_operations_do_the_same_on_any_number_of_ranks() {
    let mut fused = open(1, &default());
    let curve = train(&mut fused, 0..2);
    for (ranks, shard) in [(1, Shard::Parameters), (4, Shard::None), (2, Shard::Optimizer)]
        .into_iter()
        .chain([(2, Shard::Gradients), (4, Shard::Parameters), (8, Shard::Parameters)])
    {
        let offload = if ranks == 4 { Offload::Activations } else { Offload::None };
        let training = Training { shard, offload, ..default() };
        let mut plain = open_with(ranks, &training, Kernels::Plain);
        for ((loss, norm), (right, right_norm)) in train(&mut plain, 0..2).into_iter().zip(&curve) {
            assert!((loss / right - 1.0).abs() < 1e-5 && (norm / right_norm - 1.0).abs() < 1e-5);
        }
        check_same("plain", &plain.weights(), &fused.weights(), 1e-4);
    }
}

#[test]
fn the_loss_is_the_same_in_chunks_of_any_size() {
    let gradients = |chunk: Option<usize>| {
        let training = Training { logits_chunk: chunk, ..default() };
        let mut trainer = open(1, &training);
        let mut batch = sequences(&[40, 13, 1, 8]);
        // The first and the last row of the vocabulary, and a sequence without any loss.
        (batch[0].labels[20], batch[0].labels[21]) = (0, 60);
        batch[3].labels.fill(IGNORE);
        let pack: Vec<Weighted<'_>> = batch
            .iter()
            .zip([0.5, 0.25, 1.0, 1.0])
            .map(|(sequence, weight)| Weighted { sequence, weight })
            .collect();
        let losses = trainer.accumulate(&[pack]).unwrap();
        (losses, trainer.gradients())
    };
    let (losses, whole) = gradients(None);
    assert_eq!(losses[0][2..], [0.0, 0.0]);
    for chunk in [1, 7, 16, 36, 1000] {
        let (own, other) = gradients(Some(chunk));
        assert_eq!(own, losses, "chunks of {chunk}");
        check_same(&format!("chunks of {chunk}"), &other, &whole, 1e-6);
    }
}

#[test]
fn a_sequences_weight_scales_its_gradients_and_no_others() {
    let batch = sequences(&[20, 30]);
    let run = |weights: [f64; 2]| {
        let mut trainer = open(1, &default());
        let pairs = batch.iter().zip(weights);
        let pack = pairs.map(|(sequence, weight)| Weighted { sequence, weight }).collect();
        let losses = trainer.accumulate(&[pack]).unwrap();
        (losses, trainer.gradients())
    };
    let (losses, both) = run([0.5, 2.0]);
    assert_eq!(losses, run([1.0, 1.0]).0, "losses are not weighted");
    let (first, second) = (run([1.0, 0.0]).1, run([0.0, 1.0]).1);
    let sum = first.iter().zip(&second).map(|((name, first), (_, second))| {
        let pairs = first.iter().zip(second);
        (name.clone(), pairs.map(|(first, second)| 0.5 * first + 2.0 * second).collect())
    });
    check_same("weighted", &both, &sum.collect(), 1e-5);
}

#[test]
fn a_sequence_in_a_pack_has_the_same_loss_whatever_stands_beside_it() {
    let mut batch = sequences(&[40, 25, 33]);
    let run = |batch: &[Sequence]| {
        let mut trainer = open(1, &default());
        let pack = batch.iter().map(|sequence| Weighted { sequence, weight: 0.1 }).collect();
        trainer.accumulate(&[pack]).unwrap().remove(0)
    };
    let before = run(&batch);
    batch[0].input_ids.iter_mut().for_each(|id| *id = (*id + 17) % 61);
    batch[2] = sequences(&[51]).remove(0);
    let after = run(&batch);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1].to_bits(), after[1].to_bits());
}

#[test]
fn a_split_master_trains_to_the_bit_as_a_whole_one() {
    let run = |state, ranks| {
        let mut trainer = open(ranks, &Training { state, ..default() });
        (train(&mut trainer, 0..4), trainer.weights())
    };
    for (whole, split) in [(StateLayout::A, StateLayout::Dx), (StateLayout::APrime, StateLayout::D)]
    {
        let right = run(whole, 1);
        for ranks in [1, 4] {
            assert!(run(split, ranks) == right, "{split} on {ranks} ranks is not {whole}");
        }
    }
}

#[test]
fn every_layout_learns_as_the_exact_one_does() {
    let curve = |state, precision| {
        let mut trainer = open(2, &Training { state, precision, ..default() });
        learn(&mut trainer)
    };
    let (start, exact) = curve(StateLayout::APlus, Precision::F32);
    assert!(exact < 0.9 * start, "{start} to {exact}");
    for state in StateLayout::ALL {
        for precision in Precision::ALL {
            let (_, end) = curve(*state, *precision);
            assert!((end / exact - 1.0).abs() < 0.02, "{state} in {precision}: {end}, not {exact}");
        }
    }
}

#[test]
fn a_device_that_computes_in_bf16_learns_as_the_exact_one_does() {
    let (_, exact) = learn(&mut open(1, &default()));
    for (ranks, shard, offload) in [
        (1, Shard::Parameters, Offload::None),
        (2, Shard::Optimizer, Offload::Activations),
        (4, Shard::Parameters, Offload::None),
    ] {
        let training = Training { precision: Precision::Bf16, shard, offload, ..default() };
        let (_, end) = learn(&mut open_with(ranks, &training, Kernels::Plain));
        assert!((end / exact - 1.0).abs() < 0.03, "{ranks} ranks, {shard}: {end}, not {exact}");
    }
}

/// A store of 5,000 numbers of one parameter.
fn one_store(state: StateLayout, value: f32) -> Host {
    let parameter = Parameter { shape: [50, 100], decays: true };
    let keeping = Keeping {
        layout: state,
        shard: Shard::Parameters,
        precision: Precision::F32,
        seed: 1,
        is_trained: true,
    };
    let (blocks, values) = (vec![vec![parameter]], vec![vec![value; 5000]]);
    Host::new(blocks, values, 2, keeping, place().device)
}

fn steps(store: &mut Host, gradients: impl Iterator<Item = f32>, learning_rate: f64) {
    for (step, gradient) in gradients.enumerate() {
        let row = device::matrix(vec![gradient; 5000], [50, 100], &place().device);
        store.reduce(0, vec![Some(vec![row]), None]);
        let adam = crate::Adam { weight_decay: 0.0, ..ADAM };
        store.step(&Step { adam, learning_rate, scale: 1.0, number: step as u64 + 1 });
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

#[test]
fn updates_smaller_than_a_unit_of_bf16_survive_in_every_layout() {
    for state in StateLayout::ALL {
        let mut store = one_store(*state, 0.02);
        let start = mean(&store.weights(0)[0]);
        steps(&mut store, std::iter::repeat_n(0.3, 100), 1e-5);
        let moved = start - mean(&store.weights(0)[0]);
        assert!((moved / 1e-3 - 1.0).abs() < 0.02, "{state} moved by {moved}");
    }
}

#[test]
fn a_second_moment_decays_in_bf16_as_it_does_in_f32() {
    let run = |state| {
        let mut store = one_store(state, 0.0);
        steps(&mut store, (0..2000).map(|step| if step < 500 { 1.0 } else { 0.5 }), 0.0);
        mean(&store.moments(0)[1][0])
    };
    let exact = run(StateLayout::APlus);
    for state in StateLayout::ALL {
        let own = run(*state);
        let is_exact = Kinds::of(*state).moment == Kind::F32;
        let limit = if is_exact { 1e-5 } else { 5e-3 };
        assert!((own / exact - 1.0).abs() < limit, "{state}: {own}, not {exact}");
    }
}

fn resumed(dir: &Path, ranks: usize, training: &Training) -> BurnTrainer {
    let places = vec![place(); ranks];
    let mut trainer = BurnTrainer::open(places, Weights::Folder(dir), training).unwrap();
    trainer.load_state(dir).unwrap();
    trainer
}

#[test]
fn a_run_goes_on_to_the_bit_on_another_number_of_ranks() {
    let lora = || Lora { rank: 2, alpha: 4.0, targets: vec!["q_proj".into(), "up_proj".into()] };
    for (state, lora) in [
        (StateLayout::APlus, None),
        (StateLayout::DPlus, None),
        (StateLayout::D, None),
        (StateLayout::B, None),
        (StateLayout::APlus, Some(lora())),
    ] {
        let training = Training { state, lora, ..default() };
        let mut straight = open(8, &training);
        let curve = train(&mut straight, 0..6);
        let mut trainer = open(8, &training);
        let mut own = train(&mut trainer, 0..2);
        for (ranks, steps) in [(4, 2..4), (8, 4..6)] {
            let dir = tempfile::tempdir().unwrap();
            let snapshot = trainer.snapshot().unwrap();
            // What is trained meanwhile does not change what is saved.
            accumulate(&mut trainer, 0);
            trainer.apply(1.0, 0.0).unwrap();
            snapshot.save_model(dir.path()).unwrap();
            snapshot.save_state(dir.path()).unwrap();
            trainer = resumed(dir.path(), ranks, &training);
            own.extend(train(&mut trainer, steps));
        }
        assert_eq!(own, curve, "{state}");
        check_same(state.name(), &trainer.weights(), &straight.weights(), 0.0);
    }
}

#[test]
fn adapters_change_their_weights_and_nothing_else() {
    let lora = Lora { rank: 3, alpha: 6.0, targets: vec!["k_proj".into(), "down_proj".into()] };
    let training = Training { lora: Some(lora), ..default() };
    let mut trainer = open(2, &training);
    let before = trainer.weights();
    check_same("new adapters", &before, &open(1, &default()).weights(), 0.0);
    let (start, end) = learn(&mut trainer);
    assert!(end < 0.98 * start, "{start} to {end}");
    for ((name, before), (_, after)) in before.iter().zip(&trainer.weights()) {
        let adapted = name.contains("k_proj.weight") || name.contains("down_proj.weight");
        assert_eq!(before != after, adapted, "{name}");
    }
    let held = trainer.store.held();
    assert!(held.optimizer < held.weights / 4, "{held:?}");
}

#[test]
fn the_gradient_of_an_adapter_is_that_of_its_weight_through_the_product() {
    let lora = Lora { rank: 2, alpha: 3.0, targets: vec!["v_proj".into()] };
    let mut adapted = open(1, &Training { lora: Some(lora), ..default() });
    let mut whole = open(1, &default());
    accumulate(&mut adapted, 0);
    accumulate(&mut whole, 0);
    let name = "model.layers.1.self_attn.v_proj.weight";
    let gradients = whole.gradients();
    let (_, of_weight) = gradients.iter().find(|(own, _)| own == name).unwrap();
    let (a, of_b) = (&adapted.store.adapter_weights(2)[0], &adapted.store.gradients(2)[1]);
    // [16, 32] times [2, 32] turned, times 3 / 2.
    let expected: Vec<f32> = of_weight
        .chunks_exact(32)
        .flat_map(|row| {
            let dot = |a: &[f32]| a.iter().zip(row).map(|(a, g)| a * g).sum::<f32>() * 1.5;
            a.chunks_exact(32).map(dot).collect::<Vec<_>>()
        })
        .collect();
    check_close("gradient of B", of_b, &expected, 1e-5);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_loaded() {
    let lora = |rank, target: &str| Training {
        lora: Some(Lora { rank, alpha: 1.0, targets: vec![target.to_owned()] }),
        ..default()
    };
    let host = Kernels::Fused;
    let other = |state| Training { state, ..default() };
    for (training, kernels, why) in [
        (lora(2, "lm_head"), host, "`lm_head` is no weight of a layer"),
        (lora(0, "q_proj"), host, "rank 0 do not fit; 1 to 32 do"),
        (Training { offload: Offload::Optimizer, ..default() }, host, "nothing to offload to"),
        (other(StateLayout::B), Kernels::Plain, "GPUs train with state"),
    ] {
        let (config, place) = (config(4, 2, true), Place { kernels, ..place() });
        let weights = Weights::Random { config: &config, seed: 7 };
        let error = BurnTrainer::open(vec![place], weights, &training).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = open(2, &default()).accumulate(&[Vec::new()]).unwrap_err();
    assert_eq!(error.to_string(), "1 micro-batches for 2 ranks");
}
