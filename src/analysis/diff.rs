//! Two profiles compared: by function in numbers, and by stack for a flamegraph.

use std::collections::{BTreeMap, HashMap};

use super::top::{self, FunctionSum, Top};
use crate::model::profile::{Profile, ValueType};

/// How two profiles differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diff {
    /// What the numbers are.
    pub(crate) value: Option<ValueType>,
    /// The sums over all samples, before and after.
    pub(crate) sums: (i64, i64),
    /// `before` was scaled so that both sums are equal; these are then sums as measured.
    pub(crate) normalised: bool,
    /// The largest change of what a function takes itself first.
    pub(crate) functions: Vec<FunctionDiff>,
}

/// How one function differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionDiff {
    pub(crate) function: String,
    pub(crate) file: Option<String>,
    /// What it takes itself, before and after.
    pub(crate) own: (i64, i64),
    /// What it takes with what it calls, before and after.
    pub(crate) total: (i64, i64),
}

impl FunctionDiff {
    /// How much more it takes itself after than before.
    pub(crate) fn own_delta(&self) -> i64 {
        self.own.1.saturating_sub(self.own.0)
    }

    /// The same with what it calls.
    pub(crate) fn total_delta(&self) -> i64 {
        self.total.1.saturating_sub(self.total.0)
    }
}

/// Whether profiles of different load are made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As measured.
    AsMeasured,
    /// `before` is scaled so that both sums are equal: shares are compared.
    Normalised,
}

impl Scale {
    /// A value of `before`, of such sums.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the quotient is an estimate")]
    fn before(self, value: i64, (before, after): (i64, i64)) -> i64 {
        match self {
            Self::Normalised if before > 0 => (value as f64 * (after as f64 / before as f64)).round() as i64,
            _ => value,
        }
    }
}

/// Which of the two profiles gives a flamegraph its widths. What is not in that one is not to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub(crate) enum Widths {
    /// The first: shows what went away.
    Before,
    /// The second: shows what came.
    #[default]
    After,
}

/// Compares two profiles.
///
/// # Errors
/// When their drawn values are not in the same unit.
pub(crate) fn between(before: &Profile, after: &Profile, scale: Scale) -> Result<Diff, String> {
    let units = (before.drawn_value().map(|value| value.unit), after.drawn_value().map(|value| value.unit));
    if let (Some(first), Some(second)) = units
        && first != second
    {
        return Err(format!(
            "the first profile is in {} and the second in {}; compare two of the same kind",
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
    Ok(Diff { value, sums, normalised: scale == Scale::Normalised, functions })
}

fn entry<'a>(functions: &'a mut HashMap<String, FunctionDiff>, sum: &FunctionSum) -> &'a mut FunctionDiff {
    functions.entry(sum.function.clone()).or_insert_with(|| FunctionDiff {
        function: sum.function.clone(),
        file: sum.file.clone(),
        own: (0, 0),
        total: (0, 0),
    })
}

/// Folded stacks with both values, in difffolded's format: `stack before after`. The one that gives the widths is last.
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
    fn tells_what_changed() {
        let (before, after) = (folded("main;a 10\nmain;b 10\n"), folded("main;a 10\nmain;c 30\n"));
        let diff = between(&before, &after, Scale::AsMeasured).expect("both are samples");
        let rows: Vec<_> = diff.functions.iter().map(|f| (f.function.as_str(), f.own, f.total)).collect();
        assert_eq!(
            rows,
            [("c", (0, 30), (0, 30)), ("b", (10, 0), (10, 0)), ("main", (0, 0), (20, 40)), ("a", (10, 10), (10, 10))]
        );
        assert_eq!(diff.sums, (20, 40));
        let normalised = between(&before, &after, Scale::Normalised).expect("both are samples");
        let a = normalised.functions.iter().find(|f| f.function == "a").expect("it is there");
        assert_eq!((a.own, a.own_delta()), ((20, 10), -10), "half before, a quarter after");
    }

    #[test]
    fn lines_have_both_values() {
        let stacks = |text: &str| BTreeMap::from([(text.to_owned(), 3)]);
        assert_eq!(lines(&stacks("a;b"), &stacks("a"), Scale::AsMeasured, Widths::After), ["a 0 3", "a;b 3 0"]);
        assert_eq!(lines(&stacks("a;b"), &stacks("a"), Scale::AsMeasured, Widths::Before), ["a 3 0", "a;b 0 3"]);
        assert_eq!(
            lines(&stacks("a"), &BTreeMap::new(), Scale::Normalised, Widths::After),
            ["a 0 0"],
            "nothing to scale to"
        );
    }
}
