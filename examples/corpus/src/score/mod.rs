//! Truth held against reports: which stalls were found, which were invented, and how well they were explained.
//!
//! It knows the two files and nothing else, so it scores any tool.

/// Which report tells of which stall.
mod matching;

/// Whether the right tasks were told to have waited.
mod victims;

/// Counts and quantiles.
mod tally;

/// The card for people.
pub(crate) mod text;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use tally::Row;

use crate::report::{self, Report};
use crate::truth::{self, Truth};
use tally::Tally;

/// The first field of a card.
pub(crate) const FORMAT: &str = "stall-card/1";

/// A stall has to be found from this long above the tool's threshold on, and its duration may be off by as much.
pub(crate) const MARGIN_NS: u64 = 2_000_000;

/// What one run did, and what a tool said of it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) truth: Truth,
    pub(crate) report: Report,
}

/// How well a tool did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    pub(crate) format: &'static str,
    /// Whatever its maker wrote above it.
    pub(crate) title: String,
    pub(crate) runs: usize,
    /// By the cause of the case, `healthy` for those that hold nobody up, the `total`, and of that the `quiet` part:
    /// stalls during which the machine ran every thread that wanted to run.
    pub(crate) rows: Vec<Row>,
    /// Everything that was not right, one by one.
    pub(crate) faults: Vec<Fault>,
    /// Runs that could not be made, and why.
    pub(crate) not_run: Vec<String>,
}

/// Something a tool got wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) case: String,
    pub(crate) flavor: String,
    pub(crate) place: String,
    pub(crate) wrong: Wrong,
    /// What was true.
    pub(crate) truth: String,
    /// What was said.
    pub(crate) said: String,
}

/// What about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wrong {
    Missed,
    Invented,
    Function,
    Line,
    Cause,
    Duration,
    Victims,
}

/// The card of these runs.
pub(crate) fn score(pairs: &[Pair], not_run: Vec<String>) -> Card {
    let mut classes: Vec<(&str, Tally)> = Vec::new();
    let (mut total, mut quiet) = (Tally::default(), Tally::default());
    let mut faults = Vec::new();
    for pair in pairs {
        let held = matching::hold_against(pair, &mut faults);
        total.add(&held.all);
        quiet.add(&held.quiet);
        let class = pair.truth.cause.map_or("healthy", truth::Cause::as_str);
        match classes.iter_mut().find(|(known, _)| *known == class) {
            Some((_, sum)) => sum.add(&held.all),
            None => classes.push((class, held.all)),
        }
    }
    classes.push(("total", total));
    classes.push(("quiet", quiet));
    let mut rows: Vec<Row> = classes.into_iter().map(|(class, tally)| tally.row(class)).collect();
    if let Some(quiet) = rows.last_mut() {
        // What is invented has no truth that tells how quiet it was.
        quiet.precision = None;
    }
    Card { format: FORMAT, title: String::new(), runs: pairs.len(), rows, faults, not_run }
}

/// Truths and reports in turn.
pub(crate) fn read_pairs(files: &[PathBuf]) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for pair in files.chunks(2) {
        let [truth, report] = pair else { anyhow::bail!("{} has no report; give one after it", pair[0].display()) };
        pairs.push(read_pair(truth, report)?);
    }
    Ok(pairs)
}

/// One truth and its report.
pub(crate) fn read_pair(truth_file: &Path, report_file: &Path) -> anyhow::Result<Pair> {
    let truth: Truth = read(truth_file)?;
    let report: Report = read(report_file)?;
    for (file, found, known) in
        [(truth_file, &truth.format, truth::FORMAT), (report_file, &report.format, report::FORMAT)]
    {
        anyhow::ensure!(found == known, "{} is {found}; this build reads {known}", file.display());
    }
    Ok(Pair { truth, report })
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not in the documented form", file.display()))
}
