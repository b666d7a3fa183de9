//! tokio-console: Tokio's traces of tasks, resources and polls, collected by console-subscriber and served to the
//! `tokio-console` command at a separate address.
//!
//! It has two layers for the program's `tracing` subscriber. That of console-subscriber serves the endpoint. That of holdup
//! takes the names of tasks from [`tokio::task::Builder`] for reports.

/// The public type.
mod listen;

/// The layer for names of tasks.
mod names;

/// The addresses of the endpoints.
mod listening;

/// The server of tokio-console's protocol.
mod serve;

pub use listen::Console;

pub(crate) use listen::is_seen;
pub(crate) use listening::listening;
