//! The body of a request, read field by field, so that an error names the field.
//!
//! `null` is the same as absent, as OpenAI has it. Whatever is left at the end changes nothing or
//! is refused by name.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Error;

/// The fields of a JSON object that were not read yet.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body, which must be a JSON object.
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        let value = serde_json::from_slice(body).map_err(|why| Error::BadBody(why.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(Error::BadBody(format!("it is {}", kind(&value))));
        };
        Ok(Self(fields))
    }

    /// A field as it is.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.swap_remove(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.take(name).map(|value| text(name, value)).transpose()
    }

    /// True or false; false if absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.take(name).map(|value| flag(name, &value)).transpose()?.unwrap_or(false))
    }

    /// A number in `range`.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, Error> {
        let number = self.take(name).map(|value| number(name, &value, &range)).transpose()?;
        Ok(number.map(|number| number as f32))
    }

    /// A whole number in `range`.
    pub(super) fn whole(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        self.take(name).map(|value| whole(name, &value, &range)).transpose()
    }

    /// A list of token ids.
    pub(super) fn ids(&mut self, name: &str) -> Result<Vec<u32>, Error> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => ids(name, &items),
            Some(other) => {
                let message = format!("`{name}` must be a list of token ids, not {}", kind(&other));
                Err(Error::parameter(name, message))
            }
        }
    }

    /// Complains about every field that is left, unless it changes nothing.
    pub(super) fn done(self, neutral: &[Neutral]) -> Result<(), Error> {
        for (name, value) in self.0 {
            if value.is_null() {
                continue;
            }
            let Some((_, values)) = neutral.iter().find(|(known, _)| *known == name) else {
                return Err(Error::UnknownParameter(name));
            };
            if *values != ANY && !values.contains(&value.to_string().as_str()) {
                return Err(Error::Unsupported(name));
            }
        }
        Ok(())
    }
}

/// A field that this server does not have, and the values, as JSON, with which it changes nothing.
pub(super) type Neutral = (&'static str, &'static [&'static str]);

/// For fields that are for the one who asks: every value changes nothing.
pub(super) const ANY: &[&str] = &["*"];

pub(super) fn text(name: &str, value: Value) -> Result<String, Error> {
    let Value::String(text) = value else {
        let message = format!("`{name}` must be a text, not {}", kind(&value));
        return Err(Error::parameter(name, message));
    };
    Ok(text)
}

pub(super) fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    let message = || format!("`{name}` must be true or false, not {}", kind(value));
    value.as_bool().ok_or_else(|| Error::parameter(name, message()))
}

pub(super) fn number(name: &str, value: &Value, range: &RangeInclusive<f64>) -> Result<f64, Error> {
    let (least, most) = (range.start(), range.end());
    let message = || format!("`{name}` must be a number from {least} to {most}, not {value}");
    let number = value.as_f64().filter(|number| range.contains(number));
    number.ok_or_else(|| Error::parameter(name, message()))
}

pub(super) fn whole(name: &str, value: &Value, range: &RangeInclusive<u64>) -> Result<u64, Error> {
    let message = || match (range.start(), range.end()) {
        (least, &u64::MAX) => {
            format!("`{name}` must be a whole number of at least {least}, not {value}")
        }
        (least, most) => {
            format!("`{name}` must be a whole number from {least} to {most}, not {value}")
        }
    };
    let number = value.as_u64().filter(|number| range.contains(number));
    number.ok_or_else(|| Error::parameter(name, message()))
}

pub(super) fn ids(name: &str, items: &[Value]) -> Result<Vec<u32>, Error> {
    let id = |(at, item): (usize, &Value)| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            let name = format!("{name}[{at}]");
            let message = format!("`{name}` is no token id: `{item}`");
            Error::parameter(name, message)
        })
    };
    items.iter().enumerate().map(id).collect()
}

/// What a JSON value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
