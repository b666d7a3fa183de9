//! The functions of a profile, with self and total values.

use std::collections::HashMap;

use crate::model::profile::{GROWTH, Profile, ValueType};

/// The drawn value of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionSum {
    /// Its name.
    pub(crate) function: String,
    /// Its file, such as `src/api.rs`; the first in alphabetical order if there are several.
    pub(crate) file: Option<String>,
    /// The self value: samples with this function innermost.
    pub(crate) own: i64,
    /// The total value: samples with this function on the stack, each counted once.
    pub(crate) total: i64,
    /// The growth per minute of the samples with this function innermost, in a profile of suspects of leaks.
    pub(crate) growth: i64,
}

/// The functions of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    /// The type of the values; `None` for a profile without values.
    pub(crate) value: Option<ValueType>,
    /// The total of all samples.
    pub(crate) sum: i64,
    /// Whether the samples have a growth.
    pub(crate) grows: bool,
    /// By self value, the largest first.
    pub(crate) functions: Vec<FunctionSum>,
}

/// Sums a profile by function. Functions with equal names are one.
pub(crate) fn of(profile: &Profile) -> Top {
    let growth = profile.value_named(GROWTH);
    let mut by_stack: HashMap<u32, (i64, i64)> = HashMap::new();
    for sample in &profile.samples {
        let value = |position: Option<usize>| {
            position.and_then(|position| sample.values.get(position)).copied().unwrap_or_default()
        };
        let sums = by_stack.entry(sample.stack).or_default();
        sums.0 = sums.0.saturating_add(value(Some(profile.drawn)));
        sums.1 = sums.1.saturating_add(value(growth));
    }
    let mut sums: HashMap<&str, FunctionSum> = HashMap::new();
    let mut seen: Vec<&str> = Vec::new();
    for (stack, (value, growth)) in by_stack {
        seen.clear();
        for (frame, depth) in profile.stack(stack).zip(0_usize..) {
            let name = &*frame.frame.function;
            let sum = sums.entry(name).or_insert_with(|| FunctionSum {
                function: name.to_owned(),
                file: None,
                own: 0,
                total: 0,
                growth: 0,
            });
            let file = frame.frame.file.as_deref();
            // The order of stacks is random, so the smallest name is used.
            if let Some(file) = file.filter(|file| sum.file.as_deref().is_none_or(|known| *file < known)) {
                sum.file = Some(file.to_owned());
            }
            if depth == 0 {
                sum.own = sum.own.saturating_add(value);
                sum.growth = sum.growth.saturating_add(growth);
            }
            seen.push(name);
        }
        seen.sort_unstable();
        seen.dedup();
        for name in &seen {
            if let Some(sum) = sums.get_mut(name) {
                sum.total = sum.total.saturating_add(value);
            }
        }
    }
    let mut functions: Vec<FunctionSum> = sums.into_values().collect();
    functions.sort_by(|a, b| (b.own, b.total).cmp(&(a.own, a.total)).then_with(|| a.function.cmp(&b.function)));
    let (value, sum) = (profile.drawn_value().cloned(), profile.total(profile.drawn));
    Top { value, sum, grows: growth.is_some(), functions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import;

    #[test]
    fn recursion_counts_once_in_the_total() {
        let profile = import::read(b"main;fib;fib;fib 5\nmain;fib;add 2\nmain 1\n", None).expect("is folded");
        let top = of(&profile);
        let rows: Vec<_> = top.functions.iter().map(|f| (f.function.as_str(), f.own, f.total)).collect();
        assert_eq!(rows, [("fib", 5, 7), ("add", 2, 2), ("main", 1, 8)]);
        assert_eq!(top.sum, 8);
    }
}
