//! `holdup explain [CAUSE]`: what a cause means and what to do about it.

use std::io::Write;
use std::process::ExitCode;

use crate::model::cause::CauseClass;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The cause, as reports name it; all of them unless given
    cause: Option<String>,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let causes = match &arguments.cause {
        Some(word) => vec![word.parse::<CauseClass>()?],
        None => CauseClass::ALL.to_vec(),
    };
    for cause in causes {
        writeln!(out, "{} ({})\n  {}\n", cause.as_str(), cause.title(), cause.advice())?;
    }
    Ok(ExitCode::SUCCESS)
}
