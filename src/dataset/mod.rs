//! Turns traces and verdicts into datasets: rows for people, shards for training.

pub mod base;
pub mod conversation;
pub mod encode;
pub mod pack;
pub mod rows;
pub mod shards;
