//! Tests from outside: the house's invariants, and the real binary.

mod api;
mod architecture;
mod cli;
mod env;
mod grade;
mod resume;
