//! Operations on profiles: filter, group, leave out runtime frames, sum by function, compare. Pure.

/// Filters.
#[cfg(any(feature = "http", all(test, feature = "formats")))]
pub(crate) mod filter;

/// Labels as outermost frames.
#[cfg(any(feature = "http", all(test, feature = "formats")))]
pub(crate) mod group;

/// Stacks without the frames of the runtime.
pub(crate) mod runtime_frames;

/// Memory by the code that allocates it.
#[cfg(feature = "cli")]
pub(crate) mod sites;

/// Sums by function.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod top;

/// The difference of two profiles.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod diff;
