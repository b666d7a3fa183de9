//! The diagnostics endpoint: on a thread and a runtime of its own, so that it answers while the service is stuck.
//!
//! Reads of what holdup knows, nothing else: no request changes anything or makes a worker do anything.

/// The index page.
mod index;

/// What is answered on which path.
mod routes;

/// Accepts connections, within limits.
mod server;

pub(crate) use server::{Endpoint, bind};
