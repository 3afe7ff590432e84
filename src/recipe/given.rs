//! Settings as they were given: by a recipe's TOML, or by `--set path=value`.

use serde::Serialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;

/// Where a value of a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// The recipe says so.
    #[serde(rename = "recipe")]
    Recipe,
    /// The command line says so.
    #[serde(rename = "--set")]
    Set,
    /// Nobody says so; the stage's default.
    #[serde(rename = "default")]
    Default,
    /// It follows from other values or from this machine.
    #[serde(rename = "derived")]
    Derived,
}

impl Origin {
    /// How it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recipe => "recipe",
            Self::Set => "--set",
            Self::Default => "default",
            Self::Derived => "derived",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// Section, then key, then deeper keys.
    pub(super) path: Vec<String>,
    /// Its value.
    pub(super) value: Value,
    /// Its line in the recipe, from 1; none for `--set`.
    pub(super) line: Option<usize>,
}

impl Given {
    /// `train.learning_rate`.
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    /// Who gave it.
    pub(super) fn origin(&self) -> Origin {
        if self.line.is_some() { Origin::Recipe } else { Origin::Set }
    }
}

/// The settings of a recipe in their order. An empty section is a setting too: it asks for its
/// stage.
pub(super) fn of_toml(text: &str) -> anyhow::Result<Vec<Given>> {
    let root = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(text, span.start));
        anyhow::anyhow!("line {line}: {}", error.message())
    })?;
    let mut given = Vec::new();
    collect(text, root.get_ref(), &mut Vec::new(), &mut given)?;
    Ok(given)
}

fn collect(
    text: &str,
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    given: &mut Vec<Given>,
) -> anyhow::Result<()> {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        let line = Some(line_of(text, key.span().start));
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(text, inner, path, given)?,
            DeValue::Table(_)
            | DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                given.push(Given { path: path.clone(), value: json(value)?, line })
            }
        }
        path.pop();
    }
    Ok(())
}

fn json(value: &Spanned<DeValue<'_>>) -> anyhow::Result<Value> {
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            Value::from(i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())?)
        }
        DeValue::Float(number) => Value::from(number.as_str().replace('_', "").parse::<f64>()?),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(json).collect::<anyhow::Result<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| anyhow::Ok((key.get_ref().to_string(), json(value)?)));
            Value::Object(pairs.collect::<anyhow::Result<_>>()?)
        }
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// The setting of `--set path=value`; the value is TOML, or text if it is not.
pub(super) fn of_set(set: &str) -> Result<Given, Problem> {
    let bad = || Problem {
        line: None,
        path: set.to_owned(),
        message: format!("`--set {set}` is no `path=value`"),
        hint: Some("for instance `--set train.steps=100`".into()),
    };
    let (path, value) = set.split_once('=').ok_or_else(bad)?;
    let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(bad());
    }
    let value = value.trim();
    let parsed = of_toml(&format!("value = {value}")).ok();
    let value = match parsed.as_deref() {
        Some([given]) => given.value.clone(),
        Some(_) | None => Value::from(value),
    };
    Ok(Given { path, value, line: None })
}
