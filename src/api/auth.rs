//! Setting up, logging in and out.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::access::{Access, SESSION_MAX_S, SessionToken};
use super::error::{ErrorBody, Result};
use super::extract::Json;
use super::guard::{Peer, session_token};

/// What every session cookie says: no script sees it, no other site sends it.
const COOKIE: &str = "Path=/; HttpOnly; SameSite=Strict";

/// Who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionInfo {
    /// Whether this browser is logged in.
    pub authenticated: bool,
    /// Whether nobody has chosen a password yet.
    pub setup_needed: bool,
}

/// The first password, with the one-time token of the setup link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    /// From the link's fragment.
    pub token: String,
    /// At least 8 characters.
    pub password: String,
}

/// A password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The password.
    pub password: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one that is to be replaced.
    pub current: String,
    /// At least 8 characters.
    pub new: String,
}

/// What needs no login.
pub(super) fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_session))
        .routes(routes!(setup))
        .routes(routes!(login))
        .routes(routes!(logout))
}

/// What needs one.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(change_password))
}

/// Who is asking.
#[utoipa::path(get, path = "/session", tag = "session",
    responses((status = OK, body = SessionInfo), (status = "default", body = ErrorBody)))]
async fn get_session(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Answer<SessionInfo>> {
    let authenticated = state.is_session(session_token(&state, &headers)).await?;
    let setup_needed = state.ask_access(Access::setup_needed).await?;
    Ok(Answer(SessionInfo { authenticated, setup_needed }))
}

/// Chooses the first password and logs in. Closed for ever once there is one.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = Setup,
    responses((status = OK, body = SessionInfo), (status = "default", body = ErrorBody)))]
async fn setup(
    State(state): State<AppState>,
    Peer(from): Peer,
    Json(setup): Json<Setup>,
) -> Result<Response> {
    let Setup { token, password } = setup;
    let session = state.ask_access(move |access| access.setup(&token, &password, from)).await?;
    Ok(logged_in(&state, &session))
}

/// Logs in.
#[utoipa::path(post, path = "/login", tag = "session", request_body = Login,
    responses((status = OK, body = SessionInfo), (status = "default", body = ErrorBody)))]
async fn login(
    State(state): State<AppState>,
    Peer(from): Peer,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response> {
    let old = session_token(&state, &headers);
    let session = state
        .ask_access(move |access| {
            let session = access.login(&login.password, from)?;
            // A browser has one session: the one before is void.
            old.map_or(Ok(()), |old| access.end(&old))?;
            Ok(session)
        })
        .await?;
    Ok(logged_in(&state, &session))
}

/// Logs out.
#[utoipa::path(post, path = "/logout", tag = "session",
    responses((status = OK, body = SessionInfo), (status = "default", body = ErrorBody)))]
async fn logout(State(state): State<AppState>, headers: HeaderMap) -> Result<Response> {
    let token = session_token(&state, &headers);
    let setup_needed = state
        .ask_access(move |access| {
            token.map_or(Ok(()), |token| access.end(&token))?;
            access.setup_needed()
        })
        .await?;
    let cookie = format!("{}=; {COOKIE}; Max-Age=0", state.access().cookie());
    let info = SessionInfo { authenticated: false, setup_needed };
    Ok(([(header::SET_COOKIE, cookie)], Answer(info)).into_response())
}

/// Replaces the password and ends every other session.
#[utoipa::path(post, path = "/password", tag = "session", request_body = NewPassword,
    responses((status = OK, body = SessionInfo), (status = "default", body = ErrorBody)))]
async fn change_password(
    State(state): State<AppState>,
    Peer(from): Peer,
    Json(change): Json<NewPassword>,
) -> Result<Response> {
    let NewPassword { current, new } = change;
    let change = move |access: &Access| access.change_password(&current, &new, from);
    let session = state.ask_access(change).await?;
    Ok(logged_in(&state, &session))
}

fn logged_in(state: &AppState, session: &SessionToken) -> Response {
    let name = state.access().cookie();
    let cookie = format!("{name}={}; {COOKIE}; Max-Age={SESSION_MAX_S}", session.0);
    let info = SessionInfo { authenticated: true, setup_needed: false };
    ([(header::SET_COOKIE, cookie)], Answer(info)).into_response()
}
