//! The rehearsal teacher: an OpenAI-compatible server that solves the rehearsal's questions.
//!
//! Works each question out step by step and, like a real teacher, is sometimes wrong, breaks off or
//! is busy; a seed decides when. Not a language model, and never says that it is one.

mod conduct;
mod faults;
mod server;
mod solve;
mod wire;

pub use conduct::{Given, REFUSED, TRUNCATED, WRONG, conduct};
pub use faults::{Faults, Rule};
pub use server::{Config, Teacher};
pub use solve::{Slip, Solved, solve, steps};

/// The name of the one model the teacher serves.
pub const MODEL: &str = wire::MODEL;

#[cfg(test)]
mod tests;
