//! Profiles as files: one format, one file, behind one trait. Pure: each exporter writes to a given [`Write`].

/// The trait of all formats.
mod exporter;

/// Which frames a file shows.
mod frames;

/// Labels of rectangles.
mod frame_label;

/// A picture's style, caption and labels.
mod svg;

/// Flamegraphs as SVG, drawn by inferno.
pub(crate) mod flamegraph;

/// Folded stacks.
pub(crate) mod folded;

/// holdup's JSON.
pub(crate) mod json;

/// The format of <https://www.speedscope.app>.
mod speedscope;

/// Threads with their samples and slices, in order of time.
mod timeline;

/// The title and quality of a profile.
pub(crate) mod summary;

/// pprof.
#[cfg(feature = "formats")]
mod pprof;

/// The messages of `profile.proto`.
#[cfg(feature = "formats")]
pub(crate) mod pprof_messages;

/// The format of <https://profiler.firefox.com>.
#[cfg(feature = "formats")]
mod firefox;

/// The format of <https://ui.perfetto.dev>.
#[cfg(feature = "formats")]
mod perfetto;

/// The messages of a Perfetto trace.
#[cfg(feature = "formats")]
mod perfetto_messages;

/// The formats, with their names and extensions.
mod format;

pub use format::{Format, ParseFormatError};
pub use frames::Frames;

use std::io::{self, Write};

use exporter::Exporter;

use crate::model::profile::Profile;

impl Profile {
    /// Writes the profile in a format. Some formats are written in small pieces, so use a `BufWriter` or a vector. A
    /// flamegraph leaves out frames of the runtime; see [`Frames`].
    ///
    /// # Errors
    /// I/O errors of `out`; [`io::ErrorKind::Unsupported`] for a format of a feature that is not compiled in.
    ///
    /// ```
    /// # let profile = holdup::profile::ProfileBuilder::new("cpu", Vec::new()).build();
    /// let mut svg = Vec::new();
    /// profile.write(holdup::profile::Format::Flamegraph, &mut svg)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        self.write_with(format, Frames::of(format), out)
    }

    /// Writes the profile in a format, with or without frames of the runtime.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    ///
    /// ```
    /// use holdup::profile::{Format, Frames};
    /// # let profile = holdup::profile::ProfileBuilder::new("cpu", Vec::new()).build();
    ///
    /// let mut svg = Vec::new();
    /// profile.write_with(Format::Flamegraph, Frames::All, &mut svg)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_with(&self, format: Format, frames: Frames, out: &mut dyn Write) -> io::Result<()> {
        let profile = &*frames.select(self);
        match format {
            Format::Flamegraph => flamegraph::Flamegraph { frames }.write(profile, out),
            Format::Folded => folded::Folded.write(profile, out),
            Format::Speedscope => speedscope::Speedscope.write(profile, out),
            Format::Json => json::Json.write(profile, out),
            #[cfg(feature = "formats")]
            Format::Pprof => pprof::Pprof.write(profile, out),
            #[cfg(feature = "formats")]
            Format::Firefox => firefox::Firefox.write(profile, out),
            #[cfg(feature = "formats")]
            Format::Perfetto => perfetto::Perfetto.write(profile, out),
            #[cfg(not(feature = "formats"))]
            Format::Pprof | Format::Firefox | Format::Perfetto => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "this build of holdup does not have the format {}; enable the feature `formats` in Cargo.toml",
                    format.name()
                ),
            )),
        }
    }
}
