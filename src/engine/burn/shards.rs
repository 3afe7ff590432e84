//! The weight files of a folder: mapped, checked against each other and against what is wanted.
//!
//! Nothing is read but headers until every tensor is known to be there once, whole, and of the
//! right shape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::path::{Component, Path};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::files;
use super::parameters::FileTensor;
use super::weights::bad;
use crate::Result;

/// The file of a model that has one.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Which file holds which tensor, where there are several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The mapped weight files of a folder.
pub(crate) struct Shards {
    files: Vec<(String, Mmap)>,
    /// Which file holds which tensor, if an index says so.
    index: Option<BTreeMap<String, String>>,
}

/// A tensor in a mapped file.
pub(crate) struct Found<'a> {
    file: &'a str,
    info: TensorInfo,
    data: &'a [u8],
}

impl<'a> Found<'a> {
    /// Its bytes, little-endian, and their type.
    pub(crate) fn bytes(&self) -> (&'a [u8], Dtype) {
        let (start, end) = self.info.data_offsets;
        (&self.data[start..end], self.info.dtype)
    }
}

impl Shards {
    /// Maps the files of a folder.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let index = match dir.join(INDEX).exists() {
            true => Some(weight_map(&read_json(dir, INDEX)?).map_err(|why| bad(dir, why))?),
            false => None,
        };
        let names: BTreeSet<String> = match &index {
            Some(map) => map.values().cloned().collect(),
            None => BTreeSet::from([WEIGHTS.to_owned()]),
        };
        let missing = names.iter().find(|name| !dir.join(name).is_file());
        if let Some(name) = missing {
            let why = match index {
                Some(_) => format!("`{INDEX}` names `{name}`, which is not there"),
                None => format!("neither `{WEIGHTS}` nor `{INDEX}` is there"),
            };
            return Err(bad(dir, why));
        }
        let open = |name: String| -> Result<(String, Mmap)> {
            let path = dir.join(&name);
            let file = File::open(&path).map_err(|source| files::io(&path, source))?;
            if file.metadata().map_err(|source| files::io(&path, source))?.len() == 0 {
                return Err(bad(dir, format!("`{name}` is empty")));
            }
            Ok((name, map(&file).map_err(|source| files::io(&path, source))?))
        };
        let files = names.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Self { files, index })
    }

    /// Every tensor by name; checks that files are whole, that no tensor is there twice, and that
    /// the index tells the truth.
    pub(crate) fn parse(&self) -> Result<BTreeMap<String, Found<'_>>, String> {
        let mut found: BTreeMap<String, Found<'_>> = BTreeMap::new();
        for (file, bytes) in &self.files {
            if let Some(name) = header(bytes).and_then(repeated) {
                return Err(format!("tensor `{name}` is in `{file}` twice"));
            }
            let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| {
                format!("`{file}` ({} bytes) is broken or cut off: {error}", bytes.len())
            })?;
            for (name, info) in metadata.tensors() {
                let data = &bytes[8 + header..];
                if let Some(other) = found.get(&name) {
                    return Err(format!("tensor `{name}` is in `{}` and in `{file}`", other.file));
                }
                found.insert(name, Found { file, info: info.clone(), data });
            }
        }
        for (name, file) in self.index.iter().flatten() {
            if found.get(name).is_none_or(|found| found.file != file) {
                return Err(format!("`{INDEX}` puts `{name}` in `{file}`, which lacks it"));
            }
        }
        Ok(found)
    }
}

/// The header of a file, as JSON; none if the file is too short for what it says.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// The first name that a header has twice: of two tensors of one name a map would keep the last.
/// Whether the header is right otherwise is not looked at.
fn repeated(header: &[u8]) -> Option<String> {
    struct Names(Option<String>);

    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("tensors by name")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = BTreeSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if let Some(name) = names.replace(name) {
                    self.0.get_or_insert(name);
                }
            }
            Ok(self.0)
        }
    }

    serde_json::Deserializer::from_slice(header).deserialize_map(Names(None)).ok().flatten()
}

/// Checks that what is wanted is there in the right shape and a type that can be read, and that
/// nothing else is.
pub(crate) fn check(
    wanted: &[FileTensor],
    tied: bool,
    found: &BTreeMap<String, Found<'_>>,
) -> Result<(), String> {
    for tensor in wanted {
        let name = &tensor.name;
        let Some(found) = found.get(name) else {
            return Err(format!("tensor `{name}` is missing"));
        };
        if found.info.shape != tensor.shape {
            let (has, wants) = (&found.info.shape, &tensor.shape);
            return Err(format!("tensor `{name}` has shape {has:?} but the config says {wants:?}"));
        }
        if !matches!(found.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let dtype = found.info.dtype;
            return Err(format!("tensor `{name}` is {dtype:?}; f32, f16 and bf16 can be read"));
        }
    }
    let names: BTreeSet<&str> = wanted.iter().map(|tensor| tensor.name.as_str()).collect();
    // Some writers keep the tied head as a second copy, and old ones the rotary frequencies.
    let harmless = |name: &str| (tied && name == HEAD) || name.ends_with("rotary_emb.inv_freq");
    match found.keys().find(|name| !names.contains(name.as_str()) && !harmless(name)) {
        Some(name) => Err(format!("tensor `{name}` is not part of the architecture")),
        None => check_copy(tied, found),
    }
}

const HEAD: &str = "lm_head.weight";

const EMBEDDING: &str = "model.embed_tokens.weight";

/// The head of a tied model may be there as a copy of the embedding. One that differs is a file
/// that contradicts its configuration, of which transformers 5 uses the one and 4 the other.
fn check_copy(tied: bool, found: &BTreeMap<String, Found<'_>>) -> Result<(), String> {
    let (Some(head), Some(embedding)) = (found.get(HEAD), found.get(EMBEDDING)) else {
        return Ok(());
    };
    match tied && head.bytes() != embedding.bytes() {
        true => Err(format!(
            "tensor `{HEAD}` differs from `{EMBEDDING}` but the config ties them \
             (`tie_word_embeddings`)"
        )),
        false => Ok(()),
    }
}

#[expect(unsafe_code, reason = "a memory map is the only way not to read weights twice")]
pub(crate) fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and lives for the load; nobody else is meant to write a model
    // in place (we rename), and a file cut off meanwhile ends the process, not memory safety.
    unsafe { Mmap::map(file) }
}

fn weight_map(index: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = index.get("weight_map").ok_or(format!("`{INDEX}` has no `weight_map`"))?;
    let map: BTreeMap<String, String> =
        serde_json::from_value(map.clone()).map_err(|error| format!("`{INDEX}`: {error}"))?;
    if map.is_empty() {
        return Err(format!("`{INDEX}` names no tensor"));
    }
    let plain = |name: &str| {
        let mut parts = Path::new(name).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
    };
    match map.values().find(|name| !plain(name)) {
        Some(name) => Err(format!("`{INDEX}` names `{name}`, which is not a file of this folder")),
        None => Ok(map),
    }
}

/// A JSON file of the folder.
pub(crate) fn read_json(dir: &Path, name: &str) -> Result<Value> {
    let path = dir.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(bad(dir, format!("`{name}` is not there")));
        }
        Err(source) => return Err(files::io(&path, source)),
    };
    serde_json::from_slice(&text).map_err(|error| bad(dir, format!("`{name}`: {error}")))
}
