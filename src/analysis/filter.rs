//! Filters of a profile: by thread, runtime, task, spawn location or state, and by functions and files on the stack.

use std::sync::Arc;

use regex_lite::Regex;

use crate::model::profile::{Labels, Profile, ProfileFrame};

/// The conditions for a sample. A sample is kept if it meets all of them; without conditions, every sample is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// The thread's name or id.
    pub(crate) thread: Option<String>,
    /// The runtime's name.
    pub(crate) runtime: Option<String>,
    /// The task's name or id.
    pub(crate) task: Option<String>,
    /// The place where the task was spawned, or the end of it: `api.rs:88`. Without a line, any line of that file.
    pub(crate) spawn: Option<String>,
    /// The thread's state: `on-cpu`, `off-cpu`, `parked`; for stalled time, the word of the cause.
    pub(crate) state: Option<String>,
    /// The function or file of some frame must match one of these.
    pub(crate) include: Vec<Regex>,
    /// The function or file of no frame may match any of these.
    pub(crate) exclude: Vec<Regex>,
}

/// A regular expression for functions and files.
///
/// # Errors
/// If the text is not a regular expression.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("{text} is not a regular expression: {error}"))
}

impl Filter {
    /// Whether there are no conditions.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { thread, runtime, task, spawn, state, include, exclude } = self;
        [thread, runtime, task, spawn, state].into_iter().all(Option::is_none)
            && include.is_empty()
            && exclude.is_empty()
    }

    /// The part of a profile that meets the conditions. Slices have no stack, so patterns do not apply to them. Lost and
    /// truncated samples cannot be divided; a note says so.
    pub(crate) fn apply(&self, profile: &Profile) -> Profile {
        if self.is_empty() {
            return profile.clone();
        }
        let labels: Vec<bool> = profile.labels.iter().map(|labels| self.keeps_labels(labels)).collect();
        let including = Matches::of(&self.include, profile);
        let excluding = Matches::of(&self.exclude, profile);
        let stack_is_kept =
            |stack: &Arc<[u32]>| (self.include.is_empty() || including.any(stack)) && !excluding.any(stack);
        let stacks: Vec<bool> = profile.stacks.iter().map(stack_is_kept).collect();
        let kept = |all: &[bool], position: u32| all.get(position as usize).copied().unwrap_or_default();
        let mut part = profile.clone();
        part.samples.retain(|sample| kept(&labels, sample.labels) && kept(&stacks, sample.stack));
        part.slices.retain(|slice| kept(&labels, slice.labels));
        part.quality.frames = part.samples.iter().map(|sample| part.stack(sample.stack).count() as u64).sum();
        part.quality.nameless = part.quality.nameless.min(part.quality.frames);
        part.quality.notes.push(format!(
            "filtered: {} of {} samples are shown; lost, truncated and nameless count all samples",
            part.samples.len(),
            profile.samples.len()
        ));
        part
    }

    fn keeps_labels(&self, labels: &Labels) -> bool {
        let is = |wanted: &Option<String>, name: &Option<Arc<str>>, id: Option<String>| {
            wanted.as_ref().is_none_or(|wanted| name.as_deref() == Some(wanted) || id.as_ref() == Some(wanted))
        };
        is(&self.thread, &labels.thread, labels.tid.map(|tid| tid.to_string()))
            && is(&self.runtime, &labels.runtime, None)
            && is(&self.task, &labels.task_name, labels.task.map(|task| task.to_string()))
            && is(&self.state, &labels.state, None)
            && self
                .spawn
                .as_ref()
                .is_none_or(|wanted| labels.spawned_at.as_deref().is_some_and(|place| ends_with_place(place, wanted)))
    }
}

/// Whether `place` (`/work/src/api.rs:88`) ends with `wanted` (`api.rs:88`, `src/api.rs`), at a path separator.
fn ends_with_place(place: &str, wanted: &str) -> bool {
    let ends = |place: &str| {
        place
            .strip_suffix(wanted)
            .is_some_and(|before| before.is_empty() || before.ends_with('/') || wanted.starts_with('/'))
    };
    ends(place) || place.rsplit_once(':').is_some_and(|(file, _)| ends(file))
}

/// For each frame, whether it matches any of the patterns.
struct Matches(Vec<bool>);

impl Matches {
    fn of(patterns: &[Regex], profile: &Profile) -> Self {
        let matches = |frame: &ProfileFrame| {
            patterns.iter().any(|pattern| {
                pattern.is_match(&frame.frame.function)
                    || frame.frame.file.as_deref().is_some_and(|file| pattern.is_match(file))
            })
        };
        Self(profile.frames.iter().map(matches).collect())
    }

    fn any(&self, stack: &[u32]) -> bool {
        stack.iter().any(|frame| self.0.get(*frame as usize).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{ProfileBuilder, Sample, Unit, ValueType};
    use crate::model::stack::{Frame, Origin};
    use crate::model::task::TaskId;

    fn profile() -> Profile {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        for (value, function, file, thread, task) in [
            (1, "api::get", Some("src/api.rs"), "worker", 17),
            (10, "tokio::run", None, "worker", 18),
            (100, "api::put", Some("src/api.rs"), "blocking", 19),
        ] {
            let mut frame = Frame::new(function, Origin::User);
            frame.file = file.map(Into::into);
            let frame = builder.frame(ProfileFrame::of(frame));
            let stack = builder.stack(&[frame]);
            let labels = Labels {
                thread: Some(thread.into()),
                tid: Some(7),
                task: Some(TaskId(task)),
                spawned_at: Some(format!("/work/src/main.rs:{task}").into()),
                ..Labels::default()
            };
            let labels = builder.labels(labels);
            builder.add(Sample::new(None, stack, labels, [value, 0, 0, 0]));
        }
        builder.build()
    }

    #[test]
    fn all_conditions_must_be_met() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| pattern(text).expect("it is one")).collect();
        let with = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.apply(&profile()).total(0)
        };
        assert_eq!(with(&|_| {}), 111);
        assert_eq!(with(&|filter| filter.thread = Some("worker".into())), 11);
        assert_eq!(with(&|filter| filter.thread = Some("7".into())), 111);
        assert_eq!(with(&|filter| filter.task = Some("18".into())), 10);
        assert_eq!(with(&|filter| filter.spawn = Some("main.rs:19".into())), 100);
        assert_eq!(with(&|filter| filter.spawn = Some("src/main.rs".into())), 111);
        assert_eq!(with(&|filter| filter.spawn = Some("ain.rs:19".into())), 0);
        assert_eq!(with(&|filter| filter.runtime = Some("api".into())), 0);
        assert_eq!(with(&|filter| filter.include = patterns(&["^api::", "^std"])), 101);
        assert_eq!(with(&|filter| filter.exclude = patterns(&["api.rs$"])), 10);
        assert_eq!(
            with(&|filter| {
                filter.include = patterns(&["api"]);
                filter.exclude = patterns(&["put"]);
                filter.thread = Some("worker".into());
            }),
            1
        );
        assert!(pattern("(").expect_err("is not one").starts_with("( is not a regular expression"));
    }

    #[test]
    fn a_note_says_that_samples_are_filtered() {
        let filter = Filter { task: Some("17".into()), ..Filter::default() };
        let notes = filter.apply(&profile()).quality.notes;
        assert!(notes.first().is_some_and(|note| note.starts_with("filtered: 1 of 3 samples")), "{notes:?}");
        assert!(Filter::default().apply(&profile()).quality.notes.is_empty());
    }
}
