//! Profiles of the watched process.

/// Collects profiles over a window.
mod collect;

/// Which profile to collect.
mod options;

/// Requests of the endpoint that are no profile over a window.
#[cfg(feature = "http")]
mod requests;

/// Profiles that are being collected.
mod sessions;

pub use options::{ProfileError, ProfileMode, ProfileOptions};
pub(crate) use sessions::{Sessions, Stop};
