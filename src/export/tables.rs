//! Tables of functions, as text.

use std::fmt::Write as _;

use super::profile::summary::amount;
use crate::analysis::diff::Diff;
use crate::analysis::top::Top;
use crate::model::profile::{Unit, ValueType};

/// The first `rows` functions, with self and total values.
pub(crate) fn top(top: &Top, rows: usize) -> String {
    let unit = unit(top.value.as_ref());
    let mut text = String::new();
    // Only suspects of leaks have a growth.
    let growth = |text: String| if top.grows { format!(" {text:>12}") } else { String::new() };
    let title = growth("per minute".to_owned());
    line(&mut text, format_args!("{:>10} {:>7} {:>10} {:>7}{title}  function", "self", "", "total", ""));
    for sum in top.functions.iter().take(rows) {
        line(
            &mut text,
            format_args!(
                "{:>10} {:>7} {:>10} {:>7}{}  {}",
                amount(sum.own, unit),
                share(sum.own, top.sum),
                amount(sum.total, unit),
                share(sum.total, top.sum),
                growth(change(sum.growth, Unit::Bytes)),
                function(&sum.function, sum.file.as_deref())
            ),
        );
    }
    rest(&mut text, top.functions.len(), rows);
    text
}

/// The first `rows` functions, with values before and after.
pub(crate) fn diff(diff: &Diff, rows: usize) -> String {
    let unit = unit(diff.value.as_ref());
    let mut text = String::new();
    let scaled = if diff.normalized { " (before is scaled to the same total)" } else { "" };
    let (before, after) = diff.sums;
    line(&mut text, format_args!("{} before, {} after{scaled}", amount(before, unit), amount(after, unit)));
    line(
        &mut text,
        format_args!(
            "{:>10} {:>10} {:>11}  {:>10} {:>10} {:>11}  function",
            "self then", "now", "change", "total then", "now", "change"
        ),
    );
    for row in diff.functions.iter().take(rows) {
        line(
            &mut text,
            format_args!(
                "{:>10} {:>10} {:>11}  {:>10} {:>10} {:>11}  {}",
                amount(row.own.0, unit),
                amount(row.own.1, unit),
                change(row.own_delta(), unit),
                amount(row.total.0, unit),
                amount(row.total.1, unit),
                change(row.total_delta(), unit),
                function(&row.function, row.file.as_deref())
            ),
        );
    }
    rest(&mut text, diff.functions.len(), rows);
    text
}

pub(super) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}

fn unit(value: Option<&ValueType>) -> Unit {
    value.map_or(Unit::Count, |value| value.unit)
}

pub(super) fn function(name: &str, file: Option<&str>) -> String {
    // A name from an untrusted file must not contain escape sequences.
    let name = format!(
        "{name}{}",
        file.map_or_else(String::new, |file| format!("  {}", crate::model::task::short_source(file)))
    );
    name.chars().filter(|c| !c.is_control()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share to one digit")]
pub(super) fn share(part: i64, sum: i64) -> String {
    if sum <= 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / sum as f64) }
}

fn change(delta: i64, unit: Unit) -> String {
    if delta > 0 { format!("+{}", amount(delta, unit)) } else { amount(delta, unit) }
}

pub(super) fn rest(text: &mut String, all: usize, rows: usize) {
    if all > rows {
        line(text, format_args!("… and {} more; -n shows more rows", all - rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{diff as difference, top as sums};
    use crate::import;
    use crate::model::profile::GROWTH;

    #[test]
    fn tables_have_columns_and_count_omitted_rows() {
        let profile = import::read(b"main;a 30\nmain;b 10\n", None).expect("is folded");
        let text = top(&sums::of(&profile), 2);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["30", "75.0", "%", "30", "75.0", "%", "a"]);
        assert_eq!(lines[3], "… and 1 more; -n shows more rows");
        assert!(!text.contains("per minute"), "only suspects of leaks have a growth: {text}");
        let mut leaks = profile.clone();
        leaks.values.push(ValueType::new(GROWTH, Unit::Bytes));
        leaks.samples.iter_mut().for_each(|sample| sample.values[1] = sample.values[0] * 1024);
        let text = top(&sums::of(&leaks), 1);
        assert!(text.contains("per minute  function") && text.contains("+30.0 KiB  a"), "{text}");
        let after =
            import::read(b"main;a\x1b[2J 10\n", Some(crate::export::profile::Format::Folded)).expect("is folded");
        let between = difference::between(&profile, &after, difference::Scale::AsMeasured).expect("same unit");
        let text = diff(&between, 9);
        assert!(text.starts_with("40 before, 10 after\n") && text.contains("-30"), "{text}");
        assert!(!text.contains('\x1b'), "names cannot write escape sequences");
    }
}
