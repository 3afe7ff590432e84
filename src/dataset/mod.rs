//! Turns traces and verdicts into datasets: rows for people, shards for training.

pub mod base;
mod build;
mod card;
pub mod conversation;
pub mod encode;
mod find;
pub mod mix;
pub mod pack;
pub mod rows;
pub mod shards;
mod tables;

pub use build::{Built, Config, Summary, export, run};
pub use find::find;

#[cfg(test)]
mod tests;
