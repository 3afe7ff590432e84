//! What every handler is given.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::access::Access;
use super::error::{Error, Result};
use super::events::Hub;
use super::guard::Hosts;
use super::metrics::Metrics;
use super::status::Gpu;
use super::verify::Sandbox;
use crate::jobs::{Replay, Replayer, Runner};
use crate::recipe;
use crate::records::{Mode, TraceId};
use crate::serve::Models;
use crate::stage::{Stop, Stopped};
use crate::store::{self, Store};

/// Looks at how programs are confined here. May take a second the first time.
pub type SandboxProbe = Arc<dyn Fn() -> Sandbox + Send + Sync>;

/// Traces that are judged again at once, at most; others wait. Each may take every core for a while.
const REPLAYS_AT_ONCE: usize = 2;

/// What the panel is made of.
pub struct Parts {
    /// Everything that must survive.
    pub store: Store,
    /// Runs the jobs; without one, jobs can be looked at only.
    pub runner: Option<Runner>,
    /// Answers `/v1/…` and the chat.
    pub v1: axum::Router,
    /// The models behind it.
    pub models: Arc<Models>,
    /// What plans have to fit on.
    pub machine: recipe::Machine,
    /// GPUs that can be used.
    pub gpus: Vec<Gpu>,
    /// Names by which the panel may be called.
    pub hosts: Hosts,
    /// How programs are confined; none where nobody can look.
    pub sandbox: Option<SandboxProbe>,
    /// Judges traces again; none where nobody can.
    pub replayer: Option<Replayer>,
}

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    store: Store,
    access: Access,
    /// Taken out when the house goes down.
    runner: Mutex<Option<Runner>>,
    v1: axum::Router,
    models: Arc<Models>,
    machine: recipe::Machine,
    gpus: Vec<Gpu>,
    hosts: Hosts,
    sandbox: Option<SandboxProbe>,
    replayer: Option<Replayer>,
    replaying: Arc<Semaphore>,
    hub: Hub,
    metrics: Metrics,
    /// Becomes true when the house goes down: streams end.
    closing: watch::Sender<bool>,
}

impl AppState {
    /// A panel of these parts. Call within a tokio runtime: it starts to listen for events.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, runner, v1, models, machine, gpus, hosts, sandbox, replayer } = parts;
        let closing = watch::Sender::new(false);
        Self(Arc::new(Inner {
            access: Access::new(store.clone()),
            runner: Mutex::new(runner),
            v1,
            models,
            machine,
            gpus,
            hosts,
            sandbox,
            replayer,
            replaying: Arc::new(Semaphore::new(REPLAYS_AT_ONCE)),
            hub: Hub::start(store.clone(), closing.subscribe()),
            metrics: Metrics::new(),
            closing,
            store,
        }))
    }

    /// Ends every stream and stops the jobs; training writes its checkpoint. Blocks until all have
    /// ended.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
        let runner = self.0.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(runner);
        if let Some(replayer) = &self.0.replayer {
            replayer.close();
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.0.hosts
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn machine(&self) -> &recipe::Machine {
        &self.0.machine
    }

    pub(super) fn gpus(&self) -> &[Gpu] {
        &self.0.gpus
    }

    /// How programs are confined here, seen on a thread that may block.
    pub(super) async fn sandbox(&self) -> Result<Sandbox> {
        let gone = || Error::Unavailable("no program is run here".into());
        let probe = self.0.sandbox.clone().ok_or_else(gone)?;
        self.blocking(move |_| Ok(probe())).await
    }

    /// Judges a trace again, on a thread that may block, when it is its turn. Ends with whoever asked.
    pub(super) async fn replay(&self, id: TraceId, mode: Mode) -> Result<Replay> {
        let gone = || Error::Unavailable("nothing is judged again here".into());
        let replayer = self.0.replayer.clone().ok_or_else(gone)?;
        let turn = Arc::clone(&self.0.replaying).acquire_owned().await;
        let turn = turn.map_err(|error| Error::Internal(error.into()))?;
        let asked = Asked(Stop::default());
        let stop = asked.0.clone();
        let replayed = self.blocking(move |state| {
            // Held until the work is done, even if nobody waits for it any more.
            let _turn = turn;
            let replayed = replayer.replay(&state.0.store, (id, mode), &stop);
            replayed.map_err(|error| match error.downcast::<Stopped>() {
                Ok(Stopped) => Error::Unavailable("the server is going down".into()),
                Err(error) => error.into(),
            })
        });
        replayed.await
    }

    pub(super) fn v1(&self) -> axum::Router {
        self.0.v1.clone()
    }

    pub(super) fn models(&self) -> &Models {
        &self.0.models
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Whether jobs can be run.
    pub(super) fn runs_jobs(&self) -> bool {
        self.0.runner.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks the store, on a thread that may block.
    pub(super) async fn store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> store::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |state| Ok(ask(&state.0.store)?)).await
    }

    /// Does some work on the store, on a thread that may block.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |state| Ok(work(&state.0.store)?)).await
    }

    /// Asks who may come in, on a thread that may block.
    pub(super) async fn ask_access<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Access) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |state| ask(&state.0.access)).await
    }

    /// Tells the models something, on a thread that may block.
    pub(super) async fn tell_models<T: Send + 'static>(
        &self,
        tell: impl FnOnce(&Models) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |state| tell(&state.0.models)).await
    }

    /// Tells the job runner something, on a thread that may block.
    pub(super) async fn tell_runner<T: Send + 'static>(
        &self,
        tell: impl FnOnce(&Runner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(move |state| {
            let runner = state.0.runner.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = || Error::Unavailable("the job runner is going down".into());
            tell(runner.as_ref().ok_or_else(gone)?)
        })
        .await
    }

    pub(super) async fn is_session(&self, token: Option<String>) -> Result<bool> {
        let Some(token) = token else { return Ok(false) };
        self.ask_access(move |access| access.is_session(&token)).await
    }

    pub(super) async fn is_key(&self, key: Option<String>) -> Result<bool> {
        let Some(key) = key else { return Ok(false) };
        self.ask_access(move |access| access.is_key(&key)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = self.clone();
        let answer = tokio::task::spawn_blocking(move || work(&state)).await;
        answer.map_err(|error| Error::Internal(error.into()))?
    }
}

/// Somebody who waits for an answer; when they go, the work may end.
struct Asked(Stop);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.request();
    }
}
