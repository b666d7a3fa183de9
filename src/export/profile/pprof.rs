//! pprof: gzipped protobuf, for `go tool pprof` and other readers. Samples with equal stacks and labels are summed,
//! because the format has no times.
//!
//! Properties without a field in the format are comments of the form `name=value`: kind, program, pid, quality.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::exporter::{Exporter, nanoseconds};
use super::pprof_messages as messages;
use crate::model::profile::{Labels, MAX_VALUES, Profile, Unit};

/// Writes pprof.
pub(super) struct Pprof;

impl Exporter for Pprof {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let mut gzip = GzEncoder::new(out, Compression::default());
        gzip.write_all(&message(profile).encode_to_vec())?;
        gzip.finish().map(drop)
    }
}

/// The unit of a worker's index. Without a unit, Go's pprof drops the number 0.
const INDEX: &str = "index";

fn message(profile: &Profile) -> messages::Profile {
    let mut tables = Tables::new(profile);
    let value_type = |tables: &mut Tables<'_>, name: &str, unit: Unit| messages::ValueType {
        r#type: tables.text(name),
        unit: tables.text(unit.as_str()),
    };
    let sample_type =
        profile.values.iter().map(|value| value_type(&mut tables, &value.name, value.unit)).collect::<Vec<_>>();
    let drawn = profile.drawn_value();
    // The period is a time, so it is written only if the drawn value is one too.
    let period = profile.rate.filter(|rate| *rate > 0).map(|rate| 1_000_000_000 / i64::from(rate));
    let period_type = drawn.filter(|value| value.unit == Unit::Nanoseconds && period.is_some());
    let period_type = period_type.map(|value| value_type(&mut tables, &value.name, value.unit));
    let default_sample_type = drawn.map_or(0, |value| tables.text(&value.name));
    let sample = samples(profile, &mut tables);
    let mapping = mappings(profile, &mut tables);
    let comment = comments(profile).iter().map(|comment| tables.text(comment)).collect();
    let since_1970 = profile.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    messages::Profile {
        sample_type,
        sample,
        mapping,
        location: tables.locations,
        function: tables.functions,
        string_table: tables.texts,
        time_nanos: signed(nanoseconds(since_1970)),
        duration_nanos: signed(nanoseconds(profile.duration)),
        period: if period_type.is_some() { period.unwrap_or_default() } else { 0 },
        period_type,
        comment,
        default_sample_type,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn samples(profile: &Profile, tables: &mut Tables<'_>) -> Vec<messages::Sample> {
    let mut order = Vec::new();
    let mut sums: HashMap<(u32, u32), [i64; MAX_VALUES]> = HashMap::new();
    for sample in &profile.samples {
        let key = (sample.stack, sample.labels);
        let sum = sums.entry(key).or_insert_with(|| {
            order.push(key);
            [0; MAX_VALUES]
        });
        for (sum, value) in sum.iter_mut().zip(sample.values) {
            *sum = sum.saturating_add(value);
        }
    }
    let mut samples = Vec::with_capacity(order.len());
    for key in order {
        let (stack, labels) = key;
        let value = sums.get(&key).into_iter().flatten().copied().take(profile.values.len()).collect();
        let label = profile.labels.get(labels as usize).map(|labels| tables.labels(labels)).unwrap_or_default();
        samples.push(messages::Sample { location_id: tables.stack(stack), value, label });
    }
    samples
}

fn mappings(profile: &Profile, tables: &mut Tables<'_>) -> Vec<messages::Mapping> {
    let mut mappings = Vec::with_capacity(profile.mappings.len());
    for (mapping, id) in profile.mappings.iter().zip(1..) {
        mappings.push(messages::Mapping {
            id,
            memory_start: mapping.start,
            memory_limit: mapping.end,
            file_offset: mapping.offset,
            filename: tables.text(&mapping.file),
            build_id: mapping.build_id.as_deref().map_or(0, |id| tables.text(id)),
            // The file contains all names, so readers need not search for the program.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        });
    }
    mappings
}

fn comments(profile: &Profile) -> Vec<String> {
    let quality = &profile.quality;
    let mut comments = vec![
        format!("kind={}", profile.kind),
        format!("program={}", profile.program),
        format!("pid={}", profile.pid),
        format!("lost={}", quality.lost),
        format!("truncated={}", quality.truncated),
        format!("frames={}", quality.frames),
        format!("nameless={}", quality.nameless),
    ];
    comments.extend(quality.notes.iter().map(|note| format!("note={note}")));
    comments
}

/// The tables that samples refer to. Each entry is unique.
struct Tables<'a> {
    profile: &'a Profile,
    texts: Vec<String>,
    text_positions: HashMap<String, i64>,
    functions: Vec<messages::Function>,
    /// By name and file.
    function_ids: HashMap<(i64, i64), u64>,
    locations: Vec<messages::Location>,
    /// By the frames of the location, innermost first.
    location_ids: HashMap<Box<[u32]>, u64>,
}

impl<'a> Tables<'a> {
    fn new(profile: &'a Profile) -> Self {
        Self {
            profile,
            // The format requires that the first text is empty.
            texts: vec![String::new()],
            text_positions: HashMap::from([(String::new(), 0)]),
            functions: Vec::new(),
            function_ids: HashMap::new(),
            locations: Vec::new(),
            location_ids: HashMap::new(),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(position) = self.text_positions.get(text) {
            return *position;
        }
        let position = i64::try_from(self.texts.len()).unwrap_or_default();
        self.texts.push(text.to_owned());
        self.text_positions.insert(text.to_owned(), position);
        position
    }

    /// The locations of a stack. Inlined frames belong to the location of their called frame.
    fn stack(&mut self, stack: u32) -> Vec<u64> {
        let profile = self.profile;
        let frames = profile.stacks.get(stack as usize).map_or(&[][..], |stack| stack);
        let called = |frame: &u32| profile.frames.get(*frame as usize).is_none_or(|frame| !frame.inlined);
        frames.split_inclusive(called).map(|frames| self.location(frames)).collect()
    }

    fn location(&mut self, frames: &[u32]) -> u64 {
        if let Some(id) = self.location_ids.get(frames) {
            return *id;
        }
        let profile = self.profile;
        let known = frames.iter().filter_map(|frame| profile.frames.get(*frame as usize));
        let outer = known.clone().next_back();
        let line = known
            .map(|frame| messages::Line {
                function_id: self.function(&frame.frame.function, frame.frame.file.as_deref()),
                line: frame.frame.line.map_or(0, i64::from),
            })
            .collect();
        let id = self.locations.len() as u64 + 1;
        self.locations.push(messages::Location {
            id,
            mapping_id: outer.and_then(|frame| self.mapping_id(frame.mapping)).unwrap_or_default(),
            address: outer.map_or(0, |frame| frame.address),
            line,
        });
        self.location_ids.insert(frames.into(), id);
        id
    }

    fn mapping_id(&self, mapping: Option<u32>) -> Option<u64> {
        mapping
            .filter(|mapping| (*mapping as usize) < self.profile.mappings.len())
            .map(|mapping| u64::from(mapping) + 1)
    }

    fn function(&mut self, name: &str, file: Option<&str>) -> u64 {
        let key = (self.text(name), file.map_or(0, |file| self.text(file)));
        if let Some(id) = self.function_ids.get(&key) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        let (name, filename) = key;
        // Go's pprof treats a `system_name` equal to the name as a mangled C++ name, and cuts `<T as U>`.
        self.functions.push(messages::Function { id, name, system_name: 0, filename, start_line: 0 });
        self.function_ids.insert(key, id);
        id
    }

    fn labels(&mut self, labels: &Labels) -> Vec<messages::Label> {
        let mut all = Vec::new();
        for (name, text) in [
            ("thread", &labels.thread),
            ("runtime", &labels.runtime),
            ("task_name", &labels.task_name),
            ("spawn", &labels.spawned_at),
            ("state", &labels.state),
            ("size", &labels.size),
        ] {
            if let Some(text) = text {
                all.push(messages::Label { key: self.text(name), str: self.text(text), num: 0, num_unit: 0 });
            }
        }
        let ids = [("tid", labels.tid.map(i64::from)), ("task", labels.task.map(|task| signed(task.0)))];
        for (name, num) in ids {
            if let Some(num) = num {
                all.push(messages::Label { key: self.text(name), str: 0, num, num_unit: 0 });
            }
        }
        if let Some(worker) = labels.worker {
            let (key, num_unit) = (self.text("worker"), self.text(INDEX));
            all.push(messages::Label { key, str: 0, num: worker.into(), num_unit });
        }
        all
    }
}
