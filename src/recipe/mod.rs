//! What a user asks for (recipe) and what it means here (plan).
//!
//! A recipe composes every stage's `Config`; it knows their settings, not how a stage runs.
//! Recipes are TOML; three are built in. Parse, resolve, then never ask again: all problems are
//! reported at once, and a plan has a value, with its origin, for every setting.

mod check;
mod explain;
mod forecast;
mod given;
mod machine;
mod plan;
mod sections;

pub use check::{Problem, Problems};
pub use explain::train_settings;
pub use forecast::{DeviceBytes, Forecast, Memory, Row, Way};
pub use given::Origin;
pub use machine::Machine;
pub use plan::{Expected, Plan};

use std::path::Path;

use anyhow::Context;
use given::Given;

use crate::hint::Hinted;
use crate::records::JobKind;

/// The recipes that are built in: name and TOML.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("rehearsal", include_str!("rehearsal.toml")),
    ("openthinker_7b", include_str!("openthinker_7b.toml")),
    ("openthinker_32b", include_str!("openthinker_32b.toml")),
];

/// Bytes of a recipe at most: the longest built-in has a few thousand.
const RECIPE_BYTES_MAX: u64 = 1 << 20;

/// A recipe as it was written, with the overrides of the command line.
#[derive(Debug, Clone)]
pub struct Recipe {
    name: String,
    given: Vec<Given>,
    /// What could not even be read as settings.
    problems: Vec<Problem>,
}

impl Recipe {
    /// The recipe called `name`, built in or the path of a TOML file, with `path=value` overrides.
    ///
    /// # Errors
    /// If there is no such recipe, or it is no TOML.
    pub fn load(name: &str, sets: &[String]) -> anyhow::Result<Self> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        match built_in {
            Some((name, text)) => Self::parse(name, text, sets),
            None => {
                let path = Path::new(name);
                let text = read(path)?;
                let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                Self::parse(&stem.unwrap_or_else(|| name.to_owned()), &text, sets)
            }
        }
    }

    /// The recipe `name` with this TOML `text`.
    ///
    /// # Errors
    /// If `text` is no TOML.
    pub fn parse(name: &str, text: &str, sets: &[String]) -> anyhow::Result<Self> {
        let mut problems = Vec::new();
        let mut given =
            given::of_toml(text).with_context(|| format!("could not read the recipe `{name}`"))?;
        for set in sets {
            match given::of_set(set) {
                Ok(set) => given.push(set),
                Err(problem) => problems.push(problem),
            }
        }
        Ok(Self { name: name.to_owned(), given, problems })
    }

    /// Puts training, evaluation and serving on `device`, as far as the recipe has them.
    pub fn set_device(&mut self, device: &str) {
        for stage in [JobKind::Train, JobKind::Evaluate, JobKind::Serve] {
            let is_its =
                |given: &Given| given.path.first().is_some_and(|name| name == stage.name());
            if self.given.iter().any(is_its) {
                let path = vec![stage.name().to_owned(), "device".to_owned()];
                self.given.push(Given { path, value: device.into(), line: None });
            }
        }
    }

    /// Gives every setting a value, and checks the rules between settings.
    ///
    /// # Errors
    /// [`Problems`]: all of them.
    pub fn resolve(&self, machine: &Machine) -> Result<Plan, Problems> {
        check::resolve(&self.name, &self.given, &self.problems, machine)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    let Ok(facts) = std::fs::metadata(path) else {
        let message = format!("there is no recipe `{shown}`");
        let nearest = check::nearest(&shown.to_string(), &names);
        let hint = match nearest {
            Some(name) => format!("did you mean `{name}`? or give the path of a TOML file"),
            None => format!("built in are {}; or give the path of a TOML file", names.join(", ")),
        };
        return Err(Hinted::new(message, hint).into());
    };
    if facts.len() > RECIPE_BYTES_MAX {
        let bytes = facts.len();
        anyhow::bail!("`{shown}` has {bytes} bytes, a recipe at most {RECIPE_BYTES_MAX}");
    }
    std::fs::read_to_string(path).with_context(|| format!("could not read the recipe `{shown}`"))
}

#[cfg(test)]
mod tests;
