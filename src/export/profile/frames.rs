//! Which frames of a stack a file shows.

use std::borrow::Cow;

use super::format::Format;
use crate::analysis::runtime_frames;
use crate::model::profile::Profile;

/// Which frames of a stack a file shows; see [`Profile::write_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Frames {
    /// Every frame. The default of all formats but flamegraphs.
    All,
    /// The program's functions, and what they call. A stack of the runtime alone is one frame, `[runtime]`. The default of
    /// flamegraphs.
    WithoutRuntime,
}

impl Frames {
    /// The default of a format: pictures are for people, and other files for tools that have filters of their own.
    ///
    /// ```
    /// use holdup::profile::{Format, Frames};
    ///
    /// assert_eq!(Frames::of(Format::Flamegraph), Frames::WithoutRuntime);
    /// assert_eq!(Frames::of(Format::Pprof), Frames::All);
    /// ```
    #[must_use]
    pub const fn of(format: Format) -> Self {
        match format {
            Format::Flamegraph => Self::WithoutRuntime,
            _ => Self::All,
        }
    }

    /// The profile with these frames.
    pub(crate) fn select(self, profile: &Profile) -> Cow<'_, Profile> {
        match self {
            Self::All => Cow::Borrowed(profile),
            Self::WithoutRuntime => Cow::Owned(runtime_frames::hidden(profile)),
        }
    }
}
