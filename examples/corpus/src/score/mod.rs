//! Compares truth and reports: found stalls, invented ones, and correct explanations.
//!
//! It depends on the two file formats only, so it scores any tool.

/// Matches reports and stalls.
mod matching;

/// Checks the victims of a report.
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

/// A stall must be found if it exceeds the tool's threshold by this time. Its duration may differ by as much.
pub(crate) const MARGIN_NS: u64 = 2_000_000;

/// The truth and the report of one run.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) truth: Truth,
    pub(crate) report: Report,
}

/// The scores of a tool.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    pub(crate) format: &'static str,
    /// The title.
    pub(crate) title: String,
    pub(crate) runs: usize,
    /// By the cause of the case: `healthy` for cases without a stall, the `total`, and the `quiet` part of it, with
    /// stalls during which the machine ran every ready thread.
    pub(crate) rows: Vec<Row>,
    /// Every error.
    pub(crate) faults: Vec<Fault>,
    /// Runs that failed, with the reason.
    pub(crate) not_run: Vec<String>,
}

/// An error of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) case: String,
    pub(crate) flavor: String,
    pub(crate) place: String,
    pub(crate) wrong: Wrong,
    /// The truth, in words.
    pub(crate) truth: String,
    /// The report, in words.
    pub(crate) said: String,
}

/// The kind of error.
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
        // Invented stalls have no truth, so it is unknown how quiet the machine was.
        quiet.precision = None;
    }
    Card { format: FORMAT, title: String::new(), runs: pairs.len(), rows, faults, not_run }
}

/// Reads alternating truths and reports.
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
