//! From what was given to a plan, or to every problem with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::given::Given;
use super::sections::{SECTIONS, Section};
use super::{Machine, Origin, Plan};

/// Something wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its line in the recipe, from 1; none if it is not from the recipe.
    pub line: Option<usize>,
    /// The setting, e.g. `train.learning_rate`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// Name of the recipe.
    pub recipe: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message)?,
            None => f.write_str(&self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the recipe `{}` has a problem: {only}", self.recipe),
            many => {
                write!(f, "the recipe `{}` has {} problems:", self.recipe, many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// The plan of a recipe on `machine`, or all that is wrong.
pub(super) fn resolve(
    recipe: &str,
    given: &[Given],
    earlier: &[Problem],
    machine: &Machine,
) -> Result<Plan, Problems> {
    let mut problems = earlier.to_vec();
    let mut plan = Plan::empty(recipe);
    for setting in given.iter().filter(|setting| section_of(setting).is_none()) {
        problems.push(unknown_section(setting));
    }
    for section in SECTIONS {
        let name = section.kind.name();
        let mine: Vec<&Given> = given
            .iter()
            .filter(|setting| setting.path.first().is_some_and(|s| s == name))
            .collect();
        if !mine.is_empty() {
            let origins = &mut plan.origins;
            if let Some(value) = resolve_section(section, &mine, origins, &mut problems) {
                plan.stages.insert(name.to_owned(), value);
            }
        }
    }
    if problems.is_empty() {
        problems.extend(plan.derive(machine));
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    if problems.is_empty() {
        Ok(plan)
    } else {
        Err(Problems { recipe: recipe.to_owned(), problems })
    }
}

fn section_of(setting: &Given) -> Option<&'static Section> {
    let name = setting.path.first()?;
    SECTIONS.iter().find(|section| section.kind.name() == name)
}

fn unknown_section(setting: &Given) -> Problem {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.kind.name()).collect();
    let first = setting.path.first().map_or("", String::as_str);
    let hint = match nearest(first, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("sections are {}", names.join(", ")),
    };
    let message = format!("unknown section `{first}` in `{}`", setting.name());
    Problem { line: setting.line, path: setting.name(), message, hint: Some(hint) }
}

/// The section's settings with all that was given, or nothing if there is a problem.
fn resolve_section(
    section: &Section,
    given: &[&Given],
    origins: &mut BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
) -> Option<Value> {
    let before = problems.len();
    let name = section.kind.name();
    let default = match (section.default)() {
        Ok(default) => default,
        Err(error) => {
            problems.push(problem_at(name, None, format!("the defaults are no settings: {error}")));
            return None;
        }
    };
    let mut value = default.clone();
    for setting in given.iter().filter(|setting| setting.path.len() > 1) {
        let inner = &setting.path[1..];
        if let Err(problem) = known(&default, setting) {
            problems.push(problem);
            continue;
        }
        // Alone on top of the defaults, so that the message is about this setting.
        let mut alone = default.clone();
        put(&mut alone, inner, setting.value.clone());
        match (section.read)(alone) {
            Ok(_) => put(&mut value, inner, setting.value.clone()),
            Err(error) => {
                let message = format!("`{}`: {error}", setting.name());
                problems.push(problem_at(&setting.name(), setting.line, message));
            }
        }
    }
    if problems.len() > before {
        return None;
    }
    match (section.read)(value) {
        Ok(value) => {
            note_origins(name, &value, given, origins);
            Some(value)
        }
        Err(error) => {
            problems.push(problem_at(name, None, format!("section `{name}`: {error}")));
            None
        }
    }
}

fn problem_at(path: &str, line: Option<usize>, message: String) -> Problem {
    Problem { line, path: path.to_owned(), message, hint: None }
}

/// Whether the defaults have the setting's key; a null or an empty table may hold anything.
fn known(default: &Value, setting: &Given) -> Result<(), Problem> {
    let mut here = default;
    for (depth, key) in setting.path.iter().enumerate().skip(1) {
        let Value::Object(table) = here else {
            if here.is_null() {
                return Ok(());
            }
            let parent = setting.path[..depth].join(".");
            let message = format!("`{parent}` is a value, not a table");
            return Err(problem_at(&setting.name(), setting.line, message));
        };
        if table.is_empty() {
            return Ok(());
        }
        let Some(inner) = table.get(key) else {
            let keys: Vec<&str> = table.keys().map(String::as_str).collect();
            return Err(unknown_key(setting, depth, &keys));
        };
        here = inner;
    }
    Ok(())
}

fn unknown_key(setting: &Given, depth: usize, keys: &[&str]) -> Problem {
    let parent = setting.path[..depth].join(".");
    let hint = match nearest(&setting.path[depth], keys) {
        Some(key) => format!("did you mean `{parent}.{key}`?"),
        None => format!("`{parent}` has {}", keys.join(", ")),
    };
    let message = format!("unknown key `{}`", setting.path[..=depth].join("."));
    Problem { line: setting.line, path: setting.name(), message, hint: Some(hint) }
}

/// The name most like `word`, if one is like it at all.
pub(super) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let score = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), name);
    let best = names.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    // 0.7: `lr` against `learning_rate` is 0.72, two unrelated words rarely pass 0.6.
    (score(best) >= 0.7).then_some(*best)
}

/// Sets the value at `path`, making tables where there are none.
pub(super) fn put(value: &mut Value, path: &[String], new: Value) {
    match path {
        [] => *value = new,
        [key, rest @ ..] => {
            if !value.is_object() {
                *value = Value::Object(serde_json::Map::new());
            }
            if let Value::Object(table) = value {
                put(table.entry(key.clone()).or_insert(Value::Null), rest, new);
            }
        }
    }
}

/// Notes where each value below `name` comes from.
fn note_origins(
    name: &str,
    value: &Value,
    given: &[&Given],
    origins: &mut BTreeMap<String, Origin>,
) {
    if let Value::Object(table) = value
        && !table.is_empty()
    {
        for (key, inner) in table {
            note_origins(&format!("{name}.{key}"), inner, given, origins);
        }
        return;
    }
    let gave = |setting: &&&Given| {
        let path = setting.name();
        path == name || name.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'))
    };
    let by = given.iter().rev().filter(|setting| setting.path.len() > 1).find(gave);
    origins.insert(name.to_owned(), by.map_or(Origin::Default, |setting| setting.origin()));
}
