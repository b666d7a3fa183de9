//! Folded stacks: `outermost;…;innermost value`, one line per different stack, sorted.
//!
//! The value is the drawn one. Threads are not frames: Tokio's workers are interchangeable, and one tree of all of them
//! shows what the service does. Group by thread (or runtime, or task) to have them as outermost frames.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::Exporter;
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

/// How frames that were inlined are told from those that were called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inlined {
    /// By `_[i]` behind the name, as the flamegraph tools have it.
    Marked,
    /// Not at all, so that a function is one rectangle whether it was inlined or not.
    Merged,
}

/// The stack of a sample that has none.
const NO_STACK: &str = "(no stack)";

/// Every different stack with the sum of its drawn value, where that is above zero.
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
    // `worker 0 17` would be read as two values.
    if let Some((head, last)) = line.rsplit_once(' ')
        && last.parse::<f64>().is_ok()
    {
        return format!("{head}_{last}");
    }
    line
}

/// A frame's name without what separates frames and lines.
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
        Folded.write(&builder.build(), &mut out).expect("a vector takes everything");
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
