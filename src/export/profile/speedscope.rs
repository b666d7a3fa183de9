//! The format of <https://www.speedscope.app>: JSON with one sampled profile per thread. The schema is
//! <https://www.speedscope.app/file-format-schema.json>.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use super::exporter::Exporter;
use super::summary;
use super::timeline::{self, Thread};
use crate::model::profile::{Profile, Unit};

/// Writes the format of speedscope.
pub(super) struct Speedscope;

impl Exporter for Speedscope {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let mut frames = Frames { profile, all: Vec::new(), positions: HashMap::new() };
        let mut threads = timeline::threads(profile);
        if threads.is_empty() {
            // speedscope never finishes loading a file without a profile.
            threads.push(Thread { name: "(no samples)".to_owned(), tid: None, samples: vec![], slices: vec![] });
        }
        let profiles = threads.iter().map(|thread| sampled(profile, thread, &mut frames)).collect();
        let file = File {
            schema: "https://www.speedscope.app/file-format-schema.json",
            name: format!("{} ({})", summary::title(profile), summary::quality(profile)),
            exporter: concat!("holdup ", env!("CARGO_PKG_VERSION")),
            active_profile_index: 0,
            shared: Shared { frames: frames.all },
            profiles,
        };
        serde_json::to_writer(out, &file).map_err(Into::into)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    exporter: &'static str,
    active_profile_index: u32,
    shared: Shared<'a>,
    profiles: Vec<Sampled>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    unit: &'static str,
    start_value: i64,
    end_value: i64,
    samples: Vec<Vec<u32>>,
    weights: Vec<i64>,
}

fn sampled(profile: &Profile, thread: &Thread<'_>, frames: &mut Frames<'_>) -> Sampled {
    let unit = match profile.drawn_value().map(|value| value.unit) {
        Some(Unit::Nanoseconds) => "nanoseconds",
        Some(Unit::Bytes) => "bytes",
        Some(Unit::Count) | None => "none",
    };
    let mut sampled = Sampled {
        kind: "sampled",
        name: thread.title(),
        unit,
        start_value: 0,
        end_value: 0,
        samples: vec![],
        weights: vec![],
    };
    for (_, sample) in &thread.samples {
        let weight = sample.values.get(profile.drawn).copied().unwrap_or_default().max(0);
        let stack = profile.stacks.get(sample.stack as usize).map_or(&[][..], |stack| stack);
        sampled.samples.push(stack.iter().rev().filter_map(|frame| frames.position(*frame)).collect());
        sampled.weights.push(weight);
        sampled.end_value = sampled.end_value.saturating_add(weight);
    }
    sampled
}

/// The frames in use. The format does not mark inlined frames.
struct Frames<'a> {
    profile: &'a Profile,
    all: Vec<Frame<'a>>,
    positions: HashMap<(&'a str, Option<&'a str>, Option<u32>), u32>,
}

impl Frames<'_> {
    fn position(&mut self, frame: u32) -> Option<u32> {
        let frame = &self.profile.frames.get(frame as usize)?.frame;
        let (name, file, line) = (&*frame.function, frame.file.as_deref(), frame.line);
        let next = u32::try_from(self.all.len()).ok()?;
        let position = *self.positions.entry((name, file, line)).or_insert(next);
        if position == next {
            self.all.push(Frame { name, file, line });
        }
        Some(position)
    }
}
