//! Reads pprof, written by holdup, Go or other programs.
//!
//! Labels that holdup has are read; others are counted and dropped. The format has no origin of functions, and names and
//! files do not identify it reliably, so the origin is unknown.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use prost::Message;
use prost::bytes::Buf;

use super::error::ReadError;
use crate::export::profile::Format;
use crate::export::profile::pprof_messages as messages;
use crate::model::plural::plural;
use crate::model::profile::{
    Labels, MAX_VALUES, Mapping, Profile, ProfileBuilder, ProfileFrame, Sample, Unit, ValueType,
};
use crate::model::stack::{Frame, Origin};
use crate::model::task::TaskId;

/// Reads pprof.
///
/// # Errors
/// For other content, too many parts, and references to missing entries.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ReadError> {
    Size::default().of(bytes, 0).map_err(wrong)?;
    let file = messages::Profile::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    Reader::new(&file)?.profile()
}

fn wrong(problem: impl Into<String>) -> ReadError {
    ReadError::new(Format::Pprof, problem)
}

/// The limit on messages. Each takes some dozen bytes in memory, however short it is in the file.
const MAX_MESSAGES: u64 = 8_000_000;

/// The limit on numbers in samples. Each takes at least one byte in the file and eight in memory.
const MAX_NUMBERS: usize = 64_000_000;

/// The limit on frames of all samples. A small file can refer many times to a location with many inlined frames.
const MAX_FRAMES: u64 = 64_000_000;

/// The number of parts of a file, counted before memory is allocated for them.
#[derive(Default)]
struct Size {
    messages: u64,
    numbers: usize,
}

impl Size {
    /// Counts the messages in `bytes`, which is at a nesting of `depth`. The format has three levels.
    fn of(&mut self, mut bytes: &[u8], depth: u8) -> Result<(), String> {
        let total = bytes.len();
        while bytes.has_remaining() {
            let place = total - bytes.remaining();
            let broken = |what: &str| format!("{what} at byte {place}{}", if depth > 0 { " of a part" } else { "" });
            let key = prost::decode_length_delimiter(&mut bytes).map_err(|_| broken("a broken field"))?;
            let length = match key & 7 {
                0 => {
                    while bytes.has_remaining() && bytes.get_u8() >= 0x80 {}
                    0
                }
                1 => 8,
                2 => prost::decode_length_delimiter(&mut bytes).map_err(|_| broken("a broken length"))?,
                5 => 4,
                _ => return Err(broken("not a protobuf field")),
            };
            let (part, rest) = bytes.split_at_checked(length).ok_or_else(|| broken("it ends within the field"))?;
            bytes = rest;
            if key & 7 == 2 && matches!((depth, key >> 3), (0, 13) | (1, 1 | 2)) {
                self.numbers += length;
                if self.numbers > MAX_NUMBERS {
                    return Err(format!("its samples have more than {MAX_NUMBERS} numbers"));
                }
            }
            let is_message = matches!((depth, key >> 3), (0, 1..=5 | 11) | (1, 3 | 4));
            if key & 7 == 2 && is_message {
                self.messages += 1;
                if self.messages > MAX_MESSAGES {
                    return Err(format!("it has more than {MAX_MESSAGES} samples, locations and functions"));
                }
                // Period types (11) contain no messages. In mappings and functions, fields 3 and 4 are numbers.
                if depth == 0 && key >> 3 != 11 {
                    self.of(part, 1)?;
                }
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    file: &'a messages::Profile,
    locations: HashMap<u64, &'a messages::Location>,
    functions: HashMap<u64, &'a messages::Function>,
    /// The index of a mapping by its id.
    mappings: HashMap<u64, u32>,
    builder: ProfileBuilder,
    /// The frames of a location by its id, created at its first use.
    frames: HashMap<u64, Vec<u32>>,
    /// The number of labels that holdup does not have.
    foreign_labels: u64,
    /// The number of frames of all samples so far.
    frame_count: u64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a messages::Profile) -> Result<Self, ReadError> {
        let comments = Comments::of(file);
        let mut values = Vec::new();
        for value in file.sample_type.iter().take(MAX_VALUES) {
            values.push(value_type(file, *value)?);
        }
        let drawn = if file.default_sample_type == 0 {
            None
        } else {
            let name = text(file, file.default_sample_type)?;
            values.iter().position(|value| &*value.name == name)
        };
        let mut builder = ProfileBuilder::new(comments.get("kind").unwrap_or("pprof"), values);
        let profile = builder.profile();
        profile.drawn = drawn.unwrap_or(profile.drawn);
        comments.into_profile(profile);
        Ok(Self {
            file,
            locations: file.location.iter().map(|location| (location.id, location)).collect(),
            functions: file.function.iter().map(|function| (function.id, function)).collect(),
            mappings: file.mapping.iter().map(|mapping| mapping.id).zip(0..).collect(),
            builder,
            frames: HashMap::new(),
            foreign_labels: 0,
            frame_count: 0,
        })
    }

    fn profile(mut self) -> Result<Profile, ReadError> {
        self.window()?;
        for mapping in &self.file.mapping {
            let file = text(self.file, mapping.filename)?;
            let mut read = Mapping::new(mapping.memory_start, mapping.memory_limit, mapping.file_offset, file);
            read.build_id = Some(text(self.file, mapping.build_id)?).filter(|id| !id.is_empty()).map(Into::into);
            self.builder.profile().mappings.push(read);
        }
        let columns = self.file.sample_type.len();
        for (sample, number) in self.file.sample.iter().zip(0_usize..) {
            let mut frames = Vec::new();
            for location in &sample.location_id {
                let inside = self.location(*location)?;
                let count = inside.len() as u64;
                frames.extend_from_slice(inside);
                self.frame_count += count;
                if self.frame_count > MAX_FRAMES {
                    return Err(wrong(format!("its stacks have more than {MAX_FRAMES} frames")));
                }
            }
            if sample.value.len() != columns {
                return Err(wrong(format!("sample {number} has {} values instead of {columns}", sample.value.len())));
            }
            let mut values = [0; MAX_VALUES];
            for (value, read) in values.iter_mut().zip(&sample.value) {
                *value = *read;
            }
            let labels = self.labels(&sample.label)?;
            let (stack, labels) = (self.builder.stack(&frames), self.builder.labels(labels));
            self.builder.add(Sample::new(None, stack, labels, values));
        }
        let quality = &mut self.builder.profile().quality;
        // Files of other programs have no count. In files of holdup, samples may be summed, and the count is larger.
        quality.frames = quality.frames.max(self.frame_count);
        let notes = &mut quality.notes;
        if columns > MAX_VALUES {
            notes.push(format!("{} of {columns} values were dropped", columns - MAX_VALUES));
        }
        if self.foreign_labels > 0 {
            notes.push(format!("{} unknown to holdup dropped", plural(self.foreign_labels, "label")));
        }
        Ok(self.builder.build())
    }

    /// Reads the time window and the rate.
    fn window(&mut self) -> Result<(), ReadError> {
        let nanoseconds = |number| u64::try_from(number).map(Duration::from_nanos).unwrap_or_default();
        let (started, duration) = (nanoseconds(self.file.time_nanos), nanoseconds(self.file.duration_nanos));
        let period = self.file.period_type.map(|value| value_type(self.file, value)).transpose()?;
        let profile = self.builder.profile();
        profile.started_at = SystemTime::UNIX_EPOCH.checked_add(started).unwrap_or(SystemTime::UNIX_EPOCH);
        profile.duration = duration;
        if period.is_some_and(|period| period.unit == Unit::Nanoseconds) && self.file.period > 0 {
            // Rounded: 99 Hz is a period of 10101010 ns, which is slightly more than 99 Hz.
            let half = self.file.period / 2;
            profile.rate = u32::try_from(1_000_000_000_i64.saturating_add(half) / self.file.period).ok();
        }
        Ok(())
    }

    fn location(&mut self, id: u64) -> Result<&[u32], ReadError> {
        if !self.frames.contains_key(&id) {
            let location = *self.locations.get(&id).ok_or_else(|| wrong(format!("location {id} does not exist")))?;
            let frames = self.frames_of(location)?;
            self.frames.insert(id, frames);
        }
        Ok(self.frames.get(&id).map_or(&[], |frames| frames))
    }

    fn frames_of(&mut self, location: &messages::Location) -> Result<Vec<u32>, ReadError> {
        let mapping = self.mappings.get(&location.mapping_id).copied();
        if location.line.is_empty() {
            let nameless = Frame::new(format!("{:#x}", location.address), Origin::Unknown);
            let frame = ProfileFrame { frame: nameless, inlined: false, address: location.address, mapping };
            return Ok(vec![self.builder.frame(frame)]);
        }
        let mut frames = Vec::with_capacity(location.line.len());
        for (line, number) in location.line.iter().zip(1..) {
            let id = line.function_id;
            let function = *self.functions.get(&id).ok_or_else(|| wrong(format!("function {id} does not exist")))?;
            let mut frame = Frame::new(text(self.file, function.name)?, Origin::Unknown);
            frame.file = Some(text(self.file, function.filename)?).filter(|file| !file.is_empty()).map(Into::into);
            frame.line = u32::try_from(line.line).ok().filter(|line| *line > 0);
            let inlined = number < location.line.len();
            frames.push(self.builder.frame(ProfileFrame { frame, inlined, address: location.address, mapping }));
        }
        Ok(frames)
    }

    fn labels(&mut self, all: &[messages::Label]) -> Result<Labels, ReadError> {
        let mut labels = Labels::default();
        for label in all {
            let words = || Some(text(self.file, label.str).ok()?.into());
            match text(self.file, label.key)? {
                "thread" => labels.thread = words(),
                "runtime" => labels.runtime = words(),
                "task_name" => labels.task_name = words(),
                "spawn" => labels.spawned_at = words(),
                "state" => labels.state = words(),
                "size" if label.str != 0 => labels.size = words(),
                "tid" => labels.tid = i32::try_from(label.num).ok(),
                "worker" => labels.worker = u32::try_from(label.num).ok(),
                "task" => labels.task = u64::try_from(label.num).ok().map(TaskId),
                _ => self.foreign_labels += 1,
            }
        }
        Ok(labels)
    }
}

fn text(file: &messages::Profile, position: i64) -> Result<&str, ReadError> {
    let known = usize::try_from(position).ok().and_then(|position| file.string_table.get(position));
    match known {
        Some(text) => Ok(text),
        // A file without texts may refer to the empty text at 0.
        None if position == 0 => Ok(""),
        None => Err(wrong(format!("string {position} does not exist; the file has {}", file.string_table.len()))),
    }
}

/// The type of a value. Units that holdup does not have become plain counts.
fn value_type(file: &messages::Profile, value: messages::ValueType) -> Result<ValueType, ReadError> {
    let unit = text(file, value.unit)?;
    let unit = Unit::ALL.into_iter().find(|known| known.as_str() == unit).unwrap_or(Unit::Count);
    Ok(ValueType::new(text(file, value.r#type)?, unit))
}

/// The comments of holdup's files, of the form `name=value`.
struct Comments<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Comments<'a> {
    fn of(file: &'a messages::Profile) -> Self {
        let comments = file.comment.iter().filter_map(|comment| text(file, *comment).ok());
        Self(comments.filter_map(|comment| comment.split_once('=')).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn into_profile(self, profile: &mut Profile) {
        // Comments of other programs may have equal names, so values that are not numbers are ignored.
        let number = |name| self.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
        profile.program = self.get("program").unwrap_or_default().into();
        profile.pid = u32::try_from(number("pid")).unwrap_or_default();
        let quality = &mut profile.quality;
        quality.lost = number("lost");
        quality.truncated = number("truncated");
        quality.frames = number("frames");
        quality.nameless = number("nameless");
        quality.notes = self.0.iter().filter(|(name, _)| *name == "note").map(|(_, note)| (*note).to_owned()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(file: &[u8]) -> String {
        read(file).expect_err("it is too large").problem
    }

    /// An encoded field of bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut field).expect("writing to a vector succeeds");
        field.extend_from_slice(content);
        field
    }

    #[test]
    fn small_files_that_need_much_memory_are_errors() {
        let samples: Vec<u8> = [0x12, 0].repeat(8_000_001);
        assert_eq!(problem(&samples), "it has more than 8000000 samples, locations and functions");

        let ids = field(1, &vec![0; MAX_NUMBERS + 1]);
        assert_eq!(problem(&field(2, &ids)), "its samples have more than 64000000 numbers");
    }

    #[test]
    fn stacks_of_many_inlined_frames_are_counted() {
        let line = vec![messages::Line { function_id: 1, line: 1 }; 10_000];
        let file = messages::Profile {
            function: vec![messages::Function { id: 1, ..Default::default() }],
            location: vec![messages::Location { id: 1, line, ..Default::default() }],
            sample: vec![messages::Sample { location_id: vec![1; 6_401], ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(problem(&file.encode_to_vec()), "its stacks have more than 64000000 frames");
    }

    #[test]
    fn labels_and_units_of_other_programs_are_accepted() {
        let words = ["", "samples", "pints", "color", "red", "thread", "main"];
        let file = messages::Profile {
            string_table: words.map(str::to_owned).to_vec(),
            sample_type: vec![messages::ValueType { r#type: 1, unit: 2 }],
            location: vec![messages::Location { id: 9, address: 0x40, ..Default::default() }],
            sample: vec![messages::Sample {
                location_id: vec![9],
                value: vec![3],
                label: vec![
                    messages::Label { key: 3, str: 4, ..Default::default() },
                    messages::Label { key: 5, str: 6, ..Default::default() },
                ],
            }],
            ..Default::default()
        };
        let profile = read(&file.encode_to_vec()).expect("it is valid");
        assert_eq!((profile.sample_count(), profile.values[0].unit, &*profile.kind), (3, Unit::Count, "pprof"));
        assert_eq!(&*profile.frames[0].frame.function, "0x40");
        assert_eq!(profile.labels[0].thread.as_deref(), Some("main"));
        assert_eq!(profile.quality.notes, ["1 label unknown to holdup dropped"]);
    }
}
