//! The panel's files, embedded by `build.rs`, and how browsers may keep them.
//!
//! With `build.rs` the only place that knows how the panel comes into the binary.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::error::Error;

/// `embedded HASH` or `placeholder`, as `build.rs` found.
pub const WEB: &str = env!("THINKERY_WEB");

/// Paths that are never a page of the panel.
const NOT_PAGES: [&str; 3] = ["/api", "/v1", "/assets"];

#[derive(Embed)]
#[folder = "$THINKERY_WEB_DIR"]
struct Files;

/// Whether `path` may be a page or file of the panel.
pub(super) fn is_page(path: &str) -> bool {
    !["/api", "/v1", "/healthz", "/readyz", "/metrics"].iter().any(|prefix| is_below(path, prefix))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A file of the panel; its first page where a browser asks for a page; else a plain 404, so that
/// a missing script is never answered with a page.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if is_below(path, "/api") || is_below(path, "/v1") {
        return Error::NotFound(format!("there is no `{path}`")).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let name = path.trim_start_matches('/');
    if !name.is_empty()
        && let Some(file) = Files::get(name)
    {
        return answer(name, &file, &headers);
    }
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants_page = accepts.is_some_and(|accept| accept.contains("text/html"));
    let may_be_page = !name.contains('.') && !NOT_PAGES.iter().any(|prefix| is_below(path, prefix));
    let is_page = name.is_empty() || (wants_page && may_be_page);
    if let (true, Some(file)) = (is_page, Files::get("index.html")) {
        return answer("index.html", &file, &headers);
    }
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

fn answer(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash: String =
        file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hash}\"");
    // Names under `assets` carry a hash of their content; everything else may change.
    let keep = if name.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|k| k.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(file.data.to_vec()).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The kinds of files that a panel has.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
