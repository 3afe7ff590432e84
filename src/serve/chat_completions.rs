//! `POST /v1/chat/completions`.
//!
//! The model answers on a thread of its own and hands pieces over a bounded channel: a slow reader
//! slows only itself, and a reader that is gone ends the answer.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};

use super::stream::events;
use super::wire::{Asked, Heading};
use super::{BODY_BYTES_MAX, Error, Models, Server};
use crate::chat::Answer;
use crate::chat::local::{self, LocalModel, Piece};
use crate::chat::thought::{Part, joined};

/// Pieces that may wait for a slow reader; then the answer's thread waits, not the engine.
const PIECES_MAX: usize = 64;

pub(super) async fn create(State(server): State<Server>, request: Request) -> Response {
    answer(server.models, request).await
}

/// Answers a chat completion request from the models given; for whoever has its own ideas of who
/// may ask.
pub async fn answer(models: Arc<Models>, request: Request<Body>) -> Response {
    match begin(models, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// What the thread of an answer sends.
#[derive(Debug)]
pub(super) enum Sent {
    /// More of it.
    Parts(Vec<Part>),
    /// The end: what it was in all, without its text.
    End(Answer),
    /// The engine failed.
    Failed(anyhow::Error),
}

async fn begin(models: Arc<Models>, request: Request<Body>) -> Result<Response, Error> {
    let asked = Asked::read(&body(request).await?)?;
    let permit = models.admit()?;
    let (start, started) = oneshot::channel();
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let question = asked.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let model = match models.get(question.model.as_deref()) {
            Ok(model) => model,
            // Nobody is left to hear it: the client is gone.
            Err(error) => return drop(start.send(Err(error))),
        };
        converse(&model, &question, start, &pieces);
    });
    let heading = started.await.map_err(|error| Error::Internal(error.into()))??;
    if asked.stream {
        return Ok(events(heading, received, asked.include_usage));
    }
    let answer = whole(received).await?;
    Ok(Json(heading.completion(&answer)).into_response())
}

/// Reads the body of a request that must be JSON.
async fn body(request: Request<Body>) -> Result<axum::body::Bytes, Error> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence != "application/json" {
        return Err(Error::ContentType(essence));
    }
    let limit = BODY_BYTES_MAX;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Error::BodyTooLarge { limit });
    }
    to_bytes(request.into_body(), limit).await.map_err(|_| Error::BodyTooLarge { limit })
}

/// Lets the model answer; says how it began on `start` and what it says on `pieces`.
fn converse(
    model: &LocalModel,
    asked: &Asked,
    start: oneshot::Sender<Result<Heading, Error>>,
    pieces: &mpsc::Sender<Sent>,
) {
    use crate::chat::Model;
    let request = asked.request(model);
    let mut stream = match model.stream(&request, &asked.stop) {
        Ok(stream) => stream,
        Err(refused) => return drop(start.send(Err(refused.into()))),
    };
    if start.send(Ok(Heading::new(model.name()))).is_err() {
        return;
    }
    while !pieces.is_closed() {
        let sent = match stream.next_piece() {
            Ok(Piece::Parts(parts)) if parts.is_empty() => continue,
            Ok(Piece::Parts(parts)) => Sent::Parts(parts),
            Ok(Piece::End(parts, reason)) => {
                if !parts.is_empty() && pieces.blocking_send(Sent::Parts(parts)).is_err() {
                    return;
                }
                return drop(pieces.blocking_send(Sent::End(end(&stream, reason))));
            }
            Err(error) => return drop(pieces.blocking_send(Sent::Failed(error))),
        };
        if pieces.blocking_send(sent).is_err() {
            return;
        }
    }
}

fn end(stream: &local::Stream<'_>, finish_reason: crate::engine::FinishReason) -> Answer {
    Answer {
        text: String::new(),
        reasoning: String::new(),
        solution: String::new(),
        finish_reason,
        prompt_tokens: stream.prompt_tokens() as u64,
        completion_tokens: stream.completion_tokens() as u64,
    }
}

/// Waits for the whole answer.
async fn whole(mut received: mpsc::Receiver<Sent>) -> Result<Answer, Error> {
    let mut parts = Vec::new();
    while let Some(sent) = received.recv().await {
        match sent {
            Sent::Parts(more) => parts.extend(more),
            Sent::End(answer) => {
                let (reasoning, solution) = joined(parts);
                return Ok(Answer { reasoning, solution, ..answer });
            }
            Sent::Failed(error) => return Err(Error::Internal(error)),
        }
    }
    Err(Error::Stopped)
}
