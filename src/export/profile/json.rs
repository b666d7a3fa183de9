//! holdup's JSON format: the whole profile in one JSON object. Reading it gives an equal profile.
//!
//! Times end in `_ns` and are whole nanoseconds. The `stack` of a sample is an index into `stacks`. The numbers of a stack
//! are indexes into `frames`, innermost first. The `labels` of a sample are an index into `labels`. The `values` of a
//! sample are in the order of the top-level `values`. `version` grows if old readers would misread the new format.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::exporter::{Exporter, nanoseconds};
use crate::model::profile::{Labels, Mapping, Profile, ProfileFrame, Quality, Sample, Slice};

/// The value of `format`.
pub(crate) const FORMAT: &str = "holdup-profile";

/// The value of `version`.
pub(crate) const VERSION: u32 = 1;

/// Writes holdup's JSON format.
pub(super) struct Json;

impl Exporter for Json {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &File::from(profile))?;
        out.write_all(b"\n")
    }
}

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) kind: String,
    pub(crate) program: String,
    pub(crate) pid: u32,
    /// Since 1970-01-01 00:00 UTC.
    pub(crate) started_at_unix_ns: u64,
    pub(crate) duration_ns: u64,
    /// Samples per second.
    pub(crate) rate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    pub(crate) values: Bounded<ValueJson>,
    /// An index into `values`.
    pub(crate) drawn: usize,
    pub(crate) quality: QualityJson,
    pub(crate) mappings: Bounded<MappingJson>,
    pub(crate) frames: Bounded<FrameJson>,
    pub(crate) stacks: Bounded<Vec<u32>>,
    pub(crate) labels: Bounded<LabelsJson>,
    pub(crate) samples: Bounded<SampleJson>,
    pub(crate) slices: Bounded<SliceJson>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ValueJson {
    pub(crate) name: String,
    pub(crate) unit: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QualityJson {
    pub(crate) lost: u64,
    pub(crate) truncated: u64,
    pub(crate) frames: u64,
    pub(crate) nameless: u64,
    /// CPU time of holdup's own threads, which is in no sample.
    #[serde(default)]
    pub(crate) own_cpu_ns: u64,
    pub(crate) notes: Bounded<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MappingJson {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) build_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FrameJson {
    pub(crate) function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    pub(crate) origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) package: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) inlined: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) address: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mapping: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LabelsJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spawn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SampleJson {
    /// Since the start of the window; absent for a sum over the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_ns: Option<u64>,
    pub(crate) stack: u32,
    pub(crate) labels: u32,
    pub(crate) values: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SliceJson {
    pub(crate) labels: u32,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl From<&Profile> for File {
    fn from(profile: &Profile) -> Self {
        let unit = |value: &crate::model::profile::ValueType| ValueJson {
            name: value.name.to_string(),
            unit: value.unit.as_str().to_owned(),
        };
        let values = profile.values.len();
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            kind: profile.kind.to_string(),
            program: profile.program.to_string(),
            pid: profile.pid,
            started_at_unix_ns: nanoseconds(
                profile.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
            ),
            duration_ns: nanoseconds(profile.duration),
            rate: profile.rate,
            command: profile.command.as_deref().map(str::to_owned),
            values: profile.values.iter().map(unit).collect(),
            drawn: profile.drawn,
            quality: QualityJson::from(&profile.quality),
            mappings: profile.mappings.iter().map(MappingJson::from).collect(),
            frames: profile.frames.iter().map(FrameJson::from).collect(),
            stacks: profile.stacks.iter().map(|stack| stack.to_vec()).collect(),
            labels: profile.labels.iter().map(LabelsJson::from).collect(),
            samples: profile.samples.iter().map(|sample| SampleJson::of(sample, values)).collect(),
            slices: profile.slices.iter().map(SliceJson::from).collect(),
        }
    }
}

impl From<&Quality> for QualityJson {
    fn from(quality: &Quality) -> Self {
        let Quality { lost, truncated, frames, nameless, own_cpu, notes } = quality;
        Self {
            lost: *lost,
            truncated: *truncated,
            frames: *frames,
            nameless: *nameless,
            own_cpu_ns: nanoseconds(*own_cpu),
            notes: notes.iter().cloned().collect(),
        }
    }
}

impl From<&Mapping> for MappingJson {
    fn from(mapping: &Mapping) -> Self {
        let Mapping { start, end, offset, file, build_id } = mapping;
        let build_id = build_id.as_deref().map(str::to_owned);
        Self { start: *start, end: *end, offset: *offset, file: file.to_string(), build_id }
    }
}

impl From<&ProfileFrame> for FrameJson {
    fn from(frame: &ProfileFrame) -> Self {
        Self {
            function: frame.frame.function.to_string(),
            file: frame.frame.file.as_deref().map(str::to_owned),
            line: frame.frame.line,
            origin: frame.frame.origin.as_str().to_owned(),
            package: frame.frame.package.as_deref().map(str::to_owned),
            inlined: frame.inlined,
            address: frame.address,
            mapping: frame.mapping,
        }
    }
}

impl From<&Labels> for LabelsJson {
    fn from(labels: &Labels) -> Self {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            thread: text(&labels.thread),
            tid: labels.tid,
            runtime: text(&labels.runtime),
            worker: labels.worker,
            task: labels.task.map(|task| task.0),
            task_name: text(&labels.task_name),
            spawn: text(&labels.spawned_at),
            state: text(&labels.state),
            size: text(&labels.size),
        }
    }
}

impl SampleJson {
    fn of(sample: &Sample, values: usize) -> Self {
        Self {
            at_ns: sample.at.map(nanoseconds),
            stack: sample.stack,
            labels: sample.labels,
            values: sample.values.iter().copied().take(values).collect(),
        }
    }
}

impl From<&Slice> for SliceJson {
    fn from(slice: &Slice) -> Self {
        Self {
            labels: slice.labels,
            start_ns: nanoseconds(slice.start),
            end_ns: nanoseconds(slice.end),
            kind: slice.kind.as_str().to_owned(),
            name: slice.name.to_string(),
        }
    }
}

/// The limit on the entries of a list. An entry of three bytes in a file takes fifty times as much memory.
const MAX_ENTRIES: usize = 4_000_000;

/// A list with at most [`MAX_ENTRIES`] entries. Reading a longer one is an error.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Bounded<T>(pub(crate) Vec<T>);

impl<T> FromIterator<T> for Bounded<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

struct List<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for List<T> {
    type Value = Bounded<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a list of at most {MAX_ENTRIES} entries")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() == MAX_ENTRIES {
                return Err(serde::de::Error::invalid_length(list.len() + 1, &self));
            }
            list.push(entry);
        }
        Ok(Bounded(list))
    }
}
