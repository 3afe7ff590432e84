//! From what was given to a plan, or to every problem with it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::given::Given;
use super::sections::{EXPECTED, SECTIONS, Section};
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
        let name = section.name;
        let mine: Vec<&Given> = given
            .iter()
            .filter(|setting| setting.path.first().is_some_and(|s| s == name))
            .collect();
        if !mine.is_empty() {
            let origins = &mut plan.origins;
            match resolve_section(section, &mine, origins, &mut problems) {
                Some(value) if name == EXPECTED => {
                    plan.expected = serde_json::from_value(value).ok();
                }
                Some(value) => drop(plan.stages.insert(name.to_owned(), value)),
                None => {}
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
    SECTIONS.iter().find(|section| section.name == name)
}

fn unknown_section(setting: &Given) -> Problem {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
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
    let name = section.name;
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
        // Alone on top of the defaults, so that the message is about this setting.
        let mut alone = default.clone();
        put(&mut alone, inner, setting.value.clone());
        let read = (section.read)(alone).map_err(|error| error.to_string());
        match read.and_then(|read| kept(&read, inner)) {
            Ok(()) => put(&mut value, inner, setting.value.clone()),
            Err(why) => problems.push(explain(&default, setting, &why)),
        }
    }
    if problems.len() > before {
        return None;
    }
    match (section.read)(value) {
        Ok(value) => {
            for message in (section.problems)(&value) {
                problems.push(problem_at(name, None, message));
            }
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

/// What serde says of a key that a `Config` does not have.
const UNKNOWN: &str = "unknown field";

/// Whether a `Config` made of settings still has the one at `path`.
fn kept(read: &Value, path: &[String]) -> Result<(), String> {
    let mut here = read;
    for key in path {
        here = here.get(key).ok_or_else(|| format!("{UNKNOWN} `{key}`"))?;
    }
    Ok(())
}

/// The problem with a setting that its `Config` does not take, `why` being serde's words.
fn explain(default: &Value, setting: &Given, why: &str) -> Problem {
    let name = setting.name();
    let Some((_, rest)) = why.split_once(UNKNOWN) else {
        let message = format!("`{name}` cannot be {}: {why}", setting.value);
        return problem_at(&name, setting.line, message);
    };
    // unknown field `lr`, expected one of `a`, `b`
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let key = quoted.next().unwrap_or_default().to_owned();
    let depth = setting.path.iter().position(|part| *part == key).unwrap_or(0);
    let parent = if depth == 0 { name.clone() } else { setting.path[..depth].join(".") };
    let siblings = setting.path[1..depth.max(1)].iter().try_fold(default, |at, key| at.get(key));
    let siblings = siblings.and_then(Value::as_object).into_iter().flat_map(|table| table.keys());
    let keys: Vec<&str> = quoted.chain(siblings.map(String::as_str)).collect();
    let hint = match nearest(&key, &keys) {
        Some(near) => format!("did you mean `{parent}.{near}`?"),
        None => format!("`{parent}` has {}", keys.join(", ")),
    };
    let message = format!("unknown key `{parent}.{key}`");
    Problem { line: setting.line, path: name, message, hint: Some(hint) }
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
