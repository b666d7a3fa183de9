//! `holdup diff BEFORE AFTER`: what changed between two profiles, by function or as a flamegraph.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::NOTHING;
use super::profiles::{self, Output, STDIO, Selection};
use crate::analysis::diff::{Scale, Widths, between};
use crate::export::profile::Format;
use crate::export::{differential, tables};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first profile: folded, pprof, or holdup's own json, also gzipped
    before: PathBuf,
    /// The second profile
    after: PathBuf,
    /// Where to write: .svg for a flamegraph, .folded for stacks with both values, .json for numbers; a file that is
    /// there is replaced. Without it, or with -, a table goes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the numbers as JSON
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Compare shares: scale BEFORE so that both sums are equal
    #[arg(long)]
    normalise: bool,
    /// Which profile gives a flamegraph its widths: before shows what went away, after what came
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t)]
    widths: Widths,
    /// How many functions the table shows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
    rows: usize,
    #[command(flatten)]
    selection: Selection,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let output = arguments.output.as_deref().filter(|path| *path != Path::new(STDIO));
    let output = output.map(|path| Output::new(path, None)).transpose()?;
    let read = |path| arguments.selection.of(&profiles::read(path, None)?);
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let scale = if arguments.normalise { Scale::Normalised } else { Scale::AsMeasured };
    let diff = between(&before, &after, scale).map_err(anyhow::Error::msg)?;
    match &output {
        Some(output) => {
            let mut bytes = Vec::new();
            match output.format() {
                Format::Flamegraph => {
                    differential::flamegraph(&before, &after, scale, arguments.widths, &mut bytes)?;
                }
                Format::Folded => differential::folded(&before, &after, scale, &mut bytes)?,
                Format::Json => differential::json(&diff, &mut bytes)?,
                other => anyhow::bail!("a difference cannot be written as {other}; choose .svg, .folded or .json"),
            }
            output.bytes(&bytes, out)?;
        }
        None if arguments.json => differential::json(&diff, out)?,
        None => out.write_all(tables::diff(&diff, arguments.rows).as_bytes())?,
    }
    let nothing = before.samples.is_empty() && after.samples.is_empty();
    Ok(if nothing { NOTHING.into() } else { ExitCode::SUCCESS })
}
