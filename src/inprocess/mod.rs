//! The wiring inside the watched process: what the parts of a watch share, and what the endpoint may ask.

/// What the endpoint asks for besides.
#[cfg(feature = "http")]
mod profile_requests;

/// Profiles: asked for, collected, named.
mod profiling;

/// Runtimes that are watched.
mod runtime;

/// What can be seen, tried out at start.
pub(crate) mod self_check;

/// What the parts of a watch share.
mod state;

/// Windows in which polls are counted.
mod task_window;

pub(crate) use profiling::Stop;
pub use profiling::{ProfileError, ProfileMode, ProfileOptions};
pub use runtime::Runtime;
pub(crate) use state::View;
