//! A profile as a list of stacks in the format of Go's `debug=1`, with the most frequent stack first.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::profile::summary::uncertainty;
use crate::model::profile::{Labels, MAX_VALUES, Profile};

/// The line `NAME profile: total N`, followed by each stack with its values and labels.
pub(crate) fn text(profile: &Profile, name: &str) -> String {
    let mut sums: HashMap<(u32, u32), [i64; MAX_VALUES]> = HashMap::new();
    for sample in &profile.samples {
        let sum = sums.entry((sample.stack, sample.labels)).or_default();
        for (sum, value) in sum.iter_mut().zip(sample.values) {
            *sum = sum.saturating_add(value);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|((stack, labels), values)| (std::cmp::Reverse(values[profile.drawn]), *stack, *labels));
    let mut text = format!("{name} profile: total {}\n", profile.total(0));
    for ((stack, labels), values) in sums {
        let samples = profile.counted().map_or(0, |counted| values[counted]);
        let values = profile.values.iter().zip(values).map(|(kind, value)| format!("{value} {}", kind.name));
        let values: Vec<String> = values.chain(uncertainty(profile, samples.unsigned_abs())).collect();
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "\n{} @{}", values.join(", "), shown(profile.labels.get(labels as usize)));
        for frame in profile.stack(stack) {
            let place = frame.frame.location().map_or_else(String::new, |place| format!("\t{place}"));
            let _infallible = writeln!(text, "#\t{}{place}", frame.frame.function);
        }
    }
    text
}

fn shown(labels: Option<&Labels>) -> String {
    let pairs = labels.map(Labels::pairs).unwrap_or_default();
    pairs.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

/// The current stack of each worker, in the format of Go's goroutine profile with `debug=2`.
pub(crate) fn dump(profile: &Profile) -> String {
    let mut text = String::new();
    for sample in &profile.samples {
        let labels = profile.labels_of(sample);
        let task = labels.and_then(|labels| labels.task);
        let state = labels.and_then(|labels| labels.state.as_deref()).unwrap_or("waiting");
        let who = match task {
            Some(task) => format!("task {task} [{state}]"),
            None if profile.total(0) > 0 && sample.values[0] > 1 => format!("{} tasks [{state}]", sample.values[0]),
            None => format!("1 task [{state}]"),
        };
        let _infallible = writeln!(text, "{who}:{}", shown(labels));
        for frame in profile.frames_of(sample) {
            let _infallible = writeln!(text, "{}", frame.frame.function);
            if let Some(place) = frame.frame.location() {
                let _infallible = writeln!(text, "\t{place}");
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{ProfileBuilder, ProfileFrame, Sample, Unit, ValueType};
    use crate::model::stack::{Frame, Origin};
    use crate::model::task::TaskId;

    fn profile() -> Profile {
        let mut builder = ProfileBuilder::new("tasks", vec![ValueType::new("goroutine", Unit::Count)]);
        for (function, task, count) in [("api::handle", Some(TaskId(7)), 1), ("(tasks that wait)", None, 40)] {
            let line = task.map(|_| 12);
            let file = task.map(|_| "src/api.rs".into());
            let frame = Frame { function: function.into(), file, line, origin: Origin::User, package: None };
            let frame = builder.frame(ProfileFrame::of(frame));
            let stack = builder.stack(&[frame]);
            let labels = builder.labels(Labels { runtime: Some("api".into()), task, ..Labels::default() });
            builder.add(Sample::new(None, stack, labels, [count, 0, 0, 0]));
        }
        builder.build()
    }

    #[test]
    fn the_most_frequent_stack_comes_first() {
        let expected = "tasks profile: total 41\n\n40 goroutine @ runtime=api\n#\t(tasks that wait)\n\n\
                        1 goroutine @ runtime=api task=7\n#\tapi::handle\tsrc/api.rs:12\n";
        assert_eq!(text(&profile(), "tasks"), expected);
    }

    #[test]
    fn a_dump_names_each_polled_task() {
        let dump = dump(&profile());
        assert!(dump.contains("task 7 [waiting]: runtime=api task=7\napi::handle\n\tsrc/api.rs:12\n"), "{dump}");
        assert!(dump.contains("40 tasks [waiting]: runtime=api\n"), "{dump}");
    }
}
