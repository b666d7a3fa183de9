//! Inside programs without line tables, under any file name, the culprit is the user's function, not the dependency's lock
//! in which it waits.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/two_crates.rs"]
mod two_crates;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use two_crates::{PROGRAM, Renamed};

/// The reports of one run.
const REPORTS: usize = 3;

/// Checks what the program reports while it executes a command.
fn check(program: &Path, command: &str, reported: &str) {
    let mut child =
        Command::new(program).arg("inside").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was built");
    let mut input = child.stdin.take().expect("is piped");
    let output = BufReader::new(child.stdout.take().expect("is piped"));
    // A stall can be missed on a busy machine. A command that never ends is executed once.
    let commands = format!("{command}\n").repeat(20);
    input.write_all(commands.as_bytes()).expect("it reads");
    let lines = output.lines().map(|line| line.expect("is text"));
    let reports: Vec<String> = lines.filter(|line| line.starts_with("stall ")).take(REPORTS).collect();
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    assert_eq!(reports, vec![format!("stall {reported}"); REPORTS], "{command}");
}

#[test]
fn a_function_of_another_crate_of_the_workspace_is_the_culprit() {
    let _alone = support::alone();
    check(&PROGRAM, "sum 300", "price_book::sum User computing");
}

#[test]
fn a_lock_that_is_kept_across_a_timer_blames_who_waits_for_it() {
    let _alone = support::alone();
    check(&PROGRAM, "ledger 300", "shop_app::read_pages User lock");
}

#[test]
fn a_guard_of_the_same_task_blames_the_function_that_locks() {
    let _alone = support::alone();
    check(&PROGRAM, "guard 5", "shop_app::add_peer User lock");
}

#[test]
fn the_name_of_the_file_does_not_matter() {
    let _alone = support::alone();
    for program in Renamed::new().programs() {
        check(&program, "lock 300", "shop_app::reads_stock User lock");
        check(&program, "guard 5", "shop_app::add_peer User lock");
        check(&program, "ledger 300", "shop_app::read_pages User lock");
        check(&program, "sum 300", "price_book::sum User computing");
    }
}
