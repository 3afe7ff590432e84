//! Whatever weights are kept as, a model answers as it did, or nearly.

use safetensors::Dtype;

use super::bytes_needed;
use crate::burn::device::Place;
use crate::burn::generator::BurnGenerator;
use crate::burn::ops::Kernels;
use crate::burn::plan::Plan;
use crate::burn::share::Share;
use crate::burn::source::Source;
use crate::burn::tests::{check_close, config, place};
use crate::burn::weights::Model;
use crate::dummy;
use crate::{CacheType, Error, Generator, Piece, Result, Room, WeightType};

const TYPES: [WeightType; 4] =
    [WeightType::Auto, WeightType::F32, WeightType::Bf16, WeightType::Int8];

fn generator(weights: WeightType) -> BurnGenerator {
    let mut model = Model::random(&config(8, 2, true), 7).unwrap();
    let source = Source::values_of(&std::mem::take(&mut model.values));
    let room = Room { weights, ..Room::default() };
    opened(model, &source, room)
}

fn opened(model: Model, source: &Source, room: Room) -> BurnGenerator {
    at(place(), model, source, room).unwrap()
}

fn at(place: Place, model: Model, source: &Source, room: Room) -> Result<BurnGenerator> {
    let plan = Plan::new(&model.config, 0, room, None)?;
    BurnGenerator::new(vec![place], model, source, (plan, room))
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|at| (at * 17 % 61) as u32).collect()
}

/// Nats per token of the sequence itself.
fn loss(logits: &[f32], ids: &[u32]) -> f64 {
    let rows = logits.chunks_exact(61).zip(&ids[1..]);
    let nats = rows.map(|(row, next)| {
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum.ln() - f64::from(row[*next as usize])
    });
    nats.sum::<f64>() / (ids.len() - 1) as f64
}

#[test]
fn every_type_gives_nearly_the_same_logits() {
    let ids = ids(300);
    let right = generator(WeightType::F32).logits(&ids).unwrap();
    // Rounding to 8 bits, to 7 of 127 steps, as parts of the largest logit; and in nats.
    for (weights, tolerance, nats) in [
        (WeightType::Auto, 0.0, 0.0),
        (WeightType::Bf16, 0.02, 0.005),
        (WeightType::Int8, 0.05, 0.01),
    ] {
        let got = generator(weights).logits(&ids).unwrap();
        check_close(&weights.to_string(), &got, &right, tolerance);
        let change = loss(&got, &ids) - loss(&right, &ids);
        assert!(change.abs() <= nats, "{weights}: {change} nats");
    }
}

#[test]
fn other_devices_compute_in_bf16_with_nearly_the_same_logits_and_take_no_bytes() {
    let place = Place { kernels: Kernels::Plain, ..place() };
    let open = |weights| {
        let mut model = Model::random(&config(8, 2, true), 7).unwrap();
        let source = Source::values_of(&std::mem::take(&mut model.values));
        let room = Room { weights, cache_type: CacheType::Bf16, ..Room::default() };
        at(place.clone(), model, &source, room)
    };
    let ids = ids(90);
    let right = generator(WeightType::F32).logits(&ids).unwrap();
    let half = open(WeightType::Bf16).unwrap().logits(&ids).unwrap();
    check_close("bf16", &half, &right, 0.05);
    assert_ne!(half, right, "activations are rounded too");
    let pieces = [Piece { tokens: &ids, start: 0, blocks: &[5, 2, 9, 4, 0, 7], logits: 89..90 }];
    let last = open(WeightType::Bf16).unwrap().step(&pieces).unwrap();
    check_close("from the cache", &last[0], &half[89 * 61..], 0.05);
    assert!(matches!(open(WeightType::Int8), Err(Error::BadInput(_))));
}

#[test]
fn bf16_as_it_is_gives_the_bits_of_f32() {
    let logits = |weights| {
        let mut model = Model::random(&config(4, 2, false), 9).unwrap();
        let bits = |value: &f32| half::bf16::from_f32(*value).to_le_bytes();
        let bytes = std::mem::take(&mut model.values);
        let bytes = bytes.iter().map(|values| values.iter().flat_map(bits).collect()).collect();
        let room = Room { weights, ..Room::default() };
        let source = Source::Bytes(Dtype::BF16, bytes);
        opened(model, &source, room).logits(&ids(90)).unwrap()
    };
    assert_eq!(logits(WeightType::Auto), logits(WeightType::F32));
}

#[test]
fn a_sequence_has_the_same_bits_alone_in_a_batch_and_in_pieces() {
    let ids = ids(40);
    for weights in TYPES {
        let mut alone = generator(weights);
        let piece = |tokens, start, blocks, logits| Piece { tokens, start, blocks, logits };
        let blocks: Vec<Vec<u32>> =
            (0..32).map(|at| vec![3 * at, 3 * at + 1, 3 * at + 2]).collect();
        let whole = alone.step(&[piece(&ids, 0, &blocks[0], 0..40)]).unwrap();
        let mut many = generator(weights);
        for at in 0..40 {
            let pieces: Vec<Piece<'_>> =
                blocks.iter().map(|blocks| piece(&ids[at..=at], at, blocks, 0..1)).collect();
            let rows = many.step(&pieces).unwrap();
            for row in rows {
                assert!(row == whole[at], "{weights}, position {at}");
            }
        }
    }
}

#[test]
fn halves_take_half_and_bytes_a_quarter_of_the_memory() {
    let dummy = dummy::named("dummy:qwen2.5-0.5b".as_ref()).unwrap().unwrap();
    let (model, source) = Model::open("dummy:qwen2.5-0.5b".as_ref()).unwrap();
    assert!(dummy.bf16 && source.dtypes(&model.config).unwrap().contains(&Dtype::BF16));
    let share = Share::whole(&model.config);
    let bytes = |weights| {
        bytes_needed((&model.config, &share), &place(), weights, &source).unwrap() as f64
            / model.info.parameters as f64
    };
    for (weights, expected) in [
        (WeightType::Auto, 2.0),
        (WeightType::F32, 4.0),
        (WeightType::Bf16, 2.0),
        (WeightType::Int8, 1.0625),
    ] {
        let bytes = bytes(weights);
        assert!((bytes / expected - 1.0).abs() < 0.01, "{weights}: {bytes} bytes a number");
    }
}
