//! The command's arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::place::{Flavor, Place};

/// Cases of known truth for tools that detect stalls of a Tokio runtime, and a score card for them.
#[derive(Debug, Parser)]
#[command(name = "corpus")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the cases
    List,
    /// Runs one case in this process, and writes the truth and holdup's report
    Run(RunOptions),
    /// Compares reports with truths
    Score(ScoreOptions),
    /// Runs all cases, each in a separate process, and prints the score card
    Card(CardOptions),
}

/// Options of every run.
#[derive(Debug, Args)]
pub(crate) struct HowOptions {
    /// Number of rounds of a case that stalls
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Duration of each stall in milliseconds, if the case can choose; by default 14, 20, 35, 60 and 110 in turn
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) hold: Option<u32>,
    /// Spawns tasks without instrumentation, on runtimes without task hooks, so that stalls are inferred
    #[arg(long)]
    pub(crate) uninstrumented: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The case's name; `list` shows them
    pub(crate) case: String,
    /// The kind of runtime
    #[arg(long, value_enum, default_value_t = Flavor::MultiThread)]
    pub(crate) flavor: Flavor,
    /// The place in the runtime
    #[arg(long, value_enum, default_value_t = Place::Task)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) how: HowOptions,
    /// File for the truth
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: PathBuf,
    /// File for holdup's report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Also prints holdup's own reports to standard error
    #[arg(long)]
    pub(crate) print: bool,
    /// Does not watch inside: prints `ready` when its runtimes are up, and begins when it reads a line
    #[arg(long, conflicts_with_all = ["report", "print", "uninstrumented"])]
    pub(crate) outside: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreOptions {
    /// Alternating truths and reports: TRUTH REPORT TRUTH REPORT …
    #[arg(required = true, value_name = "TRUTH REPORT")]
    pub(crate) files: Vec<PathBuf>,
    /// Prints the card as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CardOptions {
    /// Only these cases
    #[arg(long = "case", value_name = "CASE")]
    pub(crate) cases: Vec<String>,
    /// Only these kinds of runtimes
    #[arg(long = "flavor", value_enum)]
    pub(crate) flavors: Vec<Flavor>,
    /// Only these places
    #[arg(long = "place", value_enum)]
    pub(crate) places: Vec<Place>,
    #[command(flatten)]
    pub(crate) how: HowOptions,
    /// Watches with this `holdup` command from outside, by process id
    #[arg(long, value_name = "HOLDUP", conflicts_with = "uninstrumented")]
    pub(crate) outside: Option<PathBuf>,
    /// Keeps truths and reports in this folder; by default they are removed
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Runs the cases as this user, by number; needs root, and `setpriv`
    #[arg(long, value_name = "UID")]
    pub(crate) user: Option<u32>,
    /// Number of threads that compute meanwhile
    #[arg(long, value_name = "THREADS", default_value_t = 0)]
    pub(crate) hogs: u32,
    /// CPU quota of each case, in percent of one CPU; needs root
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) quota: Option<u32>,
    /// Title of the card, such as the kind of build
    #[arg(long, default_value = "")]
    pub(crate) title: String,
    /// Also writes the card as JSON into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Prints the card as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
