//! Inputs and outputs of tests as JSON: numbers keep every digit, depth has a limit.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Deepest nesting of a test's value. Tests of OpenThoughts' sets stay below 10.
const DEPTH_MAX: usize = 100;

/// A value whose numbers are still text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl Json {
    /// The value that `text` writes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_within(text.trim(), DEPTH_MAX)
    }

    fn parse_within(text: &str, depth: usize) -> Result<Self, String> {
        let bad = |error: serde_json::Error| error.to_string();
        let inner = || depth.checked_sub(1).ok_or_else(too_deep);
        Ok(match text.as_bytes().first() {
            None => return Err("there is nothing".into()),
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(bad)?),
            Some(b'[') => {
                let inner = inner()?;
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(bad)?;
                let parse = |item: &RawValue| Self::parse_within(item.get(), inner);
                Self::List(items.into_iter().map(parse).collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let inner = inner()?;
                let items: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(bad)?;
                let parse = |(key, item): (String, &RawValue)| {
                    Ok::<_, String>((key, Self::parse_within(item.get(), inner)?))
                };
                Self::Map(items.into_iter().map(parse).collect::<Result<_, _>>()?)
            }
            Some(_) => Self::Number(text.to_owned()),
        })
    }
}

fn too_deep() -> String {
    format!("it is nested more than {DEPTH_MAX} deep")
}

/// Whether `json` is nested no deeper than we read.
pub(super) fn is_shallow(json: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return false;
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Text of a test's input or output: strings as they are, lists line by line.
pub(super) fn text(json: &str) -> Result<String, String> {
    lines(json.trim(), DEPTH_MAX)
}

fn lines(json: &str, depth: usize) -> Result<String, String> {
    let bad = |error: serde_json::Error| error.to_string();
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map_err(bad),
        Some(b'[') => {
            let inner = depth.checked_sub(1).ok_or_else(too_deep)?;
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(bad)?;
            let items: Result<Vec<String>, String> =
                items.into_iter().map(|item| lines(item.get(), inner)).collect();
            Ok(items?.join("\n"))
        }
        Some(b'n') => Ok(String::new()),
        _ => Ok(json.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, is_shallow, text};

    #[test]
    fn numbers_keep_their_digits() {
        let parsed = Json::parse(r#"[12345678901234567890123, {"a": 0.10}, "\u00e9"]"#).unwrap();
        let Json::List(items) = parsed else { panic!("{parsed:?}") };
        assert_eq!(items[0], Json::Number("12345678901234567890123".into()));
        let Json::Map(map) = &items[1] else { panic!("{items:?}") };
        assert_eq!(map["a"], Json::Number("0.10".into()));
        assert_eq!(items[2], Json::Text("é".into()));
    }

    #[test]
    fn what_is_too_deep_is_told_and_not_followed() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(&deep(100)).is_ok() && is_shallow(&deep(100)));
        for depth in [101, 100_000] {
            assert!(Json::parse(&deep(depth)).unwrap_err().contains("more than 100 deep"));
            assert!(text(&deep(depth)).unwrap_err().contains("more than 100 deep"));
            assert!(!is_shallow(&deep(depth)));
        }
        assert!(is_shallow(&format!(r#""\"{}""#, "[".repeat(1000))));
    }

    #[test]
    fn lists_are_lines() {
        assert_eq!(text(r#" ["1", "2 3", ["x"]] "#).unwrap(), "1\n2 3\nx");
        assert_eq!(text(r#""a\nb""#).unwrap(), "a\nb");
        assert_eq!(text("1.50").unwrap(), "1.50");
        assert_eq!(text("null").unwrap(), "");
        assert!(text(r#""\ud800""#).is_err());
    }
}
