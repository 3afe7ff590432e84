//! Token shards: what a trainer reads. Made once per dataset, tokenizer and encoding, and found again
//! by the hash of these.
//!
//! A folder of shards holds `shards.json` (what it is and the checksum of each file), `index.bin`
//! (one record per example: shard, offset, tokens, trained tokens, its row) and
//! `tokens-00000.bin`, … (per example its ids as u32, then its labels as i32, little-endian).
//! Examples are read by position, one at a time, so that a dataset need not fit into memory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Sequence;
use crate::hint::Hinted;

/// Bytes after which a new shard file begins: small enough to copy, large enough to be few.
const SHARD_BYTES: u64 = 1 << 30;

/// Bytes of one record of the index.
const RECORD: usize = 28;

/// Raised when the layout of the files changes, so that old ones are made again.
const VERSION: u32 = 2;

const MANIFEST: &str = "shards.json";
const INDEX: &str = "index.bin";

/// What was counted while the shards were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Examples in the shards.
    pub examples: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Of these, tokens with a loss.
    pub trained_tokens: u64,
    /// Examples that were cut to `cutoff_len`.
    pub truncated: u64,
    /// Examples that were left out because they are longer than `cutoff_len`.
    pub dropped: u64,
}

/// `shards.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// Hash of what the shards were made from.
    source: String,
    counts: Counts,
    files: Vec<FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Where one example lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    shard: u32,
    offset: u64,
    tokens: u32,
    trained: u32,
    id: i64,
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[0..4].copy_from_slice(&self.shard.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.trained.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let eight = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            word
        };
        Self {
            shard: u32::from_le_bytes(four(0)),
            offset: u64::from_le_bytes(eight(4)),
            tokens: u32::from_le_bytes(four(12)),
            trained: u32::from_le_bytes(four(16)),
            id: i64::from_le_bytes(eight(20)),
        }
    }
}

/// Encoded examples, on disk or in memory.
#[derive(Debug)]
pub struct Shards {
    records: Vec<Record>,
    source: Source,
    counts: Counts,
    hash: String,
}

#[derive(Debug)]
enum Source {
    Files(Vec<File>),
    Memory(Vec<Sequence>),
}

impl Shards {
    /// Examples that are in memory already, with an id each.
    pub fn from_memory(examples: Vec<(i64, Sequence)>, counts: Counts) -> Self {
        let mut hasher = Sha256::new();
        let mut records = Vec::with_capacity(examples.len());
        let mut sequences = Vec::with_capacity(examples.len());
        for (position, (id, sequence)) in examples.into_iter().enumerate() {
            hasher.update((sequence.input_ids.len() as u64).to_le_bytes());
            hasher.update(bytes_of(&sequence));
            records.push(record(&sequence, id, 0, position as u64));
            sequences.push(sequence);
        }
        let hash = hex(&hasher.finalize());
        Self { records, source: Source::Memory(sequences), counts, hash }
    }

    /// Opens the shards in `dir` if they are complete and were made from `source`; none if they have
    /// to be made.
    ///
    /// # Errors
    /// If a file cannot be read or its checksum is wrong.
    pub fn open(dir: &Path, source: &str) -> anyhow::Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        let manifest: Manifest = serde_json::from_str(&text)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        if manifest.version != VERSION || manifest.source != source {
            return Ok(None);
        }
        for entry in &manifest.files {
            check(dir, entry)?;
        }
        let index = dir.join(INDEX);
        let index =
            fs::read(&index).with_context(|| format!("could not read `{}`", index.display()))?;
        let records = index.chunks_exact(RECORD).map(Record::from_bytes).collect();
        let tokens = manifest.files.iter().filter(|entry| entry.name != INDEX);
        let open = |entry: &FileEntry| {
            let path = dir.join(&entry.name);
            File::open(&path).with_context(|| format!("could not open `{}`", path.display()))
        };
        let files = tokens.map(open).collect::<anyhow::Result<_>>()?;
        let hash = hex(&Sha256::digest(&text));
        Ok(Some(Self { records, source: Source::Files(files), counts: manifest.counts, hash }))
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was counted when they were made.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Hash of the content.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Tokens of the example at `position`.
    pub fn tokens(&self, position: usize) -> usize {
        self.records[position].tokens as usize
    }

    /// Tokens with a loss of the example at `position`.
    pub fn trained_tokens(&self, position: usize) -> usize {
        self.records[position].trained as usize
    }

    /// The id of the example at `position`: its row, from 1, in the dataset or the file.
    pub fn id(&self, position: usize) -> i64 {
        self.records[position].id
    }

    /// The example at `position`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn get(&self, position: usize) -> anyhow::Result<Sequence> {
        let record = self.records[position];
        match &self.source {
            Source::Memory(sequences) => Ok(sequences[position].clone()),
            Source::Files(files) => {
                let mut bytes = vec![0; record.tokens as usize * 8];
                files[record.shard as usize]
                    .read_exact_at(&mut bytes, record.offset)
                    .with_context(|| format!("could not read example {position} of the shards"))?;
                Ok(sequence_of(&bytes))
            }
        }
    }
}

/// Writes shards into a folder that appears when it is complete.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    unfinished: tempfile::TempDir,
    source: String,
    current: Option<(BufWriter<File>, Sha256, u64)>,
    index: Vec<u8>,
    files: Vec<FileEntry>,
    counts: Counts,
}

impl Writer {
    /// Begins shards in `dir`, made from what `source` is the hash of.
    ///
    /// # Errors
    /// If no folder can be made beside `dir`.
    pub fn new(dir: &Path, source: &str) -> anyhow::Result<Self> {
        let parent = dir.parent().context("shards need a folder to be in")?;
        fs::create_dir_all(parent)
            .with_context(|| format!("could not make the folder `{}`", parent.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix(".shards-")
            .tempdir_in(parent)
            .with_context(|| format!("could not make a folder in `{}`", parent.display()))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            unfinished,
            source: source.to_owned(),
            current: None,
            index: Vec::new(),
            files: Vec::new(),
            counts: Counts::default(),
        })
    }

    /// Adds an example; `truncated` says that it was cut.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, id: i64, sequence: &Sequence, truncated: bool) -> anyhow::Result<()> {
        ensure!(
            sequence.labels.len() == sequence.input_ids.len(),
            "example {id} has {} tokens but {} labels",
            sequence.input_ids.len(),
            sequence.labels.len()
        );
        let bytes = bytes_of(sequence);
        if self.current.as_ref().is_some_and(|(_, _, written)| *written > SHARD_BYTES) {
            self.finish_file()?;
        }
        if self.current.is_none() {
            let path = self.unfinished.path().join(shard_name(self.files.len()));
            let file = File::create(&path)
                .with_context(|| format!("could not write `{}`", path.display()))?;
            self.current = Some((BufWriter::new(file), Sha256::new(), 0));
        }
        let (file, hasher, written) = self.current.as_mut().expect("a file was just opened");
        file.write_all(&bytes).context("could not write a shard")?;
        hasher.update(&bytes);
        let record = record(sequence, id, self.files.len() as u32, *written);
        *written += bytes.len() as u64;
        self.index.extend(record.to_bytes());
        self.counts.examples += 1;
        self.counts.tokens += u64::from(record.tokens);
        self.counts.trained_tokens += u64::from(record.trained);
        self.counts.truncated += u64::from(truncated);
        Ok(())
    }

    /// Counts an example that was left out.
    pub fn drop_example(&mut self) {
        self.counts.dropped += 1;
    }

    fn finish_file(&mut self) -> anyhow::Result<()> {
        let Some((file, hasher, bytes)) = self.current.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).context("could not write a shard")?;
        let name = shard_name(self.files.len());
        self.files.push(FileEntry { name, bytes, sha256: hex(&hasher.finalize()) });
        Ok(())
    }

    /// Completes the folder and opens it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn finish(mut self) -> anyhow::Result<Shards> {
        self.finish_file()?;
        let index = std::mem::take(&mut self.index);
        let entry = FileEntry {
            name: INDEX.into(),
            bytes: index.len() as u64,
            sha256: hex(&Sha256::digest(&index)),
        };
        self.write(INDEX, &index)?;
        self.files.push(entry);
        let manifest = Manifest {
            version: VERSION,
            source: self.source.clone(),
            counts: self.counts,
            files: std::mem::take(&mut self.files),
        };
        self.write(MANIFEST, serde_json::to_string_pretty(&manifest)?.as_bytes())?;
        let Self { dir, unfinished, source, .. } = self;
        if dir.exists() {
            fs::remove_dir_all(&dir)
                .with_context(|| format!("could not replace `{}`", dir.display()))?;
        }
        fs::rename(unfinished.keep(), &dir)
            .with_context(|| format!("could not make `{}`", dir.display()))?;
        Shards::open(&dir, &source)?
            .with_context(|| format!("the shards in `{}` vanished", dir.display()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.unfinished.path().join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("could not write `{}`", path.display()))
    }
}

fn shard_name(number: usize) -> String {
    format!("tokens-{number:05}.bin")
}

fn record(sequence: &Sequence, id: i64, shard: u32, offset: u64) -> Record {
    let tokens = sequence.input_ids.len() as u32;
    Record { shard, offset, tokens, trained: sequence.trained_tokens() as u32, id }
}

fn bytes_of(sequence: &Sequence) -> Vec<u8> {
    let ids = sequence.input_ids.iter().map(|id| id.to_le_bytes());
    // Ids are below 2^31 in every vocabulary, so labels fit.
    let labels = sequence.labels.iter().map(|label| (*label as i32).to_le_bytes());
    ids.chain(labels).flatten().collect()
}

fn sequence_of(bytes: &[u8]) -> Sequence {
    let word = |chunk: &[u8]| [chunk[0], chunk[1], chunk[2], chunk[3]];
    let (ids, labels) = bytes.split_at(bytes.len() / 2);
    Sequence {
        input_ids: ids.chunks_exact(4).map(|chunk| u32::from_le_bytes(word(chunk))).collect(),
        labels: labels
            .chunks_exact(4)
            .map(|chunk| i64::from(i32::from_le_bytes(word(chunk))))
            .collect(),
    }
}

fn check(dir: &Path, entry: &FileEntry) -> anyhow::Result<()> {
    let path = dir.join(&entry.name);
    let mut file =
        File::open(&path).with_context(|| format!("could not open `{}`", path.display()))?;
    let mut hasher = Sha256::new();
    let bytes = std::io::copy(&mut file, &mut hasher)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    if bytes != entry.bytes || hex(&hasher.finalize()) != entry.sha256 {
        bail!(Hinted::new(
            format!("the token shard `{}` is damaged", path.display()),
            format!("delete the folder `{}`; it is made again", dir.display()),
        ));
    }
    Ok(())
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Shards, Writer};
    use crate::engine::{IGNORE, Sequence};

    fn sequence(first: u32, tokens: u32) -> Sequence {
        let input_ids: Vec<u32> = (first..first + tokens).collect();
        let labels = input_ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
        Sequence { input_ids, labels: [vec![IGNORE; 2], labels[2..].to_vec()].concat() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("shards");
        let mut writer = Writer::new(&dir, "abc").unwrap();
        for id in 0..5 {
            writer.push(id * 10, &sequence(id as u32, 3 + id as u32), id == 4).unwrap();
        }
        writer.drop_example();
        let shards = writer.finish().unwrap();
        let counts = shards.counts();
        assert_eq!((counts.examples, counts.tokens, counts.trained_tokens), (5, 25, 15));
        assert_eq!((counts.truncated, counts.dropped), (1, 1));
        let again = Shards::open(&dir, "abc").unwrap().unwrap();
        for position in 0..5 {
            assert_eq!(
                again.get(position).unwrap(),
                sequence(position as u32, 3 + position as u32)
            );
            assert_eq!(again.id(position), position as i64 * 10);
        }
        assert_eq!(again.hash(), shards.hash());
    }

    #[test]
    fn shards_of_something_else_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("shards");
        assert!(Shards::open(&dir, "abc").unwrap().is_none());
        Writer::new(&dir, "abc").unwrap().finish().unwrap();
        assert!(Shards::open(&dir, "abd").unwrap().is_none());
        let mut writer = Writer::new(&dir, "abd").unwrap();
        writer.push(1, &sequence(0, 4), false).unwrap();
        assert_eq!(writer.finish().unwrap().len(), 1);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("shards");
        let mut writer = Writer::new(&dir, "abc").unwrap();
        writer.push(1, &sequence(0, 4), false).unwrap();
        writer.finish().unwrap();
        let path = dir.join("tokens-00000.bin");
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = Shards::open(&dir, "abc").unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }

    #[test]
    fn memory_and_files_hold_the_same() {
        let shards = Shards::from_memory(vec![(7, sequence(3, 5))], super::Counts::default());
        assert_eq!(shards.get(0).unwrap(), sequence(3, 5));
        assert_eq!((shards.id(0), shards.tokens(0), shards.trained_tokens(0)), (7, 5, 3));
    }
}
