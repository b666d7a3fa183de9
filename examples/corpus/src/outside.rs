//! Writes the stalls that the `holdup` command finds in another process as a report, and makes that process wait for it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use holdup::json::{StallJson, VictimJson, VictimsJson};

use crate::listener::{THRESHOLD, report_of, since_1970};
use crate::report::{Report, ReportedStall, ReportedVictim};
use crate::run::SETTLED;
use crate::truth::nanoseconds;

/// The line of a case when its runtimes are up.
const READY: &str = "ready";

/// The start of the command's line when it watches.
const WATCHING: &str = "watching process ";

/// Announces that this process can be watched, and waits for a line. Runs in the process of the case.
pub(crate) fn wait_until_watched() -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{READY}").context("standard output is closed")?;
    let read = std::io::stdin().lock().read_line(&mut String::new()).context("standard input cannot be read")?;
    anyhow::ensure!(read > 0, "standard input was closed before the command watched");
    // The command still reads debug information now.
    std::thread::sleep(SETTLED);
    Ok(())
}

/// The command did not begin to watch. This is not an error of a case.
#[derive(Debug)]
pub(crate) struct Refused {
    said: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command does not watch; it says: {}", self.said)
    }
}

impl std::error::Error for Refused {}

/// A command that watches the process of a case.
#[derive(Debug)]
pub(crate) struct Outside {
    command: Child,
    heard: Option<JoinHandle<anyhow::Result<Heard>>>,
}

impl Outside {
    /// Makes `holdup` watch a case with piped input and output, and lets the case begin.
    ///
    /// # Errors
    /// [`Refused`] if the process cannot be watched.
    pub(crate) fn watch(case: &mut Child, mut holdup: Command, limit: Instant) -> anyhow::Result<Self> {
        let said = Lines::of(case.stdout.take().context("its output is not piped")?);
        said.until(READY, limit).map_err(|_| anyhow::anyhow!("it has ended before its runtimes were up"))?;
        let threshold = format!("{}ms", THRESHOLD.as_millis());
        holdup.args(["stalls", "--follow", "--json", "--threshold", &threshold, "--pid", &case.id().to_string()]);
        holdup.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let command = holdup.spawn().with_context(|| format!("{:?} cannot be started", holdup.get_program()))?;
        let mut watching = Self { command, heard: None };
        let words = watching.command.stdout.take().context("its output is not piped")?;
        watching.heard = Some(std::thread::spawn(move || Heard::from(words)));
        let said = Lines::of(watching.command.stderr.take().context("its errors are not piped")?);
        said.until(WATCHING, limit).map_err(|said| Refused { said })?;
        let mut begin = case.stdin.take().context("its input is not piped")?;
        writeln!(begin, "begin").context("it does not wait to be watched")?;
        Ok(watching)
    }

    /// The report of the command about an ended case.
    pub(crate) fn report(mut self, limit: Instant) -> anyhow::Result<Report> {
        let ended = |command: &mut Child| command.try_wait().map(|status| status.is_some());
        while !ended(&mut self.command)? {
            anyhow::ensure!(Instant::now() < limit, "the command has not ended with the process that it watches");
            std::thread::sleep(Duration::from_millis(5));
        }
        let heard = self.heard.take().and_then(|heard| heard.join().ok()).context("the output was not read")??;
        Ok(report_of(heard.0.into_values().collect()))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = self.command.kill();
        let _reaped = self.command.wait();
    }
}

/// Lines of a process as they arrive. They are read to the end, even without a receiver.
struct Lines(Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The receiver may be gone.
                let _sent = sender.send(line);
            }
        });
        Self(lines)
    }

    /// Waits for a line with this start.
    ///
    /// # Errors
    /// The lines that came instead.
    fn until(&self, begin: &str, limit: Instant) -> Result<(), String> {
        let mut said = Vec::new();
        loop {
            match self.0.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(begin) => return Ok(()),
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => return Err(said.join("; ")),
                Err(RecvTimeoutError::Timeout) => return Err(format!("{} (and then nothing)", said.join("; "))),
            }
        }
    }
}

/// The last event of each stall, by its number.
#[derive(Debug, Default)]
struct Heard(BTreeMap<u64, ReportedStall>);

impl Heard {
    /// Reads to the end.
    fn from(words: impl Read) -> anyhow::Result<Self> {
        let mut heard = Self::default();
        for line in BufReader::new(words).lines() {
            let line = line.context("the output of the command cannot be read")?;
            let now = since_1970(SystemTime::now());
            heard.hear(&serde_json::from_str(&line).with_context(|| format!("this is no stall: {line}"))?, now);
        }
        Ok(heard)
    }

    fn hear(&mut self, stall: &StallJson, now: u64) {
        let start = from_ms(stall.began_unix_ms);
        let known = self.0.entry(stall.id).or_insert_with(|| ReportedStall {
            // The first event comes when the stall is noticed, with its duration so far.
            noticed_ns: (!stall.ended).then(|| start.saturating_add(from_ms(stall.duration_ms))),
            reported_ns: Some(now),
            ..ReportedStall::begun(start, stall.tid)
        });
        known.duration_ns = from_ms(stall.duration_ms);
        known.cause = Some(stall.cause.class.clone());
        known.function = stall.culprit.as_ref().map(|culprit| culprit.function.clone());
        known.file = stall.culprit.as_ref().and_then(|culprit| culprit.file.clone());
        known.line = stall.culprit.as_ref().and_then(|culprit| culprit.line);
        known.victims = victims(&stall.waiting.victims);
    }
}

fn victims(reported: &VictimsJson) -> Option<Vec<ReportedVictim>> {
    let one =
        |victim: &VictimJson| Some(ReportedVictim { task: victim.task.id?, certain: victim.waited.at_least_ms > 0.0 });
    match reported.missing.as_deref() {
        None => Some(reported.tasks.iter().filter_map(one).collect()),
        Some("no_worker") => Some(Vec::new()),
        Some(_) => None,
    }
}

/// Converts fractional milliseconds to nanoseconds.
fn from_ms(ms: f64) -> u64 {
    Duration::try_from_secs_f64(ms / 1e3).map_or(0, nanoseconds)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BEGAN_MS: f64 = 1_700_000_000_500.0;
    const BEGAN_NS: u64 = 1_700_000_000_500_000_000;
    const MS: u64 = 1_000_000;

    /// A line of `holdup stalls --pid N --follow --json`: a stall of thread 7 with this duration.
    fn word(id: u64, duration_ms: f64, ended: bool, missing: &str) -> Value {
        json!({
            "id": id, "runtime": "runtime-1", "worker": 0, "thread": "tokio-rt-worker", "tid": 7,
            "task": {"id": 12, "name": "app::serve", "spawned_at": null}, "threshold_ms": 10.0,
            "duration_ms": duration_ms, "detection": "instrumented", "ended": ended,
            "cause": {"class": "lock", "advice": "hold it for less long", "evidence": {
                "window_ms": 9.0, "samples": 4, "starved_ms": 0.0, "waits": [], "watchdog_late_ms": 0.0}},
            "waiting": {"local_queue": null, "global_queue": null, "driver": "unknown", "others": 1, "others_parked": 1,
                "others_stalled": 0, "victims": {"sentence": "", "missing": missing, "count": null, "longest": null,
                "total": null, "tasks": []}},
            "culprit": {"function": "app::nap", "file": "src/nap.rs", "line": 7, "call": null}, "stack": [],
            "stack_quality": {"method": null, "complete": false, "taken_after_ms": null, "missing": null},
            "count": 1, "total_ms": duration_ms, "longest_ms": duration_ms, "began_unix_ms": BEGAN_MS,
            "first_noticed_unix_ms": 1_700_000_000_011_u64, "noticed_unix_ms": 1_700_000_000_011_u64,
        })
    }

    fn heard(words: &[Value]) -> Vec<ReportedStall> {
        let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
        Heard::from(lines.as_bytes()).expect("these are stalls").0.into_values().collect()
    }

    #[test]
    fn the_first_word_tells_when_and_the_last_one_what() {
        let stalls = heard(&[
            word(1, 10.5, false, "running"),
            word(2, 11.0, false, "running"),
            word(1, 50.0, true, "outside"),
            word(2, 60.0, true, "no_worker"),
        ]);
        let [first, second] = &stalls[..] else { panic!("two stalls: {stalls:#?}") };
        assert_eq!((first.start_ns, first.noticed_ns), (BEGAN_NS, Some(BEGAN_NS + 10 * MS + MS / 2)));
        assert_eq!((first.duration_ns, first.thread), (50 * MS, Some(7)));
        assert_eq!((first.function.as_deref(), first.cause.as_deref()), (Some("app::nap"), Some("lock")));
        assert_eq!((first.file.as_deref(), first.line), (Some("src/nap.rs"), Some(7)));
        assert!(first.victims.is_none(), "from outside, victims are unknown");
        assert!(first.reported_ns > first.noticed_ns);
        assert_eq!((second.duration_ns, second.victims.as_ref().map(Vec::len)), (60 * MS, Some(0)));
    }

    #[test]
    fn a_stall_whose_begin_was_not_reported_has_no_time_of_notice() {
        let stalls = heard(&[word(1, 50.0, true, "outside")]);
        assert_eq!((stalls.len(), stalls[0].noticed_ns), (1, None));
    }

    #[test]
    fn what_is_no_stall_is_refused() {
        let error = Heard::from(&b"hello\n"[..]).expect_err("it is no JSON");
        assert!(error.to_string().contains("hello"), "{error:#}");
    }
}
