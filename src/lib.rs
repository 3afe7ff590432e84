//! Thinkery: from questions to a served reasoning model on one machine.
//!
//! Read the modules in the order in which they stand here. ARCHITECTURE.md draws the map and says
//! who may import whom; `tests/it/architecture.rs` holds everyone to it.

/// An error with its remedy beside it.
pub mod hint;

/// The words of the house: questions, traces, verdicts, examples, runs, scores. No I/O.
pub mod records;

/// What every stage is given: the store, a place to report progress, and a way to be stopped.
pub mod stage;

/// Where questions come from, and which of them stay.
pub mod questions;

/// Asks a teacher each question and keeps what it answers.
pub mod distill;

/// Decides of each trace whether its answer is right.
pub mod verify;

/// Turns traces and verdicts into datasets: rows for people, shards for training.
pub mod dataset;

/// Fine-tunes a model on a dataset.
pub mod train;

/// Lets a model answer benchmark problems and scores the answers.
pub mod evaluate;

/// The OpenAI-compatible server.
pub mod serve;

/// Asks a model, local or remote, and takes its answer apart.
pub mod chat;

/// Token ids in, token ids out: generating and training. Knows no text.
pub use thinkery_engine as engine;

/// Runs programs that nobody has read.
pub mod sandbox;

/// Other people's files, read and written row by row.
pub mod formats;

/// Everything that must survive: one SQLite file and the folders beside it.
pub mod store;

/// What a user asks for (recipe) and what it means here (plan).
pub mod recipe;

/// Work in progress: each stage run is a row and a child process.
pub mod jobs;

/// The rehearsal teacher: an OpenAI-compatible server that solves the rehearsal's questions.
pub mod teacher;

/// The panel's HTTP API.
pub mod api;

/// The one router: `/api`, `/v1` and the panel.
pub mod app;

/// The command line.
pub mod cli;
