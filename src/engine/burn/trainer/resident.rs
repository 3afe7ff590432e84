//! The numbers of all ranks where they are computed with: on GPUs, in f32. Blocks are computed with in
//! f32, or in bf16 that is rounded to the nearest, ties to even.
//!
//! Parts are exchanged by `comm`. A part is padded with zeros so that all ranks' are of one length.

use burn::tensor::{DType, Tensor, TensorData};

use super::store::{Held, Keeping, Layout, Store, Values, part};
use crate::Precision;
use crate::burn::adamw::{Step, Trained};
use crate::burn::comm::Group;
use crate::burn::device::{self, Place};
use crate::burn::ops::{Kernels, plain};
use crate::burn::parameters::Parameter;

/// One rank's part of a block.
struct Own {
    weight: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
    gradient: Option<Tensor<1>>,
    /// All weights of the block, where they are not sharded but the state is.
    copy: Option<Tensor<1>>,
}

struct Block {
    layout: Layout,
    ranks: Vec<Own>,
}

/// The store.
pub(crate) struct Resident {
    group: Group,
    places: Vec<Place>,
    keeping: Keeping,
    blocks: Vec<Block>,
    has_gradients: bool,
}

fn vector(values: Vec<f32>, place: &Place) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), &place.device)
}

impl Resident {
    /// Divides the values of all parameters, block after block, over the ranks of a group.
    pub(crate) fn new(
        group: Group,
        places: Vec<Place>,
        blocks: Vec<Vec<Parameter>>,
        values: Vec<Vec<f32>>,
        keeping: Keeping,
    ) -> Self {
        let mut store = Self { group, places, keeping, blocks: Vec::new(), has_gradients: false };
        let mut values = values.into_iter();
        for parameters in blocks {
            let layout = Layout::new(parameters);
            let row = values.by_ref().take(layout.parameters.len()).collect::<Vec<_>>().concat();
            let ranks = (0..store.places.len()).map(|rank| store.own(&row, rank)).collect();
            store.blocks.push(Block { layout, ranks });
        }
        store
    }

    fn own(&self, row: &[f32], rank: usize) -> Own {
        let (place, keeping) = (&self.places[rank], self.keeping);
        let weight = vector(self.padded(row, rank), place);
        let zeros = || match keeping.is_trained {
            true => weight.zeros_like(),
            false => Tensor::zeros([1], &place.device),
        };
        let copied = keeping.whole_weights() && !keeping.whole_state() && self.places.len() > 1;
        let copy = copied.then(|| vector(row.to_vec(), place));
        Own { first: zeros(), second: zeros(), gradient: None, copy, weight }
    }

    /// A rank's part of a row, with zeros behind it.
    fn padded(&self, row: &[f32], rank: usize) -> Vec<f32> {
        let ranks = self.places.len();
        if self.keeping.whole_state() {
            return row.to_vec();
        }
        let mut own = row[part(row.len(), rank, ranks)].to_vec();
        own.resize(row.len().div_ceil(ranks), 0.0);
        own
    }

    /// The parts of all ranks as one row on each of them.
    fn joined(&self, length: usize, parts: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
        match self.keeping.whole_state() {
            true => parts,
            false => {
                let rows = self.group.all_gather(parts).into_iter();
                rows.map(|row| row.narrow(0, 0, length)).collect()
            }
        }
    }

    /// A row that the ranks hold, on the host.
    fn row(&self, block: &Block, of: impl Fn(&Own) -> Tensor<1>) -> Values {
        let parts = block.ranks.iter().map(|own| device::numbers(of(own)));
        let mut row = match self.keeping.whole_state() {
            true => parts.take(1).collect::<Vec<_>>().concat(),
            false => parts.collect::<Vec<_>>().concat(),
        };
        row.resize(block.layout.length(), 0.0);
        block.layout.cut(&row)
    }

    /// Gives the ranks that update them the sums of all ranks' gradients.
    fn exchange(&mut self) {
        if !self.keeping.whole_gradients() || self.places.len() == 1 {
            return;
        }
        let ranks = self.places.len();
        for block in &mut self.blocks {
            if block.ranks.iter().all(|own| own.gradient.is_none()) {
                continue;
            }
            let length = block.layout.length();
            let taken = block.ranks.iter_mut().zip(&self.places).map(|(own, place)| {
                own.gradient.take().unwrap_or_else(|| Tensor::zeros([length], &place.device))
            });
            let taken: Vec<Tensor<1>> = taken.collect();
            let sums = match self.keeping.whole_state() {
                true => self.group.all_reduce(taken),
                false => {
                    let padded = taken.into_iter().map(|row| padded(row, ranks)).collect();
                    self.group.reduce_scatter(padded)
                }
            };
            for (own, sum) in block.ranks.iter_mut().zip(sums) {
                own.gradient = Some(sum);
            }
        }
    }
}

/// A row with zeros behind it, so that it can be divided evenly.
fn padded(row: Tensor<1>, ranks: usize) -> Tensor<1> {
    let length = row.dims()[0];
    let more = length.next_multiple_of(ranks) - length;
    match more {
        0 => row,
        more => Tensor::cat(vec![row.clone(), Tensor::zeros([more], &row.device())], 0),
    }
}

impl Store for Resident {
    fn gather(&self, block: usize) -> Vec<Vec<Tensor<2>>> {
        let block = &self.blocks[block];
        // Rounded before it travels: half as much does.
        let computed = |row: &Tensor<1>| match self.keeping.precision {
            Precision::F32 => row.clone(),
            Precision::Bf16 => row.clone().cast(DType::BF16),
        };
        let rows = match block.ranks[0].copy {
            Some(_) => {
                block.ranks.iter().filter_map(|own| own.copy.as_ref().map(computed)).collect()
            }
            None => {
                let parts = block.ranks.iter().map(|own| computed(&own.weight)).collect();
                self.joined(block.layout.length(), parts)
            }
        };
        let cut = |row: Tensor<1>| {
            let places = block.layout.parameters.iter().zip(&block.layout.bounds);
            places
                .map(|(one, at)| row.clone().narrow(0, *at, one.length()).reshape(one.shape))
                .collect()
        };
        rows.into_iter().map(cut).collect()
    }

    fn reduce(&mut self, block: usize, gradients: Vec<Option<Vec<Tensor<2>>>>) {
        self.has_gradients = true;
        let (ranks, length) = (self.places.len(), self.blocks[block].layout.length());
        let row = |gradients: Vec<Tensor<2>>| {
            let flat = gradients.into_iter().map(|one| {
                let count = one.dims().iter().product::<usize>();
                plain::wide(one.reshape([count]))
            });
            Tensor::cat(flat.collect(), 0)
        };
        let rows = gradients.into_iter().map(|gradients| gradients.map(row));
        let rows: Vec<Option<Tensor<1>>> = match self.keeping.whole_gradients() {
            true => rows.collect(),
            false => {
                let whole = rows.zip(&self.places).map(|(row, place)| {
                    let zeros = || Tensor::zeros([length], &place.device);
                    padded(row.unwrap_or_else(zeros), ranks)
                });
                let whole = whole.collect();
                self.group.reduce_scatter(whole).into_iter().map(Some).collect()
            }
        };
        for (own, row) in self.blocks[block].ranks.iter_mut().zip(rows) {
            own.gradient = match (own.gradient.take(), row) {
                (Some(sum), Some(row)) => Some(sum + row),
                (sum, row) => sum.or(row),
            };
        }
    }

    fn has_gradients(&self) -> bool {
        self.has_gradients
    }

    fn square_sum(&mut self) -> f64 {
        self.exchange();
        let count = if self.keeping.whole_state() { 1 } else { self.places.len() };
        let owns = self.blocks.iter().flat_map(|block| &block.ranks[..count]);
        let gradients = owns.filter_map(|own| own.gradient.clone());
        gradients.map(|row| plain::square_sum(row.unsqueeze())).sum()
    }

    fn step(&mut self, step: &Step) {
        let (ranks, whole) = (self.places.len(), self.keeping.whole_state());
        for block in &mut self.blocks {
            for (rank, own) in block.ranks.iter_mut().enumerate() {
                let length = block.layout.length();
                let range = if whole { 0..length } else { part(length, rank, ranks) };
                own.update(&block.layout, range, step, self.places[rank].kernels);
            }
        }
        for at in 0..self.blocks.len() {
            let block = &self.blocks[at];
            if block.ranks[0].copy.is_some() {
                let parts = block.ranks.iter().map(|own| own.weight.clone()).collect();
                let rows = self.joined(block.layout.length(), parts);
                for (own, row) in self.blocks[at].ranks.iter_mut().zip(rows) {
                    own.copy = Some(row);
                }
            }
        }
        self.has_gradients = false;
    }

    fn discard(&mut self) {
        for own in self.blocks.iter_mut().flat_map(|block| &mut block.ranks) {
            own.gradient = None;
        }
        self.has_gradients = false;
    }

    fn weights(&self, block: usize) -> Values {
        self.row(&self.blocks[block], |own| own.weight.clone())
    }

    fn gradients(&self, block: usize) -> Values {
        let block = &self.blocks[block];
        let parts = block.ranks.iter().map(|own| own.gradient.clone().map(device::numbers));
        let length = block.layout.length();
        let row = match self.keeping.whole_gradients() {
            false => parts.flatten().collect::<Vec<_>>().concat(),
            true => parts.flatten().fold(vec![0.0; length], |mut sum: Vec<f32>, part| {
                sum.iter_mut().zip(&part).for_each(|(sum, value)| *sum += value);
                sum
            }),
        };
        let mut row = row;
        row.resize(length, 0.0);
        block.layout.cut(&row)
    }

    fn moments(&self, block: usize) -> [Values; 2] {
        let block = &self.blocks[block];
        [self.row(block, |own| own.first.clone()), self.row(block, |own| own.second.clone())]
    }

    fn set(&mut self, block: usize, weights: &[Vec<f32>], moments: [&[Vec<f32>]; 2]) {
        let rows = [weights, moments[0], moments[1]].map(<[Vec<f32>]>::concat);
        for rank in 0..self.places.len() {
            let [weight, first, second] =
                rows.each_ref().map(|row| vector(self.padded(row, rank), &self.places[rank]));
            let own = &mut self.blocks[block].ranks[rank];
            let copy = own.copy.as_ref().map(|_| vector(rows[0].clone(), &self.places[rank]));
            *own = Own { weight, first, second, gradient: None, copy };
        }
    }

    fn resumed(&mut self, _steps: u64) {
        // Nothing is rounded, so nothing depends on it.
    }

    fn held(&self) -> Held {
        let bytes = |row: &Tensor<1>| (row.dims()[0] * size_of::<f32>()) as u64;
        let mut held = Held::default();
        for own in self.blocks.iter().flat_map(|block| &block.ranks) {
            held.weights += bytes(&own.weight) + own.copy.as_ref().map_or(0, bytes);
            held.gradients += own.gradient.as_ref().map_or(0, bytes);
            held.optimizer += bytes(&own.first) + bytes(&own.second);
        }
        held
    }
}

impl Own {
    /// One step of AdamW on the rank's part, parameter by parameter: not all of them decay.
    fn update(
        &mut self,
        layout: &Layout,
        range: std::ops::Range<usize>,
        step: &Step,
        kernels: Kernels,
    ) {
        let Some(gradient) = self.gradient.take() else { return };
        let length = self.weight.dims()[0];
        let mut cuts: Vec<(usize, bool)> = Vec::new();
        for (parameter, bounds) in layout.parameters.iter().zip(layout.bounds.windows(2)) {
            let (start, end) = (bounds[0].max(range.start), bounds[1].min(range.end));
            if start < end {
                cuts.push((end - start, parameter.decays));
            }
        }
        let behind = length - cuts.iter().map(|(count, _)| count).sum::<usize>();
        if behind > 0 {
            cuts.push((behind, false));
        }
        let (mut at, mut parts) = (0, [Vec::new(), Vec::new(), Vec::new()]);
        for (count, decays) in cuts {
            let cut = |row: &Tensor<1>| row.clone().narrow(0, at, count).unsqueeze::<2>();
            let old = Trained {
                weight: cut(&self.weight),
                first: cut(&self.first),
                second: cut(&self.second),
            };
            let new = kernels.adamw(old, cut(&gradient), decays, step);
            for (part, new) in parts.iter_mut().zip([new.weight, new.first, new.second]) {
                part.push(new.reshape([count]));
            }
            at += count;
        }
        let [weight, first, second] = parts.map(|parts| Tensor::cat(parts, 0));
        (self.weight, self.first, self.second) = (weight, first, second);
    }
}
