//! The diagnostics endpoint. It runs on a separate thread and runtime, so that it answers while the service is stuck.
//!
//! Requests only read, except for the one that ends a recording early. `tasks` alone affects the workers: they count their
//! polls for the time of the request. Each request passes `access.rs` first.

/// Who may use it.
mod access;

/// What a connection does.
mod activity;

/// Responses.
mod answer;

/// The OpenAPI document, made from the types of the answers.
#[cfg(test)]
mod api_document;

/// The open connections.
mod connections;

/// The token in a request.
mod credentials;

/// The names by which requests may call this machine.
mod hosts;

/// Events for the page.
mod live;

/// The page and its files.
mod page;

/// Where the endpoint listens.
mod listening;

/// The page that sent a request.
mod origin;

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

/// The bytes of a connection.
mod stream;

/// Task statistics of the next seconds.
mod tasks;

/// Requests that need a thread.
mod work;

pub(crate) use listening::Settings;
pub(crate) use server::Endpoint;
