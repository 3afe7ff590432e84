//! The parameters of a model as they are computed with.
//!
//! On the processor, matrices are packed once, straight from the mapped files, in the type that was
//! asked for; biases and norms are few and f32. Elsewhere, and on the tape, everything is a tensor.

#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use safetensors::Dtype;

use crate::burn::decoder::DecoderConfig;
use crate::burn::device::{self, Place};
use crate::burn::ops::{Kernels, Kind, Packed, Segment};
use crate::burn::parameters::{Index, Parameter, Part, parameters};
use crate::burn::share::Share;
use crate::burn::source::{Piece, Source, floats};
use crate::{CacheType, Error, Result, WeightType};

/// A parameter.
pub(crate) enum Weight {
    /// In burn's hands.
    Tensor(Tensor<2>),
    /// In ours.
    Packed(Packed),
}

impl Weight {
    /// A norm or a bias, or what is on the tape.
    pub(crate) fn tensor(&self) -> Tensor<2> {
        match self {
            Self::Tensor(tensor) => tensor.clone(),
            Self::Packed(_) => unreachable!("norms and biases are never packed"),
        }
    }
}

/// Loads the parameters of a rank's share of a model onto its device. Of the files only what the share
/// holds is read.
///
/// # Errors
/// If the device cannot compute with the type, or a file's header cannot be read.
pub(crate) fn load(
    (config, share): (&DecoderConfig, &Share),
    place: &Place,
    asked: WeightType,
    source: &Source,
) -> Result<Vec<Weight>> {
    if place.kernels != Kernels::Fused && asked == WeightType::Int8 {
        let why = format!(
            "weights of type `{asked}` are for the processor; other devices take f32 and bf16"
        );
        return Err(Error::BadInput(why));
    }
    let computed = number((config, place), asked, source)?;
    let pieces = source.pieces(config, share).map_err(Error::BadInput)?;
    let gated = gated(&share.config);
    let (output, down) = share.bounds();
    let load = |(number, parameter): (usize, Parameter)| {
        let pieces = pieces(number);
        if place.kernels != Kernels::Fused || !parameter.decays {
            let values = floats(&pieces).map_err(Error::BadInput)?;
            return Ok(Weight::Tensor(match computed {
                CacheType::F32 => device::matrix(values, parameter.shape, &place.device),
                CacheType::Bf16 => device::rounded(&values, parameter.shape, &place.device),
            }));
        }
        let kind = kind(asked, pieces.first().map_or(Dtype::F32, |piece| piece.dtype));
        let segments: Vec<Segment<'_>> =
            pieces.iter().map(|piece| segment(piece, parameter.shape[1])).collect();
        let pack = if gated.contains(&number) { Packed::gated } else { Packed::new };
        let packed = pack(kind, parameter.shape, &segments);
        Ok(Weight::Packed(match Index::new(&share.config).kind(number) {
            Some(Part::OutputWeight) => packed.summed_in(output.clone()),
            Some(Part::DownWeight) => packed.summed_in(down.clone()),
            Some(_) | None => packed,
        }))
    };
    parameters(&share.config).into_iter().enumerate().map(load).collect()
}

/// Bytes that the parameters of a rank's share of a model take on its device.
///
/// # Errors
/// If a file's header cannot be read.
pub(crate) fn bytes_needed(
    (config, share): (&DecoderConfig, &Share),
    place: &Place,
    asked: WeightType,
    source: &Source,
) -> Result<u64> {
    let dtypes = source.dtypes(config).map_err(Error::BadInput)?;
    let computed = number((config, place), asked, source)?;
    let bytes = |(parameter, dtype): (Parameter, Dtype)| match place.kernels {
        Kernels::Fused if parameter.decays => {
            Packed::bytes_needed(kind(asked, dtype), parameter.shape)
        }
        Kernels::Fused | Kernels::Plain | Kernels::Cuda(_) => match computed {
            CacheType::F32 => parameter.length() * size_of::<f32>(),
            CacheType::Bf16 => parameter.length() * size_of::<half::bf16>(),
        },
    };
    Ok(parameters(&share.config).into_iter().zip(dtypes).map(bytes).sum::<usize>() as u64)
}

/// What a device computes with, and keeps all parameters and its cache as: on GPUs bf16 if that is what
/// the files hold, elsewhere only if it is asked for, as activations are then rounded, too. What the
/// processor's own kernels add is always f32.
///
/// # Errors
/// If a file's header cannot be read.
pub(crate) fn number(
    (config, place): (&DecoderConfig, &Place),
    asked: WeightType,
    source: &Source,
) -> Result<CacheType> {
    let halves = match (place.kernels, asked) {
        (Kernels::Fused, _) | (_, WeightType::F32 | WeightType::Int8) => false,
        (_, WeightType::Bf16) => true,
        (Kernels::Plain, WeightType::Auto) => false,
        (Kernels::Cuda(_), WeightType::Auto) => {
            let dtypes = source.dtypes(config).map_err(Error::BadInput)?;
            dtypes.iter().all(|dtype| *dtype == Dtype::BF16)
        }
    };
    Ok(if halves { CacheType::Bf16 } else { CacheType::F32 })
}

/// What numbers of a file are kept as.
fn kind(asked: WeightType, found: Dtype) -> Kind {
    match asked {
        WeightType::Auto => as_found(found),
        WeightType::F32 => Kind::F32,
        WeightType::Bf16 => Kind::Bf16Rounded,
        WeightType::Int8 => Kind::Int8,
    }
}

fn as_found(dtype: Dtype) -> Kind {
    match dtype == Dtype::BF16 {
        true => Kind::Bf16,
        false if dtype == Dtype::F16 => Kind::F16,
        false => Kind::F32,
    }
}

fn segment<'a>(piece: &'a Piece<'_>, columns: usize) -> Segment<'a> {
    let rows = piece.start / columns..(piece.start + piece.length()) / columns;
    let (width, first) = (piece.width, piece.columns.start);
    Segment { rows, bytes: &piece.bytes, width, first, kind: as_found(piece.dtype) }
}

/// Which parameters are gates and what they open, to be multiplied at once: there is no bias between.
fn gated(config: &DecoderConfig) -> Vec<usize> {
    let index = Index::new(config);
    let biased = index.part(0, Part::GateUpBias).is_some();
    let layers = (0..config.layers).filter(|_| !biased);
    layers.filter_map(|layer| index.part(layer, Part::GateUpWeight)).collect()
}
