//! Profiles: weighted stacks over a window of time, with names, labels and their quality.
//!
//! Each frame, stack and label set is stored once and referred to by position. A profile of a busy service has many thousand
//! samples but few different stacks. [`ProfileBuilder`] builds one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::stack::{Frame, Origin};
use super::task::TaskId;

/// The maximum number of values of a sample.
pub const MAX_VALUES: usize = 4;

/// The name of the value that says how the memory of a suspect of a leak grows.
#[cfg(any(feature = "heap", feature = "export"))]
pub(crate) const GROWTH: &str = "growth_per_minute";

/// Weighted stacks over a window of time; made by [`Watch::profile`](crate::Watch::profile) or a [`ProfileBuilder`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// What was measured: `cpu`, `wall`, `stalled`.
    pub kind: Arc<str>,
    /// The program that was observed.
    pub program: Arc<str>,
    /// Its process id.
    pub pid: u32,
    /// When the window began.
    pub started_at: SystemTime,
    /// The length of the window.
    pub duration: Duration,
    /// Samples per second. `None` for a profile of events.
    pub rate: Option<u32>,
    /// The command or request that made it. Pictures show it.
    pub command: Option<Arc<str>>,
    /// The meaning of each sample's values, in order. At most [`MAX_VALUES`].
    pub values: Vec<ValueType>,
    /// The position in `values` of the value that graphs show.
    pub drawn: usize,
    /// The programs and libraries that addresses lie in.
    pub mappings: Vec<Mapping>,
    /// All distinct frames.
    pub frames: Vec<ProfileFrame>,
    /// All distinct stacks, as positions in `frames`. The innermost frame comes first.
    pub stacks: Vec<Arc<[u32]>>,
    /// All distinct label sets.
    pub labels: Vec<Labels>,
    /// The samples, sorted by time if they have one.
    pub samples: Vec<Sample>,
    /// What workers did over time, sorted by start. Empty unless it was recorded.
    pub slices: Vec<Slice>,
    /// The quality of the data.
    pub quality: Quality,
}

/// The meaning of one value of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ValueType {
    /// Its name, as in Go's profiles if they have it: `samples`, `cpu`, `contentions`, `delay`.
    pub name: Arc<str>,
    /// Its unit.
    pub unit: Unit,
}

impl ValueType {
    /// A value type with a name and a unit.
    #[must_use]
    pub fn new(name: &str, unit: Unit) -> Self {
        Self { name: name.into(), unit }
    }
}

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A number.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes of memory.
    Bytes,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Count, Self::Nanoseconds, Self::Bytes];

    /// The word for it in pprof files.
    #[must_use]
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
    /// The first address after it.
    pub end: u64,
    /// The position of `start` in the file, in bytes.
    pub offset: u64,
    /// The file, or a name in brackets such as `[vdso]`.
    pub file: Arc<str>,
    /// The GNU build id in hexadecimal, if it has one.
    pub build_id: Option<Arc<str>>,
}

impl Mapping {
    /// A mapping without a build id.
    #[must_use]
    pub fn new(start: u64, end: u64, offset: u64, file: impl Into<Arc<str>>) -> Self {
        Self { start, end, offset, file: file.into(), build_id: None }
    }
}

/// A frame with the location of its code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProfileFrame {
    /// Function, file, line.
    pub frame: Frame,
    /// Whether it is inlined into the next outer frame, which has the same address.
    pub inlined: bool,
    /// The resolved address. 0 for a frame without code, such as `(parked)`.
    pub address: u64,
    /// The position in [`Profile::mappings`] of the address's mapping.
    pub mapping: Option<u32>,
}

impl ProfileFrame {
    /// A frame that is not inlined and has no known address.
    #[must_use]
    pub fn of(frame: Frame) -> Self {
        Self { frame, inlined: false, address: 0, mapping: None }
    }

    /// Whether its name is only an address: `0x5581…` or `libfoo.so+0x12f0`.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        let function = &*self.frame.function;
        let address = function.rsplit_once('+').map_or(function, |(_, address)| address);
        let digits = address.strip_prefix("0x");
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    /// Whether it is a label such as `task: fetch`, which stands for no code.
    #[cfg(feature = "export")]
    pub(crate) fn is_label(&self) -> bool {
        let words = ["thread: ", "runtime: ", "task: ", "spawn: ", "state: ", "size: "];
        let Frame { function, file, origin, .. } = &self.frame;
        self.address == 0
            && *origin == Origin::Unknown
            && file.is_none()
            && words.iter().any(|word| function.starts_with(word))
    }

    /// Whether it is a note such as `(parked)`, which stands for a thread without a stack.
    #[cfg(feature = "export")]
    pub(crate) fn is_note(&self) -> bool {
        self.address == 0 && self.frame.function.starts_with('(')
    }
}

/// The thread, worker and task of a sample. Unknown values are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Labels {
    /// The thread's name.
    pub thread: Option<Arc<str>>,
    /// The kernel's thread id.
    pub tid: Option<i32>,
    /// The runtime's name, if the thread is a worker.
    pub runtime: Option<Arc<str>>,
    /// Tokio's worker index.
    pub worker: Option<u32>,
    /// The polled task.
    pub task: Option<TaskId>,
    /// That task's name.
    pub task_name: Option<Arc<str>>,
    /// That task's spawn location as `file:line`.
    pub spawned_at: Option<Arc<str>>,
    /// The thread's state: `on-cpu`, `off-cpu`, `parked`. For stalled time: the cause's word. For suspects of leaks, how the
    /// memory grows: `steady`, `unsteady`, `flat`.
    pub state: Option<Arc<str>>,
    /// For allocations, their size class: the smallest power of two that is not below the size, such as `64 B` or `4 KiB`.
    pub size: Option<Arc<str>>,
}

impl Labels {
    /// The known labels, with their names in files.
    #[must_use]
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
            text("size", &self.size),
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
    /// Its time since the start of the window. `None` for a sum over the window.
    pub at: Option<Duration>,
    /// The position of its stack in [`Profile::stacks`].
    pub stack: u32,
    /// The position of its labels in [`Profile::labels`].
    pub labels: u32,
    /// One value for each of [`Profile::values`]; the rest is 0.
    pub values: [i64; MAX_VALUES],
}

impl Sample {
    /// A sample.
    #[must_use]
    pub fn new(at: Option<Duration>, stack: u32, labels: u32, values: [i64; MAX_VALUES]) -> Self {
        Self { at, stack, labels, values }
    }
}

/// A span of time in which a worker did one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slice {
    /// The position of its labels in [`Profile::labels`]. Their thread is the track of the slice.
    pub labels: u32,
    /// Its start, since the start of the window.
    pub start: Duration,
    /// Its end, since the start of the window.
    pub end: Duration,
    /// What the worker did.
    pub kind: SliceKind,
    /// The caption: the task's name or spawn location, or a stall's culprit.
    pub name: Arc<str>,
}

impl Slice {
    /// A slice.
    #[must_use]
    pub fn new(labels: u32, start: Duration, end: Duration, kind: SliceKind, name: Arc<str>) -> Self {
        Self { labels, start, end, kind, name }
    }
}

/// What a worker did in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SliceKind {
    /// It was parked.
    Parked,
    /// It was inside one poll.
    Poll,
    /// It was inside one poll for longer than the threshold.
    Stall,
}

impl SliceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Parked, Self::Poll, Self::Stall];

    /// The word for it in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Poll => "poll",
            Self::Stall => "stall",
        }
    }
}

/// The quality of a profile: what was lost, and what has no name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quality {
    /// Samples that were due but could not be captured or stored.
    pub lost: u64,
    /// Samples with a stack that does not reach the thread's first function.
    pub truncated: u64,
    /// The number of frames of all samples.
    pub frames: u64,
    /// The number of those frames without a name.
    pub nameless: u64,
    /// CPU time of holdup's own threads. It is in no sample.
    pub own_cpu: Duration,
    /// Sentences about what was not measured, and why.
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

    /// The frames of the stack at a position, innermost first. Empty if there is no such stack.
    pub fn stack(&self, position: u32) -> impl DoubleEndedIterator<Item = &ProfileFrame> + Clone {
        let stack: &[u32] = self.stacks.get(position as usize).map_or(&[], |stack| stack);
        stack.iter().filter_map(|frame| self.frames.get(*frame as usize))
    }

    /// The value that graphs show. `None` if the profile has no values.
    #[must_use]
    pub fn drawn_value(&self) -> Option<&ValueType> {
        self.values.get(self.drawn)
    }

    /// The position of the value with a name.
    #[must_use]
    pub fn value_named(&self, name: &str) -> Option<usize> {
        self.values.iter().position(|value| &*value.name == name)
    }

    /// The labels of a sample.
    #[must_use]
    pub fn labels_of(&self, sample: &Sample) -> Option<&Labels> {
        self.labels.get(sample.labels as usize)
    }

    /// Counts the frames of all samples, and those without a name.
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

    /// The position of the value that counts the measured events.
    pub(crate) fn counted(&self) -> Option<usize> {
        let counts = |value: &ValueType| {
            value.unit == Unit::Count && matches!(&*value.name, "samples" | "stalls" | "contentions")
        };
        self.values.iter().position(counts)
    }

    /// The number of samples, stalls or contentions (Go's word): the sum of that value if the profile has one, otherwise
    /// the number of samples.
    #[must_use]
    pub fn sample_count(&self) -> u64 {
        self.counted().map_or(self.samples.len() as u64, |value| u64::try_from(self.total(value)).unwrap_or_default())
    }
}

/// Builds a [`Profile`], and stores equal frames, stacks and labels once.
///
/// ```
/// use std::time::Duration;
/// use holdup::profile::{Labels, ProfileBuilder, ProfileFrame, Sample, Unit, ValueType};
/// use holdup::stall::{Frame, Origin};
///
/// let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("cpu", Unit::Nanoseconds)]);
/// builder.program("shop").duration(Duration::from_secs(1));
/// let frame = builder.frame(ProfileFrame::of(Frame::new("shop::price", Origin::User)));
/// let (stack, labels) = (builder.stack(&[frame]), builder.labels(Labels::default()));
/// builder.add(Sample::new(None, stack, labels, [7_000_000, 0, 0, 0]));
/// assert_eq!(builder.build().total(0), 7_000_000);
/// ```
#[derive(Debug)]
pub struct ProfileBuilder {
    profile: Profile,
    frames: HashMap<ProfileFrame, u32>,
    stacks: HashMap<Arc<[u32]>, u32>,
    labels: HashMap<Labels, u32>,
}

impl ProfileBuilder {
    /// An empty profile of a kind such as `cpu`. Graphs show its last value.
    #[must_use]
    pub fn new(kind: &str, values: Vec<ValueType>) -> Self {
        let profile = Profile {
            kind: kind.into(),
            program: "".into(),
            pid: 0,
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            rate: None,
            command: None,
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

    /// Sets the name of the observed program.
    pub fn program(&mut self, program: impl Into<Arc<str>>) -> &mut Self {
        self.profile.program = program.into();
        self
    }

    /// Sets the process id of the observed program.
    pub fn pid(&mut self, pid: u32) -> &mut Self {
        self.profile.pid = pid;
        self
    }

    /// Sets when the window began.
    pub fn started_at(&mut self, started_at: SystemTime) -> &mut Self {
        self.profile.started_at = started_at;
        self
    }

    /// Sets the length of the window.
    pub fn duration(&mut self, duration: Duration) -> &mut Self {
        self.profile.duration = duration;
        self
    }

    /// Sets the number of samples per second. `None` for a profile of events.
    pub fn rate(&mut self, rate: Option<u32>) -> &mut Self {
        self.profile.rate = rate;
        self
    }

    /// Sets the command or request that made it.
    pub fn command(&mut self, command: impl Into<Arc<str>>) -> &mut Self {
        self.profile.command = Some(command.into());
        self
    }

    /// Sets the position in [`Profile::values`] of the value that graphs show.
    pub fn drawn(&mut self, drawn: usize) -> &mut Self {
        self.profile.drawn = drawn;
        self
    }

    /// Sets the programs and libraries. Frames refer to them by position.
    pub fn mappings(&mut self, mappings: Vec<Mapping>) -> &mut Self {
        self.profile.mappings = mappings;
        self
    }

    /// The quality of the data, to be changed.
    pub fn quality(&mut self) -> &mut Quality {
        &mut self.profile.quality
    }

    /// The unfinished profile. Its frames, stacks and labels are changed by readers of complete files only.
    pub(crate) fn profile(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The position of a frame, which is added unless an equal one is known.
    pub fn frame(&mut self, frame: ProfileFrame) -> u32 {
        position(&mut self.frames, &mut self.profile.frames, frame)
    }

    /// The position of a stack of frame positions, innermost first. It is added unless an equal one is known.
    pub fn stack(&mut self, frames: &[u32]) -> u32 {
        position(&mut self.stacks, &mut self.profile.stacks, frames.into())
    }

    /// Removes the outermost frames without a name. They are the C library's start of a thread, which its symbol table does
    /// not contain, and which is the same for all threads.
    pub(crate) fn trim(&self, frames: &mut Vec<u32>) {
        let entry = |frame: &u32| {
            let frame = self.profile.frames.get(*frame as usize);
            frame.is_some_and(|frame| frame.frame.origin == Origin::System && frame.is_nameless())
        };
        while frames.len() > 1 && frames.last().is_some_and(entry) {
            frames.pop();
        }
    }

    /// The position of a label set, which is added unless an equal one is known.
    pub fn labels(&mut self, labels: Labels) -> u32 {
        position(&mut self.labels, &mut self.profile.labels, labels)
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        self.profile.samples.push(sample);
    }

    /// Adds a slice.
    pub fn add_slice(&mut self, slice: Slice) {
        self.profile.slices.push(slice);
    }

    /// The profile, with samples and slices sorted by time.
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
    fn equal_frames_stacks_and_labels_are_stored_once() {
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
