//! What every stage is given: the store, a place to report progress, and a way to be stopped.
//!
//! Knows none of the stages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hint;
use crate::records::JobProgress;
use crate::store::{self, Store};

/// How often progress is passed on at most. Four times a second is live to the eye and cheap to
/// store.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// What every stage is given.
#[derive(Clone)]
pub struct Context {
    /// Everything that must survive.
    pub store: Store,
    /// Where to say how far it is.
    pub progress: Progress,
    /// Whether to go on.
    pub stop: Stop,
}

impl Context {
    /// An error if somebody asked the stage to stop. Call between units of work, at least twice a
    /// second.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn stop_requested(&self) -> Result<(), Stopped> {
        if self.stop.is_requested() { Err(Stopped) } else { Ok(()) }
    }
}

/// The stage ended because it was asked to; everything finished so far is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Stopped;

/// Whether somebody wants the stage to end. Clones share one answer.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the stage to end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Where a stage says how far it is. Clones share one place.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

struct Inner {
    report: Box<dyn Fn(&JobProgress) + Send + Sync>,
    last: Mutex<Option<(Instant, JobProgress)>>,
}

impl Progress {
    /// Calls `report` at most four times a second, and whenever the work is complete.
    pub fn new(report: impl Fn(&JobProgress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { report: Box::new(report), last: Mutex::new(None) }))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Says that `done` of `total` units are finished (`total` 0 while unknown), and what is going
    /// on.
    pub fn set(&self, done: u64, total: u64, note: impl Into<String>) {
        let progress = JobProgress { done, total, note: note.into() };
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match &*last {
            Some((at, before)) => {
                *before != progress && (at.elapsed() >= REPORT_INTERVAL || done == total)
            }
            None => true,
        };
        if due {
            *last = Some((Instant::now(), progress.clone()));
            drop(last);
            (self.0.report)(&progress);
        }
    }
}

/// What to do about `error`, if anything in its chain says so.
pub fn hint_of(error: &anyhow::Error) -> Option<String> {
    hint::of(error)
        .map(str::to_owned)
        .or_else(|| error.downcast_ref::<store::Error>().and_then(store::Error::hint))
        .or_else(|| has_no_room(error).then(|| NO_ROOM.to_owned()))
}

/// What to do where the system takes no more bytes.
const NO_ROOM: &str = "free some space or raise the quota, or move the data with --data DIR";

fn has_no_room(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds
        .into_iter()
        .any(|cause| matches!(cause.kind(), FileTooLarge | QuotaExceeded | StorageFull))
}
