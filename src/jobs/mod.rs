//! Work in progress: each stage run is a row and a child process of the same binary.
//!
//! A job that crashes, or is killed for its memory, takes nobody with it; cancel is a signal.
//! State passes through the store. What a stage does is the stage's business.

mod child;
mod counts;
mod owner;
mod replay;
mod runner;
mod runs;
mod stages;
mod work;

pub use child::{ALLOW_UNSANDBOXED, JUDGE_KEY, Launch, TEACHER_KEY, tie};
pub use owner::{Owner, Watch, is_paused};
pub use replay::Replayer;
pub use runner::{Runner, StartError};
pub use runs::{command_of, example, job_of};
pub use work::work;

pub use crate::dataset::encode::Shown;
pub use crate::distill::Secrets;
pub use crate::records::JobKind as Kind;
pub use crate::verify::Replay;
