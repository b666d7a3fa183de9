//! `holdup stalls --follow`: asks the endpoint twice a second and prints what has changed.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::endpoint::Endpoint;
use crate::export::json::{StallJson, StallsAnswer};

/// The path of the stalls at an endpoint.
pub(super) const PATH: &str = "/debug/holdup/stalls";

/// The delay between two requests.
const PAUSE: Duration = Duration::from_millis(500);

/// A restarted service answers within this time. After it, the service is considered gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// Prints stalls until the service is gone or the user presses Ctrl-C.
pub(super) fn run<W: Write>(
    endpoint: &Endpoint,
    out: &mut W,
    mut print: impl FnMut(&mut W, &StallJson) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut known = Known::before(&endpoint.json(PATH)?);
    let url = &endpoint.url;
    let mut unreachable_since: Option<Instant> = None;
    loop {
        match endpoint.json::<StallsAnswer>(PATH) {
            Ok(answer) => {
                if unreachable_since.take().is_some() {
                    eprintln!("{url} answers again");
                }
                for stall in known.news(&answer) {
                    print(out, stall)?;
                }
            }
            Err(error) => {
                if unreachable_since.is_none() {
                    eprintln!("{url} does not answer; trying again for {} s", GONE_AFTER.as_secs());
                }
                if unreachable_since.get_or_insert_with(Instant::now).elapsed() >= GONE_AFTER {
                    return Err(error).context("the service went away");
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// The stalls of the previous answer.
#[derive(Debug, Default)]
struct Known {
    /// The number of stalls that the service has noticed.
    noticed: u64,
    /// The stalls that were running.
    running: HashSet<u64>,
    /// The number of ended stalls of each kind. A kind has the id of its first stall.
    ended: HashMap<u64, u64>,
}

impl Known {
    /// The stalls of the first answer. Those that have ended are not printed.
    fn before(answer: &StallsAnswer) -> Self {
        let mut known = Self::default();
        let _old = known.news(answer);
        known.running.clear();
        known
    }

    /// Stalls that began or ended since the previous answer, oldest first. Equal ones that ended meanwhile are one.
    fn news<'a>(&mut self, answer: &'a StallsAnswer) -> Vec<&'a StallJson> {
        let counters = &answer.counters;
        // Older versions do not say how many they noticed. There a dismissed stall moves from one counter to the other.
        let noticed = counters.noticed.max(counters.stalls.saturating_add(counters.dismissed));
        if noticed < self.noticed {
            // The service has restarted, and its numbers start again.
            *self = Self::default();
        }
        let is_news = |stall: &&StallJson| match stall.ended {
            true => self.ended.get(&stall.id).is_none_or(|count| *count < stall.count),
            false => !self.running.contains(&stall.id),
        };
        let mut news: Vec<_> = answer.stalls.iter().filter(is_news).collect();
        news.sort_by_key(|stall| (stall.noticed_unix_ms, stall.id));
        self.noticed = noticed;
        self.running = answer.stalls.iter().filter(|stall| !stall.ended).map(|stall| stall.id).collect();
        self.ended = answer.stalls.iter().filter(|stall| stall.ended).map(|stall| (stall.id, stall.count)).collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with stalls as (id, ended, count), of a service that has noticed `noticed` stalls.
    fn answer(noticed: u64, stalls: &[(u64, bool, u64)]) -> StallsAnswer {
        let one = |(id, ended, count): &(u64, bool, u64)| {
            serde_json::json!({
                "id": id, "ended": ended, "count": count, "runtime": "r", "worker": 0, "thread": "t", "tid": 1,
                "task": {}, "threshold_ms": 10.0, "duration_ms": 20.0, "culprit": null, "stack": [],
                "cause": {"class": "lock", "advice": "", "evidence": {
                    "window_ms": 0.0, "samples": 0, "starved_ms": 0.0, "waits": [], "watchdog_late_ms": 0.0}},
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

    fn news(known: &mut Known, noticed: u64, stalls: &[(u64, bool, u64)]) -> Vec<(u64, bool)> {
        let answer = answer(noticed, stalls);
        known.news(&answer).iter().map(|stall| (stall.id, stall.ended)).collect()
    }

    #[test]
    fn each_stall_is_printed_when_it_begins_and_when_it_ends() {
        let mut known = Known::before(&answer(3, &[(3, false, 1), (1, true, 2)]));
        assert_eq!(news(&mut known, 3, &[(3, false, 1), (1, true, 2)]), [(3, false)], "a running one is news");
        assert_eq!(news(&mut known, 3, &[(3, false, 1), (1, true, 2)]), []);
        assert_eq!(news(&mut known, 4, &[(4, false, 1), (3, true, 1), (1, true, 2)]), [(3, true), (4, false)]);
        assert_eq!(
            news(&mut known, 4, &[(3, true, 1), (1, true, 3)]),
            [(1, true)],
            "one more of a known kind has ended"
        );
        assert_eq!(news(&mut known, 1, &[(1, true, 1)]), [(1, true)], "a restarted service starts again");
    }
}
