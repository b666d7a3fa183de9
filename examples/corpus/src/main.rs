//! The corpus of known truth: cases that stall a runtime or do not, and a score card for the reports of a tool.
//!
//! `README.md` in this package documents the commands and both file formats: truth and report.

/// The truth of a run, recorded by the case itself.
#[macro_use]
mod truth;

/// How quiet the machine was.
mod witness;

/// Tasks that become ready during a stall.
mod bystanders;

/// The report of a tool, in a format that any tool can write.
mod report;

/// The cases.
mod cases;

/// The flavors of runtimes and the places in them.
mod place;

/// One case in this process.
mod run;

/// holdup's stalls of its own process, as a report.
mod listener;

/// The stalls of another process by the `holdup` command, as a report.
mod outside;

/// Compares truth and reports.
mod score;

/// Runs all cases, each in a separate process.
mod card;

/// A busy machine for the cases.
mod machine_load;

/// CPU quotas.
mod quota;

/// The arguments.
mod options;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use options::{Options, Verb};

fn main() -> ExitCode {
    match act(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn act(options: Options) -> anyhow::Result<()> {
    match options.verb {
        Verb::List => print!("{}", cases::table()),
        Verb::Run(options) => run::run(&options)?,
        Verb::Score(options) => {
            let pairs = score::read_pairs(&options.files)?;
            show(&score::score(&pairs, Vec::new()), options.json)?;
        }
        Verb::Card(options) => show(&card::run(&options)?, options.json)?,
    }
    Ok(())
}

fn show(card: &score::Card, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(card).context("the card cannot be written as JSON")?);
    } else {
        print!("{}", score::text::table(card));
    }
    Ok(())
}
