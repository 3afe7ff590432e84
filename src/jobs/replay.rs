//! Judges traces again for somebody who looks at them, in a sandbox that is kept for the next one.
//!
//! The sandbox is opened when it is first needed and closed when nobody has needed it for a while, or
//! when the house goes down. What a replay is, is `verify`'s business.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::records::{Mode, TraceId};
use crate::sandbox::Sandbox;
use crate::stage::{Stop, Stopped};
use crate::store::Store;
use crate::verify::{self, Replay, Tools};

/// How long a sandbox is kept that nobody uses: a person looks at the next trace within a minute.
const KEPT_IDLE: Duration = Duration::from_secs(60);

/// Makes a sandbox; it starts nothing before it is used.
type Make = dyn Fn() -> anyhow::Result<Sandbox> + Send + Sync;

/// Judges again. Cheap to clone; clones share the sandbox.
#[derive(Clone)]
pub struct Replayer(Arc<Inner>);

struct Inner {
    make: Box<Make>,
    idle: Duration,
    kept: Mutex<Kept>,
    /// Somebody is done, or the house goes down.
    changed: Condvar,
}

#[derive(Default)]
struct Kept {
    sandbox: Option<Arc<Sandbox>>,
    /// When it was needed last.
    used: Option<Instant>,
    /// How those who use it are stopped.
    users: BTreeMap<u64, Stop>,
    next_user: u64,
    closed: bool,
}

impl Replayer {
    /// Judges in a sandbox that `make` makes.
    pub fn new(make: impl Fn() -> anyhow::Result<Sandbox> + Send + Sync + 'static) -> Self {
        Self::kept_for(KEPT_IDLE, make)
    }

    /// The same, and keeps the sandbox for `idle` after its last use.
    pub fn kept_for(
        idle: Duration,
        make: impl Fn() -> anyhow::Result<Sandbox> + Send + Sync + 'static,
    ) -> Self {
        let (kept, changed) = (Mutex::new(Kept::default()), Condvar::new());
        Self(Arc::new(Inner { make: Box::new(make), idle, kept, changed }))
    }

    /// Judges trace `id` again by the rules of `mode`, as it was judged before. Ends early when `stop`
    /// says so. Stores nothing.
    ///
    /// # Errors
    /// As [`verify::replay`]; [`Stopped`] after [`Self::close`].
    pub fn replay(
        &self,
        store: &Store,
        (id, mode): (TraceId, Mode),
        stop: &Stop,
    ) -> anyhow::Result<Replay> {
        let used = self.open(stop.clone())?;
        let tools = Tools { stop: stop.clone(), ..Tools::new(used.sandbox()) };
        verify::replay(store, id, mode, &tools)
    }

    /// Asks the sandbox that is kept.
    ///
    /// # Errors
    /// If there can be none; [`Stopped`] after [`Self::close`].
    pub fn ask<T>(&self, ask: impl FnOnce(&Sandbox) -> T) -> anyhow::Result<T> {
        Ok(ask(&self.open(Stop::default())?.sandbox()))
    }

    /// Whether a sandbox is kept at the moment.
    pub fn is_open(&self) -> bool {
        self.0.lock().sandbox.is_some()
    }

    /// Ends what is being judged and closes the sandbox, for good. Blocks until that is done.
    pub fn close(&self) {
        let mut kept = self.0.lock();
        kept.closed = true;
        kept.users.values().for_each(Stop::request);
        self.0.changed.notify_all();
        while !kept.users.is_empty() {
            kept = self.0.changed.wait(kept).unwrap_or_else(PoisonError::into_inner);
        }
        let sandbox = kept.sandbox.take();
        drop(kept);
        drop(sandbox);
    }

    fn open(&self, stop: Stop) -> anyhow::Result<Used<'_>> {
        let mut kept = self.0.lock();
        if kept.closed {
            return Err(Stopped.into());
        }
        let sandbox = match &kept.sandbox {
            Some(sandbox) => Arc::clone(sandbox),
            None => {
                let sandbox = Arc::new((self.0.make)()?);
                kept.sandbox = Some(Arc::clone(&sandbox));
                let inner = Arc::clone(&self.0);
                std::thread::Builder::new()
                    .name("replay-idle".into())
                    .spawn(move || inner.close_when_idle())?;
                sandbox
            }
        };
        let user = kept.next_user;
        kept.next_user += 1;
        kept.users.insert(user, stop);
        Ok(Used { inner: &self.0, user, sandbox: Some(sandbox) })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody has used the sandbox for a while, and closes it.
    fn close_when_idle(&self) {
        let mut kept = self.lock();
        while !kept.closed {
            let idle = kept.used.map_or(Duration::ZERO, |used| used.elapsed());
            let left =
                if kept.users.is_empty() { self.idle.saturating_sub(idle) } else { self.idle };
            if left.is_zero() {
                let sandbox = kept.sandbox.take();
                drop(kept);
                drop(sandbox);
                self.changed.notify_all();
                return;
            }
            let waited = self.changed.wait_timeout(kept, left);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A sandbox while somebody uses it.
struct Used<'a> {
    inner: &'a Inner,
    user: u64,
    /// None once it is given back.
    sandbox: Option<Arc<Sandbox>>,
}

impl Used<'_> {
    fn sandbox(&self) -> Arc<Sandbox> {
        let sandbox = self.sandbox.as_ref();
        Arc::clone(sandbox.expect("it is given back when this is dropped"))
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        // Before anybody hears of it: who closes the sandbox must hold the last of it.
        drop(self.sandbox.take());
        let mut kept = self.inner.lock();
        kept.users.remove(&self.user);
        kept.used = Some(Instant::now());
        self.inner.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::Replayer;
    use crate::sandbox::Sandbox;
    use crate::stage::{Stop, Stopped};

    fn counted(idle: Duration) -> (Replayer, Arc<AtomicU32>) {
        let made = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&made);
        let make = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Sandbox::new(PathBuf::from("no-launcher"), Vec::new()))
        };
        (Replayer::kept_for(idle, make), made)
    }

    #[test]
    fn a_sandbox_is_opened_when_it_is_needed_and_kept_for_the_next() {
        let (replayer, made) = counted(Duration::from_secs(600));
        assert!(!replayer.is_open());
        for _ in 0..3 {
            assert!(replayer.ask(|sandbox| sandbox.tier().is_err()).unwrap());
        }
        assert_eq!((made.load(Ordering::Relaxed), replayer.is_open()), (1, true));
    }

    #[test]
    fn a_sandbox_that_nobody_uses_is_closed_and_another_opened_later() {
        let (replayer, made) = counted(Duration::from_millis(1));
        replayer.ask(|_| ()).unwrap();
        let mut kept = replayer.0.lock();
        while kept.sandbox.is_some() {
            kept = replayer.0.changed.wait(kept).unwrap();
        }
        drop(kept);
        replayer.ask(|_| ()).unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn closing_stops_who_uses_it_and_nobody_opens_it_again() {
        let (replayer, _) = counted(Duration::from_secs(600));
        let stop = Stop::default();
        let used = replayer.open(stop.clone()).unwrap();
        let closing = std::thread::spawn({
            let replayer = replayer.clone();
            move || replayer.close()
        });
        while !stop.is_requested() {
            std::thread::yield_now();
        }
        assert!(!closing.is_finished(), "it waits until the last is done");
        drop(used);
        closing.join().unwrap();
        assert!(!replayer.is_open());
        assert!(replayer.ask(|_| ()).unwrap_err().is::<Stopped>());
    }
}
