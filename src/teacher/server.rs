//! The teacher's HTTP: routes, refusals and the faults of a script.

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::conduct::conduct;
use super::faults::{Faults, Rule};
use super::wire::{self, MODEL, Reply, Request, tokens};
use crate::hint::Hinted;

/// How often a blank line is sent while a fault makes the client wait.
const BLANK_LINE_EVERY: Duration = Duration::from_millis(20);

/// How long requests under way may take to end after a stop.
const STOP_GRACE: Duration = Duration::from_millis(300);

/// The answer nobody can parse.
const GARBAGE: &str = "<html><body>This is no JSON.</body></html>";

/// What a teacher is like.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Decides where it errs.
    pub seed: u64,
    /// What else goes wrong, for tests.
    pub faults: Faults,
}

struct Shared {
    config: Config,
    requests: AtomicU64,
    /// Questions (text and sample) that were refused once; the next request is answered.
    refused: Mutex<HashSet<(String, u64)>>,
}

/// A teacher bound to its address, not yet answering.
pub struct Teacher {
    listener: tokio::net::TcpListener,
    router: Router,
}

impl Teacher {
    /// Binds a teacher to `listen`; port 0 picks a free one.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(listen: SocketAddr, config: Config) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(|error| {
            anyhow::Error::new(error).context(Hinted::new(
                format!("could not listen on `{listen}`"),
                "choose another port with --listen 127.0.0.1:0",
            ))
        })?;
        let shared =
            Shared { config, requests: AtomicU64::new(0), refused: Mutex::new(HashSet::new()) };
        let router = Router::new()
            .route("/v1/chat/completions", post(chat_completions))
            .route("/v1/models", get(models))
            .route("/health", get(|| async { "ok" }))
            .with_state(Arc::new(shared));
        Ok(Self { listener, router })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("could not read the teacher's address")
    }

    /// Answers until `stop` resolves, then ends within a third of a second.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (told, tell) = tokio::sync::oneshot::channel();
        let graceful = async move {
            stop.await;
            // Nobody listens only if serving ended already.
            let _ = told.send(());
        };
        let serving = axum::serve(self.listener, self.router).with_graceful_shutdown(graceful);
        let late = async {
            match tell.await {
                Ok(()) => tokio::time::sleep(STOP_GRACE).await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = serving => ended.context("the teacher could not go on listening"),
            () = late => Ok(()),
        }
    }
}

async fn models() -> Response {
    let model = json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "thinkery"});
    respond(200, json!({"object": "list", "data": [model]}).to_string())
}

async fn chat_completions(
    State(shared): State<Arc<Shared>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let Ok(body) = body else {
        return refuse(413, "the request is too large", "invalid_request_error");
    };
    match shared.config.faults.rule(number) {
        Some(rule) => faulty(rule, answer(&shared, &body, number)),
        None => answer(&shared, &body, number),
    }
}

/// The answer to a request without faults.
fn answer(shared: &Shared, body: &[u8], number: u64) -> Response {
    let request: Request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return refuse(400, &error.to_string(), "invalid_request_error"),
    };
    let Some(question) = request.question() else {
        return refuse(400, "there is no message of the role `user`", "invalid_request_error");
    };
    let sample = request.seed.unwrap_or(0);
    let Some(mut given) = conduct(shared.config.seed, question, sample) else {
        let message = "the rehearsal teacher knows only the questions of the rehearsal";
        return refuse(400, message, "invalid_request_error");
    };
    if let Some(status) = given.refused {
        let mut refused = shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert((question.to_owned(), sample)) {
            return refuse(status, "busy, try again", "server_error");
        }
    }
    given.limit(request.max_tokens.map_or(u64::MAX, |tokens| tokens.saturating_mul(4)));
    let prompt_tokens = request.messages.iter().map(|message| tokens(&message.content)).sum();
    let reply = Reply { id: format!("chatcmpl-rehearsal-{number}"), given, prompt_tokens };
    if request.stream {
        let usage = request.stream_options.is_some_and(|options| options.include_usage);
        let mut response = respond(200, reply.stream(usage));
        let kind = header::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return response;
    }
    respond(200, reply.whole())
}

fn refuse(status: u16, message: &str, kind: &str) -> Response {
    let mut response = respond(status, wire::error(message, kind).to_string());
    if status == 429 {
        // At once is soon enough here, and tells clients apart that ignore the header.
        response.headers_mut().insert(header::RETRY_AFTER, 0.into());
    }
    response
}

fn respond(status: u16, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What `rule` makes of the answer `good`.
fn faulty(rule: &Rule, good: Response) -> Response {
    let mut response = good;
    if rule.garbage {
        response = respond(200, GARBAGE.into());
    }
    if let Some(status) = rule.status {
        response = refuse(status, "a fault of the script", "server_error");
        response.headers_mut().remove(header::RETRY_AFTER);
    }
    if let Some(body) = rule.body.clone() {
        *response.body_mut() = Body::from(body);
    }
    if let Some(seconds) = rule.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if rule.delay_ms.is_some() || rule.cut_stream_after_bytes.is_some() {
        let body = std::mem::replace(response.body_mut(), Body::empty());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from_stream(late_or_cut(rule, body));
    }
    response
}

/// The body of an answer, after a wait and up to where the connection breaks.
fn late_or_cut(
    rule: &Rule,
    body: Body,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let Rule { delay_ms, blank_lines, cut_stream_after_bytes, .. } = *rule;
    let delay = Duration::from_millis(delay_ms.unwrap_or(0));
    let beats = if blank_lines { delay.as_millis() / BLANK_LINE_EVERY.as_millis() } else { 0 };
    let wait = if beats > 0 { BLANK_LINE_EVERY } else { delay };
    let waiting = stream::iter(0..beats.max(1)).then(move |_| async move {
        tokio::time::sleep(wait).await;
        Ok(Bytes::from_static(if beats > 0 { b"\n" } else { b"" }))
    });
    let rest = stream::once(async move {
        let whole = axum::body::to_bytes(body, usize::MAX).await.map_err(std::io::Error::other)?;
        let end = cut_stream_after_bytes.unwrap_or(whole.len()).min(whole.len());
        Ok(whole.slice(..end))
    });
    let cut = cut_stream_after_bytes.map(|_| {
        // Let the first part leave before the connection breaks: it goes out with the next poll.
        stream::once(async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Err(std::io::Error::other("a fault of the script cuts here"))
        })
    });
    waiting.chain(rest).chain(stream::iter(cut).flatten())
}
