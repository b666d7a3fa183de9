//! tokio-console: Tokio's traces of tasks, resources and polls, collected by console-subscriber and served to the
//! `tokio-console` command at a separate address.
//!
//! It has two layers for the program's `tracing` subscriber: that of console-subscriber for the endpoint, and that of
//! holdup for reports, which takes the names of tasks from [`tokio::task::Builder`].

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
