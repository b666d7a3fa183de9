//! A program with known tasks, awaits and locks: `tests/fixtures/awaiting`. It is built with debug information for types,
//! which the tests do not have.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// Number of its equal tasks.
pub(crate) const MANY: usize = 10;

/// Built once for all tests of a binary. `HOLDUP_AWAITING` names another build.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("HOLDUP_AWAITING")
        .map_or_else(|| build("awaiting", &[("CARGO_PROFILE_DEV_DEBUG", "2")], &[]), PathBuf::from)
});

/// Builds the program with these environment variables and cargo arguments, in a folder of this name.
pub(crate) fn build(name: &str, variables: &[(&str, &str)], arguments: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/awaiting");
    // The test lies in `target/debug/deps`, and `target/tmp` is cargo's folder for files of tests.
    let test = std::env::current_exe().expect("it runs");
    let target = test.ancestors().nth(3).expect("lies in the target folder").join("tmp").join(name);
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).args(arguments).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0").envs(variables.iter().copied());
    let output = cargo.output().expect("cargo runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the observed program cannot be built:\n{message}");
    target.join("debug/awaiting")
}

/// The program with debug information in its own file.
pub(crate) fn program() -> &'static Path {
    &PROGRAM
}

/// The running program. It is killed on drop.
pub(crate) struct Awaiting(Child);

impl Awaiting {
    /// Starts it with two workers. Returns when one task runs and all others wait.
    pub(crate) fn start() -> Self {
        Self::with("multi_thread")
    }

    /// Starts it on a runtime of this flavor.
    pub(crate) fn with(flavor: &str) -> Self {
        Self::of(program(), flavor)
    }

    /// Starts another build of it.
    pub(crate) fn of(program: &Path, flavor: &str) -> Self {
        let mut child = Command::new(program)
            .args([&MANY.to_string(), flavor])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        assert_eq!(lines.next().expect("it says something").expect("that is text"), "ready");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}
