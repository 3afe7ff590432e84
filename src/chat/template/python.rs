//! What templates take from Python: methods of strings, dicts and lists, `tojson`, and how values
//! are written.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

/// `tojson` as transformers has it: insertion order, `", "` and `": "`, characters as they are.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands filters their options so")]
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let bad = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    };
    let mut json = serde_json::to_value(value).map_err(bad)?;
    if sorted.unwrap_or(false) {
        json.sort_all_objects();
    }
    let mut bytes = Vec::new();
    if let (Some(indent), None) = (indent, &separators) {
        let indent = " ".repeat(indent);
        let format = PrettyFormatter::with_indent(indent.as_bytes());
        json.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
            .map_err(bad)?;
    } else {
        let format = match separators.as_deref() {
            None => Spaced { item: ", ".into(), key: ": ".into() },
            Some([item, key]) if indent.is_none() => {
                Spaced { item: item.clone(), key: key.clone() }
            }
            Some(_) => {
                let why = "`separators` of `tojson` must be two texts, without `indent`";
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
        };
        json.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
            .map_err(bad)?;
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(if ascii.unwrap_or(false) { escaped(&text) } else { text.into_owned() })
}

/// JSON on one line with separators of one's own.
struct Spaced {
    item: String,
    key: String,
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
}

/// Everything beyond ASCII as UTF-16 escapes.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            text += &format!("\\u{unit:04x}");
        }
    }
    text
}

/// A value as Python writes it: `None`, `True`, `['a']`.
pub(super) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

fn repr(value: &Value) -> String {
    let kind = value.kind();
    if kind == ValueKind::None {
        "None".to_owned()
    } else if kind == ValueKind::Bool {
        if value.is_true() { "True" } else { "False" }.to_owned()
    } else if kind == ValueKind::Seq {
        let items: Vec<String> =
            value.try_iter().into_iter().flatten().map(|item| repr(&item)).collect();
        format!("[{}]", items.join(", "))
    } else if kind == ValueKind::Map {
        let entry = |key: Value| {
            let item = value.get_item(&key).unwrap_or_default();
            format!("{}: {}", repr(&key), repr(&item))
        };
        let entries: Vec<String> = value.try_iter().into_iter().flatten().map(entry).collect();
        format!("{{{}}}", entries.join(", "))
    } else {
        value.as_str().map_or_else(|| value.to_string(), quoted)
    }
}

/// A string in Python's quotes: single ones unless it has some and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            _ if character == quote => {
                quoted.push('\\');
                quoted.push(character);
            }
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// A method of a string, dict or list.
pub(super) fn method(
    _state: &State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return string_method(text, name, arguments);
    }
    if value.kind() == ValueKind::Map {
        dict_method(value, name, arguments)
    } else if value.kind() == ValueKind::Seq {
        list_method(value, name, arguments)
    } else {
        Err(Error::from(ErrorKind::UnknownMethod))
    }
}

fn dict_method(value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (name, arguments) {
        ("items", []) => minijinja::filters::items(value),
        ("keys", []) => Ok(value.try_iter()?.collect()),
        ("values", []) => value.try_iter()?.map(|key| value.get_item(&key)).collect(),
        ("get", [key, rest @ ..]) => {
            let found = value.get_item(key)?;
            let default = || rest.first().cloned().unwrap_or_else(|| Value::from(()));
            Ok(if found.is_undefined() { default() } else { found })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn list_method(value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (name, arguments) {
        ("count", [wanted]) => Ok(value.try_iter()?.filter(|item| item == wanted).count().into()),
        ("index", [wanted]) => value
            .try_iter()?
            .position(|item| item == *wanted)
            .map(Value::from)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "it is not in the list")),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(text: &str, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let texts: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    if let Some(found) = trimmed(text, name, arguments) {
        return Ok(found.into());
    }
    let any = |test: &dyn Fn(&str) -> bool| {
        let Some(argument) = arguments.first() else { return false };
        argument.as_str().map_or_else(
            || argument.try_iter().is_ok_and(|mut all| all.any(|v| v.as_str().is_some_and(test))),
            test,
        )
    };
    let place = |at: Option<usize>| at.map_or(-1, |at| text[..at].chars().count() as i64);
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let cased = |lower: bool| {
        let mut letters = text.chars().filter(|c| c.is_lowercase() || c.is_uppercase()).peekable();
        letters.peek().is_some() && letters.all(|c| c.is_lowercase() == lower)
    };
    Ok(match (name, texts.as_slice()) {
        ("upper", []) => text.to_uppercase().into(),
        ("lower", []) => text.to_lowercase().into(),
        ("title", []) => minijinja::filters::title(text.into()).into(),
        ("capitalize", []) => capitalized(text).into(),
        ("startswith", _) => any(&|prefix| text.starts_with(prefix)).into(),
        ("endswith", _) => any(&|suffix| text.ends_with(suffix)).into(),
        ("removeprefix", [prefix]) => text.strip_prefix(prefix).unwrap_or(text).into(),
        ("removesuffix", [suffix]) => text.strip_suffix(suffix).unwrap_or(text).into(),
        ("replace", [from, to]) => match arguments.get(2).and_then(Value::as_usize) {
            Some(most) => text.replacen(from, to, most).into(),
            None => text.replace(from, to).into(),
        },
        ("count", [part]) => text.matches(part).count().into(),
        ("find", [part]) => place(text.find(part)).into(),
        ("rfind", [part]) => place(text.rfind(part)).into(),
        ("split", _) => split(text, arguments)?,
        ("rsplit", [by]) => rsplit(text, by, arguments.get(1).and_then(Value::as_usize)),
        ("splitlines", []) => text.lines().map(Value::from).collect(),
        ("isdigit" | "isnumeric", []) => all(char::is_numeric).into(),
        ("isalpha", []) => all(char::is_alphabetic).into(),
        ("isalnum", []) => all(char::is_alphanumeric).into(),
        ("isspace", []) => all(char::is_whitespace).into(),
        ("isupper", []) => cased(false).into(),
        ("islower", []) => cased(true).into(),
        ("join", _) => {
            let parts = arguments.first().map(Value::try_iter).transpose()?;
            let parts: Vec<String> =
                parts.into_iter().flatten().map(|part| self::text(&part)).collect();
            parts.join(text).into()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first: String =
        letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}

/// `strip` and its like; `None` for other names.
fn trimmed<'a>(text: &'a str, name: &str, arguments: &[Value]) -> Option<&'a str> {
    let set: Option<Vec<char>> =
        arguments.first().and_then(Value::as_str).map(|set| set.chars().collect());
    Some(match (name, set) {
        ("strip", None) => text.trim(),
        ("lstrip", None) => text.trim_start(),
        ("rstrip", None) => text.trim_end(),
        ("strip", Some(set)) => text.trim_matches(set.as_slice()),
        ("lstrip", Some(set)) => text.trim_start_matches(set.as_slice()),
        ("rstrip", Some(set)) => text.trim_end_matches(set.as_slice()),
        _ => return None,
    })
}

fn split(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let by = arguments.first().and_then(Value::as_str);
    let most = arguments.get(1).and_then(Value::as_usize);
    match (by, most) {
        (Some(""), _) => Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (Some(by), Some(most)) => Ok(text.splitn(most + 1, by).map(Value::from).collect()),
        (Some(by), None) => Ok(text.split(by).map(Value::from).collect()),
        (None, None) => Ok(text.split_whitespace().map(Value::from).collect()),
        (None, Some(most)) => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_start());
            while parts.len() < most
                && let Some((part, after)) = rest.split_once(char::is_whitespace)
            {
                parts.push(Value::from(part));
                rest = after.trim_start();
            }
            if !rest.is_empty() {
                parts.push(rest.into());
            }
            Ok(parts.into_iter().collect())
        }
    }
}

fn rsplit(text: &str, by: &str, most: Option<usize>) -> Value {
    let mut parts: Vec<&str> = match most {
        Some(most) => text.rsplitn(most + 1, by).collect(),
        None => text.rsplit(by).collect(),
    };
    parts.reverse();
    parts.into_iter().map(Value::from).collect()
}
