//! One stream of everything that happens: server-sent events with ids and replay.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::Sender;
use tokio::sync::{broadcast, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::{Error, ErrorBody, Result};
use super::extract::Query;
use super::guard::session_token;
use super::jobs::Job;
use super::status::Counts;
use crate::records;
use crate::store::{self, Store};

/// How often the store is asked for events.
const POLL: Duration = Duration::from_millis(250);

/// Proxies close streams that are silent for longer.
const QUIET: Duration = Duration::from_secs(15);

/// Events read at once.
const BATCH: u32 = 500;

/// Events that a listener may be behind before it is told to ask for a snapshot, which is smaller.
const BEHIND_MAX: i64 = 2_000;

/// Events that wait for a slow listener; a browser that is further behind asks for a snapshot.
const QUEUE: usize = 1_024;

/// Events on their way to one browser.
const SEND_QUEUE: usize = 64;

/// Where to begin.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// Only events after this one; a `Last-Event-ID` header wins. Without either: from now on.
    pub after: Option<i64>,
}

/// What the `data:` line of an event says; `event:` is the topic, `id:` is monotone.
#[derive(Debug, Serialize, ToSchema)]
#[expect(dead_code, reason = "describes what jobs write; only its schema is used")]
#[serde(tag = "topic", content = "data", rename_all = "snake_case")]
pub(super) enum Event {
    /// A job changed.
    Job(Box<Job>),
    /// A run made steps; at most four times a second.
    Step(StepNews),
    /// What is in the store has changed; at most once a second while a job runs.
    Counts(Counts),
    /// A cell of the score table: ask `/scores` again.
    Score(Value),
    /// Too far behind to catch up: ask `/status` again.
    Resync(Resync),
}

/// A step of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepNews {
    /// Which run.
    pub run_id: i64,
    /// Its name.
    pub run: String,
    /// From 0.
    pub step: u64,
    /// Optimizer steps in total.
    pub steps_total: u64,
    /// Mean loss of the step, in nats; null if it was not finite.
    pub loss: Option<f64>,
    /// Global L2 norm of the gradients before clipping.
    pub grad_norm: Option<f64>,
    /// The learning rate this step used.
    pub learning_rate: f64,
    /// Throughput of this step.
    pub tokens_per_second: f64,
}

/// Where the stream goes on after a gap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Resync {
    /// The newest event; everything up to it is in `/status`.
    pub last_event_id: i64,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_events))
}

/// Everything that happens, as it happens. `retry: 2000`; a comment every 15 s.
#[utoipa::path(get, path = "/events", tag = "events", params(After),
    responses(
        (status = OK, body = Event, content_type = "text/event-stream"),
        (status = "default", body = ErrorBody)))]
async fn get_events(
    State(state): State<AppState>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Result<Response> {
    let last = match headers.get("last-event-id") {
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(id.ok_or_else(|| Error::Invalid("`Last-Event-ID` is a number".into()))?)
        }
        None => after.after,
    };
    let session = session_token(&state, &headers);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(SEND_QUEUE);
    tokio::spawn(async move {
        // The receiver is gone when the browser is; there is nobody to tell.
        let _ = feed(&state, session, last, &sender).await;
    });
    let lines = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Why a stream ends.
struct Gone;

async fn feed(
    state: &AppState,
    session: Option<String>,
    last: Option<i64>,
    sender: &Sender<Bytes>,
) -> Result<(), Gone> {
    // Subscribe before looking into the store: what comes in between is in both, and skipped.
    let mut news = state.hub().subscribe();
    let closing = state.closing();
    let mut ended = state.access().ended();
    let mut sent = catch_up(state, last, sender).await?;
    let mut quiet = tokio::time::interval(QUIET);
    quiet.reset();
    loop {
        tokio::select! {
            event = news.recv() => match event {
                Ok(event) if event.id > sent => {
                    send(sender, event.text.clone()).await?;
                    sent = event.id;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => sent = resync(state, sender).await?,
                Err(RecvError::Closed) => return Err(Gone),
            },
            _ = quiet.tick() => {
                check(state, session.as_ref()).await?;
                send(sender, Bytes::from_static(b":\n\n")).await?;
            }
            _ = ended.changed() => check(state, session.as_ref()).await?,
            () = closed(closing.clone()) => return Err(Gone),
        }
    }
}

/// Waits until the house goes down.
async fn closed(mut closing: watch::Receiver<bool>) {
    // An error says that whoever would tell is gone, which is the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Ends the stream of a session that has ended.
async fn check(state: &AppState, session: Option<&String>) -> Result<(), Gone> {
    match state.is_session(session.cloned()).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Gone),
    }
}

/// Sends what was missed after `last`, and gives the id from which on news count.
async fn catch_up(
    state: &AppState,
    last: Option<i64>,
    sender: &Sender<Bytes>,
) -> Result<i64, Gone> {
    let (oldest, newest) = state.store(|store| store.event_range()).await.map_err(|_| Gone)?;
    send(sender, Bytes::from_static(b"retry: 2000\n\n")).await?;
    let Some(mut last) = last else { return Ok(newest) };
    if last > newest || last + 1 < oldest || newest - last > BEHIND_MAX {
        return resync(state, sender).await;
    }
    while last < newest {
        let missed = state.store(move |store| store.events_after(last, BATCH)).await;
        let missed = missed.map_err(|_| Gone)?;
        let Some(end) = missed.last().map(|event| event.id) else { break };
        for event in latest(missed) {
            send(sender, text(&event)).await?;
        }
        last = end;
    }
    Ok(last)
}

/// Tells the panel to ask for a snapshot.
async fn resync(state: &AppState, sender: &Sender<Bytes>) -> Result<i64, Gone> {
    let (_, newest) = state.store(|store| store.event_range()).await.map_err(|_| Gone)?;
    let data = json!({ "last_event_id": newest });
    send(sender, text(&records::Event { id: newest, topic: "resync".into(), data })).await?;
    Ok(newest)
}

async fn send(sender: &Sender<Bytes>, text: Bytes) -> Result<(), Gone> {
    sender.send(text).await.map_err(|_| Gone)
}

/// Reads the store's events and passes them on to everybody who listens.
///
/// Jobs write events from their own processes, so the store is asked four times a second; that is
/// also how often a job's or a run's news are passed on at most.
pub(super) struct Hub(broadcast::Sender<Arc<News>>);

/// An event as it goes over the wire.
struct News {
    id: i64,
    text: Bytes,
}

impl Hub {
    /// Starts to listen, until the house goes down.
    pub(super) fn start(store: Store, closing: watch::Receiver<bool>) -> Self {
        let (sender, _) = broadcast::channel(QUEUE);
        let hub = sender.clone();
        // From here on nothing is missed; if the store cannot say where here is, it is asked again.
        let mut last = store.event_range().ok().map(|(_, newest)| newest);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(POLL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = closed(closing.clone()) => return,
                }
                let asked = store.clone();
                let found = tokio::task::spawn_blocking(move || look(&asked, last)).await;
                match found {
                    Ok(Ok((end, events))) => {
                        last = Some(end);
                        for event in latest(events) {
                            // Fails when nobody listens, which is fine.
                            let _ =
                                sender.send(Arc::new(News { id: event.id, text: text(&event) }));
                        }
                    }
                    Ok(Err(error)) => tracing::error!("could not read the events: {error}"),
                    Err(_) => return,
                }
            }
        });
        Self(hub)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<News>> {
        self.0.subscribe()
    }
}

/// The next events after `last`; without one, only where the end is.
fn look(store: &Store, last: Option<i64>) -> store::Result<(i64, Vec<records::Event>)> {
    let Some(last) = last else { return Ok((store.event_range()?.1, Vec::new())) };
    let events = store.events_after(last, BATCH)?;
    Ok((events.last().map_or(last, |event| event.id), events))
}

/// Of the news of one job in one state, and of one run, only the latest.
fn latest(events: Vec<records::Event>) -> Vec<records::Event> {
    let mut seen = HashSet::new();
    let mut kept: Vec<records::Event> = events
        .into_iter()
        .rev()
        .filter(|event| {
            let of = match event.topic.as_str() {
                "job" => (&event.data["id"], &event.data["state"]),
                "step" => (&event.data["run_id"], &Value::Null),
                "counts" => (&Value::Null, &Value::Null),
                _ => return true,
            };
            seen.insert((event.topic.clone(), of.0.to_string(), of.1.to_string()))
        })
        .collect();
    kept.reverse();
    kept
}

/// An event as lines of server-sent events. JSON has no line breaks, so one `data:` line does.
fn text(event: &records::Event) -> Bytes {
    let records::Event { id, topic, data } = event;
    let data = json!({ "topic": topic, "data": data });
    Bytes::from(format!("id: {id}\nevent: {topic}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::latest;
    use crate::records::Event;

    fn event(id: i64, topic: &str, data: serde_json::Value) -> Event {
        Event { id, topic: topic.into(), data }
    }

    #[test]
    fn of_one_jobs_progress_the_latest_stays() {
        let events = vec![
            event(1, "job", json!({"id": 7, "state": "queued"})),
            event(2, "job", json!({"id": 7, "state": "running"})),
            event(3, "job", json!({"id": 8, "state": "running"})),
            event(4, "job", json!({"id": 7, "state": "running"})),
            event(5, "step", json!({"run_id": 1, "step": 0})),
            event(6, "step", json!({"run_id": 1, "step": 1})),
            event(7, "score", json!({})),
            event(8, "score", json!({})),
        ];
        let ids: Vec<i64> = latest(events).iter().map(|event| event.id).collect();
        assert_eq!(ids, [1, 3, 4, 6, 7, 8]);
    }
}
