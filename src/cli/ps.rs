//! `holdup ps`: the processes of this machine that run Tokio, and what holdup can do with each.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use super::exit_code::NEGATIVE;
use crate::attach::Processes;
use crate::export::process_list;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Processes { with_tokio, unreadable } =
        Processes::now().context("the processes of this machine cannot be listed")?;
    if arguments.json {
        writeln!(out, "{}", process_list::json(&with_tokio, unreadable)?)?;
    } else {
        out.write_all(process_list::table(&with_tokio, unreadable).as_bytes())?;
    }
    Ok(if with_tokio.is_empty() { NEGATIVE.into() } else { ExitCode::SUCCESS })
}
