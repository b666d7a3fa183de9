//! The difference of two profiles: by function in numbers, and by stack for a flamegraph.

use std::collections::{BTreeMap, HashMap};

use super::top::{self, FunctionSum, Top};
use crate::model::profile::{Profile, ValueType};

/// The difference of two profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diff {
    /// The type of the values.
    pub(crate) value: Option<ValueType>,
    /// The totals of all samples, before and after.
    pub(crate) sums: (i64, i64),
    /// Whether the values of `before` are scaled so that both totals are equal. `sums` is not scaled.
    pub(crate) normalized: bool,
    /// By change of the self value, the largest first.
    pub(crate) functions: Vec<FunctionDiff>,
}

/// The difference of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionDiff {
    pub(crate) function: String,
    pub(crate) file: Option<String>,
    /// The self value, before and after.
    pub(crate) own: (i64, i64),
    /// The total value, with callees, before and after.
    pub(crate) total: (i64, i64),
}

impl FunctionDiff {
    /// The change of the self value.
    pub(crate) fn own_delta(&self) -> i64 {
        self.own.1.saturating_sub(self.own.0)
    }

    /// The change of the total value.
    pub(crate) fn total_delta(&self) -> i64 {
        self.total.1.saturating_sub(self.total.0)
    }
}

/// Whether the first profile is scaled to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As measured.
    AsMeasured,
    /// `before` is scaled so that both totals are equal: shares are compared.
    Normalized,
}

impl Scale {
    /// A value of `before`, scaled.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the quotient is an estimate")]
    fn before(self, value: i64, (before, after): (i64, i64)) -> i64 {
        match self {
            Self::Normalized if before > 0 => (value as f64 * (after as f64 / before as f64)).round() as i64,
            _ => value,
        }
    }
}

/// The profile that sets the widths of a flamegraph. Functions that are not in it are not drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub(crate) enum Widths {
    /// The first profile: shows removed functions.
    Before,
    /// The second profile: shows new functions.
    #[default]
    After,
}

/// Compares two profiles.
///
/// # Errors
/// If their drawn values have different units.
pub(crate) fn between(before: &Profile, after: &Profile, scale: Scale) -> Result<Diff, String> {
    let units = (before.drawn_value().map(|value| value.unit), after.drawn_value().map(|value| value.unit));
    if let (Some(first), Some(second)) = units
        && first != second
    {
        return Err(format!(
            "the first profile is in {} and the second in {}; compare two profiles of the same kind",
            first.as_str(),
            second.as_str()
        ));
    }
    let (first, second) = (top::of(before), top::of(after));
    let sums = (first.sum, second.sum);
    let mut functions: HashMap<String, FunctionDiff> = HashMap::new();
    let Top { value, .. } = if second.value.is_some() { &second } else { &first };
    let value = value.clone();
    for sum in first.functions {
        let diff = entry(&mut functions, &sum);
        (diff.own.0, diff.total.0) = (scale.before(sum.own, sums), scale.before(sum.total, sums));
    }
    for sum in second.functions {
        let diff = entry(&mut functions, &sum);
        (diff.own.1, diff.total.1) = (sum.own, sum.total);
    }
    let mut functions: Vec<FunctionDiff> = functions.into_values().collect();
    functions.sort_by(|a, b| {
        let size = |f: &FunctionDiff| (f.own_delta().unsigned_abs(), f.total_delta().unsigned_abs());
        size(b).cmp(&size(a)).then_with(|| a.function.cmp(&b.function))
    });
    Ok(Diff { value, sums, normalized: scale == Scale::Normalized, functions })
}

fn entry<'a>(functions: &'a mut HashMap<String, FunctionDiff>, sum: &FunctionSum) -> &'a mut FunctionDiff {
    functions.entry(sum.function.clone()).or_insert_with(|| FunctionDiff {
        function: sum.function.clone(),
        file: sum.file.clone(),
        own: (0, 0),
        total: (0, 0),
    })
}

/// Folded stacks with both values, in the format of difffolded: `stack before after`. The value that sets the widths is
/// last.
pub(crate) fn lines(
    before: &BTreeMap<String, i64>,
    after: &BTreeMap<String, i64>,
    scale: Scale,
    widths: Widths,
) -> Vec<String> {
    let sum = |stacks: &BTreeMap<String, i64>| stacks.values().fold(0_i64, |sum, value| sum.saturating_add(*value));
    let sums = (sum(before), sum(after));
    let mut both: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (stack, value) in before {
        both.entry(stack).or_default().0 = scale.before(*value, sums);
    }
    for (stack, value) in after {
        both.entry(stack).or_default().1 = *value;
    }
    let line = |(stack, (before, after)): (&str, (i64, i64))| match widths {
        Widths::Before => format!("{stack} {after} {before}"),
        Widths::After => format!("{stack} {before} {after}"),
    };
    both.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import;

    fn folded(text: &str) -> Profile {
        import::read(text.as_bytes(), None).expect("is folded")
    }

    #[test]
    fn the_largest_change_is_first() {
        let (before, after) = (folded("main;a 10\nmain;b 10\n"), folded("main;a 10\nmain;c 30\n"));
        let diff = between(&before, &after, Scale::AsMeasured).expect("both are samples");
        let rows: Vec<_> = diff.functions.iter().map(|f| (f.function.as_str(), f.own, f.total)).collect();
        assert_eq!(
            rows,
            [("c", (0, 30), (0, 30)), ("b", (10, 0), (10, 0)), ("main", (0, 0), (20, 40)), ("a", (10, 10), (10, 10))]
        );
        assert_eq!(diff.sums, (20, 40));
        let normalized = between(&before, &after, Scale::Normalized).expect("both are samples");
        let a = normalized.functions.iter().find(|f| f.function == "a").expect("it is there");
        assert_eq!((a.own, a.own_delta()), ((20, 10), -10), "half before, a quarter after");
    }

    #[test]
    fn lines_have_both_values() {
        let stacks = |text: &str| BTreeMap::from([(text.to_owned(), 3)]);
        assert_eq!(lines(&stacks("a;b"), &stacks("a"), Scale::AsMeasured, Widths::After), ["a 0 3", "a;b 3 0"]);
        assert_eq!(lines(&stacks("a;b"), &stacks("a"), Scale::AsMeasured, Widths::Before), ["a 3 0", "a;b 0 3"]);
        assert_eq!(
            lines(&stacks("a"), &BTreeMap::new(), Scale::Normalized, Widths::After),
            ["a 0 0"],
            "nothing to scale to"
        );
    }
}
