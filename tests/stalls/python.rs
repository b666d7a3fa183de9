//! A Python program whose extension has a runtime with holdup inside. A worker waits for the interpreter's lock: the culprit
//! is the extension's function, although the program is `python3`, with and without debug information.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use holdup::stall::CauseObject;

/// Makes a missing `python3` an error.
const REQUIRE_PYTHON: &str = "HOLDUP_REQUIRE_PYTHON";

/// The stalls of one run.
const STALLS: usize = 5;

/// `PyDLL` keeps the interpreter's lock during a call; `CDLL` would release it.
const SCRIPT: &str = "
import ctypes, sys, time
fetch = ctypes.PyDLL(sys.argv[1]).fetch
while True:
    fetch(ctypes.c_uint64(100))
    time.sleep(0.02)
";

/// The library, built once for all tests of this file.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python_extension");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_extension");
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder).env("CARGO_TARGET_DIR", &target);
    let output = cargo.env("CARGO_PROFILE_DEV_DEBUG", "2").env("CARGO_INCREMENTAL", "0").output().expect("cargo runs");
    assert!(output.status.success(), "it cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/libcrawler.so")
});

/// Whether the test must be skipped.
fn python_is_missing() -> bool {
    let is_there = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        assert!(std::env::var_os(REQUIRE_PYTHON).is_none(), "python3 is not installed");
        eprintln!("skipped: python3 is not installed");
    }
    !is_there
}

/// Checks every stall that the library reports.
fn check(library: &Path) {
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(library)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is installed");
    let output = BufReader::new(python.stdout.take().expect("is piped"));
    let reported: Vec<String> = output.lines().take(STALLS).map(|line| line.expect("is text")).collect();
    python.kill().expect("it runs");
    python.wait().expect("it is ours");

    let right = format!("crawler::call_back User lock {} ", CauseObject::PythonLock);
    for line in &reported {
        assert!(line.starts_with(&right), "{reported:#?}");
        assert!(line.contains("Python::detach"), "the advice is about the interpreter's lock: {line}");
    }
    assert_eq!(reported.len(), STALLS, "the program went on");
}

#[test]
fn the_extension_is_the_culprit_of_a_wait_for_pythons_lock() {
    if python_is_missing() {
        return;
    }
    let _alone = support::alone();
    check(&LIBRARY);
}

#[test]
fn it_is_the_culprit_without_debug_information_too() {
    if python_is_missing() {
        return;
    }
    let _alone = support::alone();
    let bare = LIBRARY.with_file_name("libbare.so");
    let stripped = Command::new("strip").arg("--strip-debug").arg("-o").arg(&bare).arg(&*LIBRARY).status();
    assert!(stripped.expect("binutils are installed").success());
    check(&bare);
}
