//! Measures a device's kernels one by one, and compares what it computes layer by layer.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{DType, Distribution, Tensor};

use super::decoder::Heads;
use super::device::{self, Place};
use super::generator::BurnGenerator;
use super::ops::{Kernels, plain};
use super::packing::Packing;
use super::rotary::{Rope, Scaling, Tables};
use crate::{Result, Room, WeightType, cuda};

/// Runs before the clock starts: kernels are compiled and measured in the first ones.
const RUNS_BEFORE: usize = 3;

/// Runs that are timed.
const RUNS: usize = 5;

/// How long a product or an attention takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Timed {
    /// With cuBLASLt where it is installed, else with burn's kernels.
    pub(crate) seconds: f64,
    /// With burn's kernels.
    pub(crate) own_seconds: f64,
}

/// Seconds of a product `[rows, inner] · [columns, inner]ᵀ` in bf16, on the processor in f32.
pub(crate) fn product(place: &Place, [rows, columns, inner]: [usize; 3]) -> Result<Timed> {
    let x = normal([rows, inner], place);
    let weight = normal([columns, inner], place);
    let run = || place.kernels.linear(x.clone(), weight.clone());
    let was = cuda::use_library(true);
    let seconds = timed(place, run)?;
    cuda::use_library(false);
    let own_seconds = timed(place, run)?;
    cuda::use_library(was);
    Ok(Timed { seconds, own_seconds })
}

/// Seconds of causal attention of one sequence forward.
pub(crate) fn attention(place: &Place, tokens: usize, heads: Heads) -> Result<f64> {
    let qkv = normal([tokens, heads.query_width() + 2 * heads.kv_width()], place);
    let packing = packed(tokens, place);
    timed(place, || place.kernels.attention(qkv.clone(), &packing, heads))
}

/// How far the gradient of attention is from the processor's in f32, relative to its length: of the
/// device's numbers, bf16 on a GPU.
pub(crate) fn attention_gradient(place: &Place, tokens: usize, heads: Heads) -> Result<f64> {
    let reference = device::open(crate::Device::Cpu)?;
    let shape = [tokens, heads.query_width() + 2 * heads.kv_width()];
    let number = |at: usize| ((at * 7919) % 2003) as f32 / 1001.0 - 1.0;
    let values = |count: usize, from: usize| (from..from + count).map(number).collect::<Vec<_>>();
    let (qkv, slope) = (values(shape[0] * shape[1], 0), values(tokens * heads.query_width(), 31));
    let gradient = |place: &Place| {
        let dtype = computed(place);
        let put = |values: &[f32], columns| {
            let tensor = device::matrix(values.to_vec(), [tokens, columns], &place.device);
            plain::narrowed(tensor, dtype)
        };
        let input = put(&qkv, shape[1]).autodiff().require_grad();
        let out = place.kernels.attention(input.clone(), &packed(tokens, place), heads);
        let mut tape = place.kernels.dot(out, put(&slope, heads.query_width())).backward();
        let gradient = input.grad_remove(&mut tape).expect("the input has a gradient");
        device::numbers(gradient.inner())
    };
    Ok(crate::compare::apart(&gradient(place), &gradient(&reference)))
}

/// The hidden states of ids after the embedding and after every layer, of a model in a folder.
pub(crate) fn layers(
    place: Place,
    dir: &Path,
    (ids, weights): (&[u32], WeightType),
) -> Result<Vec<Vec<f32>>> {
    let room = Room { weights, ..Room::default() };
    BurnGenerator::open_cold(vec![place], dir, room)?.layers(ids)
}

fn computed(place: &Place) -> DType {
    match place.kernels {
        Kernels::Cuda(_) => DType::BF16,
        Kernels::Plain | Kernels::Fused => DType::F32,
    }
}

fn normal(shape: [usize; 2], place: &Place) -> Tensor<2> {
    let x = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &place.device);
    plain::narrowed(x, computed(place))
}

fn packed(tokens: usize, place: &Place) -> Packing {
    let tables = Tables::new(2, &Rope { theta: 1e4, scaling: Scaling::None });
    Packing::new([vec![0; tokens].as_slice()], &tables, &place.device)
}

/// Seconds of one of several runs.
fn timed(place: &Place, run: impl Fn() -> Tensor<2>) -> Result<f64> {
    // What nobody reads is never computed: one number of it is read.
    let wait = |x: Tensor<2>| drop(device::numbers(x.narrow(0, 0, 1).narrow(1, 0, 1)));
    (0..RUNS_BEFORE).for_each(|_| wait(run()));
    device::wait(place)?;
    let start = Instant::now();
    // All of them are held: what is dropped before is never computed.
    let outputs: Vec<Tensor<2>> = (0..RUNS).map(|_| run()).collect();
    outputs.last().cloned().into_iter().for_each(wait);
    let seconds = start.elapsed().as_secs_f64() / RUNS as f64;
    drop(outputs);
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burn::tests::place;

    const HEADS: Heads = Heads { query: 4, kv: 2, size: 8 };

    #[test]
    fn every_kernel_is_timed() {
        let place = place();
        let product = product(&place, [5, 7, 9]).unwrap();
        assert!(product.seconds > 0.0 && product.own_seconds > 0.0);
        assert!(attention(&place, 33, HEADS).unwrap() > 0.0);
    }

    #[test]
    fn the_gradient_of_attention_is_that_of_the_processor() {
        assert_eq!(attention_gradient(&place(), 40, HEADS).unwrap(), 0.0);
        let plain = Place { kernels: Kernels::Plain, ..place() };
        let apart = attention_gradient(&plain, 40, HEADS).unwrap();
        assert!(apart > 0.0 && apart < 1e-5, "{apart}");
    }

    #[test]
    fn attention_sequence_by_sequence_is_that_of_the_pack() {
        let place = place();
        let tables = Tables::new(2, &Rope { theta: 1e4, scaling: Scaling::None });
        let packing = Packing::new([&[0; 21][..], &[0; 9]], &tables, &place.device);
        let qkv = normal([30, 64], &place);
        let slope = normal([30, 32], &place);
        let run = |apart: bool| {
            let input = qkv.clone().autodiff().require_grad();
            let out = match apart {
                true => plain::attention_apart(&input, packing.ranges(), HEADS),
                false => plain::attention(input.clone(), &packing, HEADS),
            };
            let mut tape = Kernels::Plain.dot(out.clone(), slope.clone()).backward();
            let gradient = input.grad_remove(&mut tape).unwrap();
            [out.inner(), gradient.inner()].map(device::numbers)
        };
        for (left, right) in run(true).iter().zip(&run(false)) {
            assert!(crate::compare::apart(left, right) < 1e-5);
        }
    }
}
