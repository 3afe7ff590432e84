//! JSON bodies: like axum's, but errors come in our shape.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::Error;

/// Bytes of a request to `/api` at most; the largest is a long chat.
pub(super) const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refusal(rejection)),
        }
    }
}

fn refusal(rejection: JsonRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Error::TooLarge { max_bytes: BODY_BYTES_MAX };
    }
    if rejection.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return Error::NotJson;
    }
    Error::Invalid(rejection.body_text())
}
