//! Writing files that are there whole or not at all, also after a crash.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use crate::{Error, Result};

/// A tensor to be written.
pub(crate) struct NamedTensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bits: Bits<'a>,
}

/// Numbers, and what they are written as.
#[derive(Clone, Copy)]
pub(crate) enum Bits<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    /// f32 that is written as bf16, and how it becomes that.
    Rounded(&'a [f32], fn(f32) -> u16),
}

impl Bits<'_> {
    /// What they are in a file.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::Bf16(_) | Self::Rounded(..) => Dtype::BF16,
        }
    }

    /// Bytes in a file.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32(values) => size_of_val(values),
            Self::Bf16(bits) => size_of_val(bits),
            Self::Rounded(values, _) => size_of_val(values) / 2,
        }
    }

    fn write(self, file: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F32(values) => file.write_all(bytemuck::cast_slice(values)),
            Self::Bf16(bits) => file.write_all(bytemuck::cast_slice(bits)),
            Self::Rounded(values, round) => values.chunks(ROUNDED).try_for_each(|values| {
                let bits: Vec<u16> = values.iter().map(|value| round(*value)).collect();
                file.write_all(bytemuck::cast_slice(&bits))
            }),
        }
    }
}

/// Numbers that are rounded at a time.
const ROUNDED: usize = 1 << 16;

pub(crate) fn io(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source }
}

pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|source| io(dir, source))
}

/// Writes to a temporary name beside `path`, syncs, and renames.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let temporary = path.with_extension("partial");
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(&temporary)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| {
        // The unfinished file is of no use to anyone; that the disk is full is the news.
        drop(fs::remove_file(&temporary));
        io(path, source)
    })
}

pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = format!("{value:#}");
    text.push('\n');
    write_whole(path, |file| file.write_all(text.as_bytes()))
}

/// Writes tensors one after the other: only the header is made in memory.
pub(crate) fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut tensors: Vec<&NamedTensor<'_>> = tensors.iter().collect();
    // Wide numbers first, so that all begin where their width divides.
    tensors.sort_by(|a, b| (b.bits.dtype(), &a.name).cmp(&(a.bits.dtype(), &b.name)));
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let mut end = 0;
    let info = |tensor: &&NamedTensor<'_>| {
        let start = end;
        end += tensor.bits.bytes();
        let (dtype, shape) = (tensor.bits.dtype(), tensor.shape.clone());
        (tensor.name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let infos = tensors.iter().map(info).collect();
    let header = Metadata::new(Some(pairs.collect()), infos)
        .map_err(io::Error::other)
        .and_then(|header| serde_json::to_vec(&header).map_err(io::Error::other));
    let mut header = header.map_err(|error| io(path, error))?;
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    write_whole(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|tensor| tensor.bits.write(file))
    })
}
