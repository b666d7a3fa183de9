//! `holdup dump --pid`: which thread runs which task, and that thread's stack. The observed program says which.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The number of tasks that hold a worker.
const HOLDING: usize = 10;

/// Dumps of each build.
const DUMPS: usize = 5;

/// Builds the program with this setting for debug information, in a folder of this name.
fn build(name: &str, debug: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/waiting_workers");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", debug).env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/waiting_workers")
}

/// The running program, with the thread and the kind of each task that holds a worker. It is killed on drop.
struct WaitingWorkers {
    child: Child,
    tasks: HashMap<u64, (i64, String)>,
}

impl WaitingWorkers {
    fn start(program: &Path) -> Self {
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was built");
        let lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let task = |line: std::io::Result<String>| {
            let line = line.expect("is text");
            let mut words = line.split(' ');
            let mut next = || words.next().expect("there is another word").to_owned();
            (next().parse().expect("a number"), (next().parse().expect("a number"), next()))
        };
        let tasks = lines.take(HOLDING).map(task).collect();
        Self { child, tasks }
    }

    fn dump(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
        command.args(["dump", "--json", "--no-cache", "--pid", &self.child.id().to_string()]);
        let output = command.output().expect("the command runs");
        let message = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {message}"))
    }

    /// Checks that no task has a wrong thread, and no thread a wrong stack. Returns the tasks with a stack.
    fn check(&self, census: &Value) -> HashSet<u64> {
        let threads = census["threads"].as_array().expect("a list");
        let mut shown = HashSet::new();
        for task in census["tasks"].as_array().expect("a list").iter().filter(|task| task["state"] == "running") {
            let id = task["id"].as_u64().expect("it has a number");
            let thread = threads.iter().find(|thread| thread["tid"] == task["thread"]);
            match (self.tasks.get(&id), thread) {
                (Some((tid, kind)), Some(thread)) => {
                    assert_eq!(thread["tid"], *tid, "task {id}, which {kind}: {census:#}");
                    assert_eq!(thread["task"], id, "{census:#}");
                    let frames = thread["stack"].as_array().expect("a list");
                    // A stripped program has no names.
                    let is_named = |frame: &Value| {
                        frame["function"].as_str().is_some_and(|name| name.contains("waiting_workers::"))
                    };
                    let function = format!("waiting_workers::{kind}");
                    let is_right = frames.iter().any(|frame| frame["function"] == *function);
                    assert!(is_right || !frames.iter().any(is_named), "task {id}, which {kind}: {thread:#}");
                    if is_right || (thread["stack_complete"] == true && !frames.iter().any(is_named)) {
                        shown.insert(id);
                    }
                }
                (None, Some(thread)) => {
                    let holding = self.tasks.values().any(|(tid, _)| thread["tid"] == *tid);
                    assert!(!holding, "task {id} is on a thread that runs another: {census:#}");
                }
                (known, None) => {
                    let candidates = task["thread_candidates"].as_array();
                    let candidates = candidates.unwrap_or_else(|| panic!("task {id} has no candidates: {census:#}"));
                    if let Some((tid, kind)) = known {
                        assert!(candidates.iter().any(|thread| thread == tid), "task {id}, which {kind}: {census:#}");
                    }
                }
            }
        }
        shown
    }
}

impl Drop for WaitingWorkers {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Checks some dumps, and waits until so many of the tasks that hold a worker have had their stack in one of them. On a busy
/// machine, a thread may not be scheduled to be held, and the thread of a task that sleeps may run.
fn assert_right(file: &Path, wanted: usize) {
    let program = WaitingWorkers::start(file);
    assert_eq!(program.tasks.len(), HOLDING);
    let mut shown: HashSet<u64> = (0..DUMPS).flat_map(|_| program.check(&program.dump())).collect();
    support::wait_until("the tasks have their stacks", || {
        shown.extend(program.check(&program.dump()));
        shown.len() >= wanted
    });
}

#[test]
fn a_default_release_build_shows_the_stack_of_the_thread_that_runs_the_task() {
    let _alone = support::alone();
    let file = build("waiting-workers", "0");
    assert_right(&file, HOLDING);
    // Without symbols, functions are told apart by their unwind tables.
    let stripped = file.with_file_name("stripped");
    let status = Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(&file).status();
    assert!(status.expect("binutils are installed").success());
    // An address that an earlier poll left on a stack may then fit as well.
    assert_right(&stripped, HOLDING / 2);
}

#[test]
fn a_build_with_types_shows_the_stack_of_the_thread_that_runs_the_task() {
    let _alone = support::alone();
    assert_right(&build("waiting-workers-typed", "2"), HOLDING);
}
