//! `holdup convert IN OUT`: a profile in another format, whole or in part.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::command_line;
use super::exit_code::NEGATIVE;
use super::profiles::{self, Output, Selection};
use crate::analysis::group::Group;
use crate::export::profile::Format;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The profile: folded, pprof or holdup's json, possibly gzipped; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write or replace; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The format to write: flamegraph, folded, pprof, firefox, speedscope, perfetto or json. By default, the extension
    /// of OUT decides: .svg .folded .txt .pb.gz .json.gz .speedscope.json .pftrace .json
    #[arg(long)]
    format: Option<Format>,
    /// The format of IN: folded, pprof or json. By default, its content decides
    #[arg(long)]
    from: Option<Format>,
    /// Labels to add as outermost frames, outermost first: thread, runtime, task, spawn, state, size
    #[arg(short, long, value_name = "LABEL", value_delimiter = ',')]
    group: Vec<Group>,
    #[command(flatten)]
    selection: Selection,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let output = Output::new(&arguments.output, arguments.format)?;
    let profile = profiles::read(&arguments.input, arguments.from)?;
    let mut profile = profiles::grouped(&arguments.selection.of(&profile)?, &arguments.group);
    command_line::add_to(&mut profile);
    output.profile(&profile, arguments.selection.frames(output.format()), out)?;
    Ok(if profile.samples.is_empty() { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
