//! Each set's tests in its own layout.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::livecodebench::decompress_within;
use super::{Row, of_row, read, solutions};
use crate::records::{Comparator, Tests};

/// What LiveCodeBench does to a list of tests; `pickled` puts the text into a pickle.
fn compressed(text: &str, pickled: impl Fn(&str) -> Vec<u8>) -> String {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&pickled(text)).unwrap();
    STANDARD.encode(zlib.finish().unwrap())
}

fn pickled(text: &str) -> Vec<u8> {
    let mut bytes = b"\x80\x04X".to_vec();
    bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(b"\x94.");
    bytes
}

fn row(value: &Value) -> Row {
    serde_json::from_str(&value.to_string()).unwrap()
}

#[track_caller]
fn check(tests: &Tests, inputs: &[&str], outputs: &[&str]) {
    assert_eq!(tests.inputs.iter().collect::<Vec<_>>(), inputs);
    assert_eq!(tests.outputs.iter().collect::<Vec<_>>(), outputs);
}

#[test]
fn apps_and_taco_have_lists_often_as_text() {
    let text = r#"{"inputs": ["1 2\n", 12345678901234567890123], "outputs": ["3", 1.50]}"#;
    let wanted = ([r#""1 2\n""#, "12345678901234567890123"], [r#""3""#, "1.50"]);
    check(&read(text).unwrap(), &wanted.0, &wanted.1);
    let quoted = Value::from(text).to_string();
    check(&read(&quoted).unwrap(), &wanted.0, &wanted.1);
    for name in ["input_output", "test_cases"] {
        let tests = of_row(&row(&json!({"question": "x", name: text}))).unwrap().unwrap();
        check(&tests, &wanted.0, &wanted.1);
    }
    let called = read(r#"{"fn_name": "f", "inputs": [[1]], "outputs": [[2]]}"#).unwrap();
    assert_eq!(called.function(), Some("f"));
}

#[test]
fn code_contests_has_public_private_and_generated_tests() {
    let group = |n: &str| json!({"input": [n], "output": [format!("{n}!")]});
    let value = json!({
        "generated_tests": group("c"), "public_tests": group("a"), "private_tests": group("b"),
        "time_limit": {"seconds": 2, "nanos": 500_000_000}, "memory_limit_bytes": 256_000_000,
    });
    let tests = of_row(&row(&value)).unwrap().unwrap();
    check(&tests, &[r#""a""#, r#""b""#, r#""c""#], &[r#""a!""#, r#""b!""#, r#""c!""#]);
    let limits = tests.limits.unwrap();
    assert_eq!((limits.cpu_ms, limits.memory_bytes), (Some(2500), Some(256_000_000)));
    check(
        &read(&value.to_string()).unwrap(),
        &[r#""a""#, r#""b""#, r#""c""#],
        &[r#""a!""#, r#""b!""#, r#""c!""#],
    );
    let uneven = json!({"private_tests": {"input": ["1", "2"], "output": ["1"]}});
    assert!(of_row(&row(&uneven)).unwrap_err().contains("2 inputs but 1 outputs"));
}

#[test]
fn live_code_bench_has_private_tests_compressed() {
    let list = json!([{"input": "1\n", "output": "2", "testtype": "stdin"}]).to_string();
    let public = json!([{"input": "0", "output": "0", "testtype": "stdin"}]).to_string();
    let packed = compressed(&Value::from(list.as_str()).to_string(), pickled);
    for private in [packed, compressed(&list, pickled), list] {
        let value = json!({
            "public_test_cases": public, "private_test_cases": private, "metadata": "{}",
        });
        check(&of_row(&row(&value)).unwrap().unwrap(), &[r#""1\n""#], &[r#""2""#]);
        check(&read(&Value::from(private).to_string()).unwrap(), &[r#""1\n""#], &[r#""2""#]);
    }
}

#[test]
fn live_code_bench_calls_a_method_with_an_argument_per_line() {
    let list = json!([
        {"input": "[1, 2]\n\"a\\nb\"", "output": "true", "testtype": "functional"},
        {"input": "12345678901234567890123", "output": "[]", "testtype": "functional"},
    ]);
    let value = json!({
        "public_test_cases": "[]", "private_test_cases": compressed(&list.to_string(), pickled),
        "metadata": r#"{"func_name": "solve"}"#, "starter_code": "class Solution:\n",
    });
    let tests = of_row(&row(&value)).unwrap().unwrap();
    check(&tests, &[r#"[[1, 2],"a\nb"]"#, "[12345678901234567890123]"], &["true", "[]"]);
    assert_eq!(tests.function(), Some("solve"));
}

#[test]
fn compressed_tests_that_are_a_trap_are_refused() {
    let system = |_: &str| b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.".to_vec();
    for (text, why) in [
        (compressed("", system), "refused"),
        ("AAAAAAAAAAAAAAAA".to_owned(), "could not decompress"),
        ("AAAAAAAAAAAAA".to_owned(), "no base 64"),
        ("these are no tests".to_owned(), "neither JSON nor compressed"),
    ] {
        let error = read(&Value::from(text).to_string()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn compressed_tests_unfold_to_no_more_than_the_limit() {
    let text = compressed(&"a".repeat(1000), pickled);
    assert_eq!(decompress_within(&text, 1009).unwrap().len(), 1000);
    assert!(decompress_within(&text, 1008).unwrap_err().contains("unfold to more than 1008 bytes"));
}

#[test]
fn codeforces_has_limits_and_checkers() {
    let value = json!({
        "official_tests": [{"input": "3\n", "output": "1 2\n"}], "time_limit": 1.5,
        "memory_limit": 256.0, "generated_checker": "print(1)", "interaction_format": null,
        "input_mode": "stdio",
    });
    let tests = of_row(&row(&value)).unwrap().unwrap();
    check(&tests, &[r#""3\n""#], &[r#""1 2\n""#]);
    assert_eq!(tests.comparator(), Comparator::Checker);
    assert_eq!(tests.checker.as_deref(), Some("print(1)"));
    let limits = tests.limits.unwrap();
    assert_eq!((limits.cpu_ms, limits.memory_bytes), (Some(1500), Some(256 << 20)));
    let mut interactive = value.clone();
    interactive["interaction_format"] = json!("ask and answer");
    assert!(of_row(&row(&interactive)).unwrap_err().contains("interactive"));
    let mut plain = value;
    plain["generated_checker"] = Value::Null;
    assert_eq!(of_row(&row(&plain)).unwrap().unwrap().comparator(), Comparator::Tokens);
}

#[test]
fn rows_without_tests_have_none_and_nonsense_is_told() {
    assert_eq!(of_row(&row(&json!({"problem": "x", "test_cases": null}))), Ok(None));
    for (json, why) in [
        ("17", "neither an object"),
        (r#""not JSON""#, "neither JSON nor compressed"),
        (r#""{broken""#, "key must be a string"),
        (r#"{"a": 1}"#, "neither `inputs` nor `input`"),
        (r#"{"inputs": [1]}"#, "missing field `outputs`"),
        (r#"[{"input": 1}]"#, "missing field `output`"),
        (r#""\"\\\"\\\\\\\"x\\\\\\\"\\\"\"""#, "neither"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(why), "{json}: {error}");
    }
}

#[test]
fn solutions_come_as_lists_text_or_by_language() {
    for value in [
        json!({"solutions": ["a", "b"]}),
        json!({"solutions": "[\"a\", \"b\"]"}),
        json!({"solutions": {"language": [3, 2, 3, 1], "solution": ["a", "x", "b", "y"]}}),
    ] {
        assert_eq!(solutions(&row(&value)).unwrap(), ["a", "b"]);
    }
    assert_eq!(solutions(&row(&json!({"solutions": ""}))).unwrap(), Vec::<String>::new());
    assert!(solutions(&row(&json!({"solutions": 5}))).is_err());
}
