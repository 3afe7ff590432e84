//! Python's `==` between a returned value and an expected one, as harnesses that compare inside Python
//! have it: `True == 1`, `2.0 == 2`, no tolerance, and a tuple is no list.

use serde_json::Value;

use super::super::compare::{decimal, whole};
use super::super::json::Json;
use super::super::value::parts;

/// Whether Python would call the two equal. Tuples count as lists in the outermost `tuples` levels.
pub(super) fn equal(tagged: &Value, expected: &Json, tuples: usize) -> bool {
    let Some((tag, content)) = parts(tagged) else { return false };
    match (tag, expected) {
        ("n", Json::Null) => true,
        ("b", Json::Bool(expected)) => content.as_bool() == Some(*expected),
        ("b", Json::Number(expected)) => {
            let given = content.as_bool().map(|given| f64::from(u8::from(given)));
            given.is_some() && given == decimal(expected.as_bytes())
        }
        ("i" | "f", Json::Bool(expected)) => {
            let given = content.as_str().and_then(|given| decimal(given.as_bytes()));
            given == Some(f64::from(u8::from(*expected)))
        }
        ("i" | "f", Json::Number(expected)) => {
            let Some(given) = content.as_str() else { return false };
            same_number(given.as_bytes(), expected.as_bytes())
        }
        ("s", Json::Text(expected)) => content.as_str() == Some(expected),
        ("l", Json::List(expected)) => same_items(content, expected, tuples.saturating_sub(1)),
        ("t", Json::List(expected)) if tuples > 0 => same_items(content, expected, tuples - 1),
        ("d", Json::Map(expected)) => {
            let Some(given) = content.as_array() else { return false };
            given.len() == expected.len()
                && given.iter().all(|pair| {
                    let key = pair.get(0).and_then(parts);
                    let key = key.and_then(|(_, key)| key.as_str());
                    let expected = key.and_then(|key| expected.get(key));
                    matches!((pair.get(1), expected), (Some(a), Some(b)) if equal(a, b, 0))
                })
        }
        _ => false,
    }
}

fn same_items(given: &Value, expected: &[Json], tuples: usize) -> bool {
    let Some(given) = given.as_array() else { return false };
    given.len() == expected.len()
        && given.iter().zip(expected).all(|(given, expected)| equal(given, expected, tuples))
}

fn same_number(given: &[u8], expected: &[u8]) -> bool {
    match (whole(given), whole(expected)) {
        (Some(given), Some(expected)) => given == expected,
        _ => matches!((decimal(given), decimal(expected)), (Some(a), Some(b)) if a == b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::json::Json;
    use super::equal;

    #[track_caller]
    fn check(given: &Value, expected: &str, tuples: usize, same: bool) {
        let found = equal(given, &Json::parse(expected).unwrap(), tuples);
        assert_eq!(found, same, "{given} == {expected}");
    }

    #[test]
    fn numbers_and_truth_values_are_one_kind() {
        check(&json!(["b", true]), "1", 0, true);
        check(&json!(["i", "1"]), "true", 0, true);
        check(&json!(["f", "2.0"]), "2", 0, true);
        check(&json!(["f", "0.30000000000000004"]), "0.3", 0, false);
        check(&json!(["i", "123456789012345678901"]), "123456789012345678902", 0, false);
        check(&json!(["o", "Cheat"]), "1", 0, false);
    }

    #[test]
    fn a_tuple_is_a_list_where_the_harness_makes_it_one() {
        let tuple = json!(["t", [["i", "1"]]]);
        check(&tuple, "[1]", 0, false);
        check(&tuple, "[1]", 1, true);
        check(&json!(["l", [tuple]]), "[[1]]", 1, false);
        check(&json!(["l", [tuple]]), "[[1]]", 2, true);
        check(&json!(["u", [["i", "1"]]]), "[1]", 2, false);
    }
}
