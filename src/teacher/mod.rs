//! The rehearsal teacher: an OpenAI-compatible server that solves the rehearsal's questions.

mod solve;

pub use solve::{Slip, Solved, solve, steps};

#[cfg(test)]
mod tests;
