//! Several ranks, or one, that compute a decoder together: each its share, and sums after each half
//! of a layer.

use burn::tensor::Tensor;

use super::comm::Group;
use super::decoder::{Attend, Decoder};
use super::device;
use super::packing::Packing;
use super::parameters::Part;

/// A rank at work.
pub(crate) struct Member<'a> {
    pub(crate) decoder: Decoder<'a>,
    /// The batch, on the rank's device.
    pub(crate) packing: Packing,
    pub(crate) attention: Box<dyn Attend + 'a>,
}

/// The ranks at work, first to last.
pub(crate) struct Team<'a> {
    pub(crate) group: &'a Group,
    pub(crate) members: Vec<Member<'a>>,
}

impl Team<'_> {
    /// Hidden states after the last layer, before the final norm: the same on every rank.
    pub(crate) fn hidden_states(&mut self) -> Vec<Tensor<2>> {
        let embedded = self.members.iter().map(|member| member.decoder.embedding(&member.packing));
        let mut x = self.group.all_reduce(embedded.collect());
        for layer in 0..self.members[0].decoder.config.layers {
            x = self.together(x, (layer, Part::OutputBias), |member, x| {
                let Member { decoder, packing, attention } = member;
                decoder.attention_half(x, layer, packing, &mut **attention)
            });
            x = self.together(x, (layer, Part::DownBias), |member, x| {
                member.decoder.feed_forward_half(x, layer)
            });
        }
        x
    }

    /// Logits of some rows of the hidden states, row by row.
    pub(crate) fn logits(&self, hidden: &[Tensor<2>], rows: &[usize]) -> Vec<f32> {
        let pairs = self.members.iter().zip(hidden);
        let parts = pairs.map(|(member, x)| member.decoder.logits(x.clone(), rows));
        // All ranks are at work before the first is waited for.
        let parts: Vec<Tensor<2>> = parts.collect();
        let widths: Vec<usize> = parts.iter().map(|part| part.dims()[1]).collect();
        let mut parts: Vec<Vec<f32>> = parts.into_iter().map(device::numbers).collect();
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for row in 0..rows.len() {
            for (part, width) in parts.iter().zip(&widths) {
                all.extend_from_slice(&part[row * width..(row + 1) * width]);
            }
        }
        all
    }

    /// What a half of a layer makes of it; of several ranks' parts the sum.
    fn together(
        &mut self,
        x: Vec<Tensor<2>>,
        (layer, bias): (usize, Part),
        half: impl Fn(&mut Member<'_>, Tensor<2>) -> Tensor<2>,
    ) -> Vec<Tensor<2>> {
        if let [member] = self.members.as_mut_slice() {
            return x.into_iter().map(|x| half(member, x)).collect();
        }
        let pairs = self.members.iter_mut().zip(&x);
        let parts = pairs.map(|(member, x)| half(member, x.clone())).collect();
        let sums = self.group.all_reduce(parts).into_iter();
        let ranks = self.members.iter().zip(x).zip(sums);
        ranks.map(|((member, x), sum)| member.decoder.joined(x, sum, layer, bias)).collect()
    }
}

#[cfg(test)]
mod tests;
