//! `holdup top FILE`: the functions of a profile by what they take.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::NOTHING;
use super::profiles::{self, Selection};
use crate::analysis::top;
use crate::export::profile::{Format, summary};
use crate::export::tables;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The profile: folded, pprof, or holdup's own json, also gzipped; - is standard input
    file: PathBuf,
    /// The format of FILE: folded, pprof or json. Otherwise its content tells
    #[arg(long)]
    from: Option<Format>,
    /// How many functions to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    rows: usize,
    #[command(flatten)]
    selection: Selection,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let profile = arguments.selection.of(&profiles::read(&arguments.file, arguments.from)?)?;
    writeln!(out, "{} ({})", summary::title(&profile), summary::quality(&profile))?;
    out.write_all(tables::top(&top::of(&profile), arguments.rows).as_bytes())?;
    Ok(if profile.samples.is_empty() { NOTHING.into() } else { ExitCode::SUCCESS })
}
