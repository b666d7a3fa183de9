//! Labels as outermost frames: a flamegraph then has one tower for each thread, runtime, task or spawn location.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::model::profile::{Labels, Profile, ProfileBuilder, ProfileFrame};
use crate::model::stack::{Frame, Origin};

/// A label to group samples by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Thread,
    Runtime,
    Task,
    Spawn,
    State,
    Size,
}

impl Group {
    /// Every group.
    pub(crate) const ALL: [Self; 6] = [Self::Thread, Self::Runtime, Self::Task, Self::Spawn, Self::State, Self::Size];

    /// The word on the command line, and before the label in its frame.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Runtime => "runtime",
            Self::Task => "task",
            Self::Spawn => "spawn",
            Self::State => "state",
            Self::Size => "size",
        }
    }

    /// What a table shows for it, without ids: `GET /news`.
    #[cfg(feature = "cli")]
    pub(crate) fn name(self, labels: &Labels) -> Option<&str> {
        match self {
            Self::Thread => labels.thread.as_deref(),
            Self::Runtime => labels.runtime.as_deref(),
            Self::Task => labels.task_name.as_deref(),
            Self::Spawn => labels.spawned_at.as_deref(),
            Self::State => labels.state.as_deref(),
            Self::Size => labels.size.as_deref(),
        }
    }

    /// The frame: `task: GET /news (17)`. Samples without the label are one group.
    fn frame(self, labels: &Labels) -> String {
        let with_id = |name: Option<&str>, id: Option<String>| match (name, id) {
            (Some(name), Some(id)) => Some(format!("{name} ({id})")),
            (name, id) => name.map(str::to_owned).or(id),
        };
        let label = match self {
            Self::Thread => with_id(labels.thread.as_deref(), labels.tid.map(|tid| tid.to_string())),
            Self::Runtime => labels.runtime.as_deref().map(str::to_owned),
            Self::Task => with_id(labels.task_name.as_deref(), labels.task.map(|task| task.to_string())),
            Self::Spawn => labels.spawned_at.as_deref().map(str::to_owned),
            Self::State => labels.state.as_deref().map(str::to_owned),
            Self::Size => labels.size.as_ref().map(|size| format!("up to {size}")),
        };
        format!("{self}: {}", label.as_deref().unwrap_or("none"))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|group| group.as_str() == word);
        known.ok_or_else(|| {
            format!("samples cannot be grouped by {word}; the groups are {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}

/// The profile with labels as outermost frames, the first group outermost.
pub(crate) fn by(profile: &Profile, groups: &[Group]) -> Profile {
    if groups.is_empty() {
        return profile.clone();
    }
    let mut builder = ProfileBuilder::new(&profile.kind, profile.values.clone());
    let frames: Vec<u32> = profile.frames.iter().map(|frame| builder.frame(frame.clone())).collect();
    let labels: Vec<u32> = profile.labels.iter().map(|labels| builder.labels(labels.clone())).collect();
    let mut stacks: HashMap<(u32, u32), u32> = HashMap::new();
    let mut samples = Vec::with_capacity(profile.samples.len());
    for sample in &profile.samples {
        let stack = *stacks.entry((sample.stack, sample.labels)).or_insert_with(|| {
            let inner = profile.stacks.get(sample.stack as usize).map_or(&[][..], |stack| stack);
            let inner = inner.iter().filter_map(|frame| frames.get(*frame as usize).copied());
            let mut stack: Vec<u32> = inner.collect();
            let none = Labels::default();
            let of = profile.labels_of(sample).unwrap_or(&none);
            for group in groups.iter().rev() {
                stack.push(builder.frame(ProfileFrame::of(Frame::new(group.frame(of), Origin::Unknown))));
            }
            builder.stack(&stack)
        });
        let mut grouped = *sample;
        grouped.stack = stack;
        grouped.labels = labels.get(sample.labels as usize).copied().unwrap_or(sample.labels);
        samples.push(grouped);
    }
    let grouped = builder.build();
    Profile {
        samples,
        frames: grouped.frames,
        stacks: grouped.stacks,
        labels: profile.labels.clone(),
        ..profile.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::profile::folded::{Inlined, stacks};
    use crate::model::profile::{Sample, Unit, ValueType};
    use crate::model::task::TaskId;

    #[test]
    fn labels_become_outermost_frames_in_the_given_order() {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        let frame = builder.frame(ProfileFrame::of(Frame::new("f", Origin::User)));
        let stack = builder.stack(&[frame]);
        for (tid, task, value) in [(7, None, 1), (8, Some(17), 10), (8, Some(17), 100)] {
            let labels = Labels {
                thread: Some("worker".into()),
                tid: Some(tid),
                task: task.map(TaskId),
                task_name: task.map(|_| "fetch; all".into()),
                ..Labels::default()
            };
            let labels = builder.labels(labels);
            builder.add(Sample::new(None, stack, labels, [value, 0, 0, 0]));
        }
        let profile = builder.build();
        let lines = |groups: &[Group]| -> Vec<String> {
            let folded = stacks(&by(&profile, groups), Inlined::Merged);
            folded.into_iter().map(|(stack, value)| format!("{stack} {value}")).collect()
        };
        assert_eq!(lines(&[]), ["f 111"]);
        assert_eq!(lines(&[Group::Thread]), ["thread: worker (7);f 1", "thread: worker (8);f 110"]);
        assert_eq!(
            lines(&[Group::Task, Group::Thread]),
            ["task: fetch, all (17);thread: worker (8);f 110", "task: none;thread: worker (7);f 1"]
        );
        let labels: Vec<bool> = by(&profile, &Group::ALL).stack(0).map(ProfileFrame::is_label).collect();
        assert_eq!(labels, [false, true, true, true, true, true, true]);
        let sized = Labels { size: Some("64 B".into()), ..Labels::default() };
        assert_eq!(Group::Size.frame(&sized), "size: up to 64 B");
        let error = "color".parse::<Group>().expect_err("is not a group");
        assert!(error.ends_with("the groups are thread, runtime, task, spawn, state, size"), "{error}");
    }
}
