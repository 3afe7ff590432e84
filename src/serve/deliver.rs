//! How answers reach whoever asked: whole, or as server-sent events while they are made.
//!
//! The task that sends holds the answers: a client that goes away drops them, and with them what
//! the engine still had to do.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::answers::{Answers, Happening};
use super::gate::Visit;
use super::wire::{Delivery, Heading, usage};
use super::{Error, Models, blocking, body};

/// How often a comment is sent while the model is silent, so that proxies keep the connection.
const PING: Duration = Duration::from_secs(15);

/// Bytes of events that are put together before they are sent, if they are there.
const WRITE_BYTES: usize = 16 << 10;

/// What is written of answers, in the shape of one endpoint.
pub(super) trait Writer: Send + 'static {
    /// How they are sent.
    fn delivery(&self) -> Delivery;

    /// What every chunk begins with.
    fn heading(&self) -> &Heading;

    /// Chunks that come before anything has happened.
    fn begin(&mut self) -> Vec<Value>;

    /// Chunks for what has happened.
    fn chunks(&mut self, happening: Happening) -> Vec<Value>;

    /// Takes note of what has happened, for [`Writer::whole`].
    fn add(&mut self, happening: Happening);

    /// All in one, without usage.
    fn whole(self) -> Value;
}

/// Reads a body that came at that time and lets the model begin. Blocks: it tokenizes.
type Prepare<W> = fn(&Models, &[u8], Instant) -> Result<(Answers, W), Error>;

/// Answers a request: lets it in, reads it, hands it to `prepare` on a thread that may block, and
/// sends what comes of it.
pub(super) async fn answer<W: Writer>(
    models: &Arc<Models>,
    request: Request<Body>,
    prepare: Prepare<W>,
) -> Result<Response, Error> {
    let begun = Instant::now();
    let visit = models.gate().enter()?;
    // Before anything is read, and again once all of it is there.
    models.check_room()?;
    let body = body::json(request).await?;
    let permit = models.admit()?;
    let shared = Arc::clone(models);
    let (answers, writer) = blocking(move || prepare(&shared, &body, begun)).await?;
    let held = Held { visit, _permit: permit };
    match writer.delivery().stream {
        true => Ok(stream(answers, writer, held)),
        false => whole(answers, writer, held).await,
    }
}

/// What a request holds while it is answered.
struct Held {
    visit: Visit,
    _permit: OwnedSemaphorePermit,
}

async fn whole<W: Writer>(
    mut answers: Answers,
    mut writer: W,
    held: Held,
) -> Result<Response, Error> {
    loop {
        tokio::select! {
            biased;
            happening = answers.next() => match happening? {
                Some(happening) => writer.add(happening),
                None => break,
            },
            () = held.visit.cut() => return Err(Error::Draining),
        }
    }
    let mut answer = writer.whole();
    answer["usage"] = usage(answers.prompt_tokens(), answers.completion_tokens());
    Ok(Json(answer).into_response())
}

/// A stream on its way.
struct Sending<W> {
    answers: Answers,
    writer: W,
    held: Held,
    /// Chunks that were made and not sent.
    waiting: VecDeque<Value>,
    /// Tokens of the chunks that were made.
    completion_tokens: usize,
    ended: bool,
}

fn stream<W: Writer>(answers: Answers, mut writer: W, held: Held) -> Response {
    let waiting = writer.begin();
    let mut sending = Sending {
        answers,
        writer,
        held,
        waiting: VecDeque::new(),
        completion_tokens: 0,
        ended: false,
    };
    sending.chunks(waiting);
    let events = futures_util::stream::unfold(sending, |mut sending| async move {
        let bytes = sending.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), sending))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Tells nginx not to collect it.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

impl<W: Writer> Sending<W> {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        while self.waiting.is_empty() {
            if self.ended {
                return None;
            }
            let happened = tokio::select! {
                biased;
                happened = self.answers.next() => happened,
                () = self.held.visit.cut() => Err(Error::Draining),
                () = tokio::time::sleep(PING) => return Some(Bytes::from_static(b": ping\n\n")),
            };
            self.take(happened);
        }
        let mut bytes = Vec::new();
        loop {
            self.waiting.drain(..).for_each(|chunk| event(&chunk, &mut bytes));
            if self.ended || bytes.len() >= WRITE_BYTES {
                return Some(bytes.into());
            }
            match self.answers.ready() {
                Ok(None) => return Some(bytes.into()),
                happened => self.take(happened),
            }
        }
    }

    /// Turns what has happened into chunks.
    fn take(&mut self, happened: Result<Option<Happening>, Error>) {
        match happened {
            Ok(Some(happening)) => {
                self.completion_tokens += usize::from(matches!(happening, Happening::More { .. }));
                let chunks = self.writer.chunks(happening);
                self.chunks(chunks);
            }
            Ok(None) => {
                self.ended = true;
                if self.writer.delivery().include_usage {
                    let last = self.writer.heading().with(&[]);
                    self.chunks(vec![last]);
                }
                self.waiting.push_back(Value::from(DONE));
            }
            // The status line is long gone: the error travels as an event, never as silence.
            Err(error) => {
                self.ended = true;
                self.waiting.extend([error.body(), Value::from(DONE)]);
            }
        }
    }

    /// Adds the tokens used, if they were asked for: to every chunk, or to the last, which has no
    /// choice, and `null` to the others.
    fn chunks(&mut self, chunks: Vec<Value>) {
        let delivery = self.writer.delivery();
        for mut chunk in chunks {
            let is_last = chunk["choices"].as_array().is_some_and(Vec::is_empty);
            if delivery.continuous_usage || is_last {
                chunk["usage"] = usage(self.answers.prompt_tokens(), self.completion_tokens);
            } else if delivery.include_usage {
                chunk["usage"] = Value::Null;
            }
            self.waiting.push_back(chunk);
        }
    }
}

/// The last event of every stream.
const DONE: &str = "[DONE]";

/// Writes one event.
fn event(data: &Value, into: &mut Vec<u8>) {
    into.extend_from_slice(b"data: ");
    match data.as_str() {
        Some(text) => into.extend_from_slice(text.as_bytes()),
        None => into.extend_from_slice(data.to_string().as_bytes()),
    }
    into.extend_from_slice(b"\n\n");
}
