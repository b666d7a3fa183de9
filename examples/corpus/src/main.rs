//! The corpus of known truth: cases that hold a runtime up, or do not; and a score card for what a tool says of them.
//!
//! `README.md` beside this file documents the commands and both files: what happened, and what a tool reported.

/// What happened, told by the case itself.
#[macro_use]
mod truth;

/// How quiet the machine was.
mod witness;

/// Tasks that become ready while a stall lasts.
mod bystanders;

/// What a tool said, in a form that any tool can write.
mod report;

/// What is done to runtimes.
mod cases;

/// Where cases run: flavors of runtimes, and places in them.
mod place;

/// One case in this process.
mod run;

/// What holdup says, written as a report.
mod listener;

/// What the `holdup` command says of another process, written as a report.
mod outside;

/// Truth held against reports.
mod score;

/// All cases, each in a process of its own.
mod card;

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
