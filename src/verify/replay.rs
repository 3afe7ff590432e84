//! Judges a trace again as it was judged before, and says whether the same comes out.

use serde_json::Value;

use super::rules::judge;
use super::{Mode, Tools};
use crate::records::{TraceId, VerdictRow};
use crate::sandbox::Limits;
use crate::store::Store;

/// What no two runs agree on: what was measured, how often the machine needed another try, and what
/// Python writes about where things lie in memory.
const MEASURED: [&str; 7] =
    ["cpu_ms", "wall_ms", "memory_bytes", "flaky", "repeated", "retries", "stderr"];

/// Differences that are told one by one; a judge that changed its mind on everything has one cause.
const TOLD_MAX: usize = 20;

/// Characters of a value that are told.
const VALUE_CHARACTERS_MAX: usize = 80;

/// What is stored and what came out now.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// What is stored; none if the rules have not looked yet.
    pub before: Option<VerdictRow>,
    /// What came out now. Nothing of it is stored.
    pub after: VerdictRow,
    /// What differs, in words; empty if nothing does.
    pub differences: Vec<String>,
}

impl Replay {
    /// Whether the stored verdict came out again, with everything that it rests on.
    pub fn is_same(&self) -> bool {
        self.before.is_some() && self.differences.is_empty()
    }
}

/// Judges trace `id` again by the rules of `mode`, with the limits that its verdict was found with.
///
/// # Errors
/// If there is no such trace, the store refuses, or the trace cannot be judged.
pub fn replay(store: &Store, id: TraceId, mode: Mode, tools: &Tools) -> anyhow::Result<Replay> {
    let (question, trace) = store.asked_and_answered(id)?;
    let before = store.verdict(id, mode)?;
    let stored = before.as_ref().map(|before| before.detail["limits"].clone());
    let stored: Option<Limits> = stored.and_then(|limits| serde_json::from_value(limits).ok());
    let limits = stored.unwrap_or(tools.limits);
    let after = judge(&question, &trace, &Tools { mode, limits, ..tools.clone() })?;
    let differences = before.as_ref().map(|before| differences(before, &after)).unwrap_or_default();
    Ok(Replay { before, after, differences })
}

/// What differs, apart from times and memory: the verdict, the outcome of each test, everything that
/// was seen, and what it was seen with.
fn differences(before: &VerdictRow, after: &VerdictRow) -> Vec<String> {
    let mut found = Vec::new();
    let name = |row: &VerdictRow| Value::from(row.verdict.name());
    compare("verdict", (&name(before), &name(after)), &mut found);
    let verifier = |row: &VerdictRow| Value::from(row.verifier.as_str());
    compare("verifier", (&verifier(before), &verifier(after)), &mut found);
    let version = |row: &VerdictRow| Value::from(row.version);
    compare("version of the verifier", (&version(before), &version(after)), &mut found);
    compare("", (&before.detail, &after.detail), &mut found);
    if found.len() > TOLD_MAX {
        let more = found.len() - TOLD_MAX;
        found.truncate(TOLD_MAX);
        found.push(format!("and {more} more"));
    }
    found
}

/// Adds what differs between two values that are called `at`.
fn compare(at: &str, (before, after): (&Value, &Value), found: &mut Vec<String>) {
    let below = |name: &str| if at.is_empty() { name.into() } else { format!("{at}.{name}") };
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added).filter(|name| !MEASURED.contains(&name.as_str())) {
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(name).cloned().unwrap_or_default()
                };
                compare(&below(name), (&of(old), &of(new)), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let of = |items: &[Value]| items.get(index).cloned().unwrap_or_default();
                compare(&below(&(index + 1).to_string()), (&of(old), &of(new)), found);
            }
        }
        (before, after) if before != after => {
            let at = if at.is_empty() { "evidence" } else { at };
            found.push(format!("{at} was {} and is {}", told(before), told(after)));
        }
        _ => {}
    }
}

/// A value for people, cut.
fn told(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::differences;
    use crate::records::{Mode, TraceId, Verdict, VerdictRow};

    fn row(verdict: Verdict, version: u32, detail: Value) -> VerdictRow {
        let (trace_id, mode, verifier) = (TraceId(1), Mode::Strict, "code".into());
        VerdictRow { trace_id, mode, verdict, verifier, version, detail }
    }

    #[track_caller]
    fn check(before: Value, after: Value, expected: &[&str]) {
        let row = |detail| row(Verdict::Correct, 1, detail);
        assert_eq!(differences(&row(before), &row(after)), expected);
    }

    #[test]
    fn times_may_differ_and_nothing_else() {
        let before = row(Verdict::Correct, 1, json!({"outcome": "passed", "cpu_ms": 3}));
        let again = row(Verdict::Correct, 1, json!({"outcome": "passed", "cpu_ms": 9}));
        assert_eq!(differences(&before, &again), Vec::<String>::new());
        let other = row(Verdict::Wrong("x".into()), 2, json!({"outcome": "time_limit"}));
        let found = differences(&before, &other);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "verdict was correct and is wrong");
    }

    #[test]
    fn every_test_and_all_evidence_is_compared() {
        check(
            json!({"tests": [{"outcome": "passed", "cpu_ms": 1}, {"outcome": "passed"}]}),
            json!({"tests": [{"outcome": "passed", "cpu_ms": 2}, {"outcome": "time_limit"}]}),
            &["tests.2.outcome was passed and is time_limit"],
        );
        check(
            json!({"failed": {"got": "1", "stderr": "at 0x7f", "seed": 5}}),
            json!({"failed": {"got": "2", "stderr": "at 0x70", "seed": 5}}),
            &["failed.got was 1 and is 2"],
        );
        check(json!({"answer": "x"}), json!({"answer": "x", "found": null}), &[]);
        check(
            json!({"answer": "x"}),
            json!(null),
            &["evidence was {\"answer\":\"x\"} and is none"],
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let tests = |outcome: &str| json!({"tests": vec![json!({"outcome": outcome}); 50]});
        let row = |detail| row(Verdict::Correct, 1, detail);
        let found = differences(&row(tests("passed")), &row(tests("wrong_answer")));
        assert_eq!((found.len(), found[20].as_str()), (21, "and 30 more"));
    }
}
