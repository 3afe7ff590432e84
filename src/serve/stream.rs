//! An answer as server-sent events, chunk by chunk, in OpenAI's order: the role, the thought, the
//! solution, an empty delta with the reason it ended, the tokens used if asked for, `[DONE]`.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::Error;
use super::chat_completions::Sent;
use super::wire::Heading;
use crate::chat::thought::Part;

/// How often a comment is sent while the model is silent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The whole stream.
pub(super) fn events(heading: Heading, received: Receiver<Sent>, usage: bool) -> Response {
    let role = heading.chunk(&json!({ "role": "assistant", "content": "" }), None);
    let first = tokio_stream::once(Ok(data(&role)));
    let rest = ReceiverStream::new(received)
        .map(move |sent| chunks(&heading, sent, usage))
        .map(tokio_stream::iter);
    let rest = futures_util::StreamExt::flatten(rest);
    let stream: std::pin::Pin<Box<dyn Stream>> = Box::pin(first.chain(rest));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// What axum takes as a stream of events.
trait Stream: futures_util::Stream<Item = Result<Event, Infallible>> + Send {}

impl<S: futures_util::Stream<Item = Result<Event, Infallible>> + Send> Stream for S {}

fn chunks(heading: &Heading, sent: Sent, usage: bool) -> Vec<Result<Event, Infallible>> {
    let mut events = Vec::new();
    match sent {
        Sent::Parts(parts) => {
            for part in parts {
                let delta = match part {
                    Part::Thought(text) => json!({ "reasoning_content": text }),
                    Part::Solution(text) => json!({ "content": text }),
                };
                events.push(Ok(data(&heading.chunk(&delta, None))));
            }
        }
        Sent::End(answer) => {
            let last = heading.chunk(&json!({}), Some(answer.finish_reason));
            events.push(Ok(data(&last)));
            if usage {
                let used = heading.usage_chunk(answer.prompt_tokens, answer.completion_tokens);
                events.push(Ok(data(&used)));
            }
            events.push(Ok(Event::default().data("[DONE]")));
        }
        // The status line is long gone: the error travels as an event, never as silence.
        Sent::Failed(error) => {
            events.push(Ok(data(&Error::Internal(error).body())));
            events.push(Ok(Event::default().data("[DONE]")));
        }
    }
    events
}

fn data(value: &Value) -> Event {
    Event::default().data(value.to_string())
}
