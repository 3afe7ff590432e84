//! Where the numbers of a model come from: mapped files, random numbers, or memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::Dtype;

use super::decoder::DecoderConfig;
use super::parameters::{FileTensor, Start, file_tensors, parameters};
use super::shards::Shards;
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

/// A range of a parameter's elements.
pub(crate) struct Piece<'a> {
    /// The first element.
    pub(crate) start: usize,
    /// Its numbers, little-endian.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// What they are: f32, f16 or bf16.
    pub(crate) dtype: Dtype,
}

impl Piece<'_> {
    /// How many elements.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len() / if self.dtype == Dtype::F32 { 4 } else { 2 }
    }
}

/// Gives the pieces of a parameter by its number, in order.
pub(crate) type Pieces<'a> = Box<dyn Fn(usize) -> Vec<Piece<'a>> + Sync + 'a>;

impl Source {
    /// What was in memory.
    #[cfg(test)]
    pub(crate) fn values_of(values: &[Vec<f32>]) -> Self {
        let bytes = |values: &Vec<f32>| bytemuck::cast_slice(values).to_vec();
        Self::Bytes(Dtype::F32, values.iter().map(bytes).collect())
    }

    /// The pieces of all parameters of a model.
    ///
    /// # Errors
    /// If a file's header cannot be read.
    pub(crate) fn pieces<'a>(&'a self, config: &'a DecoderConfig) -> Result<Pieces<'a>, String> {
        let mut tensors: BTreeMap<usize, Vec<(usize, FileTensor)>> = BTreeMap::new();
        for (number, tensor) in file_tensors(config).into_iter().enumerate() {
            tensors.entry(tensor.parameter).or_default().push((number, tensor));
        }
        for of_parameter in tensors.values_mut() {
            of_parameter.sort_by_key(|(_, tensor)| tensor.elements.start);
        }
        Ok(match self {
            Self::Files(shards) => {
                let found = shards.parse()?;
                Box::new(move |parameter| {
                    let piece = |(_, tensor): &(usize, FileTensor)| {
                        let (bytes, dtype) = found[&tensor.name].bytes();
                        Piece { start: tensor.elements.start, bytes: Cow::Borrowed(bytes), dtype }
                    };
                    tensors[&parameter].iter().map(piece).collect()
                })
            }
            Self::Drawn(dummy) => Box::new(move |parameter| {
                let piece = |(number, tensor): &(usize, FileTensor)| {
                    drawn(dummy, config.initializer_range, *number, tensor)
                };
                tensors[&parameter].iter().map(piece).collect()
            }),
            #[cfg(test)]
            Self::Bytes(dtype, bytes) => Box::new(move |parameter| {
                let bytes = Cow::Borrowed(bytes[parameter].as_slice());
                vec![Piece { start: 0, bytes, dtype: *dtype }]
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
        let pieces = self.pieces(config)?;
        let one = |parameter: usize| floats(&pieces(parameter));
        (0..parameters(config).len()).into_par_iter().map(one).collect()
    }
}

/// Pieces that follow each other, as f32.
pub(crate) fn floats(pieces: &[Piece<'_>]) -> Result<Vec<f32>, String> {
    let mut values = vec![0.0; pieces.iter().map(Piece::length).sum()];
    for piece in pieces {
        let target = &mut values[piece.start..piece.start + piece.length()];
        convert(&piece.bytes, piece.dtype, target)?;
    }
    Ok(values)
}

/// A tensor of a dummy, as wide as a normal distribution of that deviation.
fn drawn(dummy: &Dummy, deviation: f64, number: usize, tensor: &FileTensor) -> Piece<'static> {
    let half_width = (deviation * 3.0_f64.sqrt()) as f32;
    let ones = tensor.role.start() == Start::One;
    let bytes_each = if dummy.bf16 { 2 } else { 4 };
    let mut bytes = vec![0; tensor.elements.len() * bytes_each];
    bytes.par_chunks_mut(DRAW * bytes_each).enumerate().for_each(|(chunk, bytes)| {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        random.set_stream(((number as u64) << 32) + chunk as u64);
        for bytes in bytes.chunks_exact_mut(bytes_each) {
            let value = if ones { 1.0 } else { (2.0 * random.random::<f32>() - 1.0) * half_width };
            match dummy.bf16 {
                true => bytes.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
                false => bytes.copy_from_slice(&value.to_le_bytes()),
            }
        }
    });
    let dtype = if dummy.bf16 { Dtype::BF16 } else { Dtype::F32 };
    Piece { start: tensor.elements.start, bytes: Cow::Owned(bytes), dtype }
}
