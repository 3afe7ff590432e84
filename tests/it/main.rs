//! Tests from outside: the house's invariants, and the real binary.

mod api;
mod architecture;
mod cli;
mod env;
mod grade;
#[cfg(feature = "cpu")]
mod golden;
mod resume;
