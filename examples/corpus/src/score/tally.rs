//! Counts and the shares computed from them.

use serde::Serialize;

use super::matching::ms;

/// Counts of some runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Stalls that must be found.
    pub(super) stalls: usize,
    pub(super) found: usize,
    /// Reports without a stall.
    pub(super) invented: usize,
    /// Reports without a stall that blame the machine. It is unknown whether they are right.
    pub(super) blamed_on_machine: usize,
    pub(super) function_right: usize,
    /// Found stalls whose report names no function of other code.
    pub(super) function_not_wrong: usize,
    /// Found stalls with a line in the report.
    pub(super) lines_reported: usize,
    pub(super) line_right: usize,
    pub(super) cause_right: usize,
    pub(super) duration_right: usize,
    /// Found stalls with victims in truth and report.
    pub(super) victims_reported: usize,
    pub(super) victims_right: usize,
    /// Nanoseconds from the threshold to the notice.
    pub(super) noticed_after: Vec<u64>,
    /// Nanoseconds from the threshold to the report.
    pub(super) reported_after: Vec<u64>,
    /// Nanoseconds.
    pub(super) duration_errors: Vec<u64>,
}

/// One line of the card. Shares lie between 0 and 1. Unknown ones are null.
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
    /// Share of the reports that name the function, another one of its module or of a module around or inside it, or none.
    /// Without debug information an inlined function has no name, so its caller is shown.
    pub(crate) function_not_wrong: Option<f64>,
    /// Share of the reports with a line. Null if none has one.
    pub(crate) line_right: Option<f64>,
    pub(crate) cause_right: Option<f64>,
    pub(crate) duration_right: Option<f64>,
    /// Share of the reports with victims. Null if none has them.
    pub(crate) victims_right: Option<f64>,
    /// From the threshold to the notice.
    pub(crate) noticed_after_ms: Quantiles,
    /// From the threshold to the report.
    pub(crate) reported_after_ms: Quantiles,
    pub(crate) duration_error_ms: Quantiles,
}

/// Milliseconds. Null without values.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Tally {
    /// Adds another tally.
    pub(super) fn add(&mut self, other: &Self) {
        self.stalls += other.stalls;
        self.found += other.found;
        self.invented += other.invented;
        self.blamed_on_machine += other.blamed_on_machine;
        self.function_right += other.function_right;
        self.function_not_wrong += other.function_not_wrong;
        self.lines_reported += other.lines_reported;
        self.line_right += other.line_right;
        self.cause_right += other.cause_right;
        self.duration_right += other.duration_right;
        self.victims_reported += other.victims_reported;
        self.victims_right += other.victims_right;
        self.noticed_after.extend(&other.noticed_after);
        self.reported_after.extend(&other.reported_after);
        self.duration_errors.extend(&other.duration_errors);
    }

    /// The line of the card.
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
            function_not_wrong: share(self.function_not_wrong, self.found),
            line_right: share(self.line_right, self.lines_reported),
            cause_right: share(self.cause_right, self.found),
            duration_right: share(self.duration_right, self.found),
            victims_right: share(self.victims_right, self.victims_reported),
            noticed_after_ms: Quantiles::of(self.noticed_after),
            reported_after_ms: Quantiles::of(self.reported_after),
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
        // The smallest value that this percentage does not exceed.
        let quantile = |percent: usize| {
            let rank = (nanoseconds.len() * percent).div_ceil(100).checked_sub(1)?;
            nanoseconds.get(rank).map(|value| ms(*value))
        };
        Self { p50: quantile(50), p99: quantile(99) }
    }
}
