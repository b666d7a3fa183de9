//! The formats of profiles, by name and by file extension.

use std::fmt;
use std::path::Path;

/// A file format for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// A flamegraph as SVG, for any browser.
    Flamegraph,
    /// One line per stack, for the flamegraph tools and for grep.
    Folded,
    /// pprof, a gzipped protobuf, for `go tool pprof`, Parca, Pyroscope and others.
    Pprof,
    /// The format of the Firefox Profiler.
    Firefox,
    /// The format of speedscope.
    Speedscope,
    /// The format of Perfetto: a track for each thread, with the activity of workers.
    Perfetto,
    /// holdup's JSON, which can be converted to every other format.
    Json,
}

/// The properties of a format.
struct Facts {
    /// The first name is the one that holdup prints.
    names: &'static [&'static str],
    /// File extensions without the leading dot. The first one is the default.
    extensions: &'static [&'static str],
    content_type: &'static str,
    how_to_open: &'static str,
}

impl Format {
    /// Every format, in the order of help texts.
    pub const ALL: [Self; 7] =
        [Self::Flamegraph, Self::Folded, Self::Pprof, Self::Firefox, Self::Speedscope, Self::Perfetto, Self::Json];

    const fn facts(self) -> Facts {
        match self {
            Self::Flamegraph => Facts {
                names: &["flamegraph", "svg"],
                extensions: &["svg"],
                content_type: "image/svg+xml",
                how_to_open: "Open it in a browser; Ctrl-F searches, a click zooms.",
            },
            Self::Folded => Facts {
                names: &["folded", "collapsed", "raw"],
                extensions: &["folded", "txt"],
                content_type: "text/plain; charset=utf-8",
                how_to_open: "Read it with grep and sort, or draw it with inferno-flamegraph or flamegraph.pl.",
            },
            Self::Pprof => Facts {
                names: &["pprof"],
                extensions: &["pb.gz", "pprof"],
                content_type: "application/octet-stream",
                how_to_open: "Open it with `go tool pprof -http : FILE`.",
            },
            Self::Firefox => Facts {
                names: &["firefox"],
                extensions: &["json.gz"],
                content_type: "application/gzip",
                how_to_open: "Open https://profiler.firefox.com and load the file; it stays on this machine.",
            },
            Self::Speedscope => Facts {
                names: &["speedscope"],
                extensions: &["speedscope.json"],
                content_type: "application/json",
                how_to_open: "Open https://www.speedscope.app and drop the file there; it stays on this machine.",
            },
            Self::Perfetto => Facts {
                names: &["perfetto"],
                extensions: &["pftrace", "perfetto-trace"],
                content_type: "application/octet-stream",
                how_to_open: "Open https://ui.perfetto.dev and drop the file there; it stays on this machine.",
            },
            Self::Json => Facts {
                names: &["json", "holdup"],
                extensions: &["json"],
                content_type: "application/json",
                how_to_open: "Convert it to any other format with `holdup convert FILE OUT`.",
            },
        }
    }

    /// The format with a name such as `flamegraph` or `svg`.
    ///
    /// # Errors
    /// If no format has this name. The message lists the formats.
    pub fn from_name(name: &str) -> Result<Self, ParseFormatError> {
        let known = Self::ALL.into_iter().find(|format| format.facts().names.contains(&name));
        known.ok_or_else(|| ParseFormatError { asked: name.to_owned() })
    }

    /// The format of a file by its extension. The longest extension decides: `a.speedscope.json` is for speedscope.
    ///
    /// # Errors
    /// If no format has this extension. The message lists the formats.
    pub fn from_path(path: &Path) -> Result<Self, ParseFormatError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |extension: &&str| name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.'));
        let length =
            |format: &Self| format.facts().extensions.iter().filter(|end| ends(end)).map(|end| end.len()).max();
        let longest =
            Self::ALL.into_iter().filter_map(|format| Some((length(&format)?, format))).max_by_key(|(n, _)| *n);
        longest.map(|(_, format)| format).ok_or_else(|| ParseFormatError { asked: path.display().to_string() })
    }

    /// The name, as [`from_name`](Self::from_name) accepts it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().names[0]
    }

    /// The file extension without the leading dot: `pb.gz`.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        self.facts().extensions[0]
    }

    /// The media type, for HTTP.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        self.facts().content_type
    }

    /// How to open a file of the format, in a sentence.
    #[must_use]
    pub const fn how_to_open(self) -> &'static str {
        self.facts().how_to_open
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(name: &str) -> Result<Self, ParseFormatError> {
        Self::from_name(name)
    }
}

/// The error for a name or extension that no format has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseFormatError {
    /// The given name or path.
    pub asked: String,
}

impl fmt::Display for ParseFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a known format; the formats are", self.asked)?;
        for (position, format) in Format::ALL.into_iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma} {} (.{})", format.name(), format.extension())?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseFormatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_extensions_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for format in Format::ALL {
            let Facts { names, extensions, .. } = format.facts();
            for name in names {
                assert_eq!(Format::from_name(name), Ok(format));
                assert!(seen.insert(format!("name {name}")), "{name} is taken");
            }
            for extension in extensions {
                let path = format!("/tmp/a.b.{extension}");
                assert_eq!(Format::from_path(Path::new(&path)), Ok(format), "{path}");
                assert!(seen.insert(format!("extension {extension}")), "{extension} is taken");
            }
        }
    }

    #[test]
    fn longer_extensions_win_and_unknown_ones_are_errors() {
        for (path, format) in [
            ("a.SVG", Some(Format::Flamegraph)),
            ("a.json", Some(Format::Json)),
            ("a.json.gz", Some(Format::Firefox)),
            ("a.speedscope.json", Some(Format::Speedscope)),
            ("svg", None),
            ("a.gz", None),
            ("/", None),
            ("a.rs", None),
        ] {
            assert_eq!(Format::from_path(Path::new(path)).ok(), format, "{path}");
        }
        let message = Format::from_name("bmp").expect_err("is not a format").to_string();
        assert!(
            message.starts_with("bmp is not a known format; the formats are flamegraph (.svg), folded"),
            "{message}"
        );
    }
}
