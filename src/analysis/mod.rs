//! Operations on profiles: filter, group, hide runtime frames, sum by function, compare. Pure.

/// Filters.
pub(crate) mod filter;

/// Labels as outermost frames.
pub(crate) mod group;

/// Stacks without the frames of the runtime.
pub(crate) mod runtime_frames;

/// Sums by function.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod top;

/// The difference of two profiles.
#[cfg(any(feature = "cli", all(test, feature = "formats")))]
pub(crate) mod diff;
