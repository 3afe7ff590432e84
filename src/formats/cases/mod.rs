//! Tests of code questions in the layouts of the sets they come from.
//!
//! APPS, TACO and OpenThoughts: `{inputs, outputs, fn_name}`, often as text in JSON. CodeContests: public,
//! private and generated tests, in this order. LiveCodeBench: lists of `{input, output, testtype}`, the
//! private ones compressed. Codeforces: official tests with limits and a checker. Numbers stay as they
//! are written, and nothing is ever unpickled.

mod livecodebench;
mod pickle;
mod stream;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::records::{Cases, Comparator, TestLimits, Tests};

pub use stream::Streamed;

/// What is said of tests that are none.
const NEITHER: &str = "the tests are neither an object, a list nor text";

/// A row as JSON: its fields, each as it is written.
pub type Row = BTreeMap<String, Box<RawValue>>;

/// How often JSON may be text in JSON: once in OpenThoughts' metadata, twice in LiveCodeBench.
const WRAPPED_MAX: u32 = 3;

/// Tests in any of the layouts, from the JSON of a field.
///
/// # Errors
/// What is wrong with them.
pub fn read(json: &str) -> Result<Tests, String> {
    unwrapped(json.trim(), WRAPPED_MAX)
}

fn unwrapped(json: &str, wrapped: u32) -> Result<Tests, String> {
    match json.as_bytes().first() {
        Some(b'"') if wrapped > 0 => {
            let text: String = parse(json)?;
            of_text(text.trim(), wrapped)
        }
        Some(b'[') => listed(json),
        Some(b'{') => {
            // Looked at where they are: tests may take hundreds of megabytes.
            let fields: BTreeMap<Cow<'_, str>, &RawValue> = parse(json)?;
            if fields.contains_key("inputs") {
                return parse(json);
            }
            let row: Row = parse(json)?;
            match of_row(&row)? {
                Some(tests) => Ok(tests),
                None => grouped(&row),
            }
        }
        _ => Err(NEITHER.into()),
    }
}

/// Tests in a text in JSON.
fn of_text(text: &str, wrapped: u32) -> Result<Tests, String> {
    if text.starts_with(['{', '[', '"']) {
        unwrapped(text, wrapped - 1)
    } else if livecodebench::is_compressed(text) {
        unwrapped(livecodebench::decompress(text)?.trim(), wrapped - 1)
    } else {
        Err("the tests are text, but neither JSON nor compressed".into())
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// One test of a list.
#[derive(Deserialize)]
struct Listed {
    input: Box<RawValue>,
    output: Box<RawValue>,
    #[serde(default)]
    testtype: Option<String>,
}

/// A list of tests, each with its input and output.
fn listed(json: &str) -> Result<Tests, String> {
    let list: Vec<Listed> = parse(json)?;
    let called = list.iter().any(|test| test.testtype.as_deref() == Some("functional"));
    let mut tests = Tests::default();
    for test in &list {
        if called {
            livecodebench::push_call(&mut tests, test.input.get(), test.output.get())?;
        } else {
            tests.inputs.push(test.input.get())?;
            tests.outputs.push(test.output.get())?;
        }
    }
    Ok(tests)
}

/// A group of tests as two lists, as CodeContests has them.
#[derive(Deserialize)]
struct Group {
    input: Cases,
    output: Cases,
}

fn grouped(row: &Row) -> Result<Tests, String> {
    let list = |name: &str| match row.get(name) {
        Some(raw) => parse::<Cases>(raw.get()),
        None => Err(format!("the tests have neither `inputs` nor `{name}`")),
    };
    Ok(Tests { inputs: list("input")?, outputs: list("output")?, ..Tests::default() })
}

/// The tests of a row of one of the sets; none if it has no field that we know.
///
/// # Errors
/// What is wrong with them.
pub fn of_row(row: &Row) -> Result<Option<Tests>, String> {
    for name in ["input_output", "test_cases"] {
        if let Some(raw) = given(row, name) {
            return read(raw).map(Some).map_err(|why| format!("`{name}`: {why}"));
        }
    }
    if ["public_tests", "private_tests", "generated_tests"]
        .iter()
        .any(|name| given(row, name).is_some())
    {
        return code_contests(row).map(Some);
    }
    if given(row, "private_test_cases").or_else(|| given(row, "public_test_cases")).is_some() {
        return livecodebench::tests(row).map(Some);
    }
    if given(row, "official_tests").is_some() {
        return codeforces(row).map(Some);
    }
    Ok(None)
}

/// A field that is there and not null.
fn given<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name).map(|raw| raw.get().trim()).filter(|json| *json != "null")
}

fn code_contests(row: &Row) -> Result<Tests, String> {
    let mut tests = Tests::default();
    for name in ["public_tests", "private_tests", "generated_tests"] {
        let Some(json) = given(row, name) else { continue };
        let group: Group = parse(json).map_err(|why| format!("`{name}`: {why}"))?;
        if group.input.len() != group.output.len() {
            let (inputs, outputs) = (group.input.len(), group.output.len());
            return Err(format!("`{name}` has {inputs} inputs but {outputs} outputs"));
        }
        tests.inputs.extend(&group.input)?;
        tests.outputs.extend(&group.output)?;
    }
    tests.limits = limits(row);
    Ok(tests)
}

/// Official tests of Codeforces with the author's limits, and the checker where one output is not the
/// only right one.
fn codeforces(row: &Row) -> Result<Tests, String> {
    let text = |name: &str| given(row, name).and_then(|json| parse::<String>(json).ok());
    if text("interaction_format").is_some_and(|format| !format.trim().is_empty()) {
        return Err("an interactive problem cannot be judged by its tests".into());
    }
    if text("input_mode").is_some_and(|mode| mode == "file") {
        return Err("a problem that reads files cannot be judged by standard input".into());
    }
    let mut tests = read(given(row, "official_tests").unwrap_or("[]"))?;
    tests.checker = text("generated_checker").filter(|checker| !checker.trim().is_empty());
    tests.comparator = tests.checker.as_ref().map(|_| Comparator::Checker);
    tests.limits = limits(row);
    Ok(tests)
}

/// The author's limits: seconds as a number or as CodeContests writes them, memory in bytes or MB.
fn limits(row: &Row) -> Option<TestLimits> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Time {
        Seconds(f64),
        Parts {
            #[serde(default)]
            seconds: f64,
            #[serde(default)]
            nanos: f64,
        },
    }

    let whole = |value: f64| (value.is_finite() && value >= 1.0).then_some(value as u64);
    let number = |name: &str| given(row, name).and_then(|json| parse::<f64>(json).ok());
    let cpu_ms = given(row, "time_limit").and_then(|json| parse::<Time>(json).ok());
    let cpu_ms = cpu_ms.and_then(|time| match time {
        Time::Seconds(seconds) => whole(seconds * 1e3),
        Time::Parts { seconds, nanos } => whole(seconds * 1e3 + nanos / 1e6),
    });
    let megabytes = number("memory_limit").map(|megabytes| megabytes * 1_048_576.0);
    let memory_bytes = number("memory_limit_bytes").or(megabytes).and_then(whole);
    let limits = TestLimits { cpu_ms, memory_bytes };
    (limits != TestLimits::default()).then_some(limits)
}

/// Python solutions that a row brings: a list, the same as text, or CodeContests' lists by language.
///
/// # Errors
/// If they are none of these.
pub fn solutions(row: &Row) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct ByLanguage {
        language: Vec<i64>,
        solution: Vec<String>,
    }

    /// CodeContests' number for Python 3.
    const PYTHON_3: i64 = 3;

    let Some(json) = given(row, "solutions") else { return Ok(Vec::new()) };
    let text: Option<String> = parse(json).ok();
    let json = text.as_deref().unwrap_or(json).trim();
    if json.is_empty() {
        return Ok(Vec::new());
    }
    if json.starts_with('[') {
        return parse(json).map_err(|why| format!("`solutions`: {why}"));
    }
    let ByLanguage { language, solution } =
        parse(json).map_err(|why| format!("`solutions`: {why}"))?;
    let pairs = language.into_iter().zip(solution);
    Ok(pairs.filter(|(language, _)| *language == PYTHON_3).map(|(_, code)| code).collect())
}

#[cfg(test)]
mod tests;
