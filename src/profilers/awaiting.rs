//! The wait time of every task: repeated task dumps, folded by await path.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::census::{Await, Census, RuntimeNow, SourcePlace, TaskNow, TaskState};
use crate::model::profile::{Labels, MAX_VALUES, Profile, ProfileBuilder, ProfileFrame, Sample, Unit, ValueType};
use crate::model::stack::{Frame, Origin};

/// The limit of distinct paths with labels. Samples of further ones are lost.
const MAX_KINDS: usize = 64 * 1024;

/// The limit of branches per task. They share the time of all branches.
const MAX_BRANCHES: usize = 256;

/// Makes the frame of an await: its origin, and its source path as shown.
pub(super) type FrameOf<'f> = dyn Fn(&str, Option<&SourcePlace>) -> Frame + 'f;

/// Sums up task dumps. A task that waits for several things shares its time evenly among them, so that the total is the time
/// of all tasks.
pub(crate) struct Awaiting<'f> {
    builder: ProfileBuilder,
    frame_of: &'f FrameOf<'f>,
    sums: HashMap<(u32, u32), [i64; MAX_VALUES]>,
    dumps: u32,
    unreadable: Option<(u64, String)>,
}

impl std::fmt::Debug for Awaiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaiting").field("kinds", &self.sums.len()).finish_non_exhaustive()
    }
}

impl<'f> Awaiting<'f> {
    /// An empty profile.
    pub(crate) fn new(frame_of: &'f FrameOf<'f>) -> Self {
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("time", Unit::Nanoseconds)];
        let mut builder = ProfileBuilder::new("tasks", values);
        builder.profile().started_at = SystemTime::now();
        Self { builder, frame_of, sums: HashMap::new(), dumps: 0, unreadable: None }
    }

    /// Adds a task dump, with the time since the previous one.
    pub(crate) fn add(&mut self, census: &Census, time: Duration) {
        self.dumps += 1;
        let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        for task in &census.tasks {
            let is_local = census.runtimes.get(task.runtime).is_some_and(RuntimeNow::is_local_set);
            let owner = format!("{}-{}", if is_local { "local-set" } else { "runtime" }, task.runtime + 1);
            self.add_task(task, owner.into(), time);
        }
    }

    fn add_task(&mut self, task: &TaskNow, owner: Arc<str>, time: i64) {
        if task.state == TaskState::Complete {
            return;
        }
        if let Some(why) = &task.unknown {
            self.unreadable.get_or_insert_with(|| (0, why.clone())).0 += 1;
        }
        let labels = Labels {
            runtime: Some(owner),
            task_name: Some(task.future.as_str().into()),
            spawned_at: task.spawned_at.as_ref().map(|place| place.to_string().into()),
            state: Some(task.state.as_str().into()),
            ..Labels::default()
        };
        let branches = self.branches(task);
        let labels = self.builder.labels(labels);
        let mut parts = i64::try_from(branches.len()).unwrap_or(i64::MAX).max(1);
        // The first branch counts as the sample, so that the number of samples is that of tasks.
        let (mut samples, mut time) = (1, time);
        for branch in branches {
            let stack = self.builder.stack(&branch);
            if self.sums.len() >= MAX_KINDS && !self.sums.contains_key(&(stack, labels)) {
                self.builder.profile().quality.lost += 1;
                return;
            }
            let sums = self.sums.entry((stack, labels)).or_default();
            let share = time / parts;
            sums[0] += samples;
            sums[1] = sums[1].saturating_add(share);
            (samples, time, parts) = (0, time - share, parts - 1);
        }
    }

    /// The stacks of a task, one for each thing that it waits for. Each holds frame positions, innermost first.
    fn branches(&mut self, task: &TaskNow) -> Vec<Vec<u32>> {
        let mut branches = Vec::new();
        match (&task.path, task.state) {
            // The last await path does not show what a running task does now.
            (Some(path), TaskState::Running) => {
                let frames = [self.reason_frame("[is polled]"), self.frame(&path.future, None)];
                branches.push(frames.to_vec());
            }
            (Some(path), state) => {
                self.walk(path, state, &mut Vec::new(), &mut branches);
            }
            (None, _) => {
                let why =
                    if task.unknown.is_some() { "[cannot be read]" } else { "[between its last poll and its end]" };
                branches.push(vec![self.reason_frame(why), self.frame(&task.future, None)]);
            }
        }
        branches
    }

    fn walk(&mut self, node: &Await, state: TaskState, outer: &mut Vec<u32>, branches: &mut Vec<Vec<u32>>) {
        outer.push(self.frame(&node.future, node.place.as_ref()));
        for child in &node.children {
            self.walk(child, state, outer, branches);
        }
        if node.children.is_empty() && branches.len() < MAX_BRANCHES {
            let what = match state {
                TaskState::Scheduled => Some("[ready, waits for a worker]".to_owned()),
                _ => node.reason().map(|reason| format!("[waits for {reason}]")),
            };
            let mut frames: Vec<u32> = what.iter().map(|what| self.reason_frame(what)).collect();
            frames.extend(outer.iter().rev());
            branches.push(frames);
        }
        outer.pop();
    }

    fn frame(&mut self, future: &str, place: Option<&SourcePlace>) -> u32 {
        self.builder.frame(ProfileFrame::of((self.frame_of)(future, place)))
    }

    fn reason_frame(&mut self, text: &str) -> u32 {
        self.builder.frame(ProfileFrame::of(Frame::new(text, Origin::Runtime)))
    }

    /// Adds a note on what was not seen, and why.
    pub(crate) fn note(&mut self, sentence: String) {
        self.builder.profile().quality.notes.push(sentence);
    }

    /// The profile over this duration.
    pub(crate) fn finish(mut self, program: &str, pid: u32, duration: Duration) -> Profile {
        if let Some((times, why)) = self.unreadable.take() {
            self.note(format!("{times} times a task could not be read, for example because {why}"));
        }
        let mut sums: Vec<_> = self.sums.into_iter().collect();
        sums.sort_by_key(|((stack, labels), values)| (std::cmp::Reverse(values[1]), *stack, *labels));
        for ((stack, labels), values) in sums {
            self.builder.add(Sample::new(None, stack, labels, values));
        }
        let profile = self.builder.profile();
        profile.program = program.into();
        profile.pid = pid;
        profile.duration = duration;
        profile.rate = rate_of(self.dumps, duration);
        let mut built = self.builder.build();
        built.count_nameless();
        built
    }
}

/// The number of dumps per second.
fn rate_of(dumps: u32, duration: Duration) -> Option<u32> {
    let rate = u128::from(dumps) * 1000 / duration.as_millis().max(1);
    u32::try_from(rate).ok().filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::census::WaitsFor;

    fn leaf(future: &str, waits_for: WaitsFor) -> Await {
        Await { future: future.to_owned(), waits_for: Some(waits_for), ..Await::default() }
    }

    fn task(state: TaskState, path: Await) -> TaskNow {
        let future = path.future.clone();
        TaskNow { state, path: Some(path), ..TaskNow::unread(0, future) }
    }

    fn folded(tasks: Vec<TaskNow>) -> Vec<(String, i64, i64)> {
        let frame_of = |name: &str, place: Option<&SourcePlace>| Frame {
            line: place.map(|place| place.line),
            ..Frame::new(name, Origin::User)
        };
        let mut awaiting = Awaiting::new(&frame_of);
        awaiting.add(&Census { tasks, ..Census::default() }, Duration::from_nanos(101));
        let profile = awaiting.finish("p", 1, Duration::from_secs(1));
        let stack = |sample| {
            let frames = profile.frames_of(sample).rev().map(|frame| frame.frame.function.to_string());
            frames.collect::<Vec<_>>().join(";")
        };
        let mut folded: Vec<_> =
            profile.samples.iter().map(|sample| (stack(sample), sample.values[0], sample.values[1])).collect();
        folded.sort();
        folded
    }

    #[test]
    fn a_task_shares_its_time_among_what_it_waits_for() {
        let timer = || leaf("Sleep", WaitsFor::Timer { in_ms: 7 });
        let path = Await {
            future: "app".to_owned(),
            children: vec![timer(), leaf("Notified", WaitsFor::Other("a notification".to_owned()))],
            ..Await::default()
        };
        assert_eq!(
            folded(vec![task(TaskState::Idle, path)]),
            [
                ("app;Notified;[waits for a notification]".to_owned(), 0, 51),
                ("app;Sleep;[waits for a timer]".to_owned(), 1, 50),
            ]
        );
        // Equal branches are one stack, and so are equal tasks.
        let twice = || Await { future: "app".to_owned(), children: vec![timer(), timer()], ..Await::default() };
        let tasks = vec![task(TaskState::Idle, twice()), task(TaskState::Idle, twice())];
        assert_eq!(folded(tasks), [("app;Sleep;[waits for a timer]".to_owned(), 2, 202)]);
    }

    #[test]
    fn tasks_that_do_not_wait_have_a_frame_that_says_why() {
        let path = || Await {
            future: "app".to_owned(),
            children: vec![leaf("Sleep", WaitsFor::Timer { in_ms: 7 })],
            ..Await::default()
        };
        assert_eq!(folded(vec![task(TaskState::Running, path())])[0].0, "app;[is polled]");
        assert_eq!(folded(vec![task(TaskState::Scheduled, path())])[0].0, "app;Sleep;[ready, waits for a worker]");
        assert_eq!(folded(vec![task(TaskState::Complete, path())]), []);
        let unread = TaskNow { path: None, unknown: Some("torn".to_owned()), ..task(TaskState::Idle, path()) };
        assert_eq!(folded(vec![unread])[0].0, "app;[cannot be read]");
    }
}
