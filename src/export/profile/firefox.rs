//! The Firefox Profiler's processed format: gzipped JSON with one track per thread. Frames are colored by origin.
//!
//! Samples without a time are placed one after another. The activity of workers and the polled tasks are markers.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, MarkerFieldFlags, MarkerFieldFormat,
    MarkerLocations, MarkerTiming, Profile as FirefoxProfile, SamplingInterval, StackHandle, StaticSchemaMarker,
    StaticSchemaMarkerField, StringHandle, ThreadHandle, Timestamp, WeightType,
};

use super::exporter::{Exporter, nanoseconds};
use super::summary;
use super::timeline::{self, Thread};
use crate::model::profile::{Labels, Profile, Sample, SliceKind, Unit};
use crate::model::stack::Origin;

/// Writes the format of the Firefox Profiler.
pub(super) struct Firefox;

impl Exporter for Firefox {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let mut gzip = GzEncoder::new(out, Compression::default());
        serde_json::to_writer(&mut gzip, &converted(profile))?;
        gzip.finish().map(drop)
    }
}

fn converted(profile: &Profile) -> FirefoxProfile {
    let interval = 1_000_000_000 / u64::from(profile.rate.unwrap_or(1000).max(1));
    let product = if profile.program.is_empty() { "holdup" } else { &profile.program };
    let mut firefox =
        FirefoxProfile::new(product, profile.started_at.into(), SamplingInterval::from_nanos(interval.max(1)));
    firefox.set_product(&format!("{} ({})", summary::title(profile), summary::quality(profile)));
    firefox.set_symbolicated(true);
    let process = firefox.add_process(product, profile.pid, timestamp(Duration::ZERO));
    firefox.set_process_end_time(process, timestamp(profile.duration));
    let mut writer =
        Writer { categories: Categories::new(&mut firefox), profile, weight: Weight::of(profile), firefox };
    for thread in timeline::threads(profile) {
        let tid = thread.tid.and_then(|tid| u32::try_from(tid).ok()).unwrap_or_default();
        let handle = writer.firefox.add_thread(process, tid, timestamp(Duration::ZERO), tid == profile.pid && tid > 0);
        writer.firefox.set_thread_name(handle, &thread.name);
        writer.firefox.set_thread_end_time(handle, timestamp(profile.duration));
        writer.firefox.set_thread_show_markers_in_timeline(handle, true);
        writer.firefox.set_thread_samples_weight_type(handle, writer.weight.kind());
        writer.samples(handle, &thread);
        writer.slices(handle, &thread);
        writer.tasks(handle, &thread);
    }
    writer.firefox
}

fn timestamp(time: Duration) -> Timestamp {
    Timestamp::from_nanos_since_reference(nanoseconds(time))
}

/// The weight of samples. The format has 32-bit whole numbers in few units.
#[derive(Clone, Copy)]
enum Weight {
    /// The number of samples; the index of that value.
    Samples(usize),
    /// Milliseconds of the drawn value.
    Time,
    /// Bytes.
    Bytes,
    /// The drawn value without a unit.
    Number,
}

impl Weight {
    fn of(profile: &Profile) -> Self {
        match (profile.value_named("samples"), profile.drawn_value().map(|value| value.unit)) {
            (Some(position), _) if profile.rate.is_some() => Self::Samples(position),
            (_, Some(Unit::Nanoseconds)) => Self::Time,
            (_, Some(Unit::Bytes)) => Self::Bytes,
            _ => Self::Number,
        }
    }

    fn kind(self) -> WeightType {
        match self {
            Self::Samples(_) | Self::Number => WeightType::Samples,
            Self::Time => WeightType::TracingMs,
            Self::Bytes => WeightType::Bytes,
        }
    }

    /// The weight of a sample, and the rest of the rounding for the next sample.
    fn take(self, profile: &Profile, sample: &Sample, rest: i64) -> (i32, i64) {
        let position = if let Self::Samples(position) = self { position } else { profile.drawn };
        let value = sample.values.get(position).copied().unwrap_or_default();
        let (weight, rest) = match self {
            Self::Time => {
                let all = value.saturating_add(rest);
                (all / 1_000_000, all % 1_000_000)
            }
            _ => (value, 0),
        };
        (i32::try_from(weight).unwrap_or(i32::MAX), rest)
    }
}

struct Writer<'a> {
    profile: &'a Profile,
    firefox: FirefoxProfile,
    categories: Categories,
    weight: Weight,
}

impl Writer<'_> {
    fn samples(&mut self, handle: ThreadHandle, thread: &Thread<'_>) {
        let mut stacks: HashMap<u32, Option<StackHandle>> = HashMap::new();
        let cpu = self.profile.value_named("cpu");
        let mut rest = 0;
        for (at, sample) in &thread.samples {
            let stack = *stacks.entry(sample.stack).or_insert_with(|| self.stack(handle, sample.stack));
            let (weight, left) = self.weight.take(self.profile, sample, rest);
            rest = left;
            let cpu = cpu.and_then(|cpu| sample.values.get(cpu)).copied();
            let cpu = CpuDelta::from_nanos(cpu.and_then(|cpu| u64::try_from(cpu).ok()).unwrap_or_default());
            self.firefox.add_sample(handle, timestamp(*at), stack, cpu, weight);
        }
    }

    fn stack(&mut self, thread: ThreadHandle, stack: u32) -> Option<StackHandle> {
        let mut frames = Vec::new();
        for frame in self.profile.stack(stack).rev() {
            frames.push(FrameInfo {
                frame: Frame::Label(self.firefox.intern_string(&frame.frame.function)),
                category_pair: self.categories.of(frame.frame.origin).into(),
                flags: FrameFlags::empty(),
            });
        }
        self.firefox.intern_stack_frames(thread, frames.into_iter())
    }

    fn slices(&mut self, handle: ThreadHandle, thread: &Thread<'_>) {
        for slice in &thread.slices {
            let name = slice.kind.as_str();
            let task = self.profile.labels.get(slice.labels as usize).and_then(task);
            let category = match slice.kind {
                SliceKind::Stall => self.categories.stall,
                _ => self.categories.of(Origin::Runtime),
            };
            self.marker(handle, (slice.start, slice.end), name, (&slice.name, task.as_deref()), category);
        }
    }

    /// One marker for each run of samples in the same task.
    fn tasks(&mut self, handle: ThreadHandle, thread: &Thread<'_>) {
        let labels = |sample: &Sample| self.profile.labels_of(sample);
        let same = |a: &(Duration, &Sample), b: &(Duration, &Sample)| {
            labels(a.1).and_then(|labels| labels.task) == labels(b.1).and_then(|labels| labels.task)
        };
        let category = self.categories.of(Origin::Runtime);
        for run in thread.samples.chunk_by(same) {
            let (Some((start, first)), Some((end, _))) = (run.first(), run.last()) else { continue };
            let labels = self.profile.labels_of(first);
            if let Some(task) = labels.and_then(task) {
                let spawn = labels.and_then(|labels| labels.spawned_at.clone()).unwrap_or_default();
                self.marker(handle, (*start, *end), "task", (&spawn, Some(&task)), category);
            }
        }
    }

    fn marker(
        &mut self,
        thread: ThreadHandle,
        (start, end): (Duration, Duration),
        name: &str,
        (activity, task): (&str, Option<&str>),
        category: CategoryHandle,
    ) {
        let marker = Activity {
            name: self.firefox.intern_string(name),
            what: self.firefox.intern_string(activity),
            task: self.firefox.intern_string(task.unwrap_or_default()),
            category,
        };
        self.firefox.add_marker(thread, MarkerTiming::Interval(timestamp(start), timestamp(end.max(start))), marker);
    }
}

/// A task's id and name: `17 fetch`.
fn task(labels: &Labels) -> Option<Arc<str>> {
    match (labels.task, &labels.task_name) {
        (Some(id), Some(name)) => Some(format!("{id} {name}").into()),
        (Some(id), None) => Some(id.to_string().into()),
        (None, name) => name.clone(),
    }
}

/// A category for each origin, and one for stalls.
struct Categories {
    origins: Vec<(Origin, CategoryHandle)>,
    stall: CategoryHandle,
}

impl Categories {
    fn new(firefox: &mut FirefoxProfile) -> Self {
        let mut add = |origin| match origin {
            Origin::User => firefox.add_category("User", CategoryColor::Orange),
            Origin::Std => firefox.add_category("Standard library", CategoryColor::Yellow),
            Origin::Runtime => firefox.add_category("Runtime", CategoryColor::Blue),
            Origin::Dependency => firefox.add_category("Dependency", CategoryColor::Green),
            Origin::System => firefox.add_category("System", CategoryColor::Gray),
            Origin::Unknown => CategoryHandle::OTHER,
        };
        let origins = Origin::ALL.into_iter().map(|origin| (origin, add(origin))).collect();
        Self { origins, stall: firefox.add_category("Stall", CategoryColor::Red) }
    }

    fn of(&self, origin: Origin) -> CategoryHandle {
        let known = self.origins.iter().find(|(known, _)| *known == origin);
        known.map_or(CategoryHandle::OTHER, |(_, category)| *category)
    }
}

/// A marker: the activity of a thread in an interval.
struct Activity {
    name: StringHandle,
    what: StringHandle,
    task: StringHandle,
    category: CategoryHandle,
}

impl StaticSchemaMarker for Activity {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Activity";
    const DESCRIPTION: Option<&'static str> = Some("The activity of a thread in an interval, as recorded by holdup");
    const LOCATIONS: MarkerLocations =
        MarkerLocations::MARKER_CHART.union(MarkerLocations::MARKER_TABLE).union(MarkerLocations::TIMELINE_OVERVIEW);
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.what} {marker.data.task}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.data.what} {marker.data.task}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[field("what", "What"), field("task", "Task")];

    fn name(&self, _profile: &mut FirefoxProfile) -> StringHandle {
        self.name
    }

    fn category(&self, _profile: &mut FirefoxProfile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, field: u32) -> StringHandle {
        if field == 0 { self.what } else { self.task }
    }

    fn number_field_value(&self, _field: u32) -> f64 {
        f64::NAN
    }
}

const fn field(key: &'static str, label: &'static str) -> StaticSchemaMarkerField {
    StaticSchemaMarkerField { key, label, format: MarkerFieldFormat::String, flags: MarkerFieldFlags::SEARCHABLE }
}
