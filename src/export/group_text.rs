//! A group of stalls as text: a headline, its lines and causes, and one line for the end of a watch.

use std::borrow::Cow;
#[cfg(any(test, feature = "cli"))]
use std::time::UNIX_EPOCH;
use std::time::{Duration, SystemTime};

#[cfg(feature = "cli")]
use super::text::Style;
use super::text::milliseconds;
use crate::model::holds::Counted;
#[cfg(feature = "cli")]
use crate::model::plural::plural;
use crate::model::stall_group::{GroupPart, StallGroup};

/// Lines and causes that are shown of a group.
const MAX_PARTS: usize = 6;

/// What is shown of a group. The model's groups and those of the endpoint's JSON are both rendered from it.
#[derive(Debug)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the summary of a watch shows no times"))]
pub(crate) struct GroupView<'a> {
    pub(crate) function: Option<&'a str>,
    pub(crate) counted_as: Counted,
    pub(crate) count: u64,
    pub(crate) running: u64,
    pub(crate) total: Duration,
    pub(crate) share: f64,
    pub(crate) longest: Duration,
    pub(crate) first_noticed_at: SystemTime,
    pub(crate) last_noticed_at: SystemTime,
    pub(crate) parts: Vec<GroupPartView<'a>>,
}

/// A line and a cause of a group.
#[derive(Debug)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command shows the time of a part"))]
pub(crate) struct GroupPartView<'a> {
    pub(crate) location: Option<&'a str>,
    /// The title of the cause.
    pub(crate) cause: Cow<'a, str>,
    pub(crate) count: u64,
    pub(crate) total: Duration,
}

impl<'a> From<&'a StallGroup> for GroupView<'a> {
    fn from(group: &'a StallGroup) -> Self {
        Self {
            function: group.function.as_deref(),
            counted_as: group.counted_as,
            count: group.count,
            running: group.running,
            total: group.total,
            share: group.share,
            longest: group.longest,
            first_noticed_at: group.first_noticed_at,
            last_noticed_at: group.last_noticed_at,
            parts: group.parts.iter().map(GroupPartView::from).collect(),
        }
    }
}

impl<'a> From<&'a GroupPart> for GroupPartView<'a> {
    fn from(part: &'a GroupPart) -> Self {
        let GroupPart { location, count, total, .. } = part;
        Self { location: location.as_deref(), cause: part.title().into(), count: *count, total: *total }
    }
}

impl GroupView<'_> {
    /// The headline, and a line for each line and cause.
    #[cfg(feature = "cli")]
    pub(crate) fn block(&self, style: Style) -> String {
        let lost = format!("{} lost, {}", milliseconds(self.total), self.percent());
        let running = if self.running > 0 { format!(", {} still running", self.running) } else { String::new() };
        let mut out = format!("{}: {}, {lost}{}{running}\n", style.strong(self.name()), self.stalls(), self.longest());
        out += &format!("  {} {}\n", style.faint("seen    "), self.seen());
        for part in self.parts.iter().take(MAX_PARTS) {
            out += &format!("  {} {}\n", style.faint("at      "), part.line());
        }
        if self.parts.len() > MAX_PARTS {
            out +=
                &style.faint(&format!("           {} more\n", plural((self.parts.len() - MAX_PARTS) as u64, "place")));
        }
        out
    }

    /// One line: `9 stalls by news::nap, 480 ms together (59 %), the longest 90.1 ms: sleeping at src/api.rs:12`.
    pub(crate) fn summary(&self) -> String {
        let by = self.function.map_or_else(|| " without a culprit".to_owned(), |function| format!(" by {function}"));
        let together = if self.count > 1 { " together" } else { "" };
        let running = if self.running > 0 { format!(", {} still running", self.running) } else { String::new() };
        let total = milliseconds(self.total);
        let places: Vec<String> = self.parts.iter().take(MAX_PARTS).map(GroupPartView::place).collect();
        let more = if self.parts.len() > MAX_PARTS { ", …" } else { "" };
        format!(
            "{}{by}, {total}{together} ({}){}{running}: {}{more}",
            self.stalls(),
            self.percent(),
            self.longest(),
            places.join(", ")
        )
    }

    /// The function, or that there is none.
    #[cfg(feature = "cli")]
    pub(crate) fn name(&self) -> &str {
        self.function.unwrap_or("no function is known")
    }

    /// `59 %`.
    pub(crate) fn percent(&self) -> String {
        format!("{:.0} %", self.share * 100.0)
    }

    /// `from 2026-11-30 10:20:31 to 10:21:05 UTC`.
    #[cfg(feature = "cli")]
    pub(crate) fn seen(&self) -> String {
        let [(first_day, first), (last_day, last)] = [self.first_noticed_at, self.last_noticed_at].map(utc);
        if (&first_day, &first) == (&last_day, &last) {
            format!("{first_day} {first} UTC")
        } else if first_day == last_day {
            format!("from {first_day} {first} to {last} UTC")
        } else {
            format!("from {first_day} {first} to {last_day} {last} UTC")
        }
    }

    fn stalls(&self) -> String {
        self.counted_as.number(self.count)
    }

    fn longest(&self) -> String {
        if self.count > 1 { format!(", the longest {}", milliseconds(self.longest)) } else { String::new() }
    }
}

impl GroupPartView<'_> {
    /// `sleeping at src/api.rs:12`.
    pub(crate) fn place(&self) -> String {
        self.location.map_or_else(|| self.cause.to_string(), |location| format!("{} at {location}", self.cause))
    }

    /// `src/api.rs:12: sleeping, 2 polls, 160 ms`.
    #[cfg(feature = "cli")]
    fn line(&self) -> String {
        let location = self.location.map_or_else(|| "(line unknown)".to_owned(), ToString::to_string);
        format!("{location}: {}, {}, {}", self.cause, plural(self.count, "poll"), milliseconds(self.total))
    }
}

/// Day and time: `2026-11-30`, `10:20:31`.
#[cfg(feature = "cli")]
pub(crate) fn utc(time: SystemTime) -> (String, String) {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    (format!("{year:04}-{month:02}-{day:02}"), time)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years begin in March here, so that
/// a leap day is a year's last one.
#[cfg(any(test, feature = "cli"))]
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> GroupView<'static> {
        let part = |location, cause: &'static str, count, ms| GroupPartView {
            location,
            cause: cause.into(),
            count,
            total: Duration::from_millis(ms),
        };
        GroupView {
            function: Some("news::nap"),
            counted_as: Counted::Stall,
            count: 9,
            running: 1,
            total: Duration::from_millis(480),
            share: 0.591,
            longest: Duration::from_millis(90),
            first_noticed_at: UNIX_EPOCH + Duration::from_secs(1_796_034_031),
            last_noticed_at: UNIX_EPOCH + Duration::from_secs(1_796_034_065),
            parts: vec![part(Some("src/api.rs:12"), "sleeping", 7, 400), part(None, "waiting for a lock", 2, 80)],
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_block_has_total_share_count_and_times() {
        let expected = "\
news::nap: 9 stalls, 480 ms lost, 59 %, the longest 90.0 ms, 1 still running
  seen     from 2026-11-30 10:20:31 to 10:21:05 UTC
  at       src/api.rs:12: sleeping, 7 polls, 400 ms
  at       (line unknown): waiting for a lock, 2 polls, 80.0 ms
";
        assert_eq!(view().block(Style::Plain), expected);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_day_is_named_once() {
        let until = |seconds| {
            let last_noticed_at = UNIX_EPOCH + Duration::from_secs(seconds);
            GroupView { last_noticed_at, ..view() }.seen()
        };
        assert_eq!(until(1_796_034_031), "2026-11-30 10:20:31 UTC");
        assert_eq!(until(1_796_034_065), "from 2026-11-30 10:20:31 to 10:21:05 UTC");
        assert_eq!(until(1_796_083_205), "from 2026-11-30 10:20:31 to 2026-12-01 00:00:05 UTC");
    }

    #[test]
    fn the_summary_is_one_line() {
        let expected = "9 stalls by news::nap, 480 ms together (59 %), the longest 90.0 ms, 1 still running: \
                        sleeping at src/api.rs:12, waiting for a lock";
        assert_eq!(view().summary(), expected);
        let start_up = GroupView { counted_as: Counted::StartUp, count: 1, running: 0, ..view() };
        assert!(
            start_up.summary().starts_with("1 long poll at start-up by news::nap, 480 ms (59 %): "),
            "{}",
            start_up.summary()
        );
        let one = GroupView { function: None, count: 1, running: 0, ..view() };
        assert!(one.summary().starts_with("1 stall without a culprit, 480 ms (59 %): "), "{}", one.summary());
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_787, (2026, 11, 30)),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
