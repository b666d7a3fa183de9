//! `holdup explain [CAUSE]`: the meaning of a cause and the remedy.

use std::io::Write;
use std::process::ExitCode;

use crate::model::cause::CauseClass;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A cause, by its word in JSON such as not_scheduled; all causes by default
    cause: Option<CauseClass>,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let causes = arguments.cause.map_or_else(|| CauseClass::ALL.to_vec(), |cause| vec![cause]);
    for cause in causes {
        writeln!(out, "{} ({})\n  {}\n", cause.as_str(), cause.title(), cause.advice())?;
    }
    Ok(ExitCode::SUCCESS)
}
