//! The trait of all formats of profiles.

use std::io::{self, Write};
use std::time::Duration;

use crate::model::profile::Profile;

/// A writer of one format.
pub(super) trait Exporter {
    /// Writes a whole profile.
    ///
    /// # Errors
    /// I/O errors of `out`, and values that the format cannot express.
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()>;
}

/// A duration in whole nanoseconds, at most 584 years.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
