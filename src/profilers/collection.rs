//! Samples as they come in: equal stacks are kept once, and everything is bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::profile::{
    Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Sample, Slice, SliceKind, ValueType,
};
use crate::model::stack::{Address, Frame, Origin, RawStack};

/// Different stacks that are kept. Samples of further ones are counted as lost.
const MAX_STACKS: usize = 64 * 1024;

/// Samples that keep their time. Further ones are added up by stack and labels.
const MAX_TIMED: usize = 500_000;

/// Slices that are kept. Further ones are counted as lost.
const MAX_SLICES: usize = 500_000;

/// Different sets of labels that are kept. Further ones lose the task's id, of which there may be millions.
const MAX_LABELS: usize = 64 * 1024;

/// A frame before it is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RawFrame {
    /// Code.
    Address(Address),
    /// No code: what a thread without a stack does, in brackets.
    Note(&'static str),
}

/// What a profiler collected.
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
    /// An empty one, whose last value is drawn.
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

    /// Adds a sample of code.
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

    fn add_frames(&mut self, at: Duration, frames: Arc<[RawFrame]>, labels: Labels, values: [i64; MAX_VALUES]) {
        let stack = match self.known.get(&frames) {
            Some(stack) => *stack,
            None if self.stacks.len() < MAX_STACKS => {
                let stack = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
                self.stacks.push(Arc::clone(&frames));
                self.known.insert(frames, stack);
                stack
            }
            None => return self.lose(1),
        };
        let labels = self.labels(labels);
        if self.samples.len() < MAX_TIMED {
            self.samples.push(Sample::new(Some(at), stack, labels, values));
        } else {
            let sums = self.sums.entry((stack, labels)).or_default();
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
    }

    fn labels(&mut self, labels: Labels) -> u32 {
        let labels = if self.label_sets < MAX_LABELS { labels } else { Labels { task: None, ..labels } };
        let position = self.builder.labels(labels);
        self.label_sets = self.label_sets.max(position as usize + 1);
        position
    }

    /// Adds what a worker did for a while.
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

    /// Counts samples that were due and are not there.
    pub(crate) fn lose(&mut self, samples: u64) {
        self.builder.profile().quality.lost += samples;
    }

    /// Says what was not measured, and why.
    pub(crate) fn note(&mut self, sentence: String) {
        self.builder.profile().quality.notes.push(sentence);
    }

    /// Says how long it was collected.
    pub(crate) fn end(&mut self, duration: Duration) {
        self.builder.profile().duration = duration;
    }

    /// Gives every address its frames, innermost first, and makes the profile. The frames of one address but the last
    /// are inlined.
    pub(crate) fn resolve(
        mut self,
        program: &str,
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
        profile.pid = std::process::id();
        profile.mappings = mappings;
        let mut built = self.builder.build();
        built.count_nameless();
        built
    }
}

/// A frame that is no code.
fn note_frame(note: &str) -> ProfileFrame {
    ProfileFrame::of(Frame { function: note.into(), file: None, line: None, origin: Origin::Runtime, package: None })
}
