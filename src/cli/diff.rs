//! `holdup diff BEFORE AFTER`: the difference of two profiles, by function or as a flamegraph.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::command_line;
use super::exit_code::NEGATIVE;
use super::profiles::{self, Output, STDIO, Selection};
use crate::analysis::diff::{Scale, Widths, between};
use crate::export::profile::Format;
use crate::export::profile::flamegraph::caption;
use crate::export::{differential, tables};
use crate::quantity;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first profile: folded, pprof or holdup's json, possibly gzipped
    before: PathBuf,
    /// The second profile
    after: PathBuf,
    /// The file to write or replace: .svg for a flamegraph, .folded for stacks with both values, .json for numbers. By
    /// default, or with -, a table goes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the numbers as JSON
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Compare shares: scale BEFORE so that both totals are equal
    #[arg(long)]
    normalize: bool,
    /// The profile that sets the widths of the flamegraph: before shows removed functions, after shows new ones
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t)]
    widths: Widths,
    /// The number of functions in the table
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30, value_parser = quantity::number::<usize>)]
    rows: usize,
    #[command(flatten)]
    selection: Selection,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let output = arguments.output.as_deref().filter(|path| *path != Path::new(STDIO));
    let output = output.map(|path| Output::new(path, None)).transpose()?;
    let frames = match &output {
        Some(output) => arguments.selection.frames(output.format()),
        None if arguments.json => arguments.selection.frames(Format::Json),
        None => arguments.selection.frames_of_table(),
    };
    let read = |path| anyhow::Ok(frames.select(&arguments.selection.of(&profiles::read(path, None)?)?).into_owned());
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let scale = if arguments.normalize { Scale::Normalized } else { Scale::AsMeasured };
    let diff = between(&before, &after, scale).map_err(anyhow::Error::msg)?;
    match &output {
        Some(output) => {
            let mut bytes = Vec::new();
            match output.format() {
                Format::Flamegraph => {
                    let caption = caption(Some(&command_line::current()), frames);
                    differential::flamegraph(&before, &after, scale, arguments.widths, caption, &mut bytes)?;
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
    Ok(if nothing { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
