//! A server of its own: binds, says where, serves until a signal ends it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::hint::Hinted;

/// Serves `router` on `address` until SIGTERM or SIGINT. `ready` is told the address once
/// connections are taken; port 0 picks a free one. Open connections are cut: they belong to
/// answers that nobody will finish.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(
    address: SocketAddr,
    router: Router,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let listener = TcpListener::bind(address).await.map_err(|error| taken(address, &error))?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        ready(listener.local_addr()?)?;
        tokio::select! {
            served = axum::serve(listener, router) => served.context("could not go on serving"),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    runtime.shutdown_background();
    result
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
