//! Tests as they come in: one value after the other, so that a million of them are in memory once, as
//! what they take in [`Cases`], and never as the line they stand in.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{NEITHER, Row, WRAPPED_MAX, grouped, of_row, of_text, parse, read};
use crate::records::{Cases, Tests};

/// Tests in any of the layouts, or what is wrong with them, read from a stream.
#[derive(Debug)]
pub struct Streamed(pub Result<Tests, String>);

impl<'de> Deserialize<'de> for Streamed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Layout)
    }
}

struct Layout;

impl<'de> Visitor<'de> for Layout {
    type Value = Streamed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tests as an object, a list or text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Streamed, E> {
        Ok(Streamed(of_text(text.trim(), WRAPPED_MAX)))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Streamed, E> {
        Ok(Streamed(Err(NEITHER.into())))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Streamed, E> {
        Ok(Streamed(Err(NEITHER.into())))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Streamed, E> {
        Ok(Streamed(Err(NEITHER.into())))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Streamed, E> {
        Ok(Streamed(Err(NEITHER.into())))
    }

    fn visit_unit<E: Error>(self) -> Result<Streamed, E> {
        Ok(Streamed(Err(NEITHER.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Streamed, A::Error> {
        let mut json = String::from("[");
        while let Some(raw) = list.next_element::<Box<RawValue>>()? {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(raw.get());
        }
        json.push(']');
        Ok(Streamed(read(&json)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Streamed, A::Error> {
        let mut row = Row::new();
        let (mut inputs, mut outputs) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "inputs" => inputs = Some(map.next_value()?),
                "outputs" => outputs = Some(map.next_value()?),
                _ => {
                    row.insert(name, map.next_value()?);
                }
            }
        }
        Ok(Streamed(together(row, inputs, outputs)))
    }
}

/// A list, as it comes; none where there is another value.
struct List(Option<Cases>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List, A::Error> {
        let mut cases = Cases::default();
        while let Some(raw) = list.next_element::<Box<RawValue>>()? {
            cases.push(raw.get()).map_err(A::Error::custom)?;
        }
        cases.shrink();
        Ok(List(Some(cases)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(List(None))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<List, E> {
        Ok(List(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<List, E> {
        Ok(List(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<List, E> {
        Ok(List(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<List, E> {
        Ok(List(None))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<List, E> {
        Ok(List(None))
    }

    fn visit_unit<E: Error>(self) -> Result<List, E> {
        Ok(List(None))
    }
}

/// Tests of what was read: two lists and the settings in `row`, or a row of one of the sets.
fn together(mut row: Row, inputs: Option<List>, outputs: Option<List>) -> Result<Tests, String> {
    let Some(inputs) = inputs else {
        return match of_row(&row)? {
            Some(tests) => Ok(tests),
            None => grouped(&row),
        };
    };
    let outputs = outputs.ok_or("missing field `outputs`")?;
    let inputs = inputs.0.ok_or("`inputs` is no list")?;
    let outputs = outputs.0.ok_or("`outputs` is no list")?;
    for name in ["inputs", "outputs"] {
        row.insert(name.to_owned(), parse("[]")?);
    }
    let settings = serde_json::to_string(&row).map_err(|error| error.to_string())?;
    Ok(Tests { inputs, outputs, ..parse(&settings)? })
}

#[cfg(test)]
mod tests {
    use super::Streamed;
    use crate::formats::cases::read;

    /// From a stream the same comes out as from a text.
    #[track_caller]
    fn check(json: &str) {
        let streamed: Streamed = serde_json::from_reader(json.as_bytes()).unwrap();
        assert_eq!(streamed.0, read(json), "{json}");
    }

    #[test]
    fn a_stream_says_what_a_text_says() {
        for json in [
            r#"{"inputs": ["1\n", 2, [3]], "outputs": ["a", 12345678901234567890123, null]}"#,
            r#"{"fn_name": "f", "outputs": [1], "inputs": [[1]], "comparator": "tokens-ci"}"#,
            r#"{"inputs": ["1"], "outputs": ["1"], "comparator": "float(0.1,0)", "odd": {"a": 1}}"#,
            r#"{"inputs": ["1"], "outputs": ["1"], "comparator": "no such"}"#,
            r#"{"input": ["1"], "output": ["2"]}"#,
            r#"{"public_tests": {"input": ["1"], "output": ["2"]}, "private_tests": null}"#,
            r#"[{"input": "1", "output": "2", "testtype": "stdin"}]"#,
            r#""{\"inputs\": [\"1\"], \"outputs\": [\"2\"]}""#,
            r#""no tests at all""#,
            r#"{"odd": 1}"#,
            "[]",
        ] {
            check(json);
        }
    }

    #[test]
    fn what_is_no_list_is_told_and_what_ends_early_is_an_error() {
        for value in ["1", "-1", "1.5", "true", "null", "\"x\"", "{\"a\": [1]}"] {
            let json = format!("{{\"inputs\": {value}, \"outputs\": []}}");
            let streamed: Streamed = serde_json::from_reader(json.as_bytes()).unwrap();
            assert_eq!(streamed.0.unwrap_err(), "`inputs` is no list", "{value}");
            if !value.starts_with(['"', '{']) {
                check(value);
            }
        }
        let missing: Streamed = serde_json::from_reader(r#"{"inputs": []}"#.as_bytes()).unwrap();
        assert_eq!(missing.0.unwrap_err(), "missing field `outputs`");
        let ends = serde_json::from_reader::<_, Streamed>(r#"{"inputs": ["1", "#.as_bytes());
        assert!(ends.unwrap_err().is_eof());
    }
}
