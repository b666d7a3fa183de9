//! The diagnostics endpoint: on a thread and a runtime of its own, so that it answers while the service is stuck.
//!
//! Reads of what holdup knows. No request changes anything, and only `tasks` makes workers do anything: they count
//! their polls while it lasts.

/// The index page.
mod index;

/// Work that takes longer than a request should hold the endpoint's thread.
mod collecting;

/// What Go's pprof tool asks for.
mod pprof;

/// A profile of the next seconds.
mod profile;

/// The parameters of a request.
mod query;

/// What is answered on which path.
mod routes;

/// Accepts connections, within limits.
mod server;

/// What tasks do, counted while the client waits.
mod tasks;

pub(crate) use server::{Endpoint, bind};
