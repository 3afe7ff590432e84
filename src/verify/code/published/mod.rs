//! What published harnesses decide on programs, for comparing counts and scores.
//!
//! Decisions are reproduced, not the lack of limits: programs run in our sandbox as in every mode, some
//! behind a facade of Python that takes from them what the harness took. Expected outputs stay outside,
//! so the ways in which programs could read or redefine them there do nothing here. State that one test
//! leaves for the next within their processes is not reproduced either: it made verdicts depend on the
//! order of rows.

pub(super) mod evalchemy;
pub(super) mod lcb;
pub(super) mod openthoughts;
mod python;

/// `text` as Python writes it: JSON's escapes are Python's.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A facade that knows the program it is for, and the name of what is called.
fn facade(driver: &str, source: &str, name: &str) -> String {
    // The names come last, because the driver begins with its own comment and imports.
    format!("SOURCE = {}\nNAME = {}\n{driver}", literal(source), literal(name))
}
