//! Judges a trace again as it was judged before, and says whether the same comes out.

use super::rules::judge;
use super::{Mode, Tools};
use crate::records::{TraceId, VerdictRow};
use crate::sandbox::Limits;
use crate::store::Store;

/// What is stored and what came out now.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// What is stored.
    pub before: VerdictRow,
    /// What came out now. Nothing of it is stored.
    pub after: VerdictRow,
    /// What differs, in words; empty if nothing does.
    pub differences: Vec<String>,
}

/// Judges trace `id` again by the rules of `mode`, with the limits that its verdict was found with. None
/// if there is no such verdict.
///
/// # Errors
/// If there is no such trace, the store refuses, or the trace cannot be judged.
pub fn replay(
    store: &Store,
    id: TraceId,
    mode: Mode,
    tools: &Tools,
) -> anyhow::Result<Option<Replay>> {
    let (question, trace) = store.asked_and_answered(id)?;
    let Some(before) = store.verdict(id, mode)? else { return Ok(None) };
    let stored: Option<Limits> = serde_json::from_value(before.detail["limits"].clone()).ok();
    let limits = stored.unwrap_or(tools.limits);
    let after = judge(&question, &trace, &Tools { mode, limits, ..tools.clone() })?;
    let differences = differences(&before, &after);
    Ok(Some(Replay { before, after, differences }))
}

/// What differs, apart from times and memory.
fn differences(before: &VerdictRow, after: &VerdictRow) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            found.push(format!("{what} was {before} and is {after}"));
        }
    };
    compare("verdict", before.verdict.name().into(), after.verdict.name().into());
    for (what, at) in [
        ("outcome", "/outcome"),
        ("first failed test", "/first_failed"),
        ("output of the failed test", "/failed/got"),
        ("comparator", "/comparator"),
        ("tier", "/tier"),
        ("interpreter", "/interpreter/version"),
    ] {
        let value =
            |row: &VerdictRow| row.detail.pointer(at).map_or("none".into(), ToString::to_string);
        compare(what, value(before), value(after));
    }
    compare("version of the verifier", before.version.to_string(), after.version.to_string());
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;
    use crate::records::{Mode, TraceId, Verdict, VerdictRow};

    fn row(verdict: Verdict, version: u32, detail: serde_json::Value) -> VerdictRow {
        let (trace_id, mode, verifier) = (TraceId(1), Mode::Strict, "code".into());
        VerdictRow { trace_id, mode, verdict, verifier, version, detail }
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
}
