//! A Perfetto trace: one track per thread, with the activity of workers as slices and samples as call stacks.
//!
//! Times are relative to the start of the window; the first packet has its time of day. All packets are in one sequence,
//! and its first packet contains every name, frame and stack.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use prost::Message;

use super::exporter::{Exporter, nanoseconds};
use super::perfetto_messages as messages;
use super::perfetto_messages::{Data, EventType};
use super::timeline::{self, Thread};
use crate::model::profile::{Labels, Profile, Slice};

/// Writes a Perfetto trace.
pub(super) struct Perfetto;

impl Exporter for Perfetto {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        packet(out, &start(profile))?;
        packet(out, &process(profile))?;
        for (thread, position) in timeline::threads(profile).iter().zip(1..) {
            let track = Track { profile, uuid: PROCESS + position, tid: tid(thread, position) };
            packet(out, &track.descriptor(thread))?;
            track.slices(&thread.slices, out)?;
            track.samples(thread, out)?;
        }
        Ok(())
    }
}

/// Writes a packet as a trace of one packet. Concatenated traces are one trace.
fn packet(out: &mut dyn Write, packet: &messages::TracePacket) -> io::Result<()> {
    out.write_all(&messages::Trace { packet: vec![packet.clone()] }.encode_to_vec())
}

/// The id of the packet sequence.
const SEQUENCE: u32 = 1;
/// Flag: the sequence begins, and earlier interned data is void.
const CLEARED: u32 = 1;
/// Flag: the packet refers to interned data of this sequence.
const NEEDS_INTERNED: u32 = 2;
/// The track of the process. The tracks of threads have the following numbers.
const PROCESS: u64 = 1;
const REALTIME: u32 = 1;
const BOOTTIME: u32 = 6;

fn of(data: Data) -> messages::TracePacket {
    messages::TracePacket {
        trusted_packet_sequence_id: Some(SEQUENCE),
        sequence_flags: Some(NEEDS_INTERNED),
        data: Some(data),
        ..Default::default()
    }
}

fn start(profile: &Profile) -> messages::TracePacket {
    let since_1970 = profile.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let clock = |id, time| messages::Clock { clock_id: Some(id), timestamp: Some(nanoseconds(time)) };
    let clocks = vec![clock(BOOTTIME, Duration::ZERO), clock(REALTIME, since_1970)];
    messages::TracePacket {
        timestamp: Some(0),
        interned_data: Some(interned(profile)),
        sequence_flags: Some(CLEARED),
        ..of(Data::ClockSnapshot(messages::ClockSnapshot { clocks, primary_trace_clock: Some(BOOTTIME) }))
    }
}

fn pid(profile: &Profile) -> i32 {
    i32::try_from(profile.pid).unwrap_or_default()
}

/// The thread's id. A thread without one gets an id that no thread has.
fn tid(thread: &Thread<'_>, position: u64) -> i32 {
    thread.tid.unwrap_or_else(|| i32::MAX - i32::try_from(position).unwrap_or_default())
}

fn process(profile: &Profile) -> messages::TracePacket {
    let process =
        messages::ProcessDescriptor { pid: Some(pid(profile)), process_name: Some(profile.program.to_string()) };
    of(Data::TrackDescriptor(messages::TrackDescriptor {
        uuid: Some(PROCESS),
        process: Some(process),
        ..Default::default()
    }))
}

struct Track<'a> {
    profile: &'a Profile,
    uuid: u64,
    tid: i32,
}

impl Track<'_> {
    fn descriptor(&self, thread: &Thread<'_>) -> messages::TracePacket {
        let descriptor = messages::ThreadDescriptor {
            pid: Some(pid(self.profile)),
            tid: Some(self.tid),
            thread_name: Some(thread.name.clone()),
        };
        of(Data::TrackDescriptor(messages::TrackDescriptor {
            uuid: Some(self.uuid),
            parent_uuid: Some(PROCESS),
            thread: Some(descriptor),
            ..Default::default()
        }))
    }

    /// Writes slices so that they nest. A slice that ends after its outer slice is cut there.
    fn slices(&self, slices: &[&Slice], out: &mut dyn Write) -> io::Result<()> {
        let mut open: Vec<Duration> = Vec::new();
        for slice in slices {
            while let Some(end) = open.pop_if(|end| *end <= slice.start) {
                packet(out, &self.end(end))?;
            }
            packet(out, &self.begin(slice))?;
            let end = slice.end.max(slice.start);
            open.push(open.last().map_or(end, |outer| end.min(*outer)));
        }
        for end in open.into_iter().rev() {
            packet(out, &self.end(end))?;
        }
        Ok(())
    }

    fn begin(&self, slice: &Slice) -> messages::TracePacket {
        let labels = self.profile.labels.get(slice.labels as usize).map(Labels::pairs).unwrap_or_default();
        let annotation = |(name, value): (&str, String)| messages::DebugAnnotation {
            name: Some(name.to_owned()),
            string_value: Some(value),
        };
        let kind = slice.kind.as_str();
        let name = if slice.name.is_empty() { kind.to_owned() } else { format!("{kind}: {}", slice.name) };
        self.event(
            slice.start,
            messages::TrackEvent {
                r#type: Some(EventType::SliceBegin.into()),
                categories: vec![kind.to_owned()],
                name: Some(name),
                debug_annotations: labels.into_iter().map(annotation).collect(),
                ..Default::default()
            },
        )
    }

    fn end(&self, at: Duration) -> messages::TracePacket {
        self.event(at, messages::TrackEvent { r#type: Some(EventType::SliceEnd.into()), ..Default::default() })
    }

    fn event(&self, at: Duration, event: messages::TrackEvent) -> messages::TracePacket {
        let event = messages::TrackEvent { track_uuid: Some(self.uuid), ..event };
        messages::TracePacket { timestamp: Some(nanoseconds(at)), ..of(Data::TrackEvent(event)) }
    }

    fn samples(&self, thread: &Thread<'_>, out: &mut dyn Write) -> io::Result<()> {
        for (at, sample) in &thread.samples {
            let sample = messages::PerfSample {
                pid: Some(self.profile.pid),
                tid: u32::try_from(self.tid).ok(),
                callstack_iid: Some(iid(sample.stack)),
            };
            packet(out, &messages::TracePacket { timestamp: Some(nanoseconds(*at)), ..of(Data::PerfSample(sample)) })?;
        }
        Ok(())
    }
}

/// The id of interned data, which starts at 1.
fn iid(position: u32) -> u64 {
    u64::from(position) + 1
}

fn interned(profile: &Profile) -> messages::InternedData {
    let mut functions = Strings::default();
    let mut sources = Strings::default();
    let mut paths = Strings::default();
    let mut build_ids = Strings::default();
    let mut mappings: Vec<_> = profile
        .mappings
        .iter()
        .zip(1..)
        .map(|(mapping, iid)| messages::Mapping {
            iid: Some(iid),
            build_id: mapping.build_id.as_deref().map(|id| build_ids.iid(id)),
            start: Some(mapping.start),
            end: Some(mapping.end),
            exact_offset: Some(mapping.offset),
            path_string_ids: vec![paths.iid(&mapping.file)],
        })
        .collect();
    // Older versions of Perfetto skip frames without a mapping.
    let nowhere = mappings.len() as u64 + 1;
    mappings.push(messages::Mapping {
        iid: Some(nowhere),
        path_string_ids: vec![paths.iid("[unknown]")],
        ..Default::default()
    });
    let mut frames = Vec::with_capacity(profile.frames.len());
    for (frame, number) in profile.frames.iter().zip(1..) {
        let mapping = frame.mapping.and_then(|mapping| Some((mapping, profile.mappings.get(mapping as usize)?)));
        frames.push(messages::Frame {
            iid: Some(number),
            function_name_id: Some(functions.iid(&frame.frame.function)),
            mapping_id: Some(mapping.map_or(nowhere, |(position, _)| iid(position))),
            rel_pc: Some(mapping.map_or(frame.address, |(_, mapping)| frame.address.saturating_sub(mapping.start))),
            source_path_iid: frame.frame.file.as_deref().map(|file| sources.iid(file)),
            line_number: frame.frame.line,
        });
    }
    let callstack = |(stack, number): (&std::sync::Arc<[u32]>, u64)| messages::Callstack {
        iid: Some(number),
        frame_ids: stack.iter().rev().map(|frame| iid(*frame)).collect(),
    };
    messages::InternedData {
        function_names: functions.all,
        frames,
        callstacks: profile.stacks.iter().zip(1..).map(callstack).collect(),
        build_ids: build_ids.all,
        mapping_paths: paths.all,
        source_paths: sources.all,
        mappings,
    }
}

/// Unique texts of one kind.
#[derive(Default)]
struct Strings {
    all: Vec<messages::InternedString>,
    iids: std::collections::HashMap<String, u64>,
}

impl Strings {
    fn iid(&mut self, text: &str) -> u64 {
        if let Some(iid) = self.iids.get(text) {
            return *iid;
        }
        let iid = self.all.len() as u64 + 1;
        self.all.push(messages::InternedString { iid: Some(iid), str: Some(text.as_bytes().to_vec()) });
        self.iids.insert(text.to_owned(), iid);
        iid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{ProfileBuilder, SliceKind};

    /// The slices of the written track, each with its depth, start and end.
    fn drawn(slices: &[(u64, u64)]) -> Vec<(usize, u64, u64)> {
        let mut builder = ProfileBuilder::new("wall", Vec::new());
        let labels = builder.labels(Labels::default());
        for (start, end) in slices {
            let (start, end) = (Duration::from_nanos(*start), Duration::from_nanos(*end));
            builder.add_slice(Slice::new(labels, start, end, SliceKind::Poll, "".into()));
        }
        let mut file = Vec::new();
        Perfetto.write(&builder.build(), &mut file).expect("writing to a vector succeeds");
        let trace = messages::Trace::decode(file.as_slice()).expect("it is valid");
        let (mut open, mut drawn) = (Vec::new(), Vec::new());
        for packet in trace.packet {
            let (Some(at), Some(Data::TrackEvent(event))) = (packet.timestamp, packet.data) else { continue };
            if event.r#type() == EventType::SliceBegin {
                open.push(drawn.len());
                drawn.push((open.len(), at, u64::MAX));
            } else {
                let last: usize = open.pop().expect("each end has a begin");
                drawn[last].2 = at;
            }
        }
        assert!(open.is_empty(), "every slice ends");
        drawn
    }

    #[test]
    fn written_slices_always_nest() {
        assert_eq!(drawn(&[(0, 10), (10, 20)]), [(1, 0, 10), (1, 10, 20)], "side by side");
        assert_eq!(drawn(&[(0, 5), (0, 10), (6, 8)]), [(1, 0, 10), (2, 0, 5), (2, 6, 8)], "the longer one outside");
        assert_eq!(drawn(&[(0, 10), (5, 15), (12, 13)]), [(1, 0, 10), (2, 5, 10), (1, 12, 13)], "cut at the outer end");
        assert_eq!(drawn(&[(3, 3), (7, 2)]), [(1, 3, 3), (1, 7, 7)], "no length, and an end before the start");
    }
}
