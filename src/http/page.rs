//! The page at `/`, and its files.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{HTML, TEXT, answer};

/// The path of its files.
pub(super) const FILES: &str = "/debug/holdup/page/{name}";

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The browser runs nothing but these files, and asks nobody but this endpoint.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("page/index.html");

/// `(name, type, text)` of each file.
macro_rules! files {
    ($($name:literal: $kind:expr,)*) => { &[$(($name, $kind, include_str!(concat!("page/", $name)))),*] };
}

const TABLE: &[(&str, &str, &str)] = files! {
    "uplot.js": SCRIPT,
    "uplot.css": CSS,
    "uplot.license.txt": TEXT,
};

/// The page.
pub(super) async fn index() -> Response {
    secured(answer(HTML, INDEX))
}

/// A file of the page.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match TABLE.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => secured(answer(kind, *text)),
        None => (StatusCode::NOT_FOUND, answer(TEXT, "the page has no such file\n")).into_response(),
    }
}

fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    response
}
