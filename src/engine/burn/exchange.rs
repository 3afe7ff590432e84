//! Tries every way in which ranks exchange tensors, with numbers whose sums are exact.

use std::time::Instant;

use burn::tensor::Tensor;

use super::comm::Group;
use super::device::{self, Place};
use super::ops::Kernels;
use crate::{Error, Exchange, Result};

/// Columns of what is exchanged.
const COLUMNS: usize = 1_024;

/// Rows of each rank's part per rank: 64 MiB in all on eight GPUs, 2 MiB on the processor.
const GPU_ROWS: usize = 2_048;
const PROCESSOR_ROWS: usize = 64;

/// Lets the ranks at `places` exchange.
///
/// # Errors
/// If they cannot reach each other, or there is only one.
pub(crate) fn check(places: &[Place]) -> Result<Vec<Exchange>> {
    let ranks = places.len();
    if ranks < 2 {
        return Err(Error::BadInput("one device has nobody to exchange with".to_owned()));
    }
    let group = Group::new(places.to_vec())?;
    let each = match places[0].kernels {
        Kernels::Plain | Kernels::Cuda(_) => GPU_ROWS,
        Kernels::Fused => PROCESSOR_ROWS,
    };
    let rows = each * ranks;
    let parts: Vec<Vec<f32>> = (0..ranks).map(|rank| part(rank, rows * COLUMNS)).collect();
    let sum: Vec<f32> =
        (0..rows * COLUMNS).map(|at| parts.iter().map(|part| part[at]).sum()).collect();
    let whole = parts.concat();
    let share = each * COLUMNS;
    let put = || -> Vec<Tensor<2>> {
        let pairs = parts.iter().zip(places);
        pairs
            .map(|(part, place)| device::matrix(part.clone(), [rows, COLUMNS], &place.device))
            .collect()
    };
    let others = (ranks - 1) as f64 / ranks as f64;
    let bytes = (rows * COLUMNS * size_of::<f32>()) as f64;
    let tried = |name,
                 crossing: f64,
                 run: &dyn Fn(Vec<Tensor<2>>) -> Vec<Tensor<2>>,
                 expected: &dyn Fn(usize) -> Vec<f32>| {
        let (got, _) = timed(run, put());
        let agrees =
            got.into_iter().enumerate().all(|(rank, got)| device::numbers(got) == expected(rank));
        let (_, seconds) = timed(run, put());
        Exchange { name, agrees, bus_bytes_per_second: crossing / seconds.max(1e-9) }
    };
    Ok(vec![
        tried(
            "all-gather",
            bytes * ranks as f64 * others,
            &|parts| group.all_gather(parts),
            &|_| whole.clone(),
        ),
        tried("reduce-scatter", bytes * others, &|parts| group.reduce_scatter(parts), &|rank| {
            sum[rank * share..(rank + 1) * share].to_vec()
        }),
        tried("all-reduce", 2.0 * bytes * others, &|parts| group.all_reduce(parts), &|_| {
            sum.clone()
        }),
    ])
}

/// What came of an exchange, and the seconds until every rank had it.
fn timed(
    run: &dyn Fn(Vec<Tensor<2>>) -> Vec<Tensor<2>>,
    parts: Vec<Tensor<2>>,
) -> (Vec<Tensor<2>>, f64) {
    // Reading a row waits until it is there.
    let settle = |tensors: &[Tensor<2>]| {
        tensors.iter().for_each(|tensor| drop(device::numbers(tensor.clone().narrow(0, 0, 1))));
    };
    settle(&parts);
    let began = Instant::now();
    let got = run(parts);
    settle(&got);
    (got, began.elapsed().as_secs_f64())
}

/// Small whole numbers, other ones on each rank: their sums have no rounding.
fn part(rank: usize, numbers: usize) -> Vec<f32> {
    (0..numbers).map(|at| ((at * 31 + rank * 17) % 101) as f32 - 50.0).collect()
}
