//! `holdup stalls --follow`: asks the endpoint twice a second, and tells what has changed.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::client;
use super::stalls::PATH;
use crate::export::json::{StallJson, StallsAnswer};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// A service that is started again answers within this time; one that does not is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// Prints stalls until the service goes away, or the user has seen enough.
pub(super) fn run<W: Write>(
    url: &str,
    out: &mut W,
    mut print: impl FnMut(&mut W, &StallJson) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut seen = Seen::before(&client::json(url, PATH)?);
    let mut silent_since: Option<Instant> = None;
    loop {
        match client::json::<StallsAnswer>(url, PATH) {
            Ok(answer) => {
                if silent_since.take().is_some() {
                    eprintln!("{url} answers again");
                }
                for stall in seen.news(&answer) {
                    print(out, stall)?;
                }
            }
            Err(error) => {
                if silent_since.is_none() {
                    eprintln!("{url} does not answer; trying again for {} s", GONE_AFTER.as_secs());
                }
                if silent_since.get_or_insert_with(Instant::now).elapsed() >= GONE_AFTER {
                    return Err(error).context("the service went away");
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// What was told already.
#[derive(Debug, Default)]
struct Seen {
    /// All stalls that the service ever noticed.
    noticed: u64,
    lasting: HashSet<u64>,
    /// How many stalls of each kind had ended. A kind has the number of its first stall.
    ended: HashMap<u64, u64>,
}

impl Seen {
    /// Stalls that were over before are no news.
    fn before(answer: &StallsAnswer) -> Self {
        let mut seen = Self::default();
        let _old = seen.news(answer);
        seen.lasting.clear();
        seen
    }

    /// Stalls that began or ended since the last answer, the oldest first; equal ones that ended meanwhile are one.
    fn news<'a>(&mut self, answer: &'a StallsAnswer) -> Vec<&'a StallJson> {
        // Those that turn out to hold nobody up move from the one counter to the other.
        let noticed = answer.counters.stalls.saturating_add(answer.counters.dismissed);
        if noticed < self.noticed {
            // Another process: its numbers begin anew.
            *self = Self::default();
        }
        let is_news = |stall: &&StallJson| match stall.ended {
            true => self.ended.get(&stall.id).is_none_or(|count| *count < stall.count),
            false => !self.lasting.contains(&stall.id),
        };
        let mut news: Vec<_> = answer.stalls.iter().filter(is_news).collect();
        news.sort_by_key(|stall| (stall.noticed_unix_ms, stall.id));
        self.noticed = noticed;
        self.lasting = answer.stalls.iter().filter(|stall| !stall.ended).map(|stall| stall.id).collect();
        self.ended = answer.stalls.iter().filter(|stall| stall.ended).map(|stall| (stall.id, stall.count)).collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stalls as (number, whether it ended, how many), from an answer of a service that noticed `noticed` so far.
    fn answer(noticed: u64, stalls: &[(u64, bool, u64)]) -> StallsAnswer {
        let one = |(id, ended, count): &(u64, bool, u64)| {
            serde_json::json!({
                "id": id, "ended": ended, "count": count, "runtime": "r", "worker": 0, "thread": "t", "tid": 1,
                "task": {}, "threshold_ms": 10.0, "duration_ms": 20.0, "culprit": null, "stack": [],
                "cause": {"class": "lock", "advice": "", "evidence": {
                    "window_ms": 0.0, "looks": 0, "starved_ms": 0.0, "waits": [], "watchdog_late_ms": 0.0}},
                "stack_quality": {"complete": false}, "total_ms": 20.0, "longest_ms": 20.0,
                "first_noticed_unix_ms": id, "noticed_unix_ms": id,
            })
        };
        let stalls: Vec<_> = stalls.iter().map(one).collect();
        let counters = serde_json::json!({
            "stalls": noticed, "suppressed": 0, "unexplained": 0, "forgotten": 0, "dismissed": 0, "stacks_missed": 0,
            "callback_panics": 0,
        });
        serde_json::from_value(serde_json::json!({"stalls": stalls, "suppressed": 0, "counters": counters}))
            .expect("an answer")
    }

    fn news(seen: &mut Seen, noticed: u64, stalls: &[(u64, bool, u64)]) -> Vec<(u64, bool)> {
        let answer = answer(noticed, stalls);
        seen.news(&answer).iter().map(|stall| (stall.id, stall.ended)).collect()
    }

    #[test]
    fn each_stall_is_told_when_it_begins_and_when_it_ends() {
        let mut seen = Seen::before(&answer(3, &[(3, false, 1), (1, true, 2)]));
        assert_eq!(news(&mut seen, 3, &[(3, false, 1), (1, true, 2)]), [(3, false)], "one that lasts is news");
        assert_eq!(news(&mut seen, 3, &[(3, false, 1), (1, true, 2)]), []);
        assert_eq!(news(&mut seen, 4, &[(4, false, 1), (3, true, 1), (1, true, 2)]), [(3, true), (4, false)]);
        assert_eq!(news(&mut seen, 4, &[(3, true, 1), (1, true, 3)]), [(1, true)], "it ended like those before");
        assert_eq!(news(&mut seen, 1, &[(1, true, 1)]), [(1, true)], "another process begins anew");
    }
}
