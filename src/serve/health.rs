//! `/health` and `/load`: whether tokens are being made, not whether a socket is open.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Models, Server};

/// Seconds after which a probe may look again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

pub(super) async fn health(State(server): State<Server>) -> Response {
    let load = server.models.load();
    let trouble = trouble(&server.models);
    let age = server.models.health().into_values().filter_map(|health| health.step_age).max();
    let body = json!({
        "status": trouble.as_deref().unwrap_or("ok"), "running": load.running,
        "waiting": load.waiting, "generated_tokens": load.generated_tokens, "steps": load.steps,
        "last_step_age_seconds": age.unwrap_or_default().as_secs_f64(),
    });
    match trouble {
        None => Json(body).into_response(),
        Some(_) => {
            let headers = [(header::RETRY_AFTER, RETRY_AFTER)];
            (StatusCode::SERVICE_UNAVAILABLE, headers, Json(body)).into_response()
        }
    }
}

/// Why no tokens will be made, if so: the model is not there, leaves, or its engine is dead or stuck.
fn trouble(models: &Models) -> Option<String> {
    if let Err(closed) = models.gate().check() {
        return Some(closed.to_string());
    }
    for ((model, engine), health) in models.health() {
        if let Some(why) = health.dead {
            return Some(format!("engine {engine} of `{model}` has stopped: {why}"));
        }
        if let Some(age) = health.step_age.filter(|age| *age > models.step_time()) {
            let seconds = age.as_secs();
            return Some(format!("engine {engine} of `{model}` has made no step for {seconds} s"));
        }
    }
    None
}

pub(super) async fn load(State(server): State<Server>) -> Json<Value> {
    Json(json!({ "server_load": server.models.gate().inside() }))
}
