//! `holdup stalls --pid` names the user's function in programs without line tables. The programs are a workspace with two
//! crates, and a copy of the program with another name.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/stalling.rs"]
mod stalling;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use stalling::Stalling;

/// Built once for all tests of this file.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/two_crates");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two_crates");
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder).env("CARGO_TARGET_DIR", &target);
    // The environment of the tests may ask for line tables.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "it cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/shop-app")
});

/// The stalls while the program executes a command again and again.
fn stalls_of(program: &Path, command: &str) -> Vec<Value> {
    let mut program = Stalling::of(program, "");
    let watch = Command::new(env!("CARGO_BIN_EXE_holdup"))
        .args(["stalls", "--pid", &program.pid().to_string(), "--threshold", "100ms", "--duration", "6s", "--json"])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watch = watch.expect("the command runs");
    while watch.try_wait().expect("it is ours").is_none() {
        program.ask(command);
    }
    let output = watch.wait_with_output().expect("it has ended");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    answer["stalls"].as_array().expect("a list").clone()
}

/// Whether every stall has this culprit, and there is one.
fn check(program: &Path, command: &str, culprit: &str) {
    let stalls = stalls_of(program, command);
    assert!(!stalls.is_empty(), "{command} stalls");
    for stall in &stalls {
        assert_eq!(stall["culprit"]["function"], culprit, "{stall:#}");
        let mut frames = stall["stack"].as_array().expect("a list").iter();
        assert!(frames.any(|frame| frame["function"] == culprit && frame["origin"] == "user"), "{stall:#}");
    }
}

#[test]
fn a_function_of_another_crate_of_the_workspace_is_the_culprit() {
    let _alone = support::alone();
    check(&PROGRAM, "sum 300", "price_book::sum");
}

#[test]
fn the_name_of_the_file_does_not_matter() {
    let _alone = support::alone();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("renamed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for files");
    // The names of a library and of another program.
    for name in ["server", "parking_lot"] {
        let copy = folder.join(name);
        std::fs::copy(&*PROGRAM, &copy).expect("it can be copied");
        check(&copy, "lock 300", "shop_app::reads_stock");
        check(&copy, "sum 300", "price_book::sum");
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
