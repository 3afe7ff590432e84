//! Token shards: what a trainer reads. Made once per dataset, tokenizer and encoding, and found again
//! by the hash of these.
//!
//! A folder of shards holds `shards.json` (what it is and the checksum of each file), `index.bin`
//! (one record per example: shard, offset, tokens, trained tokens, its row, a checksum) and
//! `tokens-00000.bin`, … (per example its ids as u32, then its labels as i32, little-endian).
//! Examples are read by position, one at a time, so that a dataset need not fit into memory; their
//! checksums are compared as they are read, so that a second start does not read them all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Sequence;
use crate::hint::Hinted;

/// Bytes after which a new shard file begins: small enough to copy, large enough to be few.
const SHARD_BYTES: u64 = 1 << 30;

/// Bytes of one record of the index.
const RECORD: usize = 36;

/// Raised when the layout of the files changes, so that old ones are made again.
const VERSION: u32 = 3;

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
    /// Conversations that were left out because nobody can be trained to answer as in them: turns
    /// that do not alternate, an unknown speaker, no answer at the end.
    pub odd: u64,
    /// The largest id.
    pub largest_id: u32,
}

impl Counts {
    /// Takes an example in.
    fn add(&mut self, sequence: &Sequence, truncated: bool) {
        self.examples += 1;
        self.tokens += sequence.input_ids.len() as u64;
        self.trained_tokens += sequence.trained_tokens() as u64;
        self.truncated += u64::from(truncated);
        let largest = sequence.input_ids.iter().copied().max().unwrap_or(0);
        self.largest_id = self.largest_id.max(largest);
    }

    /// One line for people.
    pub fn told(&self) -> String {
        let mut line = format!(
            "{} examples of {} tokens, of which {} are trained on",
            self.examples, self.tokens, self.trained_tokens
        );
        for (count, what) in [
            (self.truncated, "cut to train.cutoff_len"),
            (self.dropped, "left out, being longer than train.cutoff_len"),
            (self.odd, "left out, not being questions with answers"),
        ] {
            if count > 0 {
                line.push_str(&format!("; {count} {what}"));
            }
        }
        line
    }
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
    /// Of the index, which has the checksums of all examples.
    sha256: Option<String>,
}

/// Where one example lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    shard: u32,
    offset: u64,
    tokens: u32,
    trained: u32,
    id: i64,
    /// [`checksum`] of its bytes.
    checksum: u64,
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[0..4].copy_from_slice(&self.shard.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.trained.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.id.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.checksum.to_le_bytes());
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
            checksum: u64::from_le_bytes(eight(28)),
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
    Files { dir: PathBuf, files: Vec<File> },
    Memory(Vec<Sequence>),
}

impl Shards {
    /// Examples that are in memory already, with an id each; `left_out` says what else there was.
    pub fn from_memory(examples: Vec<(i64, Sequence)>, left_out: Counts) -> Self {
        let mut counts = left_out;
        let mut hasher = Sha256::new();
        let mut records = Vec::with_capacity(examples.len());
        let mut sequences = Vec::with_capacity(examples.len());
        for (position, (id, sequence)) in examples.into_iter().enumerate() {
            hasher.update((sequence.input_ids.len() as u64).to_le_bytes());
            hasher.update(bytes_of(&sequence));
            counts.add(&sequence, false);
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
    /// If a file cannot be read, is too short, or the index has another checksum.
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
        let path = dir.join(INDEX);
        let index =
            fs::read(&path).with_context(|| format!("could not read `{}`", path.display()))?;
        for entry in &manifest.files {
            check(dir, entry, (entry.name == INDEX).then_some(index.as_slice()))?;
        }
        let records = index.chunks_exact(RECORD).map(Record::from_bytes).collect();
        let tokens = manifest.files.iter().filter(|entry| entry.name != INDEX);
        let open = |entry: &FileEntry| {
            let path = dir.join(&entry.name);
            File::open(&path).with_context(|| format!("could not open `{}`", path.display()))
        };
        let files = tokens.map(open).collect::<anyhow::Result<_>>()?;
        let hash = hex(&Sha256::digest(&text));
        let source = Source::Files { dir: dir.to_path_buf(), files };
        Ok(Some(Self { records, source, counts: manifest.counts, hash }))
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
    /// If it cannot be read or its checksum is wrong.
    pub fn get(&self, position: usize) -> anyhow::Result<Sequence> {
        let record = self.records[position];
        match &self.source {
            Source::Memory(sequences) => Ok(sequences[position].clone()),
            Source::Files { dir, files } => {
                let mut bytes = vec![0; record.tokens as usize * 8];
                files[record.shard as usize]
                    .read_exact_at(&mut bytes, record.offset)
                    .with_context(|| format!("could not read example {position} of the shards"))?;
                if checksum(&bytes) != record.checksum {
                    let path = dir.join(shard_name(record.shard as usize));
                    return Err(damaged(dir, &path));
                }
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
    current: Option<(BufWriter<File>, u64)>,
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
        if self.current.as_ref().is_some_and(|(_, written)| *written > SHARD_BYTES) {
            self.finish_file()?;
        }
        if self.current.is_none() {
            let path = self.unfinished.path().join(shard_name(self.files.len()));
            let file = File::create(&path)
                .with_context(|| format!("could not write `{}`", path.display()))?;
            self.current = Some((BufWriter::new(file), 0));
        }
        let (file, written) = self.current.as_mut().expect("a file was just opened");
        file.write_all(&bytes).context("could not write a shard")?;
        let record = record(sequence, id, self.files.len() as u32, *written);
        *written += bytes.len() as u64;
        self.index.extend(record.to_bytes());
        self.counts.add(sequence, truncated);
        Ok(())
    }

    /// Counts an example that was left out.
    pub fn drop_example(&mut self) {
        self.counts.dropped += 1;
    }

    /// Counts what was left out elsewhere.
    pub fn left_out(&mut self, counts: Counts) {
        self.counts.dropped += counts.dropped;
        self.counts.odd += counts.odd;
    }

    /// Counts a conversation that was left out.
    pub fn drop_odd(&mut self) {
        self.counts.odd += 1;
    }

    fn finish_file(&mut self) -> anyhow::Result<()> {
        let Some((file, bytes)) = self.current.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).context("could not write a shard")?;
        let name = shard_name(self.files.len());
        self.files.push(FileEntry { name, bytes, sha256: None });
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
            sha256: Some(hex(&Sha256::digest(&index))),
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
    let trained = sequence.trained_tokens() as u32;
    Record { shard, offset, tokens, trained, id, checksum: checksum(&bytes_of(sequence)) }
}

/// A checksum of tokens, eight bytes at a time: finds flipped bits and mixed-up examples, at the
/// speed of memory. Against malice there is none.
fn checksum(bytes: &[u8]) -> u64 {
    // 2^64 divided by the golden ratio: odd, and its bits are well mixed.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (sum ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR).rotate_left(29)
    })
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

/// Compares a file's length, and its checksum where it has been read whole.
fn check(dir: &Path, entry: &FileEntry, content: Option<&[u8]>) -> anyhow::Result<()> {
    let path = dir.join(&entry.name);
    let file =
        fs::metadata(&path).with_context(|| format!("could not open `{}`", path.display()))?;
    let sha256 = content.map(|content| hex(&Sha256::digest(content)));
    if file.len() != entry.bytes || sha256 != entry.sha256 {
        return Err(damaged(dir, &path));
    }
    Ok(())
}

fn damaged(dir: &Path, path: &Path) -> anyhow::Error {
    Hinted::new(
        format!("the token shard `{}` is damaged", path.display()),
        format!("delete the folder `{}`; it is made again", dir.display()),
    )
    .into()
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
