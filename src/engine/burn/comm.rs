//! What several ranks compute together: the only place that knows how they reach each other.
//!
//! One thread holds the tensors of all ranks, rank by rank. GPUs exchange them through NCCL, by
//! burn's own collectives; the processor, which may be as many ranks as wanted, adds them up where
//! they lie, always two and two: neighbours first, then pairs of neighbours. A product whose inputs are
//! added up in the same way has the same bits over 1, 2, 4 or 8 ranks.

use burn::tensor::{Tensor, TensorData, distributed::ReduceOperation};
use rayon::prelude::*;

use super::device::{self, Place};
use super::ops::Kernels;
use crate::{Error, Result, cuda};

/// Ranks of a group at most: the GPUs of a node.
pub(crate) const RANKS_MAX: usize = 8;

/// Numbers that a thread adds up at a time.
const CHUNK: usize = 1 << 14;

/// Ranks that work together.
#[derive(Clone)]
pub(crate) struct Group {
    places: Vec<Place>,
}

impl Group {
    /// The ranks at these places: all apart, or all at one.
    ///
    /// # Errors
    /// If they cannot reach each other.
    pub(crate) fn new(places: Vec<Place>) -> Result<Self> {
        let ranks = places.len();
        if !(1..=RANKS_MAX).contains(&ranks) {
            let why = format!("{ranks} ranks cannot work together; 1 to {RANKS_MAX} can");
            return Err(Error::BadInput(why));
        }
        if places.iter().any(|place| place.kernels != places[0].kernels) {
            let why = "the ranks of a model are all GPUs or all the processor".to_owned();
            return Err(Error::BadInput(why));
        }
        let is_gpu = |place: &Place| place.device.memory_pool_usage().is_some();
        // Ranks that share a device need nobody to carry anything.
        let is_shared = places.iter().all(|place| place.device == places[0].device);
        if !is_shared && places.iter().any(is_gpu) {
            // Without NCCL burn would copy through the host, and say nothing.
            cuda::ensure_collectives()?;
        }
        Ok(Self { places })
    }

    /// Gives every rank the sum of all parts, which are of one shape.
    pub(crate) fn all_reduce<const D: usize>(&self, parts: Vec<Tensor<D>>) -> Vec<Tensor<D>> {
        self.check(&parts);
        match (parts.len(), self.places[0].kernels) {
            (1, _) => parts,
            (_, Kernels::Plain | Kernels::Cuda(_)) => {
                Tensor::all_reduce(parts, ReduceOperation::Sum)
            }
            (ranks, Kernels::Fused) => vec![sum(parts); ranks],
        }
    }

    /// Gives every rank all parts, one below the other; they are of one shape.
    pub(crate) fn all_gather<const D: usize>(&self, parts: Vec<Tensor<D>>) -> Vec<Tensor<D>> {
        self.check(&parts);
        match (parts.len(), self.places[0].kernels) {
            (1, _) => parts,
            (_, Kernels::Plain | Kernels::Cuda(_)) => Tensor::all_gather(parts, 0),
            (ranks, Kernels::Fused) => vec![Tensor::cat(parts, 0); ranks],
        }
    }

    /// Gives rank `i` the `i`-th of as many equal parts of the sum.
    ///
    /// # Panics
    /// If the parts have not a multiple of as many rows as there are ranks.
    pub(crate) fn reduce_scatter<const D: usize>(&self, parts: Vec<Tensor<D>>) -> Vec<Tensor<D>> {
        self.check(&parts);
        let (ranks, rows) = (parts.len(), parts[0].dims()[0]);
        assert!(rows.is_multiple_of(ranks), "{rows} rows are scattered over {ranks} ranks");
        match (ranks, self.places[0].kernels) {
            (1, _) => parts,
            (_, Kernels::Plain | Kernels::Cuda(_)) => {
                Tensor::reduce_scatter(parts, 0, ReduceOperation::Sum)
            }
            (_, Kernels::Fused) => {
                let each = rows / ranks;
                let cut = |rank: usize| {
                    let own = parts.iter().map(|part| part.clone().narrow(0, rank * each, each));
                    sum(own.collect())
                };
                (0..ranks).map(cut).collect()
            }
        }
    }

    fn check<const D: usize>(&self, parts: &[Tensor<D>]) {
        assert_eq!(parts.len(), self.places.len(), "every rank has a part");
        assert!(parts.iter().all(|part| part.dims() == parts[0].dims()), "parts are of one shape");
    }
}

/// The sum of tensors of the processor, two and two.
fn sum<const D: usize>(mut parts: Vec<Tensor<D>>) -> Tensor<D> {
    while parts.len() > 1 {
        let mut rest = parts.into_iter();
        let mut pairs = Vec::with_capacity(rest.len().div_ceil(2));
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => added(left, right),
                None => left,
            });
        }
        parts = pairs;
    }
    parts.pop().expect("a group has a rank")
}

/// The sum of two tensors of the processor, in the place of the left.
fn added<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    let (shape, device) = (left.dims(), left.device());
    let (mut sum, right) = (device::numbers(left), device::numbers(right));
    let pairs = sum.par_chunks_mut(CHUNK).zip(right.par_chunks(CHUNK));
    pairs.for_each(|(sum, right)| sum.iter_mut().zip(right).for_each(|(sum, right)| *sum += right));
    Tensor::from_data(TensorData::new(sum, shape), &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burn::tests::place;

    const KERNELS: [Kernels; 2] = [Kernels::Fused, Kernels::Plain];

    fn group(ranks: usize, kernels: Kernels) -> Group {
        Group::new(vec![Place { kernels, ..place() }; ranks]).unwrap()
    }

    /// Whole numbers, whose sums are exact: `[rows, 3]`, other ones on each rank.
    fn parts(ranks: usize, rows: usize) -> Vec<Tensor<2>> {
        let number = |rank: usize, at: usize| ((at * 31 + rank * 17) % 101) as f32 - 50.0;
        let part = |rank| (0..3 * rows).map(|at| number(rank, at)).collect();
        (0..ranks).map(|rank| device::matrix(part(rank), [rows, 3], &place().device)).collect()
    }

    fn values(tensors: &[Tensor<2>]) -> Vec<Vec<f32>> {
        tensors.iter().cloned().map(device::numbers).collect()
    }

    #[test]
    fn every_rank_gets_the_sum_its_share_of_it_or_all_parts() {
        for (ranks, kernels) in [1, 2, 3, 4, 8].into_iter().flat_map(|n| KERNELS.map(|k| (n, k))) {
            let (group, parts) = (group(ranks, kernels), parts(ranks, 9600));
            let given = values(&parts);
            let sum: Vec<f32> =
                (0..given[0].len()).map(|at| given.iter().map(|part| part[at]).sum()).collect();
            assert!(values(&group.all_reduce(parts.clone())) == vec![sum.clone(); ranks]);
            let shares = values(&group.reduce_scatter(parts.clone()));
            assert!(shares.iter().all(|share| share.len() == sum.len() / ranks));
            assert!(shares.concat() == sum, "{ranks} ranks");
            assert!(values(&group.all_gather(parts)) == vec![given.concat(); ranks]);
        }
    }

    #[test]
    fn sums_are_taken_two_and_two() {
        let group = group(4, Kernels::Fused);
        let parts =
            [1.0, 1e8, -1e8, 3.0].map(|value| Tensor::<1>::full([5], value, &place().device));
        let sum = group.all_reduce(parts.to_vec()).swap_remove(2);
        assert_eq!(device::numbers(sum), [(1.0_f32 + 1e8) + (-1e8 + 3.0); 5]);
        let own = group.reduce_scatter(parts.map(|part| part.repeat_dim(0, 4)).to_vec());
        assert!(own.into_iter().all(|own| device::numbers(own) == [0.0; 5]));
    }

    #[test]
    fn ranks_that_cannot_work_together_are_refused() {
        let mixed = KERNELS.map(|kernels| Place { kernels, ..place() });
        for places in [vec![], vec![place(); RANKS_MAX + 1], mixed.to_vec()] {
            assert!(matches!(Group::new(places), Err(Error::BadInput(_))));
        }
    }
}
