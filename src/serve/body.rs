//! Reads the body of a request: its type, its size, and within a time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use futures_util::StreamExt;

use super::Error;

/// Longest body that is read. The ids of a list of 32 prompts of 16k tokens are less.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// How long a body may take to arrive: at a megabit per second the longest takes 34 s.
const BODY_TIME: Duration = Duration::from_secs(40);

/// The body of a request that must be JSON.
pub(super) async fn json(request: Request<Body>) -> Result<Bytes, Error> {
    check(request.headers())?;
    let reading = collect(request.into_body());
    tokio::time::timeout(BODY_TIME, reading).await.map_err(|_| Error::BodyTooSlow(BODY_TIME))?
}

fn check(headers: &HeaderMap) -> Result<(), Error> {
    let value = |name: HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        value.trim().to_ascii_lowercase()
    };
    let kind = value(header::CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence != "application/json" {
        return Err(Error::ContentType(essence.to_owned()));
    }
    let coding = value(header::CONTENT_ENCODING);
    if !coding.is_empty() && coding != "identity" {
        return Err(Error::ContentCoding(coding));
    }
    let length = value(header::CONTENT_LENGTH).parse::<usize>();
    if length.is_ok_and(|length| length > BODY_BYTES_MAX) {
        return Err(Error::BodyTooLarge { limit: BODY_BYTES_MAX });
    }
    Ok(())
}

async fn collect(body: Body) -> Result<Bytes, Error> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|why| Error::BadBody(why.to_string()))?;
        if bytes.len() + piece.len() > BODY_BYTES_MAX {
            return Err(Error::BodyTooLarge { limit: BODY_BYTES_MAX });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}
