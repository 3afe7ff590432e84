//! Which part of a model each rank holds when several compute it together.
//!
//! As Megatron-LM splits a decoder (Shoeybi et al. 2019, arXiv 1909.08053): query, key, value, gate
//! and up by rows, so that a rank has whole heads and whole channels; output and down by columns, so
//! that the ranks' results are parts of one sum, with one all-reduce for each half of a layer.
//! Embedding and head are split by rows, too: of Qwen2.5-7B they are 2.2 of 15.2 GB, and the head is
//! read for every token. Norms, and the biases of output and down, are everywhere. Where there are
//! more ranks than key-value heads, ranks next to each other hold the same.
//!
//! Sums over the inputs of output and down are taken part by part even where the model is not split,
//! in as many parts as it could be split over ranks, two and two: so the processor gives the same bits
//! over 1, 2, 4 or 8 ranks.

use std::ops::Range;

use super::comm::RANKS_MAX;
use super::decoder::DecoderConfig;
use super::parameters::{FileTensor, Role};
use crate::{Error, Result};

/// Rows and columns are split at multiples of this where there are enough, else of 2: the size of
/// the kernels' panels, and of two blocks of int8.
const UNIT: usize = 64;

/// One rank's part of a model.
#[derive(Clone)]
pub(crate) struct Share {
    /// What the rank computes with: its own heads, feed-forward channels and ids.
    pub(crate) config: DecoderConfig,
    /// Whether there are others.
    pub(crate) is_part: bool,
    /// The ids whose embedding and logits it has.
    pub(crate) ids: Range<usize>,
    query: Range<usize>,
    kv: Range<usize>,
    feed_forward: Range<usize>,
    /// Feed-forward channels of the whole model.
    feed_forward_total: usize,
    /// Into how many parts the model's inputs of sums are cut, and which of them it has.
    parts: (usize, Range<usize>),
}

/// What a rank has of a tensor of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All.
    Whole,
    /// These rows; of a vector these elements.
    Rows(Range<usize>),
    /// These columns.
    Columns(Range<usize>),
}

impl Share {
    /// A model that is not split.
    pub(crate) fn whole(config: &DecoderConfig) -> Self {
        Self::of(config, 0, 1)
    }

    /// The shares of all ranks.
    ///
    /// # Errors
    /// [`Error::CannotSplit`] with the numbers of ranks that could.
    pub(crate) fn all(config: &DecoderConfig, ranks: usize) -> Result<Vec<Self>> {
        if !can_split(config, ranks) {
            return Err(Error::CannotSplit {
                ranks,
                heads: config.heads,
                kv_heads: config.kv_heads,
                choices: (1..=RANKS_MAX).filter(|ranks| can_split(config, *ranks)).collect(),
            });
        }
        Ok((0..ranks).map(|rank| Self::of(config, rank, ranks)).collect())
    }

    fn of(config: &DecoderConfig, rank: usize, ranks: usize) -> Self {
        let size = config.head_size;
        let even = |heads: usize| heads / ranks * rank..heads / ranks * (rank + 1);
        let kv = match config.kv_heads >= ranks {
            true => even(config.kv_heads),
            false => {
                let head = rank / (ranks / config.kv_heads);
                head..head + 1
            }
        };
        let (query, ids) = (even(config.heads), part(config.vocabulary, rank, ranks));
        let feed_forward = part(config.feed_forward, rank, ranks);
        let own = DecoderConfig {
            heads: query.len(),
            kv_heads: kv.len(),
            feed_forward: feed_forward.len(),
            vocabulary: ids.len(),
            ..config.clone()
        };
        let columns = |heads: Range<usize>| heads.start * size..heads.end * size;
        let (query, kv) = (columns(query), columns(kv));
        let most = [8, 4, 2].into_iter().find(|ways| can_split(config, *ways)).unwrap_or(1);
        let parts = match most.is_multiple_of(ranks) {
            true => (most, most / ranks * rank..most / ranks * (rank + 1)),
            // Over 3, 5, 6 or 7 ranks: each adds up its own inputs from the first to the last.
            false => (ranks, rank..rank + 1),
        };
        Self {
            config: own,
            is_part: ranks > 1,
            ids,
            query,
            kv,
            feed_forward,
            feed_forward_total: config.feed_forward,
            parts,
        }
    }

    /// Where the parts of the inputs of output and of down begin and end, of which sums are taken.
    pub(crate) fn bounds(&self) -> (Vec<usize>, Vec<usize>) {
        let (ways, own) = &self.parts;
        let width = self.query.len() / own.len();
        let output = (0..=own.len()).map(|part| part * width).collect();
        let total = self.feed_forward_total;
        let down = (own.start..=own.end).map(|part| bound(total, part, *ways));
        (output, down.map(|bound| bound - self.feed_forward.start).collect())
    }

    /// What the rank has of a tensor of the files.
    pub(crate) fn cut(&self, tensor: &FileTensor) -> Cut {
        match tensor.role {
            Role::Embedding | Role::Head => Cut::Rows(self.ids.clone()),
            Role::QueryWeight | Role::QueryBias => Cut::Rows(self.query.clone()),
            Role::KeyWeight | Role::ValueWeight | Role::KeyBias | Role::ValueBias => {
                Cut::Rows(self.kv.clone())
            }
            Role::GateWeight | Role::UpWeight | Role::GateBias | Role::UpBias => {
                Cut::Rows(self.feed_forward.clone())
            }
            Role::OutputWeight => Cut::Columns(self.query.clone()),
            Role::DownWeight => Cut::Columns(self.feed_forward.clone()),
            Role::AttentionNorm
            | Role::FeedForwardNorm
            | Role::FinalNorm
            | Role::QueryNorm
            | Role::KeyNorm
            | Role::OutputBias
            | Role::DownBias => Cut::Whole,
        }
    }
}

/// What all ranks hold together, as far as the cache and a step are concerned.
pub(crate) fn held(config: &DecoderConfig, ranks: usize) -> DecoderConfig {
    DecoderConfig { kv_heads: config.kv_heads.max(ranks), ..config.clone() }
}

fn can_split(config: &DecoderConfig, ranks: usize) -> bool {
    let (heads, kv_heads) = (config.heads, config.kv_heads);
    (1..=RANKS_MAX).contains(&ranks)
        && heads.is_multiple_of(ranks)
        && (kv_heads.is_multiple_of(ranks) || ranks.is_multiple_of(kv_heads))
        && config.vocabulary >= ranks
        && config.feed_forward >= ranks
}

/// The part of `total` that a rank has: as even as can be.
fn part(total: usize, rank: usize, ranks: usize) -> Range<usize> {
    bound(total, rank, ranks)..bound(total, rank + 1, ranks)
}

/// Where the part of a rank begins.
fn bound(total: usize, rank: usize, ranks: usize) -> usize {
    let fits = |unit: &usize| total.is_multiple_of(*unit) && total / unit >= RANKS_MAX;
    let unit = [UNIT, 2].into_iter().find(fits).unwrap_or(1);
    total / unit * rank / ranks * unit
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::burn::parameters::file_tensors;
    use crate::burn::tests::config as small;
    use crate::burn::weights::Model;

    fn parsed(heads: usize, kv_heads: usize) -> DecoderConfig {
        Model::empty(&small(heads, kv_heads, false), Value::Null).unwrap().config
    }

    #[track_caller]
    fn check_choices(heads: usize, kv_heads: usize, expected: &[usize]) {
        let config = parsed(heads, kv_heads);
        for ranks in 0..=RANKS_MAX + 1 {
            match Share::all(&config, ranks) {
                Ok(shares) => assert!(shares.len() == ranks && expected.contains(&ranks)),
                Err(Error::CannotSplit { choices, .. }) => {
                    assert!(choices == expected && !expected.contains(&ranks), "{choices:?}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_model_is_split_only_between_its_heads() {
        // Qwen2.5-7B, 32B, 0.5B, 72B; and one key-value head for many.
        check_choices(28, 4, &[1, 2, 4]);
        check_choices(40, 8, &[1, 2, 4, 8]);
        check_choices(14, 2, &[1, 2]);
        check_choices(64, 8, &[1, 2, 4, 8]);
        check_choices(8, 2, &[1, 2, 4, 8]);
        check_choices(6, 1, &[1, 2, 3, 6]);
        check_choices(5, 5, &[1, 5]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let why = Share::all(&parsed(28, 4), 8).err().unwrap().to_string();
        assert_eq!(
            why,
            "28 query heads and 4 key-value heads cannot be split over 8 ranks; 1, 2 or 4 can"
        );
    }

    #[test]
    fn together_the_ranks_hold_every_element_and_no_rank_holds_one_twice() {
        for (heads, kv_heads, ranks) in [(4, 2, 2), (4, 4, 4), (8, 2, 4), (8, 1, 8), (6, 3, 3)] {
            let whole = parsed(heads, kv_heads);
            let shares = Share::all(&whole, ranks).unwrap();
            for (number, tensor) in file_tensors(&whole).iter().enumerate() {
                let shared = tensor.name.contains("k_proj") || tensor.name.contains("v_proj");
                let copies = match shares[0].cut(tensor) {
                    Cut::Whole => ranks,
                    Cut::Rows(_) if shared => (ranks / kv_heads).max(1),
                    Cut::Rows(_) | Cut::Columns(_) => 1,
                };
                let own = |share: &Share| file_tensors(&share.config)[number].elements.len();
                let held: usize = shares.iter().map(own).sum();
                assert_eq!(held, copies * tensor.elements.len(), "{}", tensor.name);
                for share in &shares {
                    let (rows, columns) = match share.cut(tensor) {
                        Cut::Whole => continue,
                        Cut::Rows(rows) => (rows.len(), tensor.shape.get(1).copied()),
                        Cut::Columns(columns) => (tensor.shape[0], Some(columns.len())),
                    };
                    assert_eq!(own(share), rows * columns.unwrap_or(1), "{}", tensor.name);
                }
            }
        }
    }

    #[test]
    fn ranks_that_share_a_key_value_head_have_the_queries_of_it() {
        for (heads, kv_heads, ranks) in [(8, 2, 4), (8, 2, 8), (4, 1, 2), (12, 4, 2)] {
            let config = parsed(heads, kv_heads);
            for share in Share::all(&config, ranks).unwrap() {
                let per = heads / kv_heads;
                let wanted = share.query.start / 8 / per..(share.query.end / 8 - 1) / per + 1;
                assert_eq!(share.kv, wanted.start * 8..wanted.end * 8);
            }
        }
    }

    #[test]
    fn the_ranks_parts_of_sums_are_those_of_the_whole() {
        for (heads, kv_heads, ways) in [(28, 4, 4), (14, 2, 2), (8, 1, 8), (5, 5, 1)] {
            let config = parsed(heads, kv_heads);
            let (output, down) = Share::whole(&config).bounds();
            assert_eq!((output.len(), down.len()), (ways + 1, ways + 1));
            for ranks in [2, 4, 8].into_iter().filter(|ranks| *ranks <= ways) {
                let shares = Share::all(&config, ranks).unwrap();
                let own = |share: &Share| {
                    let (output, down) = share.bounds();
                    let output = output[1..].iter().map(|bound| bound + share.query.start);
                    let down = down[1..].iter().map(|bound| bound + share.feed_forward.start);
                    output.zip(down).collect::<Vec<_>>()
                };
                let all: Vec<(usize, usize)> = shares.iter().flat_map(own).collect();
                let whole: Vec<_> = output[1..].iter().copied().zip(down[1..].to_vec()).collect();
                assert_eq!(all, whole, "{heads} heads over {ranks}");
            }
        }
    }

    #[test]
    fn wide_models_are_split_at_whole_panels() {
        let mut config = small(8, 8, false);
        config["vocab_size"] = json!(151_936);
        config["intermediate_size"] = json!(18_944);
        let config = Model::empty(&config, Value::Null).unwrap().config;
        for share in Share::all(&config, 4).unwrap() {
            assert!(share.ids.start.is_multiple_of(UNIT) && share.ids.end.is_multiple_of(UNIT));
            assert_eq!(share.feed_forward.len(), 4736);
        }
    }
}
