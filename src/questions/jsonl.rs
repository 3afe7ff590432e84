//! The source `jsonl`: one question per line, in our own words or anybody's.
//!
//! Fields: `problem`, `domain`, `reference`, `tests {inputs, outputs, fn_name}`, `starter_code`,
//! `id`, `source`; a map says which column holds a field that is called differently. Tests are read in
//! the layouts of APPS, TACO, CodeContests, LiveCodeBench and Codeforces too. A domain that
//! is missing is taken from what is there: tests make it code, a reference math.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Config, Rejected, Row, Source};
use crate::formats::cases;
use crate::hint::Hinted;
use crate::records::{Domain, NewQuestion, Split, Tests};

/// Longest row that is read: OpenThoughts' largest tests are about 5 MB.
const ROW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The fields a row may have; `map` may rename each.
pub const FIELDS: [&str; 7] =
    ["id", "problem", "domain", "reference", "tests", "starter_code", "source"];

/// The source.
#[derive(Debug)]
pub struct Jsonl;

impl Source for Jsonl {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn read(
        &self,
        config: &Config,
        sink: &mut dyn FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(path) = &config.path else {
            let hint = "set `path` in `[questions]`, or name the file";
            return Err(Hinted::new("the source `jsonl` needs a file", hint).into());
        };
        if let Some(field) = config.map.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            let message = format!("questions have no field `{field}` that a column could be");
            return Err(Hinted::new(message, format!("fields are {}", FIELDS.join(", "))).into());
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_else(|| "jsonl".into());
        for (index, line) in Lines::open(path)?.enumerate() {
            let row = index as u64 + 1;
            let question = match line? {
                Ok(line) if line.trim_ascii().is_empty() => continue,
                Ok(line) => question(&line, config, &stem),
                Err(why) => Err(why),
            };
            sink(match question {
                Ok(question) => Row::Question(Box::new(question)),
                Err(why) => Row::Rejected(Rejected { row, why }),
            })?;
        }
        Ok(())
    }
}

/// The lines of a file as bytes; an overlong one is an error of its own.
struct Lines {
    reader: BufReader<File>,
    path: String,
}

impl Lines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).and_then(|file| {
            let directory = file.metadata()?.is_dir();
            if directory { Err(std::io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
        });
        let file = file.map_err(|error| {
            anyhow::Error::new(error).context(Hinted::new(
                format!("could not read questions from `{name}`"),
                "check that the file exists and is yours",
            ))
        })?;
        Ok(Self { reader: BufReader::new(file), path: name })
    }
}

impl Iterator for Lines {
    type Item = anyhow::Result<Result<Vec<u8>, String>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let mut length = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) => {
                    let context = format!("could not read questions from `{}`", self.path);
                    return Some(Err(anyhow::Error::new(error).context(context)));
                }
            };
            let newline = buffer.iter().position(|&byte| byte == b'\n');
            let taken = newline.map_or(buffer.len(), |at| at + 1);
            if length <= ROW_BYTES_MAX {
                line.extend_from_slice(&buffer[..taken]);
            }
            length += taken;
            self.reader.consume(taken);
            if newline.is_some() || taken == 0 {
                break;
            }
        }
        match length {
            0 => None,
            _ if length > ROW_BYTES_MAX => Some(Ok(Err(format!(
                "the row has {length} bytes, more than the limit of {ROW_BYTES_MAX}"
            )))),
            _ => Some(Ok(Ok(line))),
        }
    }
}

/// The question in one line, or why there is none.
fn question(line: &[u8], config: &Config, stem: &str) -> Result<NewQuestion, String> {
    let line = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    let row: cases::Row =
        serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|error| {
            if error.is_data() {
                "not a JSON object".to_owned()
            } else {
                format!("not JSON: {error}")
            }
        })?;
    let row = Fields { row: &row, config };
    let problem = row.text("problem")?.filter(|problem| !problem.trim().is_empty());
    let problem = problem.ok_or_else(|| format!("no `{}`", row.column("problem")))?;
    let reference = row.text("reference")?.filter(|reference| !reference.trim().is_empty());
    let tests = row.tests()?;
    let domain = match row.text("domain")? {
        Some(domain) => domain.parse()?,
        None if tests.is_some() => Domain::Code,
        None => Domain::Math,
    };
    // Nobody checks the other domains, so nothing is lost when they have no answer.
    let answer = match domain {
        Domain::Math if reference.is_none() => Some("reference"),
        Domain::Code if tests.is_none() => Some("tests"),
        Domain::Math
        | Domain::Code
        | Domain::Biology
        | Domain::Chemistry
        | Domain::Physics
        | Domain::Puzzle => None,
    };
    if let Some(field) = answer {
        return Err(format!("a {domain} question without an answer: no `{}`", row.column(field)));
    }
    let key = match row.text("id")? {
        Some(id) => id,
        // The same text twice is the same question, wherever it stands.
        None => format!("sha256:{:x}", Sha256::digest(problem.as_bytes()))[..39].to_owned(),
    };
    let source = match &config.source_name {
        Some(name) => name.clone(),
        None => row.text("source")?.unwrap_or_else(|| stem.to_owned()),
    };
    Ok(NewQuestion {
        key,
        domain,
        source,
        family: String::new(),
        split: Split::Train,
        problem,
        reference,
        tests,
        starter_code: row.text("starter_code")?,
    })
}

/// A row seen through the map. Values stay text: a number in a test may have any number of digits.
struct Fields<'a> {
    row: &'a cases::Row,
    config: &'a Config,
}

impl Fields<'_> {
    /// The column that holds `field`.
    fn column<'f>(&'f self, field: &'f str) -> &'f str {
        self.config.map.get(field).map_or(field, String::as_str)
    }

    fn value(&self, field: &str) -> Option<&str> {
        self.row.get(self.column(field)).map(|raw| raw.get()).filter(|json| *json != "null")
    }

    /// A field that is text; numbers are taken as they are written.
    fn text(&self, field: &str) -> Result<Option<String>, String> {
        let Some(json) = self.value(field) else { return Ok(None) };
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json)
                .map(Some)
                .map_err(|error| format!("`{}`: {error}", self.column(field))),
            Some(b'-' | b'0'..=b'9') => Ok(Some(json.to_owned())),
            _ => Err(format!("`{}` is not text", self.column(field))),
        }
    }

    /// The tests: in the column for them, in any layout, or where the set itself has them.
    fn tests(&self) -> Result<Option<Tests>, String> {
        let column = self.column("tests");
        let tests = match self.value("tests") {
            Some(json) => cases::read(json).map_err(|why| format!("`{column}`: {why}"))?,
            None => match cases::of_row(self.row)? {
                Some(tests) => tests,
                None => return Ok(None),
            },
        };
        if tests.inputs.len() != tests.outputs.len() {
            let (inputs, outputs) = (tests.inputs.len(), tests.outputs.len());
            return Err(format!("`{column}` has {inputs} inputs but {outputs} outputs"));
        }
        if tests.inputs.is_empty() {
            return Err(format!("`{column}` is empty"));
        }
        Ok(Some(tests))
    }
}
