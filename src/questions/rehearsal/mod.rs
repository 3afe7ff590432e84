//! The source `rehearsal`: generated questions with exact answers, for trying the whole road.
//!
//! Families are small grids of small numbers: every point of a family's grid is one question, its
//! key names the point, and a seed only decides the order in which points are drawn. The first
//! points drawn are held out, so held-out and training questions never share parameters.
//! Not a benchmark: what a model scores here says only that the road works.

pub mod code;
pub mod math;
pub mod puzzle;
pub mod science;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Row, Source};
use crate::hint::Hinted;
use crate::records::{NewQuestion, Split};

/// Name of the source, as stored with every question.
pub const SOURCE: &str = "rehearsal";

/// How much to generate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Decides which points of each family's grid are drawn, and which of them are held out.
    pub seed: u64,
    /// Training questions of math over all families, shared evenly.
    pub math: u32,
    /// Held-out problems of each math family.
    pub held_out_per_family: u32,
    /// Programming tasks, half of them reading standard input, half of them called.
    pub code: u32,
    /// Multiple-choice puzzles.
    pub puzzle: u32,
    /// Questions of biology, chemistry and physics together.
    pub science: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { seed: 42, math: 5_400, held_out_per_family: 25, code: 120, puzzle: 60, science: 60 }
    }
}

/// The source.
#[derive(Debug)]
pub struct Rehearsal;

impl Source for Rehearsal {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn read(
        &self,
        config: &super::Config,
        sink: &mut dyn FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for question in questions(&config.rehearsal)? {
            sink(Row::Question(Box::new(question)))?;
        }
        Ok(())
    }
}

/// All questions that `config` asks for, in a fixed order: the same for the same configuration.
///
/// # Errors
/// If a family has fewer points than are asked for.
pub fn questions(config: &Config) -> anyhow::Result<Vec<NewQuestion>> {
    let mut all = Vec::new();
    let families = math::FAMILIES.len() as u32;
    for (index, family) in math::FAMILIES.iter().enumerate() {
        // The first families take what does not divide evenly.
        let train = config.math / families + u32::from((index as u32) < config.math % families);
        let space = (family.space)().into_iter().map(|problem| problem.question()).collect();
        let wanted = config.held_out_per_family + train;
        let drawn = draw(config, family.name, space, wanted)?;
        for (position, mut question) in drawn.into_iter().enumerate() {
            if (position as u32) < config.held_out_per_family {
                question.split = Split::HeldOut;
            }
            all.push(question);
        }
    }
    let stdin = code::space().into_iter().filter(|task| !task.called);
    let called = code::space().into_iter().filter(|task| task.called);
    let half = config.code / 2;
    all.extend(draw(config, "code", stdin.map(|task| task.question()).collect(), half)?);
    let rest = config.code - half;
    all.extend(draw(config, "code", called.map(|task| task.question()).collect(), rest)?);
    let puzzles = puzzle::space().iter().map(puzzle::Puzzle::question).collect();
    all.extend(draw(config, "puzzle", puzzles, config.puzzle)?);
    for (index, domain) in science::DOMAINS.into_iter().enumerate() {
        let wanted = config.science / 3 + u32::from((index as u32) < config.science % 3);
        let facts = science::space().into_iter().filter(|fact| fact.domain == domain);
        let space = facts.map(|fact| fact.question()).collect();
        all.extend(draw(config, domain.name(), space, wanted)?);
    }
    Ok(all)
}

/// `wanted` of the questions in `space`, in an order that seed and `family` decide.
fn draw(
    config: &Config,
    family: &str,
    mut space: Vec<NewQuestion>,
    wanted: u32,
) -> anyhow::Result<Vec<NewQuestion>> {
    if (space.len() as u64) < u64::from(wanted) {
        let message = format!(
            "the rehearsal family `{family}` has {} questions but {wanted} were asked for",
            space.len()
        );
        return Err(Hinted::new(message, "ask for fewer questions in `[questions]`").into());
    }
    // Each family has a stream of its own: changing one family leaves the others as they were.
    let stream = family.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    rng.set_stream(stream);
    space.shuffle(&mut rng);
    space.truncate(wanted as usize);
    Ok(space)
}

#[cfg(test)]
mod tests;
