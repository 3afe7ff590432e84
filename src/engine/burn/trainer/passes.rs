//! Forward and backward, block by block.
//!
//! The parameters of a block are gathered, used, and let go. Forward runs off the tape and keeps only
//! what it was told to; backward runs a block again on a tape of its own, multiplies its output with
//! the incoming gradient, and gives the block's gradients to the store. So memory is one block, the
//! kept inputs and the parts that the ranks hold.

use burn::tensor::{Tensor, TensorData};

use super::blocks::Blocks;
use super::store::Store;
use crate::burn::allocated;
use crate::burn::decoder::{Decoder, DecoderConfig, WithinBatch};
use crate::burn::device::Place;
use crate::burn::head::{self, Targets};
use crate::burn::loaded::Weight;
use crate::burn::ops::plain;
use crate::burn::packing::Packing;
use crate::burn::parameters::Index;
use crate::{Error, Keep, Memory, Offload, Result};

/// One rank's micro-batch.
pub(crate) struct Work {
    pub(crate) packing: Packing,
    pub(crate) targets: Targets,
}

/// What does not change between passes.
pub(crate) struct Passes {
    pub(crate) config: DecoderConfig,
    pub(crate) blocks: Blocks,
    pub(crate) places: Vec<Place>,
    pub(crate) keep: Keep,
    pub(crate) offload: Offload,
    /// Rows of logits that exist at a time.
    pub(crate) chunk: usize,
}

/// A tensor per rank that has work.
type Each = Vec<Option<Tensor<2>>>;

/// Part of a block on its own tape.
struct Taped {
    input: Tensor<2>,
    weights: Vec<Tensor<2>>,
    output: Tensor<2>,
}

/// What a rank keeps of a layer.
enum Kept {
    Input(Tensor<2>),
    OnHost(TensorData),
    FirstHalf(Taped),
    Whole(Taped),
}

/// Which parts of a layer are run.
#[derive(Clone, Copy, PartialEq)]
enum Halves {
    First,
    Second,
    Both,
}

impl Passes {
    /// Runs the ranks' work forward and backward, adds the gradients to the store, and gives the
    /// losses of the rows, rank by rank, and what it took.
    ///
    /// # Errors
    /// [`Error::NotFinite`] before any gradient was added.
    pub(crate) fn run(
        &self,
        store: &mut dyn Store,
        work: &[Option<Work>],
    ) -> Result<(Vec<Vec<f64>>, Memory)> {
        let (before, mut used) = (allocated::bytes(), Memory::default());
        let mut x = self.embedded(store, work);
        let mut kept = Vec::with_capacity(self.config.layers);
        for layer in 0..self.config.layers {
            let weights = store.gather(Blocks::layer(layer));
            let ran = self.ranks(work, x).zip(weights).map(|((rank, work, x), weights)| {
                work.zip(x).map(|(work, x)| self.forward(rank, layer, work, (x, weights)))
            });
            let (outputs, layer): (Each, Vec<Option<Kept>>) = ran.map(Option::unzip).unzip();
            x = outputs;
            kept.push(layer);
        }
        used.activations = allocated::bytes().saturating_sub(before);
        let (head, most) = allocated::during(|| self.head(store, work, x));
        let (losses, mut dy, mut of_embedding) = head?;
        used.logits = most;
        for (layer, kept) in kept.into_iter().enumerate().rev() {
            let held = allocated::bytes();
            let weights = match self.keep {
                // They are on the tape.
                Keep::All => vec![Vec::new(); work.len()],
                Keep::Attention | Keep::Inputs => store.gather(Blocks::layer(layer)),
            };
            used.gathered = used.gathered.max(allocated::bytes().saturating_sub(held));
            let ran = self.ranks(work, dy).zip(kept).zip(weights);
            let ran = ran.map(|(((rank, work, dy), kept), weights)| {
                let (work, dy, kept) = (work?, dy?, kept?);
                Some(self.backward((rank, layer), work, (kept, weights), dy))
            });
            let ((inputs, gradients), most) =
                allocated::during(|| ran.map(Option::unzip).unzip::<_, _, Each, Vec<_>>());
            used.working_set = used.working_set.max(most);
            dy = inputs;
            store.reduce(Blocks::layer(layer), gradients);
        }
        let parts = work.iter().zip(dy).enumerate().map(|(rank, (work, dy))| {
            let (work, dy) = (work.as_ref()?, dy?);
            let [rows, width] = self.blocks.parameters[Index::EMBEDDING].shape;
            let zeros = || Tensor::zeros([rows, width], &self.places[rank].device);
            let sum = of_embedding[rank].take().unwrap_or_else(zeros);
            Some(vec![self.places[rank].kernels.rows_added(sum, dy, &work.packing.shared_ids())])
        });
        let parts = parts.collect();
        store.reduce(Blocks::EMBEDDING, parts);
        Ok((losses, used))
    }

    /// Ranks with their work and a tensor each.
    fn ranks<'a>(
        &self,
        work: &'a [Option<Work>],
        x: Each,
    ) -> impl Iterator<Item = (usize, Option<&'a Work>, Option<Tensor<2>>)> {
        work.iter().zip(x).enumerate().map(|(rank, (work, x))| (rank, work.as_ref(), x))
    }

    /// A list of parameters in which only some are there.
    fn list(&self, rank: usize, first: usize, weights: Vec<Tensor<2>>) -> Vec<Weight> {
        let nothing = Tensor::<2>::zeros([1, 1], &self.places[rank].device);
        let mut list: Vec<Weight> =
            self.blocks.parameters.iter().map(|_| Weight::Tensor(nothing.clone())).collect();
        for (place, weight) in list[first..].iter_mut().zip(weights) {
            *place = Weight::Tensor(weight);
        }
        list
    }

    fn embedded(&self, store: &dyn Store, work: &[Option<Work>]) -> Each {
        let tables = store.gather(Blocks::EMBEDDING).into_iter();
        let ran = work.iter().zip(tables).enumerate().map(|(rank, (work, table))| {
            let list = self.list(rank, Index::EMBEDDING, table);
            let decoder = Decoder::new(&self.config, &list, self.places[rank].kernels);
            work.as_ref().map(|work| decoder.embedding(&work.packing))
        });
        ran.collect()
    }

    /// Part of a layer.
    fn layer(
        &self,
        rank: usize,
        (layer, halves): (usize, Halves),
        work: &Work,
        (mut x, weights): (Tensor<2>, Vec<Tensor<2>>),
    ) -> Tensor<2> {
        let skipped = if halves == Halves::Second { self.blocks.first_half } else { 0 };
        let first = self.blocks.range(Blocks::layer(layer)).start + skipped;
        let list = self.list(rank, first, weights);
        let kernels = self.places[rank].kernels;
        let decoder = Decoder::new(&self.config, &list, kernels);
        if halves != Halves::Second {
            let (packing, heads) = (work.packing.clone(), self.config.heads());
            let mut attention = WithinBatch { packing, heads, kernels };
            x = decoder.attention_half(x, layer, &work.packing, &mut attention);
        }
        if halves != Halves::First {
            x = decoder.feed_forward_half(x, layer);
        }
        x
    }

    /// Part of a layer on a tape.
    fn taped(
        &self,
        rank: usize,
        part: (usize, Halves),
        work: &Work,
        (input, weights): (Tensor<2>, Vec<Tensor<2>>),
    ) -> Taped {
        let input = input.autodiff().require_grad();
        let weights: Vec<Tensor<2>> =
            weights.into_iter().map(|weight| weight.autodiff().require_grad()).collect();
        let output = self.layer(rank, part, work, (input.clone(), weights.clone()));
        Taped { input, weights, output }
    }

    /// A layer forward, and what is kept of it.
    fn forward(
        &self,
        rank: usize,
        layer: usize,
        work: &Work,
        (x, mut weights): (Tensor<2>, Vec<Tensor<2>>),
    ) -> (Tensor<2>, Kept) {
        match self.keep {
            Keep::All => {
                let taped = self.taped(rank, (layer, Halves::Both), work, (x, weights));
                (taped.output.clone().inner(), Kept::Whole(taped))
            }
            Keep::Attention => {
                let second = weights.split_off(self.blocks.first_half);
                let taped = self.taped(rank, (layer, Halves::First), work, (x, weights));
                let middle = taped.output.clone().inner();
                let y = self.layer(rank, (layer, Halves::Second), work, (middle, second));
                (y, Kept::FirstHalf(taped))
            }
            Keep::Inputs => {
                let kept = match self.offload == Offload::Activations {
                    true => Kept::OnHost(x.clone().into_data()),
                    false => Kept::Input(x.clone()),
                };
                (self.layer(rank, (layer, Halves::Both), work, (x, weights)), kept)
            }
        }
    }

    /// The gradients of a layer's input and of its weights.
    fn backward(
        &self,
        (rank, layer): (usize, usize),
        work: &Work,
        (kept, mut weights): (Kept, Vec<Tensor<2>>),
        dy: Tensor<2>,
    ) -> (Tensor<2>, Vec<Tensor<2>>) {
        let place = &self.places[rank];
        let again = |x| self.taped(rank, (layer, Halves::Both), work, (x, weights.clone()));
        match kept {
            Kept::Whole(taped) => taped.pulled(place, dy),
            Kept::Input(x) => again(x).pulled(place, dy),
            Kept::OnHost(x) => {
                // On the host it is what it was, on a device what the device takes.
                let x = plain::narrowed(Tensor::from_data(x, &place.device), dy.dtype());
                again(x).pulled(place, dy)
            }
            Kept::FirstHalf(taped) => {
                let second = weights.split_off(self.blocks.first_half);
                let middle = taped.output.clone().inner();
                let part = (layer, Halves::Second);
                let (dy, of_second) =
                    self.taped(rank, part, work, (middle, second)).pulled(place, dy);
                let (dx, mut gradients) = taped.pulled(place, dy);
                gradients.extend(of_second);
                (dx, gradients)
            }
        }
    }

    /// Final norm, head and loss; gives the losses, the gradient of the hidden states, and where the
    /// head is the embedding its gradient.
    fn head(
        &self,
        store: &mut dyn Store,
        work: &[Option<Work>],
        x: Each,
    ) -> Result<(Vec<Vec<f64>>, Each, Each)> {
        let last = self.blocks.last();
        let tables = self.config.tied.then(|| store.gather(Blocks::EMBEDDING));
        let mut tables = tables.into_iter().flatten();
        let gathered = store.gather(last);
        let (mut losses, mut outcomes) = (Vec::new(), Vec::new());
        for ((rank, work, x), mut weights) in self.ranks(work, x).zip(gathered) {
            let kernels = self.places[rank].kernels;
            let table = tables.next().and_then(|mut table| table.pop());
            let (Some(work), Some(x)) = (work, x) else {
                losses.push(Vec::new());
                outcomes.push(None);
                continue;
            };
            let head = table.or_else(|| weights.pop()).expect("a model has a head");
            let input = x.autodiff().require_grad();
            let norm = weights.swap_remove(0).autodiff().require_grad();
            let list = self.list(rank, self.blocks.range(last).start, vec![norm.clone()]);
            let decoder = Decoder::new(&self.config, &list, kernels);
            let output = decoder.normed(input.clone(), &work.targets.rows);
            let normed = output.clone().inner();
            let out = head::differentiate(kernels, &normed, &head, &work.targets, self.chunk);
            if !out.losses.iter().sum::<f64>().is_finite() {
                return Err(Error::NotFinite { what: "loss" });
            }
            losses.push(out.losses);
            let taped = Taped { input, weights: vec![norm], output };
            outcomes.push(Some((taped.pulled(&self.places[rank], out.of_input), out.of_weight)));
        }
        let (mut dy, mut gradients, mut of_embedding) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in outcomes {
            let Some(((dx, mut of_norm), of_head)) = outcome else {
                dy.push(None);
                gradients.push(None);
                of_embedding.push(None);
                continue;
            };
            dy.push(Some(dx));
            of_embedding.push(match self.config.tied {
                true => Some(of_head),
                false => {
                    of_norm.push(of_head);
                    None
                }
            });
            gradients.push(Some(of_norm));
        }
        store.reduce(last, gradients);
        Ok((losses, dy, of_embedding))
    }
}

impl Taped {
    /// The gradients of input and weights for a gradient of the output.
    fn pulled(self, place: &Place, dy: Tensor<2>) -> (Tensor<2>, Vec<Tensor<2>>) {
        let Self { input, weights, output } = self;
        let mut tape = place.kernels.dot(output, dy).backward();
        let mut gradient = |leaf: &Tensor<2>| match leaf.grad_remove(&mut tape) {
            Some(gradient) => gradient.inner(),
            None => leaf.clone().inner().zeros_like(),
        };
        let of_input = gradient(&input);
        let of_weights = weights.iter().map(gradient).collect();
        (of_input, of_weights)
    }
}
