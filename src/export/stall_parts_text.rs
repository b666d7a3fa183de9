//! The parts of a stall in one sentence.

use std::borrow::Cow;
use std::time::Duration;

use super::text::{milliseconds, short_name};
use crate::model::stall::StallPart;

/// What a report shows of a part.
#[derive(Debug)]
pub(crate) struct PartView<'a> {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// The title of the cause.
    pub(crate) cause: Cow<'a, str>,
    pub(crate) function: Option<&'a str>,
}

impl<'a> From<&'a StallPart> for PartView<'a> {
    fn from(part: &'a StallPart) -> Self {
        Self {
            from: part.from,
            to: part.to,
            cause: part.cause.title().into(),
            function: part.culprit.as_ref().map(|culprit| &*culprit.frame.function),
        }
    }
}

/// `0.0–70.0 ms computing in a, since then waiting for a lock in b`. `None` for a stall with one part.
pub(super) fn parts_sentence(parts: &[PartView<'_>], ended: bool) -> Option<String> {
    let (last, earlier) = parts.split_last().filter(|(_, earlier)| !earlier.is_empty())?;
    let mut words: Vec<String> = earlier.iter().map(|part| format!("{} {}", range(part), part.what())).collect();
    let last_when = if ended { range(last) } else { "since then".to_owned() };
    words.push(format!("{last_when} {}", last.what()));
    Some(words.join(", "))
}

impl PartView<'_> {
    /// `computing in a`.
    fn what(&self) -> String {
        let place = self.function.map_or_else(String::new, |function| format!(" in {}", short_name(function)));
        format!("{}{place}", self.cause)
    }
}

/// `0.0–70.0 ms`, and with two units `80.0 ms–1.20 s`.
fn range(part: &PartView<'_>) -> String {
    let (from, to) = (milliseconds(part.from), milliseconds(part.to));
    let unit = |text: &str| text.rsplit_once(' ').map(|(_, unit)| unit.to_owned());
    let number = if unit(&from) == unit(&to) { from.split(' ').next().unwrap_or(&from) } else { &from };
    format!("{number}–{to}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(from: u64, to: u64, cause: &'static str, function: &'static str) -> PartView<'static> {
        let ms = Duration::from_millis;
        PartView { from: ms(from), to: ms(to), cause: cause.into(), function: Some(function) }
    }

    #[test]
    fn parts_are_told_in_order() {
        let parts = [part(0, 70, "computing", "api::a"), part(70, 1200, "waiting for a lock", "api::b")];
        let sentence = |ended| parts_sentence(&parts, ended);
        assert_eq!(sentence(false).as_deref(), Some("0.0–70.0 ms computing in a, since then waiting for a lock in b"));
        assert_eq!(
            sentence(true).as_deref(),
            Some("0.0–70.0 ms computing in a, 70.0 ms–1.20 s waiting for a lock in b")
        );
        assert_eq!(parts_sentence(&parts[..1], true), None, "one part is the headline");
    }
}
