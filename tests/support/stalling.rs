//! A program with known polls: `tests/fixtures/stalling`. It is built with debug information for types, which the tests do
//! not have.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

/// Built once for all tests of a binary. `HOLDUP_STALLING` names another build.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(program) = std::env::var_os("HOLDUP_STALLING") {
        return program.into();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stalling");
    // The test lies in `target/debug/deps`, and `target/tmp` is cargo's folder for files of tests.
    let test = std::env::current_exe().expect("it runs");
    let target = test.ancestors().nth(3).expect("lies in the target folder").join("tmp/stalling");
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "2").env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().expect("cargo runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the watched program cannot be built:\n{message}");
    target.join("debug/stalling")
});

/// The running program. It is killed on drop.
pub(crate) struct Stalling {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Stalling {
    /// Starts it with one runtime of this flavor.
    pub(crate) fn with(flavor: &str) -> Self {
        Self::of(&PROGRAM, flavor)
    }

    /// Starts a copy without debug information, like cargo's release builds. `HOLDUP_STALLING_BARE` names another build.
    pub(crate) fn bare(flavor: &str) -> Self {
        static BARE: LazyLock<PathBuf> = LazyLock::new(|| {
            if let Some(program) = std::env::var_os("HOLDUP_STALLING_BARE") {
                return program.into();
            }
            let bare = PROGRAM.with_file_name("stalling-bare");
            let stripped = Command::new("strip").arg("--strip-debug").arg("-o").arg(&bare).arg(&*PROGRAM).status();
            assert!(stripped.expect("binutils are installed").success());
            bare
        });
        Self::of(&BARE, flavor)
    }

    /// Starts another program that executes commands.
    pub(crate) fn of(program: &Path, flavor: &str) -> Self {
        let mut child = Command::new(program)
            .arg(flavor)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let input = child.stdin.take().expect("is piped");
        let output = BufReader::new(child.stdout.take().expect("is piped")).lines();
        let mut program = Self { child, input, output };
        assert_eq!(program.answer(), "ready");
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command without waiting.
    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    fn answer(&mut self) -> String {
        self.output.next().expect("it answers").expect("in text")
    }

    /// Sends a command, and returns the number in its answer.
    pub(crate) fn ask(&mut self, line: &str) -> u64 {
        self.send(line);
        self.answer().parse().expect("a number")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
