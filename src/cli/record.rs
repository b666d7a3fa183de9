//! `holdup record [URL]` and `holdup record --pid N`: a profile of the next seconds, in a file. Ctrl-C ends it early and still
//! writes what there is.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::profiles::{self, Output, Selection};
use super::symbols::SymbolsArgument;
use super::tasks::seconds;
use super::{DEFAULT_URL, NOTHING, client};
use crate::analysis::group::Group;
use crate::attach::{Mode, Process};
use crate::export::profile::Format;
use crate::import;
use crate::inprocess::{ProfileMode, ProfileOptions, Stop};
use crate::model::profile::Profile;

const PATH: &str = "/debug/holdup/profile";

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

const BAR: usize = 30;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The endpoint of the service
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// Observe this process from outside, unchanged, instead of asking an endpoint
    #[arg(short, long, value_name = "PID", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// For how long: seconds, or with a unit such as 500ms, 30s or 2m
    #[arg(short, long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,
    /// Samples per second, 1 to 1000; a CPU timer is looked at when the kernel ticks, often 250 times a second
    #[arg(short, long, default_value_t = 99, value_name = "HZ")]
    rate: u32,
    /// cpu: CPU time of all threads; wall: what workers do over time, with --pid all threads; tasks, with --pid only: what
    /// all tasks await over time; stalled: time in polls that stalled, by cause
    #[arg(short, long, default_value = "cpu")]
    mode: String,
    /// With --mode stalled, from how long on a poll is a stall, such as 10ms or 1s; an endpoint has a threshold of its own
    #[arg(short, long, default_value = "10ms", value_name = "TIME", value_parser = seconds, requires = "pid")]
    threshold: Duration,
    /// Where to write, unless to MODE.svg; a file that is there is replaced; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format to write: flamegraph, folded, pprof, firefox, speedscope, perfetto or json. Otherwise that of FILE's
    /// extension: .svg .folded .txt .pb.gz .json.gz .speedscope.json .pftrace .json
    #[arg(long)]
    format: Option<Format>,
    /// Labels to put outside of every stack, outermost first: thread, runtime, task, spawn, state
    #[arg(short, long, value_name = "LABEL", value_delimiter = ',')]
    group: Vec<Group>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    symbols: SymbolsArgument,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let path = arguments.output.clone().unwrap_or_else(|| format!("{}.svg", arguments.mode).into());
    let output = Output::new(&path, arguments.format)?;
    let profile = match arguments.pid {
        Some(pid) => observe(pid, arguments)?,
        None => ask(arguments)?,
    };
    let profile = profiles::grouped(&arguments.selection.of(&profile)?, &arguments.group);
    output.profile(&profile, out)?;
    Ok(if profile.samples.is_empty() { NOTHING.into() } else { ExitCode::SUCCESS })
}

/// Collects the profile of another process.
fn observe(pid: u32, arguments: &Arguments) -> anyhow::Result<Profile> {
    let mode: Mode = arguments.mode.parse()?;
    let options = ProfileOptions::new(ProfileMode::Cpu).duration(arguments.duration).rate(arguments.rate);
    let (interrupted, threshold) = (interrupted()?, arguments.threshold);
    let process = Process::open_with(pid, arguments.symbols.options())?;
    let (tell, told) = mpsc::channel();
    let stop = Stop::with(Arc::clone(&interrupted));
    std::thread::spawn(move || {
        // Nobody listens once the second Ctrl-C has ended the command.
        let _ended = tell.send(process.profile_until(mode, &options, threshold, &stop));
    });
    let profile = wait(&told, arguments, &interrupted, || Ok(()))?.context("the recording broke off")?;
    Ok(profile?)
}

/// Asks for the profile on a thread of its own.
fn ask(arguments: &Arguments) -> anyhow::Result<Profile> {
    let Arguments { url, duration, rate, mode, .. } = arguments;
    if mode == Mode::Tasks.as_str() {
        anyhow::bail!("mode tasks is seen from outside: say which process with --pid, instead of asking an endpoint");
    }
    let interrupted = interrupted()?;
    // By this name the profile can be ended early. Two commands that run at once have different ones.
    let name = format!("record-{}-{}", std::process::id(), Instant::now().elapsed().as_nanos());
    let seconds = duration.as_secs_f64();
    let path = format!("{PATH}?mode={mode}&seconds={seconds}&rate={rate}&format=json&name={name}");
    let (tell, told) = mpsc::channel();
    let (asked, limit) = (url.clone(), *duration);
    std::thread::spawn(move || {
        // Nobody listens once the second Ctrl-C has ended the command.
        let _ended = tell.send(client::file_after(&asked, &path, limit));
    });
    let stop =
        || client::post(url, &format!("{PATH}/stop?name={name}")).context("the profile could not be ended early");
    let answer = wait(&told, arguments, &interrupted, stop)?;
    let answer = answer.with_context(|| format!("the request to {url} broke off"))??;
    import::read(&answer, Some(Format::Json)).with_context(|| format!("the answer of {url}"))
}

/// Watches the clock and Ctrl-C until the outcome is told; `None` if it never will be.
fn wait<T>(
    told: &Receiver<T>,
    arguments: &Arguments,
    interrupted: &AtomicBool,
    stop: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Option<T>> {
    let bar = Progress::new(arguments.duration, &arguments.mode);
    let mut stopped = false;
    let outcome = loop {
        match told.recv_timeout(TICK) {
            Ok(outcome) => break Some(outcome),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => bar.show(stopped),
        }
        if interrupted.load(Ordering::Relaxed) && !stopped {
            stopped = true;
            stop()?;
        }
    };
    bar.clear();
    Ok(outcome)
}

/// Set by the first Ctrl-C; the second ends the command.
pub(super) fn interrupted() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("Ctrl-C cannot be caught")?;
    }
    Ok(flag)
}

/// A bar on the terminal, if there is one.
struct Progress {
    started: Instant,
    whole: Duration,
    mode: String,
    shown: bool,
}

impl Progress {
    fn new(whole: Duration, mode: &str) -> Self {
        Self { started: Instant::now(), whole, mode: mode.to_owned(), shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, stopped: bool) {
        if self.shown {
            eprint!("\r\x1b[K{}", self.line(self.started.elapsed(), stopped));
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }

    fn line(&self, elapsed: Duration, stopped: bool) -> String {
        let (elapsed, whole) = (elapsed.min(self.whole).as_secs_f64(), self.whole.as_secs_f64());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
        let filled = ((elapsed / whole * BAR as f64) as usize).min(BAR);
        let hint = match (stopped, elapsed < whole) {
            (true, _) => "ending early",
            (false, true) => "Ctrl-C ends early and writes what there is",
            (false, false) => "naming functions",
        };
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        format!("recording {} {bar} {elapsed:.1} of {whole:.1} s  {hint}", self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is() {
        let bar =
            Progress { started: Instant::now(), whole: Duration::from_secs(10), mode: "cpu".into(), shown: false };
        let half = bar.line(Duration::from_secs(5), false);
        assert_eq!(half.matches('█').count(), BAR / 2);
        assert!(half.contains("5.0 of 10.0 s") && half.contains("Ctrl-C"), "{half}");
        let late = bar.line(Duration::from_secs(12), false);
        assert_eq!((late.matches('█').count(), late.contains("10.0 of 10.0 s")), (BAR, true));
    }
}
