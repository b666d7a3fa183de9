//! The card for people: one line per class, and the errors below.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::tally::Quantiles;
use super::{Card, Row, Wrong};

const HEADINGS: &str = "class            stalls  recall  precision  function  not wrong    line   cause  duration  victims  \
noticed p50/p99  reported p50/p99  off by p50/p99  invented  machine";

/// The card as text. Percent and milliseconds.
pub(crate) fn table(card: &Card) -> String {
    let title = if card.title.is_empty() { String::new() } else { format!("{}: ", card.title) };
    let mut text = format!("{title}{} runs\n{HEADINGS}\n", card.runs);
    for row in &card.rows {
        let _infallible = writeln!(text, "{}", line(row));
    }
    if !card.faults.is_empty() {
        text.push_str("\nwhat went wrong, with the last of each kind\n");
    }
    for ((case, wrong), (count, last)) in kinds(card) {
        let _infallible = writeln!(text, "{count:>5} × {case}: {wrong:?} ({last})");
    }
    for run in &card.not_run {
        let _infallible = writeln!(text, "not run: {run}");
    }
    text
}

fn line(row: &Row) -> String {
    format!(
        "{:<16} {:>6}  {:>6}  {:>9}  {:>8}  {:>9}  {:>6}  {:>6}  {:>8}  {:>7}  {:>15}  {:>16}  {:>14}  {:>8}  {:>7}",
        row.class,
        row.stalls,
        percent(row.recall),
        percent(row.precision),
        percent(row.function_right),
        percent(row.function_not_wrong),
        percent(row.line_right),
        percent(row.cause_right),
        percent(row.duration_right),
        percent(row.victims_right),
        quantiles(row.noticed_after_ms),
        quantiles(row.reported_after_ms),
        quantiles(row.duration_error_ms),
        row.invented,
        row.blamed_on_machine
    )
}

/// By case and kind of error: the number, and the last one in words.
fn kinds(card: &Card) -> BTreeMap<(&str, Wrong), (usize, String)> {
    let mut kinds: BTreeMap<_, (usize, String)> = BTreeMap::new();
    for fault in &card.faults {
        let kind = kinds.entry((&*fault.case, fault.wrong)).or_default();
        kind.0 += 1;
        kind.1 = format!("{} {}: {}; reported: {}", fault.flavor, fault.place, fault.truth, fault.said);
    }
    kinds
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", share * 100.0))
}

fn quantiles(both: Quantiles) -> String {
    let one = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
    format!("{}/{}", one(both.p50), one(both.p99))
}
