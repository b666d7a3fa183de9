//! Runs all cases, each in a separate process, one after another, because concurrent cases would disturb each other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cases::Case;
use crate::machine_load::MachineLoad;
use crate::options::CardOptions;
use crate::outside::{Outside, Refused};
use crate::place::{Flavor, Place};
use crate::run::write;
use crate::score::{self, Card, Pair};

/// Time limit of a run, which takes a few seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time limit of the command until it watches. Unoptimized and beside other load, it reads debug information for a minute.
const READING: Duration = Duration::from_secs(300);

/// Name lookups without an answer fail after a second: `resolv.conf(5)`.
const RESOLVER: (&str, &str) = ("RES_OPTIONS", "timeout:1 attempts:1");

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
struct Run {
    case: &'static Case,
    flavor: Flavor,
    place: Place,
}

impl Run {
    fn name(self) -> String {
        format!("{}-{}-{}", self.case.name, self.flavor.as_str(), self.place.as_str())
    }
}

/// Runs the selected cases and scores them.
pub(crate) fn run(options: &CardOptions) -> anyhow::Result<Card> {
    let folder = Folder::make(options)?;
    let (mut pairs, mut not_run) = (Vec::new(), Vec::new());
    let runs = matrix(options)?;
    let load = MachineLoad::start(options)?;
    for (done, run) in runs.iter().enumerate() {
        eprintln!("{}/{} {}", done + 1, runs.len(), run.name());
        match run_one(*run, options, &load, &folder.path) {
            Ok(pair) => pairs.push(pair),
            // Every other case would fail in the same way.
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) => not_run.push(format!("{}: {error:#}", run.name())),
        }
    }
    let card = Card { title: options.title.clone(), ..score::score(&pairs, not_run) };
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(&card).context("the card cannot be written as JSON")?;
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(card)
}

fn matrix(options: &CardOptions) -> anyhow::Result<Vec<Run>> {
    let cases: Vec<_> = match &*options.cases {
        [] => Case::all().collect(),
        names => names.iter().map(|name| Case::named(name)).collect::<anyhow::Result<_>>()?,
    };
    let flavors = if options.flavors.is_empty() { &Flavor::ALL[..] } else { &options.flavors };
    let places = if options.places.is_empty() { &Place::ALL[..] } else { &options.places };
    let mut runs = Vec::new();
    for case in cases {
        for flavor in flavors.iter().copied() {
            let here = places.iter().copied().filter(|place| case.runs_in(flavor, *place));
            runs.extend(here.map(|place| Run { case, flavor, place }));
        }
    }
    anyhow::ensure!(!runs.is_empty(), "none of these cases runs there; leave out --flavor or --place");
    Ok(runs)
}

fn run_one(run: Run, options: &CardOptions, load: &MachineLoad, folder: &Path) -> anyhow::Result<Pair> {
    let truth = folder.join(format!("{}.truth.json", run.name()));
    let report = folder.join(format!("{}.report.json", run.name()));
    let program = std::env::current_exe().context("this program has no path")?;
    let mut command = as_user(options.user, &program, load);
    command.arg("run").arg(run.case.name);
    command.args(["--flavor", run.flavor.as_str(), "--place", run.place.as_str()]);
    command.arg("--rounds").arg(options.how.rounds.to_string());
    if let Some(hold) = options.how.hold {
        command.arg("--hold").arg(hold.to_string());
    }
    if options.how.uninstrumented {
        command.arg("--uninstrumented");
    }
    command.arg("--truth").arg(&truth);
    command.env("TMPDIR", folder).env(RESOLVER.0, RESOLVER.1);
    let status = match &options.outside {
        None => {
            command.arg("--report").arg(&report).stdin(Stdio::null()).stdout(Stdio::null());
            Running::start(&mut command)?.end(Instant::now() + PATIENCE)?
        }
        Some(holdup) => {
            let mut running = Running::start(command.arg("--outside").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
            let mut holdup = as_user(options.user, holdup, load);
            holdup.env("XDG_CACHE_HOME", folder);
            let watching = Outside::watch(&mut running.0, holdup, Instant::now() + READING)?;
            let limit = Instant::now() + PATIENCE;
            let status = running.end(limit)?;
            write(&report, &watching.report(limit)?)?;
            status
        }
    };
    anyhow::ensure!(status.success(), "it ended with {status}");
    score::read_pair(&truth, &report)
}

/// The process of a case. It is killed on drop.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().context("it cannot be started")?))
    }

    fn end(mut self, limit: Instant) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < limit, "it has not ended after {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn as_user(user: Option<u32>, program: &Path, load: &MachineLoad) -> Command {
    let Some(user) = user else { return load.command(program) };
    let mut command = load.command(Path::new("setpriv"));
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "--"]).arg(program);
    command
}

/// The folder of truths and reports. It is removed at the end unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn make(options: &CardOptions) -> anyhow::Result<Self> {
        let keep = options.keep.is_some();
        let passing = || std::env::temp_dir().join(format!("corpus-card-{}", std::process::id()));
        let path = options.keep.clone().unwrap_or_else(passing);
        let path = std::path::absolute(path)?;
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        if let Some(user) = options.user {
            std::os::unix::fs::chown(&path, Some(user), Some(user))
                .with_context(|| format!("{} cannot be given to user {user}; that needs root", path.display()))?;
        }
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Remaining files lie in the temporary folder.
            let _left = std::fs::remove_dir_all(&self.path);
        }
    }
}
