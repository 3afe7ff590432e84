//! What every request passes on its way in, and every response on its way out.
//!
//! In this order: the host it names (before anything else, against DNS rebinding), where it comes
//! from (against cross-site requests), who sends it (session or key).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use super::error::Error;

/// Styles may be set on elements: KaTeX places its boxes so. Scripts come from here only; `img-src`
/// also keeps model output from leaking through images.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
     worker-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'self'";

/// Headers of every response.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Where a request comes from: the peer's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

impl<S: Sync> axum::extract::FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _state: &S,
    ) -> Result<Self, Self::Rejection> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())))
    }
}

/// Names by which the panel may be called.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// Addresses we listen on besides loopback; `0.0.0.0` and `[::]` stand for every address.
    pub bound: Vec<IpAddr>,
    /// Names given with `--allowed-host`.
    pub names: Vec<String>,
}

impl Hosts {
    /// Whether a `Host` header names us. Addresses cannot be rebound, only names can.
    pub(super) fn allow(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            let bound = |own: &IpAddr| own.is_unspecified() || *own == address;
            return address.is_loopback() || self.bound.iter().any(bound);
        }
        name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Adds the security headers, counts the response, and refuses hosts that are not ours.
pub(super) async fn door(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let is_api = !super::ui::is_page(request.uri().path());
    let mut response = match refuse_host(&state, &request) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    state.metrics().count(response.status());
    response
}

fn refuse_host(state: &AppState, request: &Request) -> Option<Error> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => request.headers().get(header::HOST).and_then(text),
    };
    match host {
        Some(host) if state.hosts().allow(&host) => None,
        Some(host) => {
            let host: String = host.chars().take(100).collect();
            let message =
                format!("`{host}` is not a name of this server; allow it with --allowed-host");
            Some(Error::Forbidden(message))
        }
        None => Some(Error::Invalid("the request names no host".into())),
    }
}

/// Refuses requests that change something and come from another site, or are no JSON.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !safe {
        if !is_same_site(request.headers()) {
            return Error::Forbidden("the request comes from another site".into()).into_response();
        }
        let kind = request.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| !is_json(kind)) {
            return Error::NotJson.into_response();
        }
    }
    next.run(request).await
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
}

/// Browsers say where a request comes from: `Sec-Fetch-Site` on trustworthy origins, else `Origin`.
/// Who says neither is no browser, and carries nobody's cookie by accident.
fn is_same_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin.split_once("://").map(|(_, host)| host);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.is_some() && origin == host
}

/// Lets only sessions through.
pub(super) async fn session(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let token = session_token(&state, request.headers());
    match state.is_session(token).await {
        Ok(true) => next.run(request).await,
        Ok(false) => Error::LoginNeeded.into_response(),
        Err(error) => error.into_response(),
    }
}

/// The session's secret in the cookies, if there is one.
pub(super) fn session_token(state: &AppState, headers: &HeaderMap) -> Option<String> {
    let name = state.access().cookie();
    let cookies = headers.get_all(header::COOKIE);
    let pairs = cookies.iter().filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// Lets only keys through; cookies count for nothing here.
pub(super) async fn key(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.split_once(' '));
    let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let key = key.map(|(_, key)| key.trim().to_owned());
    let message = match &key {
        None => "you need to give a key: `Authorization: Bearer tk_…`",
        Some(_) => {
            "this key is not known here; make one in the panel or with `thinkery admin token`"
        }
    };
    match state.is_key(key).await {
        Ok(true) => {
            state.metrics().v1_requests.fetch_add(1, Ordering::Relaxed);
            next.run(request).await
        }
        Ok(false) => openai_error(StatusCode::UNAUTHORIZED, message, "invalid_api_key"),
        Err(_) => openai_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something went wrong on the server",
            "internal",
        ),
    }
}

/// An error in OpenAI's envelope.
pub(super) fn openai_error(status: StatusCode, message: &str, code: &str) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[track_caller]
    fn check(hosts: &Hosts, host: &str, expected: bool) {
        assert_eq!(hosts.allow(host), expected, "{host}");
    }

    #[test]
    fn loopback_and_allowed_names_are_ours() {
        let hosts = Hosts { names: vec!["lab.example".into()], ..Hosts::default() };
        for host in ["127.0.0.1:8642", "localhost", "LOCALHOST:1", "[::1]:8642", "lab.example:80"] {
            check(&hosts, host, true);
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.7:8642", "", "127.0.0.1.x"] {
            check(&hosts, host, false);
        }
    }

    #[test]
    fn bound_addresses_are_ours() {
        let one = Hosts { bound: vec!["10.0.0.7".parse().unwrap()], ..Hosts::default() };
        check(&one, "10.0.0.7:8642", true);
        check(&one, "10.0.0.8:8642", false);
        let all = Hosts { bound: vec!["0.0.0.0".parse().unwrap()], ..Hosts::default() };
        check(&all, "10.0.0.8:8642", true);
        check(&all, "evil.example:8642", false);
    }
}
