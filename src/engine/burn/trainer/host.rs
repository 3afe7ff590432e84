//! The numbers of all ranks in the processor's memory, in every layout.
//!
//! Gradients are added rank after rank, and every number is updated by itself: for the same
//! micro-batches in the same order, sharded gradients, weights and moments have the same bits on any
//! number of ranks.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::numbers::{Dice, Numbers, View, ViewMut};
use super::store::{Held, Keeping, Kinds, Layout, Store, Values, part};
use super::sums::{Exact, squares};
use crate::Precision;
use crate::burn::adamw::Step;
use crate::burn::device;
use crate::burn::ops::Factors;
use crate::burn::ops::Moments;
use crate::burn::ops::adamw;
use crate::burn::parameters::Parameter;

/// Numbers that a task takes.
const TASK: usize = 1 << 14;

/// Numbers that are unpacked at a time.
const UNPACKED: usize = 1024;

/// Streams of dice of one step.
const FIRST: u64 = 1;
const SECOND: u64 = 2;
const WEIGHT: u64 = 3;
const GRADIENT: u64 = 4;

/// One rank's part of a block.
struct Own {
    /// Where the part of weights and state begins in the block, and where that of gradients does.
    start: usize,
    gradient_start: usize,
    weight: Numbers,
    moments: Option<[Numbers; 2]>,
    gradient: Option<Numbers>,
    /// All weights of the block as they are computed with, where they are not sharded but the state
    /// is.
    copy: Option<Numbers>,
}

struct Block {
    layout: Layout,
    /// The place of its first number in the model.
    first: u64,
    /// Gradients added to it since the last step: each rounds with other dice.
    added: u64,
    ranks: Vec<Own>,
}

/// The store.
pub(crate) struct Host {
    keeping: Keeping,
    kinds: Kinds,
    blocks: Vec<Block>,
    device: Device,
    /// Steps done: each rounds with other dice.
    steps: u64,
    has_gradients: bool,
}

impl Host {
    /// Divides the values of all parameters, block after block, over so many ranks.
    pub(crate) fn new(
        blocks: Vec<Vec<Parameter>>,
        values: Vec<Vec<f32>>,
        ranks: usize,
        keeping: Keeping,
        device: Device,
    ) -> Self {
        let kinds = Kinds::of(keeping.layout);
        let (mut values, mut first) = (values.into_iter(), 0);
        let block = |parameters: Vec<Parameter>| {
            let layout = Layout::new(parameters);
            let row = values.by_ref().take(layout.parameters.len()).collect::<Vec<_>>().concat();
            let own = |rank| Own::new(&row, (rank, ranks), keeping, kinds);
            let block = Block { first, added: 0, ranks: (0..ranks).map(own).collect(), layout };
            first += block.layout.length() as u64;
            block
        };
        let blocks = blocks.into_iter().map(block).collect();
        Self { keeping, kinds, blocks, device, steps: 0, has_gradients: false }
    }

    fn numbers(&self) -> impl Iterator<Item = &Own> {
        self.blocks.iter().flat_map(|block| &block.ranks)
    }
}

impl Own {
    fn new(row: &[f32], (rank, ranks): (usize, usize), keeping: Keeping, kinds: Kinds) -> Self {
        let part = part(row.len(), rank, ranks);
        let state = if keeping.whole_state() { 0..row.len() } else { part.clone() };
        let mut weight = Numbers::zeros(kinds.weight, state.len());
        weight.view_mut().set(&row[state.clone()]);
        let copied = keeping.whole_weights() && !keeping.whole_state() && ranks > 1;
        let copy = copied.then(|| {
            let kind = match keeping.precision {
                Precision::F32 => super::numbers::Kind::F32,
                Precision::Bf16 => super::numbers::Kind::Bf16,
            };
            let mut copy = Numbers::zeros(kind, row.len());
            copy.view_mut().set(row);
            copy
        });
        let zeros = || Numbers::zeros(kinds.moment, state.len());
        Self {
            start: state.start,
            gradient_start: if keeping.whole_gradients() { 0 } else { part.start },
            weight,
            moments: keeping.is_trained.then(|| [zeros(), zeros()]),
            gradient: None,
            copy,
        }
    }
}

impl Block {
    /// Where a rank's gradients lie in the block.
    fn gradient_range(&self, rank: usize, keeping: Keeping) -> std::ops::Range<usize> {
        let length = self.layout.length();
        match keeping.whole_gradients() {
            true => 0..length,
            false => part(length, rank, self.ranks.len()),
        }
    }

    /// A parameter each, all of them zeros.
    fn zeros(&self) -> Values {
        self.layout.parameters.iter().map(|one| vec![0.0; one.length()]).collect()
    }

    /// Reads numbers that begin at `start` in the block into the parameters that they belong to.
    fn spread(
        &self,
        target: &mut Values,
        (start, numbers): (usize, &Numbers),
        read: impl Fn(View<'_>, &mut [f32]) + Sync,
    ) {
        let end = start + numbers.len();
        let parameters = target.par_iter_mut().zip(self.layout.bounds.par_windows(2));
        parameters.for_each(|(values, bounds)| {
            let (from, to) = (start.max(bounds[0]), end.min(bounds[1]));
            if from < to {
                let view = numbers.view().part(from - start, to - start);
                read(view, &mut values[from - bounds[0]..to - bounds[0]]);
            }
        });
    }

    /// Reads what is divided over the ranks, or what all of them have.
    fn all<'a>(&'a self, numbers: impl Fn(&'a Own) -> (usize, &'a Numbers)) -> Values {
        let mut values = self.zeros();
        for own in &self.ranks {
            self.spread(&mut values, numbers(own), |view, target| view.read(target));
        }
        values
    }

    /// The weights that a rank computes with.
    fn computed(&self, rank: usize, keeping: Keeping) -> Values {
        if let Some(row) = self.as_computed(rank, keeping) {
            let bounds = self.layout.bounds.par_windows(2);
            return bounds.map(|bounds| row[bounds[0]..bounds[1]].to_vec()).collect();
        }
        let mut values = self.zeros();
        let read = |view: View<'_>, target: &mut [f32]| match keeping.precision {
            Precision::F32 => view.read(target),
            Precision::Bf16 => view.read_rounded(target),
        };
        let own = &self.ranks[rank];
        match &own.copy {
            Some(copy) => self.spread(&mut values, (0, copy), read),
            None if keeping.whole_state() => self.spread(&mut values, (0, &own.weight), read),
            None => {
                let parts = self.ranks.iter().map(|own| (own.start, &own.weight));
                parts.for_each(|part| self.spread(&mut values, part, read));
            }
        }
        values
    }

    /// All weights of a rank, where they are kept as they are computed with.
    fn as_computed(&self, rank: usize, keeping: Keeping) -> Option<&[f32]> {
        let own = &self.ranks[rank];
        let is_whole = own.copy.is_some() || keeping.whole_state() || self.ranks.len() == 1;
        match own.copy.as_ref().unwrap_or(&own.weight) {
            Numbers::F32(row) if is_whole && keeping.precision == Precision::F32 => Some(row),
            Numbers::F32(_) | Numbers::Bf16(_) | Numbers::Split { .. } => None,
        }
    }

    /// Gives the ranks that update them the sums of all ranks' gradients.
    fn exchange(&mut self, keeping: Keeping) {
        if !keeping.whole_gradients() || self.ranks.len() == 1 {
            return;
        }
        let mut sum = vec![0.0; self.layout.length()];
        let mut other = sum.clone();
        for own in &mut self.ranks {
            if let Some(gradient) = own.gradient.take() {
                gradient.view().read(&mut other);
                sum.iter_mut().zip(&other).for_each(|(sum, other)| *sum += other);
            }
        }
        for own in &mut self.ranks {
            let range = own.start..own.start + own.weight.len();
            own.gradient_start = own.start;
            own.gradient = Some(Numbers::F32(sum[range].to_vec()));
        }
    }
}

impl Store for Host {
    fn gather(&self, block: usize) -> Vec<Vec<Tensor<2>>> {
        let block = &self.blocks[block];
        let tensors = |values: Values| -> Vec<Tensor<2>> {
            let pairs = values.into_iter().zip(&block.layout.parameters);
            pairs.map(|(values, one)| device::matrix(values, one.shape, &self.device)).collect()
        };
        match self.keeping.whole_weights() {
            true => (0..block.ranks.len())
                .map(|rank| tensors(block.computed(rank, self.keeping)))
                .collect(),
            // Everyone reads the same: on the processor one row serves all ranks.
            false => vec![tensors(block.computed(0, self.keeping)); block.ranks.len()],
        }
    }

    fn reduce(&mut self, block: usize, gradients: Vec<Option<Vec<Tensor<2>>>>) {
        let (keeping, kinds, seed) = (self.keeping, self.kinds, self.keeping.seed);
        let block = &mut self.blocks[block];
        for (from, gradients) in gradients.into_iter().enumerate() {
            let Some(gradients) = gradients else { continue };
            let dice = Dice::new(seed, self.steps, block.first).turned(GRADIENT + block.added);
            block.added += 1;
            self.has_gradients = true;
            let rows: Values = gradients.into_iter().map(device::numbers).collect();
            for rank in 0..block.ranks.len() {
                if keeping.whole_gradients() && rank != from {
                    continue;
                }
                let range = block.gradient_range(rank, keeping);
                let bounds = &block.layout.bounds;
                let own = &mut block.ranks[rank];
                let gradient =
                    own.gradient.get_or_insert_with(|| Numbers::zeros(kinds.gradient, range.len()));
                for (row, bounds) in rows.iter().zip(bounds.windows(2)) {
                    let (start, end) = (range.start.max(bounds[0]), range.end.min(bounds[1]));
                    if start < end {
                        let (_, rest) = gradient.view_mut().cut(start - range.start);
                        let (target, _) = rest.cut(end - start);
                        add(target, &row[start - bounds[0]..end - bounds[0]], dice.after(start));
                    }
                }
            }
        }
    }

    fn has_gradients(&self) -> bool {
        self.has_gradients
    }

    fn square_sum(&mut self) -> f64 {
        for block in &mut self.blocks {
            block.exchange(self.keeping);
        }
        let one = self.keeping.whole_state();
        let mut sum = Exact::default();
        for block in &self.blocks {
            let ranks = if one { &block.ranks[..1] } else { &block.ranks[..] };
            for own in ranks {
                if let Some(gradient) = &own.gradient {
                    sum = sum.plus(squares(gradient.view(), gradient.len()));
                }
            }
        }
        sum.value()
    }

    fn step(&mut self, step: &Step) {
        let (keeping, mut copies) = (self.keeping, Vec::new());
        for block in &mut self.blocks {
            let dice = Dice::new(keeping.seed, step.number, block.first);
            let layout = &block.layout;
            for own in &mut block.ranks {
                own.update(layout, step, dice);
            }
            copies.clear();
            if block.ranks.iter().any(|own| own.copy.is_some()) {
                copies = block.all(|own| (own.start, &own.weight)).concat();
            }
            for copy in block.ranks.iter_mut().filter_map(|own| own.copy.as_mut()) {
                copy.view_mut().set(&copies);
            }
        }
        self.steps = step.number;
        self.restore_starts();
    }

    fn discard(&mut self) {
        for own in self.blocks.iter_mut().flat_map(|block| &mut block.ranks) {
            own.gradient = None;
        }
        self.restore_starts();
    }

    fn weights(&self, block: usize) -> Values {
        self.blocks[block].all(|own| (own.start, &own.weight))
    }

    fn gradients(&self, block: usize) -> Values {
        let block = &self.blocks[block];
        let mut row = vec![0.0; block.layout.length()];
        for own in &block.ranks {
            let Some(gradient) = &own.gradient else { continue };
            let mut part = vec![0.0; gradient.len()];
            gradient.view().read(&mut part);
            let target = &mut row[own.gradient_start..];
            target.iter_mut().zip(&part).for_each(|(sum, value)| *sum += value);
        }
        block.layout.cut(&row)
    }

    fn moments(&self, block: usize) -> [Values; 2] {
        let block = &self.blocks[block];
        let none = Numbers::zeros(self.kinds.moment, 0);
        [0, 1].map(|which| {
            block.all(|own| {
                (own.start, own.moments.as_ref().map_or(&none, |moments| &moments[which]))
            })
        })
    }

    fn set(&mut self, block: usize, weights: &[Vec<f32>], moments: [&[Vec<f32>]; 2]) {
        let rows = [weights, moments[0], moments[1]].map(<[Vec<f32>]>::concat);
        let [weights, first, second] = &rows;
        for own in &mut self.blocks[block].ranks {
            let range = own.start..own.start + own.weight.len();
            own.weight.view_mut().set(&weights[range.clone()]);
            if let Some([own_first, own_second]) = &mut own.moments {
                own_first.view_mut().set(&first[range.clone()]);
                own_second.view_mut().set(&second[range]);
            }
            if let Some(copy) = &mut own.copy {
                copy.view_mut().set(weights);
            }
        }
    }

    fn resumed(&mut self, steps: u64) {
        self.steps = steps;
    }

    fn held(&self) -> Held {
        let bytes = |numbers: Option<&Numbers>| numbers.map_or(0, Numbers::bytes);
        let mut held = Held::default();
        for own in self.numbers() {
            held.weights += own.weight.bytes() + bytes(own.copy.as_ref());
            held.gradients += bytes(own.gradient.as_ref());
            held.optimizer += own.moments.iter().flatten().map(Numbers::bytes).sum::<u64>();
        }
        held
    }
}

impl Host {
    /// Begins a step: gradients lie where they did before they were exchanged.
    fn restore_starts(&mut self) {
        self.has_gradients = false;
        let keeping = self.keeping;
        for block in &mut self.blocks {
            block.added = 0;
            for rank in 0..block.ranks.len() {
                block.ranks[rank].gradient_start = block.gradient_range(rank, keeping).start;
            }
        }
    }
}

/// `target += values`.
fn add(target: ViewMut<'_>, values: &[f32], dice: Dice) {
    let tasks = tasks(target).into_par_iter().zip(values.par_chunks(TASK)).enumerate();
    tasks.for_each(|(task, (mut target, values))| {
        if let ViewMut::F32(sums) = &mut target {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            return;
        }
        let mut sums = vec![0.0; values.len()];
        target.view().read(&mut sums);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        target.write(&sums, dice.after(task * TASK));
    });
}

/// Numbers in tasks.
fn tasks(mut rest: ViewMut<'_>) -> Vec<ViewMut<'_>> {
    let length = |view: &ViewMut<'_>| match view {
        ViewMut::F32(values) => values.len(),
        ViewMut::Bf16(bits) | ViewMut::Split(bits, _) => bits.len(),
    };
    let mut tasks = Vec::new();
    while length(&rest) > 0 {
        let count = length(&rest).min(TASK);
        let (task, after) = rest.cut(count);
        tasks.push(task);
        rest = after;
    }
    tasks
}

impl Own {
    /// One step of AdamW on the rank's part.
    fn update(&mut self, layout: &Layout, step: &Step, dice: Dice) {
        let (Some(gradient), Some([first, second])) = (self.gradient.take(), &mut self.moments)
        else {
            return;
        };
        let range = self.start..self.start + self.weight.len();
        let (mut weight, mut first, mut second) =
            (self.weight.view_mut(), first.view_mut(), second.view_mut());
        let mut at = range.start;
        for (parameter, bounds) in layout.parameters.iter().zip(layout.bounds.windows(2)) {
            let end = bounds[1].min(range.end);
            if end <= at {
                continue;
            }
            let count = end - at;
            let ((own_weight, rest_weight), (own_first, rest_first)) =
                (weight.cut(count), first.cut(count));
            let (own_second, rest_second) = second.cut(count);
            (weight, first, second) = (rest_weight, rest_first, rest_second);
            let offset = at - range.start;
            let gradient = gradient.view().part(offset, offset + count);
            let factors = Factors::new(step, parameter.decays);
            update([own_weight, own_first, own_second], gradient, factors, dice.after(at));
            at = end;
        }
    }
}

/// One step of AdamW on numbers of one parameter.
fn update(numbers: [ViewMut<'_>; 3], gradient: View<'_>, factors: Factors, dice: Dice) {
    let [weights, firsts, seconds] = numbers.map(tasks);
    let tasks = weights.into_par_iter().zip(firsts.into_par_iter().zip(seconds)).enumerate();
    tasks.for_each(|(task, (weight, (first, second)))| {
        let mut rest = [weight, first, second];
        let mut at = task * TASK;
        loop {
            let count = rest_length(&rest[0]).min(UNPACKED);
            if count == 0 {
                return;
            }
            let [weight, first, second] = rest.map(|view| view.cut(count));
            rest = [weight.1, first.1, second.1];
            let gradient = gradient.part(at, at + count);
            unpacked([weight.0, first.0, second.0], gradient, factors, dice.after(at));
            at += count;
        }
    });
}

fn rest_length(view: &ViewMut<'_>) -> usize {
    match view {
        ViewMut::F32(values) => values.len(),
        ViewMut::Bf16(bits) | ViewMut::Split(bits, _) => bits.len(),
    }
}

/// The step itself, in f32: what is stored rounded was not rounded when the weight was moved.
fn unpacked(mut numbers: [ViewMut<'_>; 3], gradient: View<'_>, factors: Factors, dice: Dice) {
    let mut rows = [[0.0_f32; UNPACKED]; 4];
    let count = rest_length(&numbers[0]);
    let [weight, first, second, slope] = rows.each_mut().map(|row| &mut row[..count]);
    numbers[0].view().read(weight);
    numbers[1].view().read(first);
    numbers[2].view().read(second);
    gradient.read(slope);
    adamw(Moments { weight, first, second }, slope, factors);
    numbers[0].write(weight, dice.turned(WEIGHT));
    numbers[1].write(first, dice.turned(FIRST));
    numbers[2].write(second, dice.turned(SECOND));
}
