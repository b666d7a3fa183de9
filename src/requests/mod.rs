//! Requests, named by method and route in reports: `GET /articles/{id}`.
//!
//! A connection task serves many requests, and the library that spawned it knows no routes. [`NameRequests`] is a tower
//! layer that names each poll of a request's future. Stalls, victims and the task table show that name. It also
//! instruments those polls in builds without `tokio_unstable`.
//!
//! The response's body is polled after that future, without the name.
//!
//! # Example
//! With axum, one line names every request:
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use holdup::requests::NameRequests;
//!
//! let routes: Router = Router::new()
//!     .route("/articles/{id}", get(|| async { "an article" }))
//!     .layer(NameRequests::by_matched_path());
//! ```
//! Other services say what the route of a request is: see [`NameRequests::by`].
//!
//! # Limits
//! At most [`MAX_NAMES`] distinct names are kept until the process ends. Requests with further names share the name
//! `(other requests)`, and [`other_requests`] counts them. A request without a route is named `GET (no route)`, never by
//! its path. Methods that HTTP does not define are shown as `(other method)`.

mod layer;
mod names;

pub use layer::{NameRequests, NamedRequests};
pub use names::MAX_NAMES;

/// The number of requests that were named `(other requests)`, because [`MAX_NAMES`] other names were in use.
///
/// ```
/// assert_eq!(holdup::requests::other_requests(), 0);
/// ```
#[must_use]
pub fn other_requests() -> u64 {
    names::of_process().others()
}
