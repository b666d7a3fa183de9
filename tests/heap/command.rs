//! `holdup heap`: the peak of a program that was killed, the memory of a process by kind, and the live heap of a service.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io::BufRead;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use holdup::heap::{Allocator, Sampling};
use holdup::{Print, Profile, Watch};
use serde_json::Value;
use support::memory_limit::MemoryLimit;
use support::observed::{KnownProgram, file};
use support::{alone, wait_until};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::system();

/// The objects of a peak: 200 MB, of which about 317 are sampled.
const OBJECTS: usize = 1_000;
const BYTES: usize = 200_000;

/// The line in which [`carts`] allocates.
const CARTS_LINE: u32 = line!() + 4;

#[inline(never)]
fn carts(number: usize) -> Vec<Vec<u8>> {
    (0..number).map(|_| black_box(vec![1_u8; BYTES])).collect()
}

#[inline(never)]
fn orders(number: usize) -> Vec<Vec<u8>> {
    (0..number).map(|_| black_box(vec![1_u8; BYTES])).collect()
}

/// The sequence number of the newest half.
fn sequence(file: &Path) -> u64 {
    let Ok(file) = std::fs::File::open(file) else { return 0 };
    let half = file.metadata().map_or(0, |metadata| metadata.len() / 2);
    let of = |half: u64| {
        let mut number = [0; 8];
        file.read_exact_at(&mut number, half + 16).map_or(0, |()| u64::from_le_bytes(number))
    };
    of(0).max(of(half))
}

/// Nothing is written any more after this time.
const QUIET: Duration = Duration::from_millis(300);

/// After growth ends, how long it takes until its peak is in the file, in several steps.
fn delays(file: &Path) -> Vec<Duration> {
    let mut held = Vec::new();
    let mut delays = Vec::new();
    for _ in 0..20 {
        let before = sequence(file);
        held.extend(orders(50));
        let (grown, mut last, mut delay) = (Instant::now(), sequence(file), Duration::ZERO);
        while grown.elapsed() < delay + QUIET {
            let now = sequence(file);
            if now != last {
                (last, delay) = (now, grown.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(last > before, "10 MB more are a new peak");
        delays.push(delay);
    }
    delays.sort_unstable();
    delays
}

/// A program that does what its input says, and answers when it has done it.
#[test]
#[ignore = "the program that the other tests look at"]
fn known_program() {
    let watch = Watch::builder().print(Print::Never).start().expect("it starts");
    let file = std::env::var_os("HOLDUP_HEAP_PEAK").map(PathBuf::from);
    let mut held = Vec::new();
    println!("\nready");
    for line in std::io::stdin().lock().lines() {
        match &*line.expect("it is text") {
            "carts" => held.push(carts(OBJECTS)),
            "free" => held.clear(),
            "delays" => println!("{:?}", delays(file.as_deref().expect("it has a file"))),
            "grow" => loop {
                held.push(carts(5));
                std::thread::sleep(Duration::from_millis(2));
            },
            "some" => held.push(carts(50)),
            other => panic!("{other}"),
        }
        println!("done");
    }
    drop(watch);
}

/// A program that ends at once.
#[test]
#[ignore = "the program that the other tests start"]
fn short_program() {
    let _watch = Watch::builder().print(Print::Always).start().expect("it starts");
    drop(black_box(carts(5)));
}

fn start(file: &Path) -> KnownProgram {
    start_copy(&std::env::current_exe().expect("it runs"), file)
}

fn start_copy(program: &Path, file: &Path) -> KnownProgram {
    let setting = format!("HOLDUP_HEAP_PEAK={}", file.display());
    KnownProgram::start_file(program, &["env", &setting], "known_program")
}

/// Starts the short program through a shell command, and returns what it says. It ends well.
fn warnings(file: &Path, shell: &str) -> String {
    let program = std::env::current_exe().expect("it runs");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}exec \"$0\" --exact short_program --ignored --nocapture")]).arg(program);
    let output = command.env("HOLDUP_HEAP_PEAK", file).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "the service goes on: {:?} {said}", output.status);
    said
}

fn holdup_heap(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdup")).arg("heap").args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(arguments: &[&str]) -> Value {
    let output = holdup_heap(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

/// The bytes in the file of a peak; 0 before the first one is written.
fn bytes_in(path: &Path) -> i64 {
    let output = holdup_heap(&[shown(path), "--json"]);
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    answer.and_then(|answer| answer["sum"]["bytes"].as_i64()).unwrap_or_default()
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

/// The first site of a table whose function ends with this name.
fn site<'v>(answer: &'v Value, function: &str) -> Option<&'v Value> {
    let sites = answer["groups"].as_array()?.iter().filter_map(|group| group["sites"].as_array()).flatten();
    let mut sites = sites.filter(|site| site["function"].as_str().is_some_and(|name| name.ends_with(function)));
    sites.next()
}

#[test]
fn a_killed_program_leaves_its_peak_with_names() {
    let _alone = alone();
    let path = file("killed.peak");
    let mut program = start(&path);
    assert_eq!(program.ask("carts"), "done");
    wait_until("the peak is in the file", || bytes_in(&path) > (OBJECTS * BYTES * 3 / 4) as i64);
    assert_eq!(program.ask("free"), "done");
    let pid = program.id();
    // SIGKILL.
    drop(program);
    let answer = json(&[shown(&path)]);
    let carts = site(&answer, "::carts").unwrap_or_else(|| panic!("the function is named: {answer}"));
    assert_eq!(*carts, answer["groups"][0]["sites"][0], "it is on top");
    let (bytes, truth) = (carts["bytes"].as_f64().expect("a number"), (OBJECTS * BYTES) as f64);
    let plus_minus = carts["plus_minus_percent"].as_f64().expect("a number");
    println!("{:.1} % off, ± {plus_minus:.1} %", (bytes / truth - 1.0) * 100.0);
    // The reported interval is one of 95 %; a test must not fail once in twenty times.
    assert!((bytes / truth - 1.0).abs() * 100.0 < 2.0 * plus_minus && plus_minus < 20.0, "{bytes} of {truth}: {carts}");
    assert!(carts["place"].as_str().is_some_and(|place| place.ends_with(&format!("heap/command.rs:{CARTS_LINE}"))));
    assert_eq!((&answer["kind"], &answer["pid"]), (&"peak".into(), &pid.into()));

    let table = text(&holdup_heap(&[shown(&path)]).stdout);
    assert!(table.lines().nth(2).is_some_and(|row| row.contains("::carts") && row.contains('±')), "{table}");
    assert!(table.contains("note: counted, not sampled: "), "{table}");
    let by_thread = json(&[shown(&path), "--group", "thread"]);
    assert_eq!(by_thread["groups"][0]["labels"]["thread"], "known_program");
    for name in ["killed.svg", "killed.pb.gz", "killed.json"] {
        let to = file(name);
        let output = holdup_heap(&[shown(&path), "-o", shown(&to)]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        if name != "killed.svg" {
            let profile = Profile::read(&std::fs::read(&to).expect("it is there")).expect("it is a profile");
            assert!(profile.value_named("peak_space").is_some(), "{name}");
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_holdup")).args(["top", shown(&path), "-n", "3"]).output();
    assert!(text(&output.expect("it runs").stdout).contains("::carts"), "other verbs read the file too");

    drop(start(&path));
    let previous = path.with_extension("peak.previous");
    assert_eq!(json(&[shown(&previous)])["sum"], answer["sum"], "the next process moves the peak aside");
}

#[test]
fn a_program_that_ran_out_of_memory_leaves_its_peak() {
    const LIMIT: u64 = 150 << 20;
    let _alone = alone();
    let path = file("oom.peak");
    let mut program = start(&path);
    assert_eq!(program.ask("some"), "done");
    // The first sample waits until the unwind tables are read.
    wait_until("a peak is in the file", || bytes_in(&path) > 1_000_000);
    let Some(limit) = MemoryLimit::of(program.id(), LIMIT) else {
        println!("no memory can be limited here, so this is not tried");
        return;
    };
    program.send("grow");
    let stat = format!("/proc/{}/stat", program.id());
    let has_ended = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
    wait_until("the kernel has killed it", has_ended);
    drop((program, limit));
    let answer = json(&[shown(&path)]);
    let carts = site(&answer, "::carts").unwrap_or_else(|| panic!("the function is named: {answer}"));
    let share = carts["bytes"].as_f64().expect("a number") / LIMIT as f64;
    println!("{:.0} % of the limit is in the file", share * 100.0);
    assert!((0.5..1.3).contains(&share), "{share}: {answer}");
}

#[test]
fn a_peak_needs_the_build_that_made_it() {
    let _alone = alone();
    let (path, copy) = (file("moved.peak"), file("moved_program"));
    let own = std::env::current_exe().expect("it runs");
    std::fs::copy(&own, &copy).expect("there is room");
    let mut program = start_copy(&copy, &path);
    assert_eq!(program.ask("carts"), "done");
    wait_until("the peak is in the file", || bytes_in(&path) > 10_000_000);
    drop(program);
    assert!(site(&json(&[shown(&path)]), "::carts").is_some());
    std::fs::remove_file(&copy).expect("it is ours");
    let answer = json(&[shown(&path)]);
    assert!(site(&answer, "::carts").is_none(), "{answer}");
    let note = answer["notes"].to_string();
    assert!(
        note.contains("moved_program") && note.contains("is not there any more") && note.contains("--program"),
        "{note}"
    );
    std::fs::copy("/bin/sh", &copy).expect("there is room");
    let note = json(&[shown(&path)])["notes"].to_string();
    assert!(note.contains("is another build now"), "{note}");
    assert!(
        site(&json(&[shown(&path), "--program", shown(&own)]), "::carts").is_some(),
        "the same build has the names"
    );
    let other = holdup_heap(&[shown(&path), "--program", "/bin/sh"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("/bin/sh is not the build of the program"), "{}", text(&other.stderr));
    std::fs::remove_file(&copy).expect("it is ours");
}

#[test]
fn a_file_is_readable_whenever_the_program_is_killed() {
    let _alone = alone();
    for round in 0..5 {
        let path = file("growing.peak");
        let mut program = start(&path);
        program.send("grow");
        wait_until("some peaks are written", || sequence(&path) > 4 + round);
        drop(program);
        assert!(bytes_in(&path) > 0, "{}", json(&[shown(&path)]));
    }
}

#[test]
fn a_file_goes_on_after_sampling_was_off() {
    let _alone = alone();
    let path = file("off.peak");
    let watch = Watch::builder().print(Print::Never).heap_peak_file(&path).start().expect("it starts");
    let peak_is = |bytes: i64| {
        wait_until("the peak is in the file", || bytes_in(&path) > bytes);
    };
    let first = carts(200);
    peak_is(30_000_000);
    watch.stop_sampling_heap();
    watch.sample_heap(Sampling::default()).expect("the allocator is holdup's");
    let second = carts(400);
    peak_is(100_000_000);
    assert!(!path.with_extension("peak.previous").exists(), "it is the same process");
    drop((first, second, watch));
}

#[test]
fn a_peak_is_in_the_file_soon() {
    let _alone = alone();
    let path = file("soon.peak");
    let mut program = start(&path);
    let delays = program.ask("delays");
    println!("from the end of the growth until the file has it: {delays}");
    assert!(delays.starts_with('['), "it did not end: {delays}");
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning() {
    let _alone = alone();
    let path = file("warned.peak");
    assert!(!warnings(&path, "").contains("peak"), "a good file needs no words");
    let used = start(&path);
    assert!(warnings(&path, "").contains("another process keeps its peak there"), "{path:?}");
    drop(used);
    let link = file("link.peak");
    std::os::unix::fs::symlink(&path, &link).expect("the folder is writable");
    let said = warnings(&link, "");
    assert!(said.contains("the peak of the heap is not kept in") && said.contains("symbolic link"), "{said}");
    assert!(warnings(&path.join("inside"), "").contains("Not a directory"));
    assert!(warnings(&file("limited.peak"), "ulimit -f 1000; ").contains("size of files is limited"));
    if Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        let folder = path.with_extension("disk");
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let mount = format!("mount -t tmpfs -o size=1m none {}; ", shown(&folder));
        let inside = folder.join("full.peak");
        let program = std::env::current_exe().expect("it runs");
        let run = "exec \"$0\" --exact short_program --ignored --nocapture";
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &format!("{mount}{run}")]).arg(program).env("HOLDUP_HEAP_PEAK", &inside);
        let output = command.output().expect("it starts");
        assert!(output.status.success() && text(&output.stderr).contains("No space left on device"), "{output:?}");
    } else {
        println!("no disk can be mounted here, so a full one is not tried");
    }
}

#[test]
fn the_memory_of_a_process_has_kinds_and_grows() {
    let _alone = alone();
    let mut program = start(&file("kinds.peak"));
    let pid = program.pid();
    let before = json(&["-p", &pid]);
    assert_eq!(program.ask("carts"), "done");
    let after = json(&["-p", &pid, "-d", "1s"]);
    let total = |answer: &Value| answer["looks"][0]["total"]["resident_bytes"].as_i64().expect("a number");
    let grown = total(&after) - total(&before);
    let truth = (OBJECTS * BYTES) as i64;
    assert!((truth * 9 / 10..truth * 13 / 10).contains(&grown), "{grown} of {truth}");
    assert_eq!(after["looks"].as_array().map(Vec::len), Some(2), "{after}");
    let kinds = &after["looks"][0]["kinds"];
    assert!(kinds["stacks"]["mappings"].as_i64() > Some(2), "the watch has threads: {kinds}");
    assert_eq!(kinds["holdup"]["mappings"], 1, "{kinds}");
    assert!(kinds["files"]["resident_bytes"].as_i64() > Some(1 << 20), "{kinds}");
    let table = text(&holdup_heap(&["-p", &pid, "-d", "1s"]).stdout);
    for word in ["thread stacks", "anonymous", "holdup's region", "total", "growth over", " 0.0 s  ", " 1.0 s  "] {
        assert!(table.contains(word), "{word}: {table}");
    }
    drop(program);
    let gone = holdup_heap(&["-p", &pid]);
    assert!(text(&gone.stderr).contains(&format!("there is no process {pid}")), "{}", text(&gone.stderr));
}

#[test]
fn the_live_heap_of_a_service_is_a_table() {
    let _alone = alone();
    let builder = Watch::builder().print(Print::Never).listen("127.0.0.1:0").heap(Sampling::bytes(16 << 10));
    let watch = builder.start().expect("the watch starts");
    let url = watch.endpoint().expect("it listens").to_string();
    let held = carts(50);
    let table = text(&holdup_heap(&[&url, "-n", "1"]).stdout);
    assert!(table.contains("live memory: ") && table.contains("::carts"), "{table}");
    assert!(table.contains("note: counted, not sampled: "), "exact totals: {table}");
    let grouped = text(&holdup_heap(&[&url, "--group", "thread"]).stdout);
    assert!(grouped.contains("thread: the_live_heap_o"), "{grouped}");
    drop(held);
    let none = holdup_heap(&["http://127.0.0.1:1"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("does not answer"), "{}", text(&none.stderr));
    let foreign = file("notes.txt");
    std::fs::write(&foreign, "main;a 3\n").expect("the folder is writable");
    let time = holdup_heap(&[shown(&foreign)]);
    assert!(text(&time.stderr).contains("not of memory"), "{}", text(&time.stderr));
}
