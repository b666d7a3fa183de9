//! Profiles in files: how the verbs read, filter and write them.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::analysis::filter::{self, Filter};
use crate::analysis::group::{self, Group};
use crate::attach::{holds_peak, read_peak};
use crate::export::profile::{Format, Frames, summary};
use crate::import;
use crate::model::profile::Profile;

/// A selection of samples and frames.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Selection {
    /// Only samples of the thread with this name or id
    #[arg(long, value_name = "NAME")]
    thread: Option<String>,
    /// Only samples of the runtime with this name
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Only samples of the task with this name or id
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Only samples of tasks spawned at this place, such as src/api.rs or api.rs:88
    #[arg(long, value_name = "PLACE")]
    spawn: Option<String>,
    /// Only samples in this state, such as on-cpu; for stalled time, of this cause; for suspects of leaks, such as steady
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only stacks with a function or file that matches this regular expression; repeatable
    #[arg(short = 'I', long, value_name = "RE")]
    include: Vec<String>,
    /// No stacks with a function or file that matches this regular expression; repeatable
    #[arg(short = 'X', long, value_name = "RE")]
    exclude: Vec<String>,
    /// Show frames of thread start, of the runtime, and of other crates between two functions of the program. By
    /// default, flamegraphs and tables leave them out and other files have them; with =false, no file has them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    all_frames: Option<bool>,
}

impl Selection {
    /// The selected frames in a file of this format.
    pub(super) fn frames(&self, format: Format) -> Frames {
        match self.all_frames {
            Some(true) => Frames::All,
            Some(false) => Frames::WithoutRuntime,
            None => Frames::of(format),
        }
    }

    /// The selected frames in a table, which is for people as flamegraphs are.
    pub(super) fn frames_of_table(&self) -> Frames {
        self.frames(Format::Flamegraph)
    }

    /// The selected samples of a profile, with all frames.
    pub(super) fn of(&self, profile: &Profile) -> anyhow::Result<Profile> {
        let patterns = |texts: &[String]| {
            let patterns: Result<Vec<_>, _> = texts.iter().map(|text| filter::pattern(text)).collect();
            patterns.map_err(anyhow::Error::msg)
        };
        let filter = Filter {
            thread: self.thread.clone(),
            runtime: self.runtime.clone(),
            task: self.task.clone(),
            spawn: self.spawn.clone(),
            state: self.state.clone(),
            include: patterns(&self.include)?,
            exclude: patterns(&self.exclude)?,
        };
        Ok(filter.apply(profile))
    }
}

/// The profile with labels as outermost frames.
pub(super) fn grouped(profile: &Profile, groups: &[Group]) -> Profile {
    group::by(profile, groups)
}

/// The file name for standard input and output.
pub(super) const STDIO: &str = "-";

/// Reads a profile from a file, or from standard input for `-`. The file that keeps the peak of a heap is one too.
pub(super) fn read(path: &Path, format: Option<Format>) -> anyhow::Result<Profile> {
    read_of_program(path, format, None)
}

/// The same, with the file of the program whose peak it is.
pub(super) fn read_of_program(path: &Path, format: Option<Format>, program: Option<&Path>) -> anyhow::Result<Profile> {
    let is_stdin = path == Path::new(STDIO);
    let source: &mut dyn Read = if is_stdin {
        &mut std::io::stdin().lock()
    } else {
        &mut File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?
    };
    // A compressed file is smaller than its content, so this limit rejects no readable file.
    let mut bytes = Vec::new();
    let limited = source.take(import::MAX_BYTES + 1).read_to_end(&mut bytes);
    limited.with_context(|| format!("{} cannot be read", path.display()))?;
    if format.is_none() && holds_peak(&bytes) {
        return read_peak(&bytes, program).map_err(anyhow::Error::msg).with_context(|| path.display().to_string());
    }
    if program.is_some() {
        anyhow::bail!("{} is no file of a peak, so --program has no use", path.display());
    }
    import::read(&bytes, format).with_context(|| path.display().to_string())
}

/// A file to write, with its format.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    format: Format,
}

impl Output {
    /// A file in the given format, or in that of its extension. Standard output needs a format.
    pub(super) fn new(path: &Path, format: Option<Format>) -> anyhow::Result<Self> {
        let format = match format {
            Some(format) => format,
            None if path == Path::new(STDIO) => {
                anyhow::bail!("standard output has no extension; give the format with --format")
            }
            None => Format::from_path(path).context("give another extension, or the format with --format")?,
        };
        // Checked before the recording, which may take minutes.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            anyhow::bail!(
                "{} cannot be written: there is no folder {}; create it first",
                path.display(),
                folder.display()
            );
        }
        Ok(Self { path: path.to_owned(), format })
    }

    /// The format of the file.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Whether it is a file. Then messages can go to standard output.
    pub(super) fn is_file(&self) -> bool {
        self.path != Path::new(STDIO)
    }

    /// Writes a profile, replacing an existing file. Then prints its path and how to open it, unless the profile went to
    /// standard output.
    pub(super) fn profile(&self, profile: &Profile, frames: Frames, out: &mut impl Write) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        profile
            .write_with(self.format, frames, &mut bytes)
            .with_context(|| format!("cannot write the profile as {}", self.format))?;
        self.bytes(&bytes, out)?;
        if self.is_file() {
            let (samples, lost) = (profile.sample_count(), profile.quality.lost);
            writeln!(out, "Wrote {} to '{}'. Samples: {samples} Lost: {lost}", self.format, self.path.display())?;
            writeln!(out, "{}", summary::quality(profile))?;
            for note in &profile.quality.notes {
                writeln!(out, "note: {note}")?;
            }
            if frames == Frames::WithoutRuntime {
                writeln!(out, "note: frames of the runtime are left out; --all-frames shows them")?;
            }
            writeln!(out, "{}", self.format.how_to_open())?;
        }
        Ok(())
    }

    /// Writes the bytes of a file.
    pub(super) fn bytes(&self, bytes: &[u8], out: &mut impl Write) -> anyhow::Result<()> {
        if self.is_file() {
            std::fs::write(&self.path, bytes).with_context(|| format!("{} cannot be written", self.path.display()))?;
        } else {
            out.write_all(bytes)?;
        }
        Ok(())
    }
}
