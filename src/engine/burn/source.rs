//! Where the numbers of a model come from: mapped files, random numbers, or memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::Dtype;

use super::decoder::DecoderConfig;
use super::parameters::{FileTensor, Start, file_tensors, parameters};
use super::shards::Shards;
use super::share::{Cut, Share};
use super::weights::convert;
use crate::dummy::Dummy;

/// Numbers of a dummy that are drawn together; each run has a stream of random numbers of its own.
const DRAW: usize = 1 << 20;

/// Where the numbers of a model come from. Files were checked against the configuration.
pub(crate) enum Source {
    /// Files.
    Files(Shards),
    /// Random numbers for speed and soak tests: quick to draw, the same on every machine. Biases are
    /// drawn too; norms are 1.
    Drawn(Dummy),
    /// All parameters, little-endian.
    #[cfg(test)]
    Bytes(Dtype, Vec<Vec<u8>>),
}

/// A range of a parameter's elements: rows of a tensor of the files, or columns of them.
pub(crate) struct Piece<'a> {
    /// The first element.
    pub(crate) start: usize,
    /// The tensor's rows, little-endian; of a vector the elements.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// What they are: f32, f16 or bf16.
    pub(crate) dtype: Dtype,
    /// Numbers in a row of the bytes.
    pub(crate) width: usize,
    /// Those of each row that are wanted.
    pub(crate) columns: Range<usize>,
}

impl Piece<'_> {
    /// How many elements.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len() / bytes_each(self.dtype) / self.width * self.columns.len()
    }

    /// Its numbers as f32.
    fn convert(&self, target: &mut [f32]) -> Result<(), String> {
        if self.columns.len() == self.width {
            return convert(&self.bytes, self.dtype, target);
        }
        let each = bytes_each(self.dtype);
        let wanted = self.columns.start * each..self.columns.end * each;
        let rows = self.bytes.chunks_exact(self.width * each);
        let mut pairs = rows.zip(target.chunks_exact_mut(self.columns.len()));
        pairs.try_for_each(|(row, target)| convert(&row[wanted.clone()], self.dtype, target))
    }
}

/// Gives the pieces of a parameter of a share by its number, in order.
pub(crate) type Pieces<'a> = Box<dyn Fn(usize) -> Vec<Piece<'a>> + Sync + 'a>;

/// A tensor of the files and what a share has of it.
struct Entry {
    /// Among all tensors of the model.
    number: usize,
    tensor: FileTensor,
    cut: Cut,
    /// The first element of the share's parameter.
    start: usize,
}

/// Of each parameter of a share its tensors, in order.
fn entries(config: &DecoderConfig, share: &Share) -> BTreeMap<usize, Vec<Entry>> {
    let own = file_tensors(&share.config);
    let mut entries: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
    for (number, (tensor, own)) in file_tensors(config).into_iter().zip(own).enumerate() {
        let (cut, start) = (share.cut(&tensor), own.elements.start);
        entries.entry(own.parameter).or_default().push(Entry { number, tensor, cut, start });
    }
    entries.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.start));
    entries
}

impl Source {
    /// What was in memory.
    #[cfg(test)]
    pub(crate) fn values_of(values: &[Vec<f32>]) -> Self {
        let bytes = |values: &Vec<f32>| bytemuck::cast_slice(values).to_vec();
        Self::Bytes(Dtype::F32, values.iter().map(bytes).collect())
    }

    /// The pieces of all parameters of a share of a model. Nothing else is read.
    ///
    /// # Errors
    /// If a file's header cannot be read.
    pub(crate) fn pieces<'a>(
        &'a self,
        config: &DecoderConfig,
        share: &Share,
    ) -> Result<Pieces<'a>, String> {
        let entries = entries(config, share);
        let deviation = config.initializer_range;
        let each = move |parameter: usize, piece: &dyn Fn(&Entry) -> Piece<'a>| {
            entries[&parameter].iter().map(piece).collect()
        };
        Ok(match self {
            Self::Files(shards) => {
                let found = shards.parse()?;
                Box::new(move |parameter| {
                    each(parameter, &|entry| {
                        let (bytes, dtype) = found[&entry.tensor.name].bytes();
                        cut(entry, bytes, dtype)
                    })
                })
            }
            Self::Drawn(dummy) => {
                Box::new(move |parameter| each(parameter, &|entry| drawn(dummy, deviation, entry)))
            }
            #[cfg(test)]
            Self::Bytes(dtype, bytes) => Box::new(move |parameter| {
                each(parameter, &|entry| {
                    let (elements, size) = (&entry.tensor.elements, bytes_each(*dtype));
                    let bytes = &bytes[entry.tensor.parameter];
                    cut(entry, &bytes[elements.start * size..elements.end * size], *dtype)
                })
            }),
        })
    }

    /// What the first tensor of each parameter is.
    pub(crate) fn dtypes(&self, config: &DecoderConfig) -> Result<Vec<Dtype>, String> {
        let count = parameters(config).len();
        match self {
            Self::Files(shards) => {
                let found = shards.parse()?;
                let mut dtypes = vec![Dtype::F32; count];
                for tensor in file_tensors(config) {
                    if tensor.elements.start == 0 {
                        dtypes[tensor.parameter] = found[&tensor.name].bytes().1;
                    }
                }
                Ok(dtypes)
            }
            Self::Drawn(dummy) => {
                Ok(vec![if dummy.bf16 { Dtype::BF16 } else { Dtype::F32 }; count])
            }
            #[cfg(test)]
            Self::Bytes(dtype, _) => Ok(vec![*dtype; count]),
        }
    }

    /// All parameters as f32.
    ///
    /// # Errors
    /// If a file's header cannot be read.
    pub(crate) fn values(&self, config: &DecoderConfig) -> Result<Vec<Vec<f32>>, String> {
        let pieces = self.pieces(config, &Share::whole(config))?;
        let one = |parameter: usize| floats(&pieces(parameter));
        (0..parameters(config).len()).into_par_iter().map(one).collect()
    }
}

/// Pieces that follow each other, as f32.
pub(crate) fn floats(pieces: &[Piece<'_>]) -> Result<Vec<f32>, String> {
    let mut values = vec![0.0; pieces.iter().map(Piece::length).sum()];
    for piece in pieces {
        piece.convert(&mut values[piece.start..piece.start + piece.length()])?;
    }
    Ok(values)
}

fn bytes_each(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

/// What a share has of a tensor: its elements from and to, as rows of `width`, and the columns.
fn wanted(entry: &Entry) -> (Range<usize>, usize, Range<usize>) {
    let shape = &entry.tensor.shape;
    let (rows, width) = (shape[0], shape.get(1).copied().unwrap_or(1));
    match &entry.cut {
        Cut::Whole => (0..rows * width, width, 0..width),
        Cut::Rows(rows) => (rows.start * width..rows.end * width, width, 0..width),
        Cut::Columns(columns) => (0..rows * width, width, columns.clone()),
    }
}

fn cut<'a>(entry: &Entry, bytes: &'a [u8], dtype: Dtype) -> Piece<'a> {
    let (elements, width, columns) = wanted(entry);
    let each = bytes_each(dtype);
    let bytes = Cow::Borrowed(&bytes[elements.start * each..elements.end * each]);
    Piece { start: entry.start, bytes, dtype, width, columns }
}

/// A tensor of a dummy, as wide as a normal distribution of that deviation.
fn drawn(dummy: &Dummy, deviation: f64, entry: &Entry) -> Piece<'static> {
    let half_width = (deviation * 3.0_f64.sqrt()) as f32;
    let ones = entry.tensor.role.start() == Start::One;
    let each = if dummy.bf16 { 2 } else { 4 };
    let (elements, width, columns) = wanted(entry);
    let mut bytes = vec![0; elements.len() * each];
    runs(&mut bytes, &elements, each).into_par_iter().for_each(|(bytes, at)| {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        random.set_stream(((entry.number as u64) << 32) + (at / DRAW) as u64);
        // A number takes one word.
        random.set_word_pos((at % DRAW) as u128);
        for bytes in bytes.chunks_exact_mut(each) {
            let value = if ones { 1.0 } else { (2.0 * random.random::<f32>() - 1.0) * half_width };
            match dummy.bf16 {
                true => bytes.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
                false => bytes.copy_from_slice(&value.to_le_bytes()),
            }
        }
    });
    let dtype = if dummy.bf16 { Dtype::BF16 } else { Dtype::F32 };
    Piece { start: entry.start, bytes: Cow::Owned(bytes), dtype, width, columns }
}

/// The bytes of some elements, cut where the runs of random numbers end; of each the first element.
fn runs<'a>(
    mut bytes: &'a mut [u8],
    elements: &Range<usize>,
    each: usize,
) -> Vec<(&'a mut [u8], usize)> {
    let (mut runs, mut at) = (Vec::new(), elements.start);
    while at < elements.end {
        let end = ((at / DRAW + 1) * DRAW).min(elements.end);
        let (run, rest) = bytes.split_at_mut((end - at) * each);
        runs.push((run, at));
        (bytes, at) = (rest, end);
    }
    runs
}
