//! Responses of the endpoint.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A response that no cache keeps: diagnostics describe the present.
pub(super) fn answer(content_type: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}

/// A value as JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => answer(JSON, text + "\n"),
        Err(error) => failed(&error),
    }
}

/// An internal error.
pub(super) fn failed(error: &dyn std::error::Error) -> Response {
    let body = answer(TEXT, format!("holdup failed to build this response: {error}\n"));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}
