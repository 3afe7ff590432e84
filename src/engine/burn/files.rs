//! Writing files that are there whole or not at all, also after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::{Error, Result};

/// A tensor of f32 to be written.
pub(crate) struct NamedTensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: &'a [f32],
}

pub(crate) fn io(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source }
}

pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|source| io(dir, source))
}

/// Writes to a temporary name beside `path`, syncs, and renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("partial");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
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
    write_whole(path, text.as_bytes())
}

pub(crate) fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let bytes = tensors
        .iter()
        .map(view)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, Some(pairs.collect())))
        .map_err(|error| io(path, io::Error::other(error)))?;
    write_whole(path, &bytes)
}

fn view<'a>(
    tensor: &NamedTensor<'a>,
) -> Result<(String, TensorView<'a>), safetensors::SafeTensorError> {
    let bytes = bytemuck::cast_slice(tensor.values);
    let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
    Ok((tensor.name.clone(), view))
}
