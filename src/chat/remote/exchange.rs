//! One request and its reply, as bytes.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use super::error::{Error, Kind, Retry};
use super::sse::Decoder;
use super::{Endpoint, wire};
use crate::hint::Hinted;

/// Longest reply that is read: OpenThoughts' longest are about 100 kB, 400k tokens are about 2 MB.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What is written in place of the key, should an endpoint repeat it.
const REDACTED: &[u8] = b"[key]";

/// Shorter than this a key is a word to satisfy a server that wants none, as `EMPTY`.
const SECRET_BYTES: usize = 8;

/// A reply as it came. Never contains the key, if that is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which request it answers, in the caller's numbers.
    pub index: usize,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// HTTP status; 0 if none came.
    pub status: u16,
    /// The body, as far as it came.
    pub body: Vec<u8>,
}

/// How an exchange ended, apart from its bytes.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// What `Retry-After` asks for.
    pub(super) retry_after: Option<Duration>,
    /// What broke it off, if it is not complete.
    pub(super) fault: Option<Error>,
}

/// A client for `endpoint`.
pub(super) fn client(endpoint: &Endpoint, url: &reqwest::Url) -> anyhow::Result<reqwest::Client> {
    // Whoever was first stays: all of us install the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(endpoint.idle_timeout)
        .timeout(endpoint.total_timeout)
        .pool_max_idle_per_host(endpoint.in_flight)
        // A redirect would carry the key to somewhere nobody named.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("thinkery/", env!("CARGO_PKG_VERSION")));
    if let Some(key) = &endpoint.key {
        let bad =
            || Hinted::new("the teacher's key is no header value", "check its file for blanks");
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| bad())?;
        value.set_sensitive(true);
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    if url.scheme() == "http" {
        // No certificate will be looked at: a machine without any can still ask its neighbour.
        builder = builder.tls_certs_only([]);
    }
    let host = url.host_str().unwrap_or_default();
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        anyhow::Error::new(error).context(Hinted::new(
            "could not make a client for the endpoint",
            "check that the machine's certificates are installed (Debian: ca-certificates)",
        ))
    })
}

/// Sends one request and reads its reply to the end.
pub(super) async fn exchange(
    client: reqwest::Client,
    url: reqwest::Url,
    body: Vec<u8>,
    key: Option<String>,
) -> (u16, Vec<u8>, Ending) {
    let request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let ending = Ending { fault: Some(fault(&error, "no reply")), ..Ending::default() };
            return (0, Vec::new(), ending);
        }
    };
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let (mut body, fault) = read(response).await;
    if let Some(key) = key.filter(|key| is_secret(key.trim(), status)) {
        body = redacted(body, key.trim().as_bytes());
    }
    (status, body, Ending { retry_after, fault })
}

/// The body, and what broke it off.
async fn read(response: reqwest::Response) -> (Vec<u8>, Option<Error>) {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // Some servers keep the connection open after the last event.
    let mut events =
        kind.is_some_and(|kind| kind.starts_with("text/event-stream")).then(Decoder::default);
    let mut stream = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return (body, Some(fault(&error, "the reply broke off"))),
        };
        body.extend_from_slice(&chunk);
        if body.len() > REPLY_BYTES_MAX {
            let message = format!("the reply is longer than {REPLY_BYTES_MAX} bytes");
            return (body, Some(Error::new(Kind::Refused, message)));
        }
        let done = |events: &mut Decoder| events.push(&chunk).iter().any(|data| data == wire::DONE);
        if events.as_mut().is_some_and(done) {
            break;
        }
    }
    (body, None)
}

/// What `error` means, with everything that caused it.
fn fault(error: &reqwest::Error, what: &str) -> Error {
    let kind = if error.is_connect() {
        Kind::Connect
    } else if error.is_timeout() {
        Kind::Timeout
    } else {
        Kind::Cut
    };
    let mut message = what.to_owned();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(&format!(": {text}"));
        }
        cause = error.source();
    }
    Error::new(kind, message)
}

/// How long the endpoint wants us to wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.trim().parse::<f64>().ok()) {
        return wait(ms / 1_000.0);
    }
    let value = text(RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return wait(seconds);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    wait(date.duration_since(jiff::Timestamp::now()).as_secs_f64())
}

fn wait(seconds: f64) -> Option<Duration> {
    let seconds = seconds.clamp(0.0, RETRY_AFTER_MAX.as_secs_f64());
    Duration::try_from_secs_f64(seconds).ok()
}

/// Whether a reply of this status must not show `key`. What a model says may hold the words that people
/// give to a server of their own for a key, and must stay as it is; a complaint may not hold any key.
fn is_secret(key: &str, status: u16) -> bool {
    !key.is_empty() && (key.len() >= SECRET_BYTES || !(200..300).contains(&status))
}

/// `body` without `key`.
fn redacted(body: Vec<u8>, key: &[u8]) -> Vec<u8> {
    if !body.windows(key.len()).any(|window| window == key) {
        return body;
    }
    let mut clean = Vec::with_capacity(body.len());
    let mut rest = body.as_slice();
    while let Some(at) = rest.windows(key.len()).position(|window| window == key) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(REDACTED);
        rest = &rest[at + key.len()..];
    }
    clean.extend_from_slice(rest);
    clean
}

/// What a reply says, or why it says nothing.
pub(super) fn judge(received: &Received, ending: Ending) -> Result<wire::Reply, Error> {
    if let Some(fault) = ending.fault {
        return Err(fault);
    }
    let said = || wire::error_message(&received.body);
    let failed = |kind: Kind, what: &str| {
        let status = received.status;
        let mut error = Error::new(kind, format!("{what} (status {status}): {}", said()));
        if let (Retry::After(_), Some(wait)) = (error.retry, ending.retry_after) {
            error.retry = Retry::After(wait);
        }
        error
    };
    match received.status {
        200..=299 => wire::parse(&received.body),
        401 | 403 => Err(failed(Kind::Key, "the endpoint does not accept the key")),
        402 => Err(failed(Kind::Money, "the account at the endpoint is out of money")),
        429 => Err(failed(Kind::Busy, "the endpoint is busy")),
        408 | 409 | 425 | 500..=599 => Err(failed(Kind::Server, "the endpoint failed")),
        300..=399 => Err(failed(Kind::Refused, "the endpoint is somewhere else")),
        _ => Err(failed(Kind::Refused, "the endpoint refused the request")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{is_secret, redacted, retry_after};

    #[test]
    fn a_word_for_a_key_is_cut_out_of_complaints_only() {
        for (key, status, expected) in [
            ("", 401, false),
            ("EMPTY", 200, false),
            ("EMPTY", 401, true),
            ("sk-12345", 200, true),
            ("sk-12345", 500, true),
        ] {
            assert_eq!(is_secret(key, status), expected, "{key} {status}");
        }
    }

    #[test]
    fn the_key_is_cut_out_wherever_it_stands() {
        let check = |body: &str, expected: &str| {
            assert_eq!(redacted(body.into(), b"sk-1"), expected.as_bytes(), "{body}");
        };
        check("", "");
        check("nothing", "nothing");
        check("sk-1", "[key]");
        check("a sk-1sk-1 sk-", "a [key][key] sk-");
    }

    #[test]
    fn waits_are_read_in_all_their_forms() {
        let check = |name: &'static str, value: &'static str, expected: Option<u64>| {
            let header = (HeaderName::from_static(name), HeaderValue::from_static(value));
            let wait = retry_after(&HeaderMap::from_iter([header]));
            assert_eq!(wait, expected.map(Duration::from_millis), "{name}: {value}");
        };
        check("retry-after", "2", Some(2_000));
        check("retry-after", "0.5", Some(500));
        check("retry-after", "-3", Some(0));
        check("retry-after", "99999999", Some(600_000));
        check("retry-after", "soon", None);
        check("retry-after-ms", "250", Some(250));
        check("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT", Some(0));
        check("x-other", "2", None);
    }
}
