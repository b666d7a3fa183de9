//! Profiles as files: one format, one file, behind one trait. Pure: each writes to a given [`Write`].

/// SVG, drawn by inferno.
pub(crate) mod flamegraph;

/// One line per stack.
pub(crate) mod folded;

/// holdup's own.
pub(crate) mod json;

/// For <https://www.speedscope.app>.
mod speedscope;

/// Which thread did what, in order of time.
mod timeline;

/// A profile in two lines.
pub(crate) mod summary;

/// Go's profiles.
#[cfg(feature = "formats")]
mod pprof;

/// The messages of `profile.proto`.
#[cfg(feature = "formats")]
pub(crate) mod pprof_messages;

/// For <https://profiler.firefox.com>.
#[cfg(feature = "formats")]
mod firefox;

/// For <https://ui.perfetto.dev>.
#[cfg(feature = "formats")]
mod perfetto;

/// The messages of a Perfetto trace.
#[cfg(feature = "formats")]
mod perfetto_messages;

/// What a profile can be written as.
mod format;

pub use format::{Format, ParseFormatError};

use std::io::{self, Write};

use crate::model::profile::Profile;

/// Writes one format.
trait Exporter {
    /// Writes a whole profile.
    ///
    /// # Errors
    /// Those of `out`, and what the format cannot express.
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()>;
}

impl Profile {
    /// Writes it as a file of that format. Some write in small pieces: give them a `BufWriter`, or a vector.
    ///
    /// # Errors
    /// Those of `out`; [`io::ErrorKind::Unsupported`] for a format whose feature is not compiled in.
    ///
    /// ```
    /// # let profile = holdup::ProfileBuilder::new("cpu", Vec::new()).build();
    /// let mut svg = Vec::new();
    /// profile.write(holdup::Format::Flamegraph, &mut svg)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Flamegraph => flamegraph::Flamegraph.write(self, out),
            Format::Folded => folded::Folded.write(self, out),
            Format::Speedscope => speedscope::Speedscope.write(self, out),
            Format::Json => json::Json.write(self, out),
            #[cfg(feature = "formats")]
            Format::Pprof => pprof::Pprof.write(self, out),
            #[cfg(feature = "formats")]
            Format::Firefox => firefox::Firefox.write(self, out),
            #[cfg(feature = "formats")]
            Format::Perfetto => perfetto::Perfetto.write(self, out),
            #[cfg(not(feature = "formats"))]
            Format::Pprof | Format::Firefox | Format::Perfetto => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "this holdup is built without the format {}; enable its feature `formats` in Cargo.toml",
                    format.name()
                ),
            )),
        }
    }
}

/// A length of time in whole nanoseconds; 584 years at most.
fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
