//! Folded stacks: `outermost;…;innermost value`, one line per distinct stack, sorted. The value is the drawn one.
//!
//! Threads are not frames: Tokio's workers are interchangeable, and one tree shows the whole service. To have threads,
//! runtimes or tasks as outermost frames, group the profile by them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::exporter::Exporter;
use crate::model::profile::{Profile, ProfileFrame};

/// Writes folded stacks.
pub(super) struct Folded;

impl Exporter for Folded {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        for (stack, value) in stacks(profile, Inlined::Marked) {
            writeln!(out, "{stack} {value}")?;
        }
        Ok(())
    }
}

/// How inlined frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inlined {
    /// With the suffix `_[i]`, as the flamegraph tools do.
    Marked,
    /// Like called frames, so that a function is one rectangle.
    Merged,
}

/// The line of a sample without a stack.
const NO_STACK: &str = "(no stack)";

/// Every distinct stack with its total drawn value, if that is above zero.
pub(crate) fn stacks(profile: &Profile, inlined: Inlined) -> BTreeMap<String, i64> {
    let mut by_position: HashMap<u32, i64> = HashMap::new();
    for sample in &profile.samples {
        let value = sample.values.get(profile.drawn).copied().unwrap_or_default();
        let sum = by_position.entry(sample.stack).or_default();
        *sum = sum.saturating_add(value);
    }
    let mut folded: BTreeMap<String, i64> = BTreeMap::new();
    for (stack, value) in by_position {
        let sum = folded.entry(fold(profile, stack, inlined)).or_default();
        *sum = sum.saturating_add(value);
    }
    folded.retain(|_, value| *value > 0);
    folded
}

fn fold(profile: &Profile, stack: u32, inlined: Inlined) -> String {
    let mut line = String::new();
    for frame in profile.stack(stack).rev() {
        if !line.is_empty() {
            line.push(';');
        }
        line.push_str(&name(frame, inlined));
    }
    if line.is_empty() {
        return NO_STACK.to_owned();
    }
    // Tools would read `worker 0 17` as a line with two values.
    if let Some((head, last)) = line.rsplit_once(' ')
        && last.parse::<f64>().is_ok()
    {
        return format!("{head}_{last}");
    }
    line
}

/// A frame's name, with the separators of frames and lines replaced.
pub(crate) fn name(frame: &ProfileFrame, inlined: Inlined) -> Cow<'_, str> {
    let function = frame.frame.function.trim();
    let mut name = Cow::Borrowed(if function.is_empty() { "(nameless)" } else { function });
    if name.contains([';', '\n', '\r', '\t']) {
        name = name.replace(';', ",").replace(['\n', '\r', '\t'], " ").into();
    }
    if frame.inlined && inlined == Inlined::Marked {
        name.to_mut().push_str("_[i]");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, Sample, Unit, ValueType};
    use crate::model::stack::{Frame, Origin};

    fn folded(stacks: &[(&[(&str, bool)], i64)]) -> String {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("samples", Unit::Count)]);
        for (frames, value) in stacks {
            let frames: Vec<u32> = frames
                .iter()
                .map(|(name, inlined)| {
                    let mut frame = ProfileFrame::of(Frame::new(*name, Origin::User));
                    frame.inlined = *inlined;
                    builder.frame(frame)
                })
                .collect();
            let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
            builder.add(Sample::new(None, stack, labels, [*value, 0, 0, 0]));
        }
        let mut out = Vec::new();
        Folded.write(&builder.build(), &mut out).expect("writing to a vector succeeds");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn equal_stacks_are_summed_sorted_and_outermost_first() {
        let stack: &[_] = &[("leaf", true), ("caller", false), ("main", false)];
        assert_eq!(folded(&[(stack, 2), (&[("a", false)], 1), (stack, 3)]), "a 1\nmain;caller;leaf_[i] 5\n");
    }

    #[test]
    fn names_cannot_break_the_format() {
        let text = folded(&[
            (&[("worker 0", false)], 1),
            (&[("[u8; 4]::f\n", false), ("  ", false)], 2),
            (&[], 3),
            (&[("nothing", false)], 0),
        ]);
        assert_eq!(text, "(nameless);[u8, 4]::f 2\n(no stack) 3\nworker_0 1\n");
    }
}
