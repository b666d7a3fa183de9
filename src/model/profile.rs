//! Profiles: weighted stacks over a window of time, with names, labels, and what is known of their quality.
//!
//! Frames, stacks and labels are kept once each and named by their position, because a profile of a busy service has
//! many thousand samples and few different stacks. [`ProfileBuilder`] makes one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::stack::{Frame, Origin};
use super::task::TaskId;

/// The most values that a sample has.
pub const MAX_VALUES: usize = 4;

/// Weighted stacks over a window of time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// What was measured, in one word: `cpu`, `wall`, `stalled`.
    pub kind: Arc<str>,
    /// The program that was observed.
    pub program: Arc<str>,
    /// Its process id.
    pub pid: u32,
    /// When the window began.
    pub started_at: SystemTime,
    /// How long the window was.
    pub duration: Duration,
    /// Samples per second; `None` where events were measured, not moments.
    pub rate: Option<u32>,
    /// What the numbers of each sample are, in order; at most [`MAX_VALUES`].
    pub values: Vec<ValueType>,
    /// The position in `values` of the one that graphs are drawn by.
    pub drawn: usize,
    /// The programs and libraries that addresses lie in.
    pub mappings: Vec<Mapping>,
    /// Every different frame.
    pub frames: Vec<ProfileFrame>,
    /// Every different stack: positions in `frames`, innermost first.
    pub stacks: Vec<Arc<[u32]>>,
    /// Every different set of labels.
    pub labels: Vec<Labels>,
    /// The samples, in order of time where they have one.
    pub samples: Vec<Sample>,
    /// What workers did over time, where that was recorded, in order of their start.
    pub slices: Vec<Slice>,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// What a number in a sample is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ValueType {
    /// Its name, as Go's profiles call it where they have it: `samples`, `cpu`, `contentions`, `delay`.
    pub name: Arc<str>,
    /// Its unit.
    pub unit: Unit,
}

impl ValueType {
    /// A value of that name and unit.
    pub fn new(name: &str, unit: Unit) -> Self {
        Self { name: name.into(), unit }
    }
}

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Plain numbers.
    Count,
    /// Time.
    Nanoseconds,
    /// Memory.
    Bytes,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Count, Self::Nanoseconds, Self::Bytes];

    /// The word that pprof uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Nanoseconds => "nanoseconds",
            Self::Bytes => "bytes",
        }
    }
}

/// A program or library in the address space of the observed process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// Where in the file `start` lies, in bytes.
    pub offset: u64,
    /// The file, or a name in brackets such as `[vdso]`.
    pub file: Arc<str>,
    /// The GNU build id in hexadecimal, where it has one.
    pub build_id: Option<Arc<str>>,
}

impl Mapping {
    /// A mapping without a build id.
    pub fn new(start: u64, end: u64, offset: u64, file: impl Into<Arc<str>>) -> Self {
        Self { start, end, offset, file: file.into(), build_id: None }
    }
}

/// A frame, and where its code is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProfileFrame {
    /// Function, file, line.
    pub frame: Frame,
    /// Inlined into the frame behind it on the stack, with which it shares its address.
    pub inlined: bool,
    /// The address that was looked up; 0 for a frame that is no code, such as `(parked)`.
    pub address: u64,
    /// The mapping that the address lies in.
    pub mapping: Option<u32>,
}

impl ProfileFrame {
    /// A frame that was really called, without a known address.
    pub fn of(frame: Frame) -> Self {
        Self { frame, inlined: false, address: 0, mapping: None }
    }

    /// Whether an address stands for its name: `0x5581…` or `libfoo.so+0x12f0`.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        let function = &*self.frame.function;
        let address = function.rsplit_once('+').map_or(function, |(_, address)| address);
        let digits = address.strip_prefix("0x");
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// Who a sample is of. What is unknown is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Labels {
    /// The thread's name.
    pub thread: Option<Arc<str>>,
    /// The kernel's thread id.
    pub tid: Option<i32>,
    /// The runtime's name, on a worker.
    pub runtime: Option<Arc<str>>,
    /// Tokio's worker index.
    pub worker: Option<u32>,
    /// The task that was being polled.
    pub task: Option<TaskId>,
    /// That task's name.
    pub task_name: Option<Arc<str>>,
    /// Where that task was spawned, as `file:line`.
    pub spawned_at: Option<Arc<str>>,
    /// What the thread did: `on-cpu`, `off-cpu`, `parked`; in stalled time, the cause's word.
    pub state: Option<Arc<str>>,
}

impl Labels {
    /// Every label that is known, by its name in files.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let text = |name, value: &Option<Arc<str>>| value.as_ref().map(|value| (name, value.to_string()));
        [
            text("thread", &self.thread),
            self.tid.map(|tid| ("tid", tid.to_string())),
            text("runtime", &self.runtime),
            self.worker.map(|worker| ("worker", worker.to_string())),
            self.task.map(|task| ("task", task.to_string())),
            text("task_name", &self.task_name),
            text("spawn", &self.spawned_at),
            text("state", &self.state),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A stack with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// When, since the start of the window; `None` for a sum over the window.
    pub at: Option<Duration>,
    /// Its position in [`Profile::stacks`].
    pub stack: u32,
    /// Its position in [`Profile::labels`].
    pub labels: u32,
    /// As many as [`Profile::values`] has; the rest is 0.
    pub values: [i64; MAX_VALUES],
}

impl Sample {
    /// A sample.
    pub fn new(at: Option<Duration>, stack: u32, labels: u32, values: [i64; MAX_VALUES]) -> Self {
        Self { at, stack, labels, values }
    }
}

/// What a worker did for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    /// Who: the position in [`Profile::labels`]. Its thread is the track that the slice lies on.
    pub labels: u32,
    /// Since the start of the window.
    pub start: Duration,
    /// Since the start of the window.
    pub end: Duration,
    /// What it did.
    pub kind: SliceKind,
    /// What to show: the task's name or spawn location, a stall's culprit.
    pub name: Arc<str>,
}

impl Slice {
    /// A slice.
    pub fn new(labels: u32, start: Duration, end: Duration, kind: SliceKind, name: Arc<str>) -> Self {
        Self { labels, start, end, kind, name }
    }
}

/// What a slice shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SliceKind {
    /// Waiting for something to do.
    Parked,
    /// Inside one poll.
    Poll,
    /// Inside one poll for longer than the threshold.
    Stall,
}

impl SliceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Parked, Self::Poll, Self::Stall];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Poll => "poll",
            Self::Stall => "stall",
        }
    }
}

/// How far a profile can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quality {
    /// Samples that were due and could not be taken or kept.
    pub lost: u64,
    /// Samples whose stack does not reach the thread's first function.
    pub truncated: u64,
    /// Frames of all samples.
    pub frames: u64,
    /// Those of them that nothing names.
    pub nameless: u64,
    /// What was not measured, and why, in sentences.
    pub notes: Vec<String>,
}

impl Profile {
    /// The sum of a value over all samples.
    #[must_use]
    pub fn total(&self, value: usize) -> i64 {
        let values = self.samples.iter().filter_map(|sample| sample.values.get(value));
        values.fold(0, |sum, value| sum.saturating_add(*value))
    }

    /// The frames of a sample's stack, innermost first.
    pub fn frames_of(&self, sample: &Sample) -> impl DoubleEndedIterator<Item = &ProfileFrame> + Clone {
        self.stack(sample.stack)
    }

    /// The frames of the stack at that position, innermost first.
    pub fn stack(&self, position: u32) -> impl DoubleEndedIterator<Item = &ProfileFrame> + Clone {
        let stack: &[u32] = self.stacks.get(position as usize).map_or(&[], |stack| stack);
        stack.iter().filter_map(|frame| self.frames.get(*frame as usize))
    }

    /// The value that graphs are drawn by; `None` where no value is recorded.
    #[must_use]
    pub fn drawn_value(&self) -> Option<&ValueType> {
        self.values.get(self.drawn)
    }

    /// The position of the value of that name.
    #[must_use]
    pub fn value_named(&self, name: &str) -> Option<usize> {
        self.values.iter().position(|value| &*value.name == name)
    }

    /// The labels of a sample.
    #[must_use]
    pub fn labels_of(&self, sample: &Sample) -> Option<&Labels> {
        self.labels.get(sample.labels as usize)
    }

    /// Counts frames of all samples and those that nothing names.
    pub(crate) fn count_nameless(&mut self) {
        let (mut frames, mut nameless) = (0, 0);
        for sample in &self.samples {
            for frame in self.frames_of(sample) {
                frames += 1;
                nameless += u64::from(frame.is_nameless());
            }
        }
        self.quality.frames = frames;
        self.quality.nameless = nameless;
    }

    /// The position of the value that tells how many there were of what was measured.
    pub(crate) fn counted(&self) -> Option<usize> {
        let counts = |value: &ValueType| {
            value.unit == Unit::Count && matches!(&*value.name, "samples" | "stalls" | "contentions")
        };
        self.values.iter().position(counts)
    }

    /// How many samples, stalls or contentions (as Go calls them) it was made from: the sum of that value, otherwise
    /// the number of its samples.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.counted().map_or(self.samples.len() as u64, |value| u64::try_from(self.total(value)).unwrap_or_default())
    }
}

/// Makes a [`Profile`], keeping equal frames, stacks and labels once.
#[derive(Debug)]
pub struct ProfileBuilder {
    profile: Profile,
    frames: HashMap<ProfileFrame, u32>,
    stacks: HashMap<Arc<[u32]>, u32>,
    labels: HashMap<Labels, u32>,
}

impl ProfileBuilder {
    /// An empty profile of one kind, drawn by its last value.
    #[must_use]
    pub fn new(kind: &str, values: Vec<ValueType>) -> Self {
        let profile = Profile {
            kind: kind.into(),
            program: "".into(),
            pid: 0,
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            rate: None,
            drawn: values.len().saturating_sub(1),
            values,
            mappings: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            labels: Vec::new(),
            samples: Vec::new(),
            slices: Vec::new(),
            quality: Quality::default(),
        };
        Self { profile, frames: HashMap::new(), stacks: HashMap::new(), labels: HashMap::new() }
    }

    /// Everything but frames, stacks, labels and samples can be set freely.
    pub fn profile(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The position of a frame.
    pub fn frame(&mut self, frame: ProfileFrame) -> u32 {
        position(&mut self.frames, &mut self.profile.frames, frame)
    }

    /// The position of a stack of frame positions, innermost first.
    pub fn stack(&mut self, frames: &[u32]) -> u32 {
        position(&mut self.stacks, &mut self.profile.stacks, frames.into())
    }

    /// Leaves out the outermost frames of a stack that nothing names: the C library's way of starting a thread, whose
    /// functions are not in its table of symbols. It is the same for all threads, and tells nothing.
    pub(crate) fn trim(&self, frames: &mut Vec<u32>) {
        let entry = |frame: &u32| {
            let frame = self.profile.frames.get(*frame as usize);
            frame.is_some_and(|frame| frame.frame.origin == Origin::System && frame.is_nameless())
        };
        while frames.len() > 1 && frames.last().is_some_and(entry) {
            frames.pop();
        }
    }

    /// The position of a set of labels.
    pub fn labels(&mut self, labels: Labels) -> u32 {
        position(&mut self.labels, &mut self.profile.labels, labels)
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.profile.samples.push(sample);
    }

    /// Adds what a worker did for a while.
    pub fn add_slice(&mut self, slice: Slice) {
        self.profile.slices.push(slice);
    }

    /// The profile, in order of time.
    #[must_use]
    pub fn build(mut self) -> Profile {
        self.profile.samples.sort_by_key(|sample| sample.at);
        self.profile.slices.sort_by_key(|slice| (slice.start, slice.end));
        self.profile
    }
}

fn position<T: Clone + Eq + Hash>(known: &mut HashMap<T, u32>, all: &mut Vec<T>, new: T) -> u32 {
    if let Some(position) = known.get(&new) {
        return *position;
    }
    let position = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.push(new.clone());
    known.insert(new, position);
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str) -> ProfileFrame {
        ProfileFrame::of(Frame {
            function: function.into(),
            file: None,
            line: None,
            origin: Origin::User,
            package: None,
        })
    }

    #[test]
    fn equal_frames_stacks_and_labels_are_kept_once() {
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut builder = ProfileBuilder::new("cpu", values);
        for at in [30, 10, 20] {
            let frames = [builder.frame(frame("inner")), builder.frame(frame("outer"))];
            let stack = builder.stack(&frames);
            let labels = builder.labels(Labels::default());
            builder.add(Sample::new(Some(Duration::from_millis(at)), stack, labels, [1, 10, 0, 0]));
        }
        let profile = builder.build();
        assert_eq!((profile.frames.len(), profile.stacks.len(), profile.labels.len()), (2, 1, 1));
        assert_eq!((profile.sample_count(), profile.total(1), profile.drawn), (3, 30, 1));
        assert_eq!(profile.samples[0].at, Some(Duration::from_millis(10)), "in order of time");
        let names: Vec<_> = profile.frames_of(&profile.samples[0]).map(|frame| &*frame.frame.function).collect();
        assert_eq!(names, ["inner", "outer"]);
    }
}
