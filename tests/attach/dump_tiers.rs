//! `holdup dump --pid` of programs with separate or reduced debug information.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use awaiting::{Awaiting, MANY};
use serde_json::Value;

/// Runs a tool of binutils.
fn run(tool: &str, arguments: &[&Path]) {
    let output = Command::new(tool).args(arguments).output().expect("binutils are installed");
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An empty directory for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiers").join(name);
    let _there_was_none = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A stripped copy of the program.
fn stripped(folder: &Path, how: &str) -> PathBuf {
    let file = folder.join("awaiting");
    run("strip", &[Path::new(how), Path::new("-o"), &file, awaiting::program()]);
    file
}

/// The debug file with everything that is stripped from the program.
fn debug_file(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("a folder can be made");
    run("objcopy", &[Path::new("--only-keep-debug"), awaiting::program(), &file]);
    file
}

/// Runs the command with a cache for the tests.
fn holdup(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.args(arguments).env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiers"));
    command.output().expect("the command runs")
}

fn dump(program: &Awaiting, arguments: &[&str]) -> Value {
    let pid = program.pid().to_string();
    let output = holdup(&[&["dump", "--json", "--pid", &pid], arguments].concat());
    // On a busy machine, a running thread is not stopped in time and so not seen.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Checks that every task has its path, and the program's frames have their lines. Uses no cache.
fn assert_complete(file: &Path) {
    assert_complete_with(file, &["--no-cache"]);
}

fn assert_complete_with(file: &Path, arguments: &[&str]) {
    let program = Awaiting::of(file, "multi_thread");
    let mut census = Value::Null;
    support::wait_until("all tasks but one wait, and its thread is stopped", || {
        census = dump(&program, arguments);
        let tasks = census["tasks"].as_array().expect("a list");
        let is_stopped = census["quality"]["stopped_threads"].as_u64() > Some(0);
        is_stopped && tasks.iter().filter(|task| task["state"] != "idle").count() == 1
    });
    let tasks = census["tasks"].as_array().expect("a list");
    let many: Vec<&Value> = tasks.iter().filter(|task| task["future"] == "awaiting::many").collect();
    assert_eq!(many.len(), MANY, "{census:#}");
    for task in many {
        let leaf = &task["path"]["children"][0];
        assert_eq!((&leaf["future"], &leaf["place"]["file"]), (&"awaiting::leaf".into(), &"src/main.rs".into()));
        assert_eq!(leaf["children"][0]["waits_for"]["kind"], "timer");
    }
    assert!(tasks.iter().all(|task| task["unknown"].is_null()), "{census:#}");
    // The concrete types of trait objects are found by the addresses of vtables.
    let boxed = tasks.iter().find(|task| task["future"] == "awaiting::boxed").expect("it is there");
    assert_eq!(boxed["path"]["children"][0]["future"], "awaiting::middle");
    let threads = census["threads"].as_array().expect("a list");
    let mut frames = threads.iter().flat_map(|thread| thread["stack"].as_array().expect("a list"));
    let compute = frames.find(|frame| frame["function"] == "awaiting::compute").expect("it computes");
    assert!(compute["file"].as_str().is_some_and(|file| file.ends_with("src/main.rs")), "{compute}");
}

#[test]
fn types_are_found_in_files_next_to_the_program() {
    let _alone = support::alone();
    // With a debug link in the program, and in the usual places without a link.
    let linked = folder("linked");
    let file = stripped(&linked, "--strip-all");
    let debug = debug_file(&linked, "types.dbg");
    run("objcopy", &[Path::new(&format!("--add-gnu-debuglink={}", debug.display())), &file]);
    assert_complete(&file);
    let beside = folder("beside");
    debug_file(&beside, "awaiting.debug");
    assert_complete(&stripped(&beside, "--strip-all"));
    let below = folder("below");
    debug_file(&below, ".debug/awaiting");
    assert_complete(&stripped(&below, "--strip-debug"));
}

#[test]
fn types_are_found_by_build_id() {
    let _alone = support::alone();
    let folder = folder("build-id");
    let text = Command::new("readelf").arg("-n").arg(awaiting::program()).output().expect("binutils are installed");
    let text = String::from_utf8(text.stdout).expect("is text");
    let id = text.split("Build ID: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("it has one");
    debug_file(&folder, &format!(".build-id/{}/{}.debug", &id[..2], &id[2..]));
    assert_complete(&stripped(&folder, "--strip-all"));
}

#[test]
fn a_debug_file_of_another_build_is_refused() {
    let _alone = support::alone();
    let folder = folder("refused");
    let file = stripped(&folder, "--strip-debug");
    let other = folder.join("awaiting.debug");
    run("objcopy", &[Path::new("--only-keep-debug"), Path::new(env!("CARGO_BIN_EXE_holdup")), &other]);
    let census = dump(&Awaiting::of(&file, "multi_thread"), &["--no-cache"]);
    let missing = census["quality"]["missing"].to_string();
    assert!(missing.contains("awaiting.debug is not used: it belongs to another build"), "{missing}");
}

#[test]
fn threads_that_wait_for_each_others_locks_need_symbols_alone() {
    let _alone = support::alone();
    let program = Awaiting::of(&stripped(&folder("locks"), "--strip-debug"), "locks");
    let mut functions = Vec::new();
    // The threads announce their wait before they begin it.
    support::wait_until("all of them wait", || {
        let census = dump(&program, &["--no-cache"]);
        let cycles = census["cycles"].as_array().expect("a list");
        let steps = cycles.iter().flat_map(|cycle| cycle["steps"].as_array().expect("a list"));
        functions = steps.map(|step| step["function"].as_str().expect("text").to_owned()).collect();
        cycles.len() == 2
    });
    functions.sort_unstable();
    let expected = ["refund", "refund_parked", "transfer", "transfer_parked"];
    assert_eq!(functions, expected.map(|name| format!("awaiting::locks::{name}")));
}

#[test]
fn compressed_debug_information_is_read() {
    let _alone = support::alone();
    for format in ["zlib", "zstd"] {
        let file = folder(format).join("awaiting");
        let argument = format!("--compress-debug-sections={format}");
        let output = Command::new("objcopy").args([Path::new(&argument), awaiting::program(), &file]).output();
        let output = output.expect("binutils are installed");
        let message = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && message.contains("zstd") {
            println!("this objcopy does not support zstd; not tested");
            continue;
        }
        assert!(output.status.success(), "{message}");
        assert_complete(&file);
    }
}

#[test]
fn split_debug_information_is_read() {
    let _alone = support::alone();
    for how in ["packed", "unpacked"] {
        let split = [("CARGO_PROFILE_DEV_DEBUG", "2"), ("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", how)];
        assert_complete(&awaiting::build(&format!("awaiting-{how}"), &split, &[]));
    }
}

/// The functions of the program's tasks, with the number of tasks of each.
const TASKS: [(&str, usize); 18] = [
    ("nested", 1),
    ("joins", 1),
    ("selects", 1),
    ("boxed", 1),
    ("times_out", 1),
    ("wrapped", 1),
    ("holds_lock", 1),
    ("waits_for_lock", 1),
    ("waits_for_permit", 1),
    ("receives", 1),
    ("receives_once", 1),
    ("waits_for_task", 1),
    ("unordered", 1),
    ("joins_set", 1),
    ("accepts", 1),
    ("runs", 1),
    ("crosses", 2),
    ("leaf", 3),
];

/// The number of all tasks, including those of `many`.
fn all_tasks() -> usize {
    TASKS.iter().map(|(_, count)| count).sum::<usize>() + MANY
}

/// Checks a census without await paths: every task has its state, and the running task has its thread. Returns how many
/// tasks have the name of their function. No task has a wrong name.
fn assert_states(census: &Value, tier: &str) -> usize {
    assert_eq!(census["debug_info"], tier);
    assert!(census["debug_info_note"].as_str().is_some_and(|note| note.contains("`debug = 2`")), "{census:#}");
    let tasks = census["tasks"].as_array().expect("a list");
    assert_eq!(tasks.len(), all_tasks(), "{census:#}");
    let ids: std::collections::HashSet<u64> = tasks.iter().filter_map(|task| task["id"].as_u64()).collect();
    assert_eq!(ids.len(), tasks.len(), "each has a unique id");
    let running: Vec<&Value> = tasks.iter().filter(|task| task["state"] == "running").collect();
    assert_eq!(running.len(), 1, "{census:#}");
    assert!(tasks.iter().all(|task| task["path"].is_null()));
    let threads = census["threads"].as_array().expect("a list");
    let polling: Vec<&Value> = threads.iter().filter(|thread| thread["task"] == running[0]["id"]).collect();
    assert!(
        polling.len() == 1 && polling[0]["tid"] == running[0]["thread"] && polling[0]["runs"] == true,
        "{census:#}"
    );
    assert!(polling[0]["stack"].as_array().is_some_and(|frames| frames.len() > 3), "{census:#}");
    let mut known = 0;
    for name in tasks.iter().filter_map(|task| task["future"].as_str()).filter(|name| *name != "type not known") {
        // Types with merged code have this addition.
        let name = name.split(", or one").next().expect("there is a first");
        let function = name.strip_prefix("awaiting::").expect("it belongs to the program");
        assert!(function == "many" || TASKS.iter().any(|(task, _)| *task == function), "{name}");
        known += 1;
    }
    for (function, count) in TASKS.into_iter().chain([("many", MANY)]) {
        let name = format!("awaiting::{function}");
        let found = tasks.iter().filter(|task| task["future"] == name).count();
        assert!(found <= count, "{found} tasks are called {name}: {census:#}");
    }
    known
}

/// A census after the start of the program: one task runs, and all others wait.
fn settled(file: &Path, flavor: &str) -> Value {
    let mut census = Value::Null;
    // A task in the LIFO slot of the busy worker is never polled. Then the program is restarted.
    for _ in 0..3 {
        let program = Awaiting::of(file, flavor);
        let limit = Instant::now() + support::DEADLINE / 2;
        while Instant::now() < limit {
            census = dump(&program, &[]);
            let tasks = census["tasks"].as_array().expect("a list");
            let is_stopped = census["quality"]["stopped_threads"].as_u64() > Some(0);
            if is_stopped && tasks.iter().filter(|task| task["state"] == "idle").count() + 1 == all_tasks() {
                return census;
            }
        }
    }
    panic!("more than one task does not wait, or the running thread was not stopped: {census:#}");
}

/// The settings of cargo's default release profile that affect debug information.
const RELEASE: [(&str, &str); 2] = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_OPT_LEVEL", "3")];

#[test]
fn programs_with_symbols_or_less_have_tasks_with_states() {
    let _alone = support::alone();
    let file = awaiting::build("awaiting-symbols", &RELEASE, &[]);
    for flavor in ["multi_thread", "current_thread"] {
        let census = settled(&file, flavor);
        let known = assert_states(&census, "symbols");
        // The code that drops a task reveals its type, unless that code is merged or inlined.
        assert!(known * 10 >= all_tasks() * 7, "{known}: {census:#}");
        assert_eq!(census["runtimes"][0]["flavor"], flavor);
    }
    let stripped = folder("stripped").join("awaiting");
    run("strip", &[Path::new("--strip-all"), Path::new("-o"), &stripped, &file]);
    let census = settled(&stripped, "multi_thread");
    assert_eq!(assert_states(&census, "none"), 0);
}

#[test]
fn names_of_functions_reveal_the_types_of_tasks() {
    let _alone = support::alone();
    let mut limited = RELEASE;
    limited[0].1 = "limited";
    let file = awaiting::build("awaiting-limited", &limited, &[]);
    assert_eq!(assert_states(&settled(&file, "multi_thread"), "lines"), all_tasks());
    // The newer symbol mangling, without lines.
    let v0 = [RELEASE[0], RELEASE[1], ("RUSTFLAGS", "-C symbol-mangling-version=v0")];
    let file = awaiting::build("awaiting-v0", &v0, &[]);
    assert_eq!(assert_states(&settled(&file, "current_thread"), "symbols"), all_tasks());
}

#[test]
fn types_of_the_own_package_are_enough_for_paths() {
    let _alone = support::alone();
    let types = ["--config", "profile.dev.package.awaiting.debug=2"];
    let file = awaiting::build("awaiting-own", &RELEASE, &types);
    let census = settled(&file, "multi_thread");
    let tasks = census["tasks"].as_array().expect("a list");
    assert_eq!(tasks.len(), all_tasks(), "{census:#}");
    for (function, count) in TASKS.into_iter().chain([("many", MANY)]) {
        let name = format!("awaiting::{function}");
        let found: Vec<&Value> = tasks.iter().filter(|task| task["future"] == name).collect();
        assert_eq!(found.len(), count, "{name}: {census:#}");
        let place = if function == "wrapped" { "/path/children/0/future" } else { "/path/future" };
        let is_named = |task: &&Value| task.pointer(place).is_some_and(|found| *found == name);
        assert!(found.iter().all(is_named), "{name}: {census:#}");
    }
    let many = tasks.iter().find(|task| task["future"] == "awaiting::many").expect("there are some");
    assert_eq!(many["path"]["children"][0]["place"]["file"], "src/main.rs");
}

#[test]
fn types_are_cached_and_a_damaged_cache_is_noticed() {
    let _alone = support::alone();
    // A separate build, so that no other test caches it.
    let folder = folder("cached");
    let file = folder.join("awaiting");
    run("objcopy", &[Path::new("--remove-section=.note.gnu.build-id"), awaiting::program(), &file]);
    let program = Awaiting::of(&file, "multi_thread");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiers/holdup");
    let cached = || -> Vec<PathBuf> {
        let files = std::fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path());
        files.filter(|path| path.to_string_lossy().contains("636f6465")).collect()
    };
    cached().iter().for_each(|path| std::fs::remove_file(path).expect("the test may write it"));
    let origin = |arguments: &[&str]| {
        let census = dump(&program, arguments);
        assert!(census["tasks"].as_array().is_some_and(|tasks| tasks.len() == all_tasks()), "{census:#}");
        census["quality"]["index_origin"].as_str().expect("text").to_owned()
    };
    assert_eq!(origin(&["--no-cache"]), "read from debug information");
    assert!(cached().is_empty());
    assert_eq!(origin(&[]), "read from debug information");
    assert_eq!(cached().len(), 1, "its name is derived from the program's code");
    assert_eq!(origin(&[]), "read from the cache");
    assert_complete_with(&file, &[]);
    let path = cached().pop().expect("there is one");
    let mut bytes = std::fs::read(&path).expect("the test may write it");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("the test may write it");
    let text = origin(&[]);
    assert!(text.starts_with("read from debug information") && text.ends_with("it is damaged"), "{text}");
    assert_eq!(origin(&[]), "read from the cache", "it was written again");
}

#[test]
fn extracted_symbols_complete_a_stripped_program() {
    let _alone = support::alone();
    let folder = folder("extracted");
    let symbols = folder.join("awaiting.symbols");
    let extract = |program: &Path| {
        let output = holdup(&["symbols", "extract", &program.to_string_lossy(), "-o", &symbols.to_string_lossy()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let with = ["--no-cache", "--symbols", &symbols.to_string_lossy()];
    extract(awaiting::program());
    let file = stripped(&folder, "--strip-all");
    assert_complete_with(&file, &with);
    // A program without a build id is identified by its code.
    let unnamed = folder.join("unnamed");
    run("objcopy", &[Path::new("--remove-section=.note.gnu.build-id"), awaiting::program(), &unnamed]);
    extract(&unnamed);
    let bare = folder.join("bare");
    run("strip", &[Path::new("-o"), &bare, &unnamed]);
    assert_complete_with(&bare, &with);
    // Symbols of another program are refused.
    let program = Awaiting::of(&file, "multi_thread");
    let output = holdup(&[&["dump", "--pid", &program.pid().to_string()], &with[..]].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("belongs to another build"), "{message}");
    // CPU profiles use the symbols too.
    let pid = program.pid().to_string();
    extract(awaiting::program());
    let profile = folder.join("wall.folded");
    let (symbols, profile_path) = (symbols.to_string_lossy(), profile.to_string_lossy());
    let arguments = ["--mode", "wall", "-d", "1", "--symbols", &symbols, "-o", &profile_path];
    let output = holdup(&[&["record", "--pid", &pid], &arguments[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&profile).expect("it was written");
    assert!(text.contains("awaiting::runs;awaiting::compute"), "{text}");
}

#[test]
fn watching_stalls_of_a_stripped_program_is_refused() {
    let _alone = support::alone();
    let program = Awaiting::of(&stripped(&folder("stalls"), "--strip-all"), "multi_thread");
    let output = holdup(&["stalls", "--pid", &program.pid().to_string(), "-d", "1"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("`debug = 2`"), "{message}");
    assert!(message.contains("was stripped"), "{message}");
}
