//! LiveCodeBench's tests: the private ones are a list in JSON in a text in a pickle, compressed, in
//! base 64.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Row, given, parse, pickle, read};
use crate::records::Tests;

/// Bytes that compressed tests may unfold to. The largest of release 5 take less than half of it.
const UNFOLDED_MAX: u64 = 256 << 20;

/// Whether `text` could be compressed tests.
pub(super) fn is_compressed(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    text.len() >= 12 && text.bytes().all(letter)
}

/// The JSON in compressed tests.
pub(super) fn decompress(text: &str) -> Result<String, String> {
    decompress_within(text, UNFOLDED_MAX)
}

/// The same, if it unfolds to no more than `most` bytes.
pub(super) fn decompress_within(text: &str, most: u64) -> Result<String, String> {
    let compressed = STANDARD
        .decode(text)
        .map_err(|error| format!("the compressed tests are no base 64: {error}"))?;
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(compressed.as_slice())
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("could not decompress the tests: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("the compressed tests unfold to more than {most} bytes"));
    }
    pickle::text(&bytes).map(str::to_owned)
}

/// The tests of a row: the private ones, by which it scores, or the public ones where there are no
/// others.
pub(super) fn tests(row: &Row) -> Result<Tests, String> {
    #[derive(Deserialize)]
    struct Metadata {
        func_name: Option<String>,
    }

    let private = given(row, "private_test_cases").filter(|json| *json != "\"\"");
    let (name, json) = match (private, given(row, "public_test_cases")) {
        (Some(json), _) => ("private_test_cases", json),
        (None, Some(json)) => ("public_test_cases", json),
        (None, None) => return Err("there are no tests".into()),
    };
    let mut tests = read(json).map_err(|why| format!("`{name}`: {why}"))?;
    let metadata = given(row, "metadata").map(|json| {
        let text: Option<String> = parse(json).ok();
        parse::<Metadata>(text.as_deref().unwrap_or(json))
    });
    tests.fn_name = match metadata {
        Some(metadata) => metadata.map_err(|why| format!("`metadata`: {why}"))?.func_name,
        None => None,
    };
    Ok(tests)
}

/// Adds a call: its input is one argument in JSON per line, its output JSON, both in a text.
pub(super) fn push_call(tests: &mut Tests, input: &str, output: &str) -> Result<(), String> {
    let text = |json: &str| parse::<String>(json).unwrap_or_else(|_| json.to_owned());
    let (input, output) = (text(input), text(output));
    let lines: Vec<&str> = input.split('\n').filter(|line| !line.trim().is_empty()).collect();
    let arguments = format!("[{}]", lines.join(","));
    for json in [arguments.as_str(), output.trim()] {
        parse::<&serde_json::value::RawValue>(json)
            .map_err(|why| format!("an argument or result is no JSON: {why}"))?;
    }
    tests.inputs.push(&arguments)?;
    tests.outputs.push(output.trim())
}
