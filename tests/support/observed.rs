//! A process that is watched from outside: the test's own program, which runs one test marked as ignored.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// One test of this program in a separate process, which is killed on drop. It prints `ready` first.
pub(crate) struct KnownProgram {
    child: Child,
    input: ChildStdin,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

impl KnownProgram {
    /// Starts it, with a command prefix such as one that changes the user.
    pub(crate) fn start(prefix: &[&str], test: &str) -> Self {
        Self::start_file(&std::env::current_exe().expect("is running"), prefix, test)
    }

    /// Starts a copy of the program.
    pub(crate) fn start_file(program: &Path, prefix: &[&str], test: &str) -> Self {
        let mut child = command(prefix, program)
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let input = child.stdin.take().expect("is piped");
        let mut output = BufReader::new(child.stdout.take().expect("is piped")).lines();
        assert!(output.any(|line| line.is_ok_and(|line| line == "ready")), "it is ready");
        Self { child, input, output }
    }

    pub(crate) fn pid(&self) -> String {
        self.id().to_string()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    /// Writes a line to its input, and reads the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.output.next().expect("it answers").expect("is text")
    }
}

impl Drop for KnownProgram {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A command that runs the program, through the prefix if there is one.
fn command(prefix: &[&str], program: &Path) -> Command {
    match prefix {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// `holdup record`.
pub(crate) fn record(prefix: &[&str], arguments: &[&str]) -> Command {
    let mut command = command(prefix, Path::new(env!("CARGO_BIN_EXE_holdup")));
    command.arg("record").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its exit code, standard output and standard error.
pub(crate) fn finished(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("is text");
    (status.code(), text(stdout), text(stderr))
}

/// The path of a file that does not exist.
pub(crate) fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("attach");
    std::fs::create_dir_all(&folder).expect("a folder for files");
    let path = folder.join(name);
    let _there_was_none = std::fs::remove_file(&path);
    path
}

/// Whether the recording has begun.
pub(crate) fn holds_perf_events(pid: u32) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.into_iter().any(|target| target.to_string_lossy().contains("perf_event"))
}
