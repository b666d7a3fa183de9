//! Reads holdup's JSON format. Every index is checked before it is used.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::ReadError;
use crate::export::profile::Format;
use crate::export::profile::json::{
    FORMAT, File, FrameJson, LabelsJson, MappingJson, QualityJson, SampleJson, SliceJson, VERSION, ValueJson,
};
use crate::model::profile::{
    Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Quality, Sample, Slice, SliceKind, Unit,
    ValueType,
};
use crate::model::stack::{Frame, Origin};
use crate::model::task::TaskId;

/// Reads holdup's JSON format.
///
/// # Errors
/// For other JSON, another version, and indexes out of range.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ReadError> {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        format: String,
        #[serde(default)]
        version: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if head.format != FORMAT {
        return Err(wrong(format!("its `format` is not {FORMAT}; only JSON written by holdup can be read")));
    }
    if head.version != VERSION {
        return Err(wrong(format!("its version is {}, and this holdup reads {VERSION}", head.version)));
    }
    let file = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    profile(file)
}

fn wrong(problem: impl Into<String>) -> ReadError {
    ReadError::new(Format::Json, problem)
}

fn profile(file: File) -> Result<Profile, ReadError> {
    let values = file.values.0.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    if values.len() > MAX_VALUES {
        return Err(wrong(format!("it has {} values, and a profile has at most {MAX_VALUES}", values.len())));
    }
    if file.drawn >= values.len().max(1) {
        return Err(wrong(format!("`drawn` is {}, of {} values", file.drawn, values.len())));
    }
    let (frames, stacks, labels) = (file.frames.0.len(), file.stacks.0.len(), file.labels.0.len());
    for (frame, number) in file.frames.0.iter().zip(0..) {
        check("frame", number, "mapping", frame.mapping, file.mappings.0.len())?;
    }
    for (stack, number) in file.stacks.0.iter().zip(0..) {
        check("stack", number, "frame", stack.iter().max().copied(), frames)?;
    }
    for (sample, number) in file.samples.0.iter().zip(0..) {
        check("sample", number, "stack", Some(sample.stack), stacks)?;
        check("sample", number, "labels", Some(sample.labels), labels)?;
        if sample.values.len() != values.len() {
            return Err(wrong(format!(
                "sample {number} has {} values instead of {}",
                sample.values.len(),
                values.len()
            )));
        }
    }
    for (slice, number) in file.slices.0.iter().zip(0..) {
        check("slice", number, "labels", Some(slice.labels), labels)?;
    }
    let started_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(file.started_at_unix_ns));
    let mut builder = ProfileBuilder::new(&file.kind, values);
    let profile = builder.profile();
    profile.program = file.program.into();
    profile.pid = file.pid;
    profile.started_at = started_at.ok_or_else(|| wrong("`started_at_unix_ns` is out of range"))?;
    profile.duration = Duration::from_nanos(file.duration_ns);
    profile.rate = file.rate;
    profile.command = file.command.map(Arc::from);
    profile.drawn = file.drawn;
    profile.quality = quality(file.quality);
    profile.mappings = file.mappings.0.into_iter().map(mapping).collect();
    profile.frames = file.frames.0.into_iter().map(frame).collect();
    profile.stacks = file.stacks.0.into_iter().map(Arc::from).collect();
    profile.labels = file.labels.0.into_iter().map(labels_of).collect();
    profile.samples = file.samples.0.iter().map(sample).collect();
    profile.slices = file.slices.0.into_iter().map(slice).collect::<Result<_, _>>()?;
    Ok(builder.build())
}

/// Checks that an index is in range.
fn check(of: &str, number: usize, to: &str, position: Option<u32>, count: usize) -> Result<(), ReadError> {
    match position {
        Some(position) if position as usize >= count => {
            Err(wrong(format!("{of} {number} refers to {to} {position}, of {count}")))
        }
        _ => Ok(()),
    }
}

fn value(value: &ValueJson) -> Result<ValueType, ReadError> {
    let unit = Unit::ALL.into_iter().find(|unit| unit.as_str() == value.unit);
    let unit =
        unit.ok_or_else(|| wrong(format!("the unit {:.40} of the value {:.40} is unknown", value.unit, value.name)))?;
    Ok(ValueType::new(&value.name, unit))
}

fn quality(quality: QualityJson) -> Quality {
    let QualityJson { lost, truncated, frames, nameless, own_cpu_ns, notes } = quality;
    Quality { lost, truncated, frames, nameless, own_cpu: Duration::from_nanos(own_cpu_ns), notes: notes.0 }
}

fn mapping(mapping: MappingJson) -> Mapping {
    let MappingJson { start, end, offset, file, build_id } = mapping;
    Mapping { start, end, offset, file: file.into(), build_id: build_id.map(Arc::from) }
}

fn frame(frame: FrameJson) -> ProfileFrame {
    // A later version may have added an origin, which is no reason to reject the file.
    let origin = Origin::ALL.into_iter().find(|origin| origin.as_str() == frame.origin).unwrap_or(Origin::Unknown);
    ProfileFrame {
        frame: Frame {
            function: frame.function.into(),
            file: frame.file.map(Arc::from),
            line: frame.line,
            origin,
            package: frame.package.map(Arc::from),
        },
        inlined: frame.inlined,
        address: frame.address,
        mapping: frame.mapping,
    }
}

fn labels_of(labels: LabelsJson) -> Labels {
    Labels {
        thread: labels.thread.map(Arc::from),
        tid: labels.tid,
        runtime: labels.runtime.map(Arc::from),
        worker: labels.worker,
        task: labels.task.map(TaskId),
        task_name: labels.task_name.map(Arc::from),
        spawned_at: labels.spawn.map(Arc::from),
        state: labels.state.map(Arc::from),
        size: labels.size.map(Arc::from),
    }
}

fn sample(sample: &SampleJson) -> Sample {
    let mut values = [0; MAX_VALUES];
    for (value, read) in values.iter_mut().zip(&sample.values) {
        *value = *read;
    }
    Sample::new(sample.at_ns.map(Duration::from_nanos), sample.stack, sample.labels, values)
}

fn slice(slice: SliceJson) -> Result<Slice, ReadError> {
    let kind = SliceKind::ALL.into_iter().find(|kind| kind.as_str() == slice.kind);
    let kind = kind.ok_or_else(|| wrong(format!("the slice kind {:.40} is unknown", slice.kind)))?;
    let (start, end) = (Duration::from_nanos(slice.start_ns), Duration::from_nanos(slice.end_ns));
    Ok(Slice::new(slice.labels, start, end, kind, slice.name.into()))
}
