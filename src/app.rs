//! The one router: `/api`, `/v1` and the panel.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;

use crate::api;

/// Everything that `thinkery up` answers.
pub fn app(state: api::AppState) -> Router {
    api::router(state)
}

/// Answers on `listener` until `stopped`, then lets open connections finish.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    state: api::AppState,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // The login limiter counts by the peer's address.
    let service = app(state).into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stopped);
    server.await.context("could not listen any more")
}
