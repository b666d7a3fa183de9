//! Counts, and what they come to.

use serde::Serialize;

use super::matching::ms;

/// Counts of some runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Those that have to be found.
    pub(super) stalls: usize,
    pub(super) found: usize,
    /// Reported, and not there.
    pub(super) invented: usize,
    /// Reported beside every stall, and blamed on the machine: nobody can tell whether rightly.
    pub(super) blamed_on_machine: usize,
    pub(super) function_right: usize,
    /// Found stalls whose report has a line.
    pub(super) lines_told: usize,
    pub(super) line_right: usize,
    pub(super) cause_right: usize,
    pub(super) duration_right: usize,
    /// Found stalls whose truth and report tell who waited.
    pub(super) victims_told: usize,
    pub(super) victims_right: usize,
    /// Nanoseconds after the threshold was crossed.
    pub(super) noticed_after: Vec<u64>,
    /// Likewise.
    pub(super) told_after: Vec<u64>,
    /// Nanoseconds.
    pub(super) duration_errors: Vec<u64>,
}

/// One line of the card. Shares lie between 0 and 1; what cannot be told is null.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) class: String,
    pub(crate) stalls: usize,
    pub(crate) found: usize,
    pub(crate) invented: usize,
    pub(crate) blamed_on_machine: usize,
    pub(crate) recall: Option<f64>,
    pub(crate) precision: Option<f64>,
    pub(crate) function_right: Option<f64>,
    /// Of the reports that tell a line; null where none does.
    pub(crate) line_right: Option<f64>,
    pub(crate) cause_right: Option<f64>,
    pub(crate) duration_right: Option<f64>,
    /// Of the reports that tell who waited; null where none does.
    pub(crate) victims_right: Option<f64>,
    /// From the threshold to the moment it was noticed.
    pub(crate) noticed_after_ms: Quantiles,
    /// From the threshold to the moment the user was told.
    pub(crate) told_after_ms: Quantiles,
    pub(crate) duration_error_ms: Quantiles,
}

/// Milliseconds; null without a single value.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Tally {
    /// Adds another's.
    pub(super) fn add(&mut self, other: &Self) {
        self.stalls += other.stalls;
        self.found += other.found;
        self.invented += other.invented;
        self.blamed_on_machine += other.blamed_on_machine;
        self.function_right += other.function_right;
        self.lines_told += other.lines_told;
        self.line_right += other.line_right;
        self.cause_right += other.cause_right;
        self.duration_right += other.duration_right;
        self.victims_told += other.victims_told;
        self.victims_right += other.victims_right;
        self.noticed_after.extend(&other.noticed_after);
        self.told_after.extend(&other.told_after);
        self.duration_errors.extend(&other.duration_errors);
    }

    /// What it comes to.
    pub(super) fn row(self, class: &str) -> Row {
        Row {
            class: class.to_owned(),
            stalls: self.stalls,
            found: self.found,
            invented: self.invented,
            blamed_on_machine: self.blamed_on_machine,
            recall: share(self.found, self.stalls),
            precision: share(self.found, self.found + self.invented),
            function_right: share(self.function_right, self.found),
            line_right: share(self.line_right, self.lines_told),
            cause_right: share(self.cause_right, self.found),
            duration_right: share(self.duration_right, self.found),
            victims_right: share(self.victims_right, self.victims_told),
            noticed_after_ms: Quantiles::of(self.noticed_after),
            told_after_ms: Quantiles::of(self.told_after),
            duration_error_ms: Quantiles::of(self.duration_errors),
        }
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Quantiles {
    fn of(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        // The smallest value that so many percent do not exceed.
        let quantile = |percent: usize| {
            let rank = (nanoseconds.len() * percent).div_ceil(100).checked_sub(1)?;
            nanoseconds.get(rank).map(|value| ms(*value))
        };
        Self { p50: quantile(50), p99: quantile(99) }
    }
}
