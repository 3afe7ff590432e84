//! What every handler is given.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::access::Access;
use super::error::{Error, Result};
use super::events::Hub;
use super::guard::Hosts;
use super::metrics::Metrics;
use super::status::Gpu;
use super::verify::Sandbox;
use crate::jobs::Runner;
use crate::recipe;
use crate::serve::Models;
use crate::store::{self, Store};

/// Looks at how programs are confined here. May take a second the first time.
pub type SandboxProbe = Arc<dyn Fn() -> Sandbox + Send + Sync>;

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
    hub: Hub,
    metrics: Metrics,
    /// Becomes true when the house goes down: streams end.
    closing: watch::Sender<bool>,
}

impl AppState {
    /// A panel of these parts. Call within a tokio runtime: it starts to listen for events.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, runner, v1, models, machine, gpus, hosts, sandbox } = parts;
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
    pub(super) async fn sandbox(&self) -> Result<Option<Sandbox>> {
        self.blocking(|state| Ok(state.0.sandbox.as_ref().map(|probe| probe()))).await
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
