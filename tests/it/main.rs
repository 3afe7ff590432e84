//! Tests from outside: the house's invariants, and the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod api;
mod architecture;
mod bad_input;
mod bad_lines;
mod cli;
mod distill;
#[cfg(feature = "cpu")]
mod dummy;
mod env;
mod evaluate;
mod fake_judge;
#[cfg(feature = "cpu")]
mod golden;
#[cfg(feature = "cpu")]
mod golden_files;
#[cfg(feature = "cpu")]
mod golden_model;
#[cfg(feature = "cpu")]
mod golden_parity;
mod grade;
mod grade_modes;
mod hostile;
mod idioms;
mod judge;
mod openai;
#[cfg(feature = "cpu")]
mod parallel;
#[cfg(feature = "cpu")]
mod resume;
mod reviews;
mod serve;
mod slots;
mod train;
#[cfg(feature = "cpu")]
mod train_ranks;
mod up;
mod verdicts;
