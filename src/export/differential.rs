//! The difference of two profiles as a flamegraph, as folded stacks with two values, and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::profile::flamegraph::{Colors, Picture};
use super::profile::folded::{Inlined, stacks};
use super::profile::summary::{amount, title};
use crate::analysis::diff::{self, Diff, Scale, Widths};
use crate::model::profile::{Profile, Unit};

/// Draws one of the profiles. A red function has a larger self value in the second profile, a blue one a smaller.
///
/// # Errors
/// I/O errors of `out`.
pub(crate) fn flamegraph(
    before: &Profile,
    after: &Profile,
    scale: Scale,
    widths: Widths,
    caption: Vec<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let unit = after.drawn_value().map_or(Unit::Count, |value| value.unit);
    let sum = |profile: &Profile| amount(profile.total(profile.drawn), unit);
    let scaled = match scale {
        Scale::AsMeasured => "",
        Scale::Normalized => ", before scaled to the same total",
    };
    let (width, colors) = match widths {
        Widths::Before => ("width is before", Colors::ChangeReversed),
        Widths::After => ("width is after", Colors::Change),
    };
    let picture = Picture {
        title: format!("{}: what changed", title(after)),
        subtitle: format!(
            "{} before, {} after{scaled}; {width}; color is the self value: red is more than before, blue less",
            sum(before),
            sum(after)
        ),
        caption,
        unit,
        colors,
    };
    let lines = diff::lines(&stacks(before, Inlined::Merged), &stacks(after, Inlined::Merged), scale, widths);
    picture.draw(&lines, out)
}

/// Folded stacks with both values, `stack before after`, in the format of difffolded.
///
/// # Errors
/// I/O errors of `out`.
pub(crate) fn folded(before: &Profile, after: &Profile, scale: Scale, out: &mut dyn Write) -> io::Result<()> {
    let lines = diff::lines(&stacks(before, Inlined::Marked), &stacks(after, Inlined::Marked), scale, Widths::After);
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

#[derive(Serialize)]
struct DiffJson<'a> {
    value: &'a str,
    unit: &'a str,
    before: i64,
    after: i64,
    normalized: bool,
    functions: Vec<FunctionJson<'a>>,
}

#[derive(Serialize)]
struct FunctionJson<'a> {
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    self_before: i64,
    self_after: i64,
    self_delta: i64,
    total_before: i64,
    total_after: i64,
    total_delta: i64,
}

/// The values of every function.
///
/// # Errors
/// I/O errors of `out`.
pub(crate) fn json(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let function = |f: &'_ diff::FunctionDiff| (f.own, f.own_delta(), f.total, f.total_delta());
    let functions = diff.functions.iter().map(|f| {
        let (own, self_delta, total, total_delta) = function(f);
        FunctionJson {
            function: &f.function,
            file: f.file.as_deref(),
            self_before: own.0,
            self_after: own.1,
            self_delta,
            total_before: total.0,
            total_after: total.1,
            total_delta,
        }
    });
    let answer = DiffJson {
        value: diff.value.as_ref().map_or("", |value| &value.name),
        unit: diff.value.as_ref().map_or("", |value| value.unit.as_str()),
        before: diff.sums.0,
        after: diff.sums.1,
        normalized: diff.normalized,
        functions: functions.collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &answer)?;
    writeln!(out)
}
