//! What is kept of the first test that failed: its texts, cut to the part where they differ.

use serde_json::Value;

use super::Failed;
use super::json::{self, Json};
use super::value::parts;
use crate::sandbox::Run;

/// Bytes of each text that is kept.
const KEPT_BYTES: usize = 4096;

/// Of those, how many stand before the place where expected and given part.
const BEFORE_BYTES: usize = 1024;

/// What is kept of `run` of the test at `index`, given its input and expected output as JSON.
pub(super) fn failed(
    index: usize,
    run: &Run,
    (input, expected): (&str, &str),
    called: bool,
) -> Failed {
    let given = match &run.value {
        Some(value) if called => written(value).into_bytes(),
        _ => run.stdout.clone(),
    };
    let expected = shown(expected, called);
    let from = window(&given, expected.as_bytes());
    Failed {
        index,
        input: cut(&shown(input, called), 0),
        expected: cut(&expected, from),
        got: cut(&String::from_utf8_lossy(&given[from.min(given.len())..]), 0),
        from_byte: from,
        stderr: cut(&run.stderr, 0),
        position: None,
        exit_status: run.exit_status,
        signal: run.signal,
        seed: run.seed,
    }
}

/// Where the kept part begins: at a line not far before the first byte that differs, or at the front.
fn window(given: &[u8], expected: &[u8]) -> usize {
    let same = given.iter().zip(expected).take_while(|(a, b)| a == b).count();
    if same < KEPT_BYTES / 2 {
        return 0;
    }
    let earliest = same - BEFORE_BYTES;
    let line = given[earliest..same].iter().position(|byte| *byte == b'\n');
    let mut from = line.map_or(earliest, |at| earliest + at + 1);
    // Both are the same up to here, so this is a boundary of characters in both or in none.
    while from < same && (given[from] & 0xC0) == 0x80 {
        from += 1;
    }
    from
}

/// A test's value for people: text as it is, what a function takes or returns as compact JSON.
fn shown(json: &str, called: bool) -> String {
    if !called {
        return json::text(json).unwrap_or_else(|_| json.to_owned());
    }
    Json::parse(json).map_or_else(|_| json.to_owned(), |value| compact(&value))
}

fn compact(value: &Json) -> String {
    match value {
        Json::Null => "null".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => text.clone(),
        Json::Text(text) => Value::from(text.as_str()).to_string(),
        Json::List(items) => list(items.iter().map(compact), ['[', ']']),
        Json::Map(map) => {
            let pair = |(key, value): (&String, &Json)| {
                format!("{}:{}", Value::from(key.as_str()), compact(value))
            };
            list(map.iter().map(pair), ['{', '}'])
        }
    }
}

/// What a function returned, in the same spelling; what JSON has not as Python writes it.
fn written(tagged: &Value) -> String {
    let Some((tag, content)) = parts(tagged) else { return tagged.to_string() };
    let text = || content.as_str().unwrap_or_default();
    let items = || content.as_array().map(Vec::as_slice).unwrap_or_default();
    match tag {
        "n" => "null".into(),
        "b" => content.to_string(),
        "i" | "f" => text().to_owned(),
        "s" => content.to_string(),
        "l" | "t" => list(items().iter().map(written), ['[', ']']),
        "u" => list(items().iter().map(written), ['{', '}']),
        "d" => {
            let part = |pair: &Value, at: usize| pair.get(at).map(written).unwrap_or_default();
            let pair = |pair: &Value| format!("{}:{}", part(pair, 0), part(pair, 1));
            list(items().iter().map(pair), ['{', '}'])
        }
        _ => format!("<{}>", text()),
    }
}

fn list(items: impl Iterator<Item = String>, [open, close]: [char; 2]) -> String {
    let mut text = String::from(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push(close);
    text
}

/// The part of `text` that is kept, from the byte `from` on.
fn cut(text: &str, from: usize) -> String {
    let mut from = from.min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let mut end = text.len().min(from + KEPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[from..end].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{KEPT_BYTES, failed};
    use crate::sandbox::{Ended, Run};
    use crate::verify::code::Failed;

    fn kept(given: &str, expected: &str) -> Failed {
        let run = Run { stdout: given.into(), ..Run::empty(Ended::Normally) };
        failed(0, &run, ("\"in\"", &Value::from(expected).to_string()), false)
    }

    fn returned(value: Value, expected: &str) -> [String; 2] {
        let run = Run { value: Some(value), ..Run::empty(Ended::Normally) };
        let kept = failed(0, &run, ("[ 1 ]", expected), true);
        [kept.got, kept.expected]
    }

    #[test]
    fn short_texts_are_kept_whole() {
        let kept = kept("1\n2\n", "1\n3\n");
        assert_eq!((kept.got.as_str(), kept.expected.as_str()), ("1\n2\n", "1\n3\n"));
        assert_eq!((kept.input.as_str(), kept.from_byte), ("in", 0));
    }

    #[test]
    fn of_long_texts_the_part_is_kept_where_they_differ() {
        let line = "älong line that both have\n";
        let same = line.repeat(1_000);
        let kept = kept(&format!("{same}6\n{same}"), &format!("{same}7\n"));
        assert!(kept.from_byte < same.len() && same[..kept.from_byte].ends_with('\n'));
        assert_eq!(&kept.got[..same.len() - kept.from_byte], &same[kept.from_byte..]);
        assert_eq!(kept.expected, format!("{}7\n", &same[kept.from_byte..]));
        assert!(kept.got.len() <= KEPT_BYTES);
    }

    #[test]
    fn an_answer_that_ends_early_and_one_of_broken_characters_are_kept() {
        let long = "x".repeat(9_000);
        let ended = kept(&long[..5_000], &long);
        assert_eq!((ended.from_byte, ended.got.len()), (5_000 - 1_024, 1_024));
        let run = Run { stdout: b"\xff\xfe".to_vec(), ..Run::empty(Ended::Normally) };
        assert_eq!(failed(0, &run, ("\"\"", "\"a\""), false).got, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_a_function_returns_is_written_as_what_it_should() {
        let value = json!(["t", [["i", "1"], ["s", "a\""], ["n"], ["b", true]]]);
        assert_eq!(
            returned(value, "[1, \"b\", null, true]"),
            ["[1,\"a\\\"\",null,true]", "[1,\"b\",null,true]"]
        );
        let value = json!(["d", [[["i", "1"], ["f", "2.5"]]]]);
        assert_eq!(returned(value, "{\"1\": 2}"), ["{1:2.5}", "{\"1\":2}"]);
        assert_eq!(returned(json!(["u", [["i", "3"]]]), "3")[0], "{3}");
        assert_eq!(returned(json!(["o", "Thing"]), "3")[0], "<Thing>");
    }
}
