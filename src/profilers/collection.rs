//! Collects samples. Equal stacks are kept once, and all memory is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::own_thread;
use crate::model::profile::{
    Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Sample, Slice, SliceKind, ValueType,
};
use crate::model::stack::{Address, Frame, Origin, RawStack};
use crate::process::UnsampledCpu;

/// The limit of distinct stacks. Samples with further stacks are lost.
const MAX_STACKS: usize = 64 * 1024;

/// The limit of samples that keep their time. Further ones are summed by stack and labels.
const MAX_TIMED: usize = 500_000;

/// The limit of slices. Further ones are lost.
const MAX_SLICES: usize = 500_000;

/// The limit of label sets. Further ones lose the task id, which can have millions of values.
const MAX_LABELS: usize = 64 * 1024;

/// A frame without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RawFrame {
    /// A code address.
    Address(Address),
    /// The activity of a thread without a stack, in brackets.
    Note(&'static str),
}

/// The samples of a profiler.
#[derive(Debug)]
pub(crate) struct Collection {
    builder: ProfileBuilder,
    stacks: Vec<Arc<[RawFrame]>>,
    known: HashMap<Arc<[RawFrame]>, u32>,
    label_sets: usize,
    samples: Vec<Sample>,
    sums: HashMap<(u32, u32), [i64; MAX_VALUES]>,
    slices: Vec<Slice>,
}

impl Collection {
    /// An empty collection. Pictures show its last value.
    pub(crate) fn new(kind: &str, rate: Option<u32>, values: Vec<ValueType>) -> Self {
        let mut builder = ProfileBuilder::new(kind, values);
        builder.profile().started_at = SystemTime::now();
        builder.profile().rate = rate;
        Self {
            builder,
            stacks: Vec::new(),
            known: HashMap::new(),
            label_sets: 0,
            samples: Vec::new(),
            sums: HashMap::new(),
            slices: Vec::new(),
        }
    }

    /// Adds a sample with a stack.
    pub(crate) fn add(&mut self, at: Duration, stack: &RawStack, labels: Labels, values: [i64; MAX_VALUES]) {
        if !stack.complete {
            self.builder.profile().quality.truncated += 1;
        }
        let frames: Vec<RawFrame> = stack.addresses.iter().copied().map(RawFrame::Address).collect();
        self.add_frames(at, frames.into(), labels, values);
    }

    /// Adds a sample of a thread without a stack.
    pub(crate) fn add_note(&mut self, at: Duration, note: &'static str, labels: Labels, values: [i64; MAX_VALUES]) {
        self.add_frames(at, Arc::new([RawFrame::Note(note)]), labels, values);
    }

    /// Adds to the sum of a stack, without a time. A stack that is not known is the note.
    #[cfg(feature = "heap")]
    pub(crate) fn add_sum(
        &mut self,
        stack: &RawStack,
        unknown: &'static str,
        labels: Labels,
        values: [i64; MAX_VALUES],
    ) {
        let frames: Arc<[RawFrame]> = match stack.addresses.as_slice() {
            [] => Arc::new([RawFrame::Note(unknown)]),
            addresses => addresses.iter().copied().map(RawFrame::Address).collect(),
        };
        if !stack.complete && !stack.addresses.is_empty() {
            self.builder.profile().quality.truncated += 1;
        }
        match self.position(frames) {
            Some(stack) => self.add_to_sum(stack, labels, values),
            None => self.lose(1),
        }
    }

    /// Pictures show the value at this position.
    #[cfg(feature = "heap")]
    pub(crate) fn draw(&mut self, value: usize) {
        self.builder.drawn(value);
    }

    fn add_frames(&mut self, at: Duration, frames: Arc<[RawFrame]>, labels: Labels, values: [i64; MAX_VALUES]) {
        let Some(stack) = self.position(frames) else { return self.lose(1) };
        if self.samples.len() < MAX_TIMED {
            let labels = self.labels(labels);
            self.samples.push(Sample::new(Some(at), stack, labels, values));
        } else {
            self.add_to_sum(stack, labels, values);
        }
    }

    fn add_to_sum(&mut self, stack: u32, labels: Labels, values: [i64; MAX_VALUES]) {
        let labels = self.labels(labels);
        let sums = self.sums.entry((stack, labels)).or_default();
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }

    /// The position of a stack. `None` if there are too many.
    fn position(&mut self, frames: Arc<[RawFrame]>) -> Option<u32> {
        if let Some(stack) = self.known.get(&frames) {
            return Some(*stack);
        }
        if self.stacks.len() >= MAX_STACKS {
            return None;
        }
        let stack = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
        self.stacks.push(Arc::clone(&frames));
        self.known.insert(frames, stack);
        Some(stack)
    }

    /// Adds a sample of one of holdup's own threads. Its stack is not kept, and [`weigh`](Self::weigh) takes it out.
    pub(crate) fn add_own(&mut self, at: Duration, labels: Labels, values: [i64; MAX_VALUES]) {
        self.add_frames(at, Arc::new([]), labels, values);
    }

    /// Converts the values of CPU samples from a count and steps of CPU time to periods and nanoseconds. Returns the total time.
    ///
    /// A sample stands for several steps of CPU time, which its stack alone did not use. So the samples of a thread share the
    /// CPU time of the thread, and the samples of all ended threads share theirs. The time of holdup's own threads becomes a
    /// number of the quality.
    pub(crate) fn weigh(&mut self, rest: &UnsampledCpu, steps: u32, period: i64) -> Duration {
        #[derive(Default)]
        struct Group {
            samples: u64,
            steps: u64,
            passed: u64,
        }
        let labels = &self.builder.profile().labels;
        let group_of = |position: u32| {
            let tid = labels.get(position as usize).and_then(|labels| labels.tid);
            tid.filter(|tid| rest.living.contains_key(tid))
        };
        let timed = self.samples.iter_mut().map(|sample| (sample.labels, &mut sample.values));
        let mut all: Vec<_> = timed.chain(self.sums.iter_mut().map(|((_, labels), sums)| (*labels, sums))).collect();
        let mut groups: HashMap<Option<i32>, Group> = HashMap::new();
        for (labels, [samples, steps, ..]) in &all {
            let group = groups.entry(group_of(*labels)).or_default();
            group.samples += samples.unsigned_abs();
            group.steps += steps.unsigned_abs();
        }
        for (tid, group) in &mut groups {
            group.steps += tid.map_or(rest.ended, |tid| rest.living.get(&tid).copied().unwrap_or_default());
        }
        let mut time = 0;
        for (labels, values) in &mut all {
            let group = groups.entry(group_of(*labels)).or_default();
            // Differences of rounded sums keep every period whole and lose none.
            let until = |passed: u64| {
                let (of, all) = (u128::from(group.samples.max(1)) * u128::from(steps), u128::from(group.steps));
                i64::try_from((all * u128::from(passed) + of / 2) / of).unwrap_or(i64::MAX)
            };
            let passed = group.passed + values[0].unsigned_abs();
            let periods = until(passed) - until(group.passed);
            group.passed = passed;
            **values = [periods, periods * period, 0, 0];
            time += periods * period;
        }
        self.samples.retain(|sample| sample.values[0] > 0);
        self.take_out_own_threads();
        Duration::from_nanos(time.unsigned_abs())
    }

    fn take_out_own_threads(&mut self) {
        let labels = &self.builder.profile().labels;
        let is_own = |labels: &Labels| labels.thread.as_deref().is_some_and(own_thread::is_own);
        let own: Vec<bool> = labels.iter().map(is_own).collect();
        let is_own = |labels: u32| own.get(labels as usize).copied().unwrap_or_default();
        let mut time = 0;
        self.samples.retain(|sample| {
            let own = is_own(sample.labels);
            time += if own { sample.values[1] } else { 0 };
            !own
        });
        self.sums.retain(|(_, labels), values| {
            let own = is_own(*labels);
            time += if own { values[1] } else { 0 };
            !own
        });
        self.builder.profile().quality.own_cpu = Duration::from_nanos(time.unsigned_abs());
    }

    fn labels(&mut self, labels: Labels) -> u32 {
        let labels = if self.label_sets < MAX_LABELS { labels } else { Labels { task: None, ..labels } };
        let position = self.builder.labels(labels);
        self.label_sets = self.label_sets.max(position as usize + 1);
        position
    }

    /// Adds a slice of a worker's time.
    pub(crate) fn add_slice(
        &mut self,
        labels: Labels,
        start: Duration,
        end: Duration,
        kind: SliceKind,
        name: Arc<str>,
    ) {
        if self.slices.len() >= MAX_SLICES {
            return self.lose(1);
        }
        let labels = self.labels(labels);
        self.slices.push(Slice::new(labels, start, end, kind, name));
    }

    /// Counts samples that were due but are missing.
    pub(crate) fn lose(&mut self, samples: u64) {
        self.builder.profile().quality.lost += samples;
    }

    /// Adds a note on what was not measured, and why.
    pub(crate) fn note(&mut self, sentence: String) {
        self.builder.profile().quality.notes.push(sentence);
    }

    /// Sets the duration of the window.
    pub(crate) fn end(&mut self, duration: Duration) {
        self.builder.profile().duration = duration;
    }

    /// Makes the profile. `frames_at` returns the frames of an address, innermost first; all but the last one are inlined.
    pub(crate) fn resolve(
        mut self,
        program: &str,
        pid: u32,
        mappings: Vec<Mapping>,
        mut frames_at: impl FnMut(Address) -> Arc<[Frame]>,
    ) -> Profile {
        let mapping_of =
            |address: u64| mappings.iter().position(|mapping| (mapping.start..mapping.end).contains(&address));
        let mut named: HashMap<RawFrame, Vec<u32>> = HashMap::new();
        let mut positions = Vec::with_capacity(self.stacks.len());
        for stack in &self.stacks {
            let mut frames = Vec::with_capacity(stack.len() * 2);
            for raw in stack.iter() {
                let builder = &mut self.builder;
                let named = named.entry(raw.clone()).or_insert_with(|| match raw {
                    RawFrame::Note(note) => vec![builder.frame(note_frame(note))],
                    RawFrame::Address(address) => {
                        let found = frames_at(*address);
                        let mapping = mapping_of(address.0).and_then(|mapping| u32::try_from(mapping).ok());
                        let frame = |(index, frame): (usize, &Frame)| {
                            let inlined = index + 1 < found.len();
                            builder.frame(ProfileFrame { frame: frame.clone(), inlined, address: address.0, mapping })
                        };
                        found.iter().enumerate().map(frame).collect()
                    }
                });
                frames.extend_from_slice(named);
            }
            self.builder.trim(&mut frames);
            positions.push(self.builder.stack(&frames));
        }
        let sums = self.sums.iter().map(|((stack, labels), values)| Sample::new(None, *stack, *labels, *values));
        for sample in self.samples.iter().copied().chain(sums) {
            self.builder.add(Sample { stack: positions[sample.stack as usize], ..sample });
        }
        for slice in self.slices {
            self.builder.add_slice(slice);
        }
        let profile = self.builder.profile();
        profile.program = program.into();
        profile.pid = pid;
        profile.mappings = mappings;
        let mut built = self.builder.build();
        built.count_nameless();
        built
    }
}

/// The frame of a note.
fn note_frame(note: &str) -> ProfileFrame {
    ProfileFrame::of(Frame { function: note.into(), file: None, line: None, origin: Origin::Runtime, package: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::Unit;
    use crate::model::stack::CaptureMethod;

    #[test]
    fn the_samples_of_a_thread_share_its_cpu_time() {
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut collection = Collection::new("cpu", Some(100), values);
        let stack =
            |address| RawStack { addresses: vec![Address(address)], method: CaptureMethod::Signal, complete: true };
        let of = |tid| Labels { tid: Some(tid), ..Labels::default() };
        for (tid, address, steps) in [(1, 10, 35), (1, 11, 5), (1, 10, 20), (2, 10, 5), (3, 10, 1)] {
            collection.add(Duration::ZERO, &stack(address), of(tid), [1, steps, 0, 0]);
        }
        // Samples that are only summed share it too.
        let known = collection.samples[0];
        collection.sums.insert((known.stack, known.labels), [2, 1, 0, 0]);
        // Thread 1 has used 100 steps and the ended threads 16. A period has 10 steps.
        let rest = UnsampledCpu { living: HashMap::from([(1, 39), (7, 50)]), ended: 10 };
        assert_eq!(collection.weigh(&rest, 10, 1_000), Duration::from_nanos(12_000));
        let values: Vec<i64> = collection.samples.iter().map(|sample| sample.values[0]).collect();
        assert_eq!(values, [2, 2, 2, 1, 1]);
        assert!(collection.samples.iter().all(|sample| sample.values[1] == sample.values[0] * 1_000));
        assert_eq!(collection.sums[&(known.stack, known.labels)], [4, 4_000, 0, 0]);
    }

    #[test]
    fn the_time_of_own_threads_is_a_number() {
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("cpu", Unit::Nanoseconds)];
        let mut collection = Collection::new("cpu", Some(100), values);
        let stack = RawStack { addresses: vec![Address(10)], method: CaptureMethod::Signal, complete: true };
        let of = |tid, name: &str| Labels { tid: Some(tid), thread: Some(name.into()), ..Labels::default() };
        collection.add(Duration::ZERO, &stack, of(1, "tokio-rt-worker"), [1, 10, 0, 0]);
        collection.add_own(Duration::ZERO, of(2, own_thread::WATCHDOG), [1, 10, 0, 0]);
        collection.add_own(Duration::ZERO, of(3, "holdup-self-che"), [1, 20, 0, 0]);
        let own = &collection.samples[1];
        collection.sums.insert((own.stack, own.labels), [1, 10, 0, 0]);
        let rest = UnsampledCpu { living: HashMap::from([(1, 0), (2, 0), (3, 0)]), ended: 0 };
        assert_eq!(collection.weigh(&rest, 10, 1_000), Duration::from_nanos(5_000), "all of it was sampled");
        assert_eq!(collection.samples.iter().map(|sample| sample.values[1]).collect::<Vec<_>>(), [1_000]);
        assert!(collection.sums.is_empty());
        let profile = collection.resolve("api", 1, Vec::new(), |_| Arc::new([Frame::new("f", Origin::User)]));
        assert_eq!((profile.quality.own_cpu, profile.total(1)), (Duration::from_nanos(4_000), 1_000));
    }
}
