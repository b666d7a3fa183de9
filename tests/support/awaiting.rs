//! A program whose tasks, awaits and locks are known: `tests/fixtures/awaiting`, built with descriptions of types, which the
//! tests themselves are built without.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// Tasks of it that all do the same.
pub(crate) const MANY: usize = 10;

/// Built once for all tests; that it can be built is a part of them. `HOLDUP_AWAITING` names one that was built otherwise.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(program) = std::env::var_os("HOLDUP_AWAITING") {
        return program.into();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/awaiting");
    // `target/debug/deps/TEST` leads to `target/tmp`, which is cargo's place for what tests make.
    let test = std::env::current_exe().expect("it runs");
    let target = test.ancestors().nth(3).expect("lies in the target folder").join("tmp/awaiting");
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are among those of the tests, so nothing needs to be downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "2").env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program that is looked at cannot be built:\n{told}");
    target.join("debug/awaiting")
});

/// The program, running.
pub(crate) struct Awaiting(Child);

impl Awaiting {
    /// Starts it with two workers, and returns when all its tasks wait but one, which runs.
    pub(crate) fn start() -> Self {
        Self::with("multi_thread")
    }

    /// The same on the runtime of that flavor.
    pub(crate) fn with(flavor: &str) -> Self {
        let mut child = Command::new(&*PROGRAM)
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
