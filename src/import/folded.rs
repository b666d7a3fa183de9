//! Reads folded stacks: `outermost;…;innermost value`, one line per stack, as flamegraph tools write them.

use super::error::ReadError;
use crate::export::profile::Format;
use crate::model::profile::{Labels, Profile, ProfileBuilder, ProfileFrame, Sample, Unit, ValueType};
use crate::model::stack::{Frame, Origin};

/// Reads folded stacks. The file does not name its values, so they are called samples.
///
/// # Errors
/// If a line does not end in a whole number or is not UTF-8.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ReadError> {
    let wrong = |line: usize, problem: String| ReadError::new(Format::Folded, format!("line {line}: {problem}"));
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        wrong(before.iter().filter(|byte| **byte == b'\n').count() + 1, "it is not UTF-8".to_owned())
    })?;
    let mut builder = ProfileBuilder::new("folded", vec![ValueType::new("samples", Unit::Count)]);
    let labels = builder.labels(Labels::default());
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let (stack, value) = line.rsplit_once(' ').ok_or_else(|| wrong(number, "it has no value".to_owned()))?;
        let value = value.parse::<i64>().map_err(|error| wrong(number, format!("the value {value:.40}: {error}")))?;
        let frames: Vec<u32> =
            stack.rsplit(';').filter(|name| !name.is_empty()).map(|name| builder.frame(frame(name))).collect();
        let stack = builder.stack(&frames);
        builder.add(Sample::new(None, stack, labels, [value, 0, 0, 0]));
        let quality = &mut builder.profile().quality;
        quality.frames = quality.frames.saturating_add(frames.len() as u64);
    }
    Ok(builder.build())
}

fn frame(name: &str) -> ProfileFrame {
    let (name, inlined) = name.strip_suffix("_[i]").map_or((name, false), |name| (name, true));
    let mut frame = ProfileFrame::of(Frame::new(name, Origin::Unknown));
    frame.inlined = inlined;
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_flamegraph_tools_are_read() {
        let profile = read(b"# a comment\nmain;a b;leaf_[i] 12\r\n\nmain 3\n").expect("is folded");
        assert_eq!((profile.sample_count(), profile.samples.len(), profile.frames.len()), (15, 2, 3));
        let names: Vec<_> = profile.frames_of(&profile.samples[0]).map(|frame| &*frame.frame.function).collect();
        assert_eq!(names, ["leaf", "a b", "main"]);
        assert!(profile.frames_of(&profile.samples[0]).next().is_some_and(|frame| frame.inlined));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, part) in [
            (&b"main 1\nmain"[..], "line 2: it has no value"),
            (b"main 1\n\nmain x", "line 3: the value x: invalid digit"),
            (b"main 1\nma\xffin 2", "line 2: it is not UTF-8"),
            (b"main 99999999999999999999", "line 1: the value 99999999999999999999: number too large"),
        ] {
            let error = read(text).expect_err("is damaged").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
