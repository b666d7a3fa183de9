//! tokio-console: what Tokio traces about tasks, resources and their polls, collected by console-subscriber and
//! served to the `tokio-console` command on an address of its own.
//!
//! Two layers for the program's `tracing` subscriber: console-subscriber's, which feeds the endpoint, and holdup's,
//! which takes over the names that tasks get from [`tokio::task::Builder`], so that reports use them too.

/// Binds, and hands out the layers.
mod listen;

/// holdup's own layer.
mod names;

/// Speaks tokio-console's protocol, on a thread of its own.
mod serve;

pub use listen::Console;

pub(crate) use listen::{is_seen, listening};
