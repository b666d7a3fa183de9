//! The wiring inside the watched process: what the parts of a watch share, and what the endpoint may ask.

/// Profiles: requested, collected, named.
mod profile;

/// Runtimes that are watched.
mod runtime;

/// What can be seen, tried out at start.
pub(crate) mod self_check;

/// What the parts of a watch share.
mod state;

/// Windows in which polls are counted.
mod task_window;

pub(crate) use profile::Stop;
pub use profile::{ProfileError, ProfileMode, ProfileOptions};
pub use runtime::Runtime;
pub(crate) use state::WatchState;
