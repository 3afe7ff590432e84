//! A model behind any OpenAI-compatible endpoint.
//!
//! Sends requests, keeps a bounded number in flight, waits and retries where that can help, and
//! hands the bytes of every reply to its caller before it parses them. Remembers nothing.
//! The key is in the request's header and nowhere else: errors and replies are cleaned of it.

mod ask;
mod budget;
mod error;
mod exchange;
mod provider;
mod sse;
mod wire;

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Answer, Model, Request};
use crate::hint::Hinted;

pub use ask::{Caller, Next, Outcome};
pub use budget::Budget;
pub use error::{Error, Kind, Retry};
pub use exchange::Received;
pub use provider::{Price, Provider, host, in_flight_of, price_of};
pub use sse::Decoder;
pub use wire::{Reply, parse};

/// Where to ask, and how patiently.
#[derive(Clone)]
pub struct Endpoint {
    /// Base URL, with or without `/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The bearer key.
    pub key: Option<String>,
    /// Whether replies come as server-sent events.
    pub stream: bool,
    /// The form every answer must have, as OpenAI's `response_format`; none for free text.
    pub response_format: Option<serde_json::Value>,
    /// Requests under way at most.
    pub in_flight: usize,
    /// How often one request is sent at most.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles with each, up to a minute, with jitter.
    pub backoff: Duration,
    /// How long a reply may be silent; blank lines count as life.
    pub idle_timeout: Duration,
    /// How long a reply may take in all.
    pub total_timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = if self.key.is_some() { "set" } else { "not set" };
        let mut fields = f.debug_struct("Endpoint");
        fields.field("url", &self.url).field("model", &self.model).field("key", &key);
        fields.finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint with the patience that suits interactive use and benchmarks.
    pub fn new(url: impl Into<String>, model: impl Into<String>, key: Option<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            key,
            stream: false,
            response_format: None,
            in_flight: 64,
            attempts_max: 6,
            backoff: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(300),
            total_timeout: Duration::from_secs(1_800),
        }
    }
}

/// A model behind an endpoint.
#[derive(Debug)]
pub struct Remote {
    endpoint: Endpoint,
    /// The address of chat completions.
    url: reqwest::Url,
}

impl Remote {
    /// A model behind `endpoint`; nothing is sent yet.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(endpoint: Endpoint) -> anyhow::Result<Self> {
        let url = completions_url(&endpoint.url).ok_or_else(|| {
            Hinted::new(
                format!("`{}` is no address of an endpoint", endpoint.url),
                "write it as http://127.0.0.1:8000/v1 or https://host/v1",
            )
        })?;
        Ok(Self { endpoint, url })
    }

    /// The address that requests go to.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Asks whatever `caller` wants asked, and tells it everything that comes back.
    ///
    /// # Errors
    /// If `caller` fails, or no client can be made.
    pub fn ask(&self, caller: &mut dyn Caller) -> anyhow::Result<Outcome> {
        ask::run(&self.endpoint, &self.url, caller)
    }
}

/// Where `base` wants chat completions: as given, below `/v1` if it has no path.
fn completions_url(base: &str) -> Option<reqwest::Url> {
    let base = base.trim().trim_end_matches('/');
    let mut url: reqwest::Url = base.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.is_empty() {
        url.set_path("/v1/chat/completions");
    } else if !path.ends_with("/chat/completions") {
        url.set_path(&format!("{path}/chat/completions"));
    }
    Some(url)
}

impl Model for Remote {
    fn name(&self) -> &str {
        &self.endpoint.model
    }

    fn answer_many(
        &self,
        requests: &[Request],
        in_flight: usize,
        sink: &mut dyn FnMut(usize, anyhow::Result<Answer>) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        let endpoint = Endpoint { in_flight: in_flight.max(1), ..self.endpoint.clone() };
        let mut caller = Listed { requests, next: 0, stopped: false, sink };
        match ask::run(&endpoint, &self.url, &mut caller)? {
            Outcome::Done | Outcome::Stopped => Ok(()),
            Outcome::Account(error) | Outcome::Down(error) => Err(error.hinted()),
        }
    }
}

/// Asks a list of requests and keeps no bytes.
struct Listed<'a> {
    requests: &'a [Request],
    next: usize,
    stopped: bool,
    sink: &'a mut dyn FnMut(usize, anyhow::Result<Answer>) -> ControlFlow<()>,
}

impl Listed<'_> {
    fn hand(&mut self, index: usize, answer: anyhow::Result<Answer>) {
        if !self.stopped {
            self.stopped = (self.sink)(index, answer).is_break();
        }
    }
}

impl Caller for Listed<'_> {
    fn next(&mut self) -> Next {
        let index = self.next;
        let Some(request) = self.requests.get(index) else { return Next::Done };
        self.next += 1;
        Next::Ask(index, Box::new(request.clone()))
    }

    fn received(&mut self, _: &[Received]) -> anyhow::Result<()> {
        Ok(())
    }

    fn answered(&mut self, index: usize, _: u32, reply: Reply) -> anyhow::Result<()> {
        self.hand(index, Ok(reply.into_answer()));
        Ok(())
    }

    fn failed(&mut self, index: usize, _: u32, error: Error) -> anyhow::Result<()> {
        self.hand(index, Err(error.hinted()));
        Ok(())
    }

    fn go_on(&mut self) -> anyhow::Result<bool> {
        Ok(!self.stopped)
    }
}

#[cfg(test)]
mod tests;
