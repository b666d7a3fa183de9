//! The diagnostics endpoint. It runs on a separate thread and runtime, so that it answers while the service is stuck.
//!
//! Requests only read. `tasks` alone affects the workers: they count their polls for the time of the request.

/// Responses.
mod answer;

/// The OpenAPI document, made from the types of the answers.
#[cfg(test)]
mod api_document;

/// Events for the page.
mod live;

/// The page and its files.
mod page;

/// The address of the endpoint.
mod listening;

/// The paths of Go's `net/http/pprof`.
mod pprof;

/// A profile of the next seconds.
mod profile;

/// The parameters of a request.
mod query;

/// The paths and their handlers.
mod routes;

/// The server and its limits.
mod server;

/// Task statistics of the next seconds.
mod tasks;

pub(crate) use listening::{Wanted, bind};
pub(crate) use server::Endpoint;
