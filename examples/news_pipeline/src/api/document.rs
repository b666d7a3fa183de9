//! `/openapi.json`: the OpenAPI document. Its paths and types come from the handlers.

use axum::{
    Extension,
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};

/// The serialized document, made once.
#[derive(Clone)]
pub(super) struct Served(Bytes);

pub(super) fn about() -> OpenApi {
    let mut info = Info::new("news_pipeline", env!("CARGO_PKG_VERSION"));
    info.description = Some("The reference service of holdup: the latest news, and how they come.".to_owned());
    OpenApiBuilder::new().info(info).build()
}

impl Served {
    pub(super) fn of(document: &OpenApi) -> Self {
        // Strings, numbers and maps with string keys always serialize.
        Self(serde_json::to_vec(document).unwrap_or_default().into())
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = Object)))]
pub(super) async fn openapi(Extension(Served(document)): Extension<Served>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
