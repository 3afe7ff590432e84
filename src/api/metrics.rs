//! Numbers for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::error::Result;
use crate::records::JobState;
use crate::serve::metrics::Text;
use crate::store::{QuestionCount, TraceCounts};
use crate::{serve, store};

/// What the server counts of itself.
pub(super) struct Metrics {
    started: Instant,
    /// Responses by the first digit of their status, 1 to 5.
    responses: [AtomicU64; 5],
    /// Requests to `/v1` that had a good key.
    pub(super) v1_requests: AtomicU64,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            responses: Default::default(),
            v1_requests: AtomicU64::new(0),
        }
    }

    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = self.responses.get(class.wrapping_sub(1)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the store counts.
struct Counted {
    jobs: Vec<(JobState, usize)>,
    questions: Vec<QuestionCount>,
    traces: TraceCounts,
}

/// Numbers for Prometheus, as text.
pub(super) async fn get_metrics(State(state): State<AppState>) -> Result<Response> {
    let counted = state
        .store(|store| {
            let count = |state| Ok((state, store.jobs_in(&[state])?.len()));
            Ok(Counted {
                jobs: JobState::ALL.into_iter().map(count).collect::<store::Result<_>>()?,
                questions: store.question_counts()?,
                traces: store.trace_counts()?,
            })
        })
        .await?;
    let text = render(state.metrics(), &counted) + &serve::metrics::text(state.models());
    Ok(([(header::CONTENT_TYPE, serve::METRICS_TYPE)], text).into_response())
}

fn render(metrics: &Metrics, counted: &Counted) -> String {
    let mut text = Text::default();
    text.family("thinkery_info", "gauge", "What is running.");
    text.sample("thinkery_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    text.family("thinkery_uptime_seconds", "gauge", "Since the server started.");
    text.sample("thinkery_uptime_seconds", "", metrics.started.elapsed().as_secs());
    text.family("thinkery_http_responses_total", "counter", "Responses by class of status.");
    for (class, count) in metrics.responses.iter().enumerate() {
        let label = format!("class=\"{}xx\"", class + 1);
        text.sample("thinkery_http_responses_total", &label, count.load(Ordering::Relaxed));
    }
    text.family("thinkery_v1_requests_total", "counter", "Requests to /v1 with a good key.");
    let requests = metrics.v1_requests.load(Ordering::Relaxed);
    text.sample("thinkery_v1_requests_total", "", requests);
    text.family("thinkery_jobs", "gauge", "Jobs by state.");
    for (state, count) in &counted.jobs {
        let label = format!("state=\"{}\"", state.name());
        text.sample("thinkery_jobs", &label, *count as u64);
    }
    text.family("thinkery_questions", "gauge", "Questions in the store.");
    for split in ["train", "held_out"] {
        let of_split = counted.questions.iter().filter(|count| count.split == split);
        let label = format!("split=\"{split}\"");
        text.sample("thinkery_questions", &label, of_split.map(|count| count.count).sum::<u64>());
    }
    let traces = &counted.traces;
    text.family("thinkery_traces", "gauge", "Traces in the store.");
    text.sample("thinkery_traces", "", traces.traces);
    text.family("thinkery_verdicts", "gauge", "Traces by verdict.");
    let verdicts = [
        ("correct", traces.correct),
        ("wrong", traces.wrong),
        ("unchecked", traces.unchecked),
        ("unreadable", traces.unreadable),
    ];
    for (verdict, count) in verdicts {
        text.sample("thinkery_verdicts", &format!("verdict=\"{verdict}\""), count);
    }
    text.into_string()
}
