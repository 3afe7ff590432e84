//! A server of its own: binds, loads, says where, serves until a signal ends it, and lets what is
//! being answered finish.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use super::stall::Stall;
use super::{Gate, Models};
use crate::hint::Hinted;

/// Connections at a time. Those beyond wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;

/// How long the head of a request may take to arrive, and a connection may rest between two.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a client may take nothing of what there is for it.
const STALL_TIME: Duration = Duration::from_secs(60);

/// Bytes of a request's head, and of what waits to be sent over a connection.
const BUFFER_BYTES: usize = 64 << 10;

/// How long the last bytes of answers may take once all of them are made.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long to wait where no connection can be accepted because files have run out.
const NO_FILES_PAUSE: Duration = Duration::from_millis(50);

/// How often to look whether the engines are alive.
const PULSE: Duration = Duration::from_millis(500);

/// How long clients may hear why an engine is dead before the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A server that is to run.
pub struct Serving {
    /// Where; port 0 picks a free one.
    pub address: SocketAddr,
    /// What it answers.
    pub router: Router,
    /// Whose models it serves.
    pub models: Arc<Models>,
    /// How long answers may go on after the first signal.
    pub patience: Duration,
}

/// Serves until SIGTERM or SIGINT: then refuses new requests and lets the others finish until
/// [`Serving::patience`] or a second signal ends them.
///
/// Connections are taken at once and told that the model is being loaded, while `load` loads it;
/// then the gate opens, and `ready` is told the address.
///
/// # Errors
/// If the address cannot be bound, `load` fails, or an engine dies.
pub fn listen(
    serving: Serving,
    load: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(serving, load, ready));
    runtime.shutdown_background();
    result
}

async fn serve(
    serving: Serving,
    load: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Serving { address, router, models, patience } = serving;
    let listener = TcpListener::bind(address).await.map_err(|error| taken(address, &error))?;
    let address = listener.local_addr()?;
    let mut signals = Signals::new()?;
    let (leave, left) = watch::channel(false);
    let accepting = tokio::spawn(accept(listener, router, left));
    let loading = tokio::task::spawn_blocking(load);
    tokio::select! {
        loaded = loading => loaded.context("loading the model panicked")??,
        // Nobody was let in yet.
        () = signals.next() => return Ok(()),
    }
    models.gate().open();
    ready(address)?;
    let dead = tokio::select! {
        () = signals.next() => None,
        why = death(&models) => Some(why),
    };
    let patience = if dead.is_some() { LAST_WORDS } else { patience };
    drain(models.gate(), patience, &mut signals).await;
    // Connections end with the answer they are on; there is nothing to do for those that do not.
    _ = leave.send(true);
    drop(tokio::time::timeout(GOODBYE, accepting).await);
    match dead {
        Some(why) => Err(anyhow!("{why}")),
        None => Ok(()),
    }
}

/// Lets nobody in and waits for those inside.
async fn drain(gate: &Gate, patience: Duration, signals: &mut Signals) {
    gate.drain();
    info!("refusing new requests; {} are being answered", gate.inside());
    tokio::select! {
        () = gate.emptied() => return,
        () = tokio::time::sleep(patience) => {}
        () = signals.next() => {}
    }
    warn!("ending {} requests that are being answered", gate.inside());
    gate.cut();
    drop(tokio::time::timeout(GOODBYE, gate.emptied()).await);
}

/// Waits until an engine is dead and says why.
async fn death(models: &Models) -> String {
    loop {
        tokio::time::sleep(PULSE).await;
        for ((model, engine), health) in models.health() {
            if let Some(why) = health.dead {
                return format!("engine {engine} of `{model}` has stopped: {why}");
            }
        }
    }
}

/// The two signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("could not await SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("could not await SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes connections until it is time to leave, then waits for those that are open.
async fn accept(listener: TcpListener, router: Router, mut left: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = leaving(&mut left) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, left) = (router.clone(), left.clone());
                tokio::spawn(async move {
                    converse(stream, router, left).await;
                    drop(place);
                });
            }
            Err(error) if is_of_the_peer(&error) => {}
            // Out of files or memory: somebody has to close something first.
            Err(error) => {
                warn!("could not accept a connection: {error}");
                tokio::time::sleep(NO_FILES_PAUSE).await;
            }
        }
    }
    // The port is free from here on.
    drop(listener);
    drop(room.acquire_many(CONNECTIONS_MAX as u32).await);
}

/// Waits until it is time to leave.
async fn leaving(left: &mut watch::Receiver<bool>) {
    // A sender that is gone has left, too.
    drop(left.wait_for(|left| *left).await);
}

/// Whether only this one connection is lost.
fn is_of_the_peer(error: &std::io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, router: Router, mut left: watch::Receiver<bool>) {
    // Tokens are small and wanted at once.
    drop(stream.set_nodelay(true));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(
            TokioIo::new(Stall::new(stream, STALL_TIME)),
            TowerToHyperService::new(router),
        );
    let mut connection = pin!(connection);
    // How a connection ends is the client's business: whoever goes away ends it with an error.
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        () = leaving(&mut left) => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

fn taken(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let hint = if error.kind() == ErrorKind::AddrInUse {
        "another program listens there; choose another port with --listen ADDR:PORT"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "ports below 1024 need privileges; choose another with --listen ADDR:PORT"
    } else {
        "choose an address of this machine with --listen ADDR:PORT"
    };
    Hinted::new(format!("could not listen on `{address}`: {error}"), hint).into()
}
