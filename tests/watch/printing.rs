//! Where reports are printed. holdup goes on when a subscriber, a callback or a reader of standard error is stuck for good.
//! Each scene runs in a process of its own, because a subscriber is global.

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdup::{Error, Print, Runtime, Stall, Watch, WatchBuilder};
use serde_json::Value;
use support::cpu_load::use_cpu;
use support::one_cpu::poll_beside_a_hog;
use support::{DEADLINE, alone, wait_until};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// The variable that names the scene of a child process.
const SCENE: &str = "HOLDUP_SCENE";

/// The scenes that a child process can play.
const SCENES: [(&str, fn()); 11] = [
    ("plain", || play(Watch::builder())),
    ("log", || {
        tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
        play(Watch::builder());
    }),
    ("filtered-log", || {
        let filter = EnvFilter::new("info,holdup=off");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout).init();
        play(Watch::builder());
    }),
    ("log-and-always", || {
        tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
        play(Watch::builder().print(Print::Always));
    }),
    ("by-the-machine", by_the_machine),
    ("by-the-machine-log", || {
        tracing_subscriber::fmt().with_ansi(false).init();
        by_the_machine();
    }),
    ("never", || play(Watch::builder().print(Print::Never))),
    ("stuck-subscriber", || {
        tracing_subscriber::fmt().with_writer(|| Stuck).init();
        stuck_for_good(Watch::builder(), "the program's tracing subscriber");
    }),
    ("stuck-callback", || {
        let forever = |_: &holdup::StallEvent<'_>| loop {
            std::thread::park();
        };
        stuck_for_good(Watch::builder().on_stall(forever), "the stall callback");
    }),
    ("stuck-standard-error", || {
        fill_standard_error();
        stuck_for_good(Watch::builder(), "standard error");
    }),
    ("full-log-pipe", full_log_pipe),
];

/// Played in a child process only.
#[test]
fn scene_of_a_child() {
    let Ok(name) = std::env::var(SCENE) else { return };
    let (_, play) = SCENES.iter().find(|(scene, _)| *scene == name).expect("a scene");
    play();
}

/// Log lines go to a writer that never returns.
struct Stuck;

impl Write for Stuck {
    fn write(&mut self, _line: &[u8]) -> std::io::Result<usize> {
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[inline(never)]
fn first_mistake() {
    std::thread::sleep(Duration::from_millis(60));
    std::hint::black_box(());
}

#[inline(never)]
fn second_mistake() {
    std::thread::sleep(Duration::from_millis(60));
    std::hint::black_box(());
}

fn runtime(watch: &Watch) -> Runtime {
    watch.runtime(Builder::new_multi_thread().worker_threads(2).enable_all()).expect("builds")
}

fn make(runtime: &Runtime, mistake: fn()) {
    runtime.block_on(async { holdup::spawn(async move { mistake() }).await.expect("it ends") });
}

/// A poll that takes longer than the threshold only because another thread uses the same CPU.
fn by_the_machine() {
    let threshold = Duration::from_millis(30);
    let watch = Watch::builder().threshold(threshold).start().expect("starts");
    poll_beside_a_hog(&watch, 1, move || use_cpu(threshold * 2 / 3));
    watch.shutdown_timeout(DEADLINE).expect("everything is reported");
}

fn culprit_is(stall: &Stall, function: &str) -> bool {
    stall.ended && stall.culprit.as_ref().is_some_and(|culprit| culprit.frame.function.ends_with(function))
}

fn wait_for(watch: &Watch, function: &str) {
    wait_until(function, || watch.stalls().entries.iter().any(|entry| culprit_is(&entry.stall, function)));
}

/// Two stalls of one kind, and an orderly end.
fn play(builder: WatchBuilder) {
    let watch = builder.start().expect("starts");
    let runtime = runtime(&watch);
    make(&runtime, first_mistake);
    make(&runtime, first_mistake);
    wait_until("both have ended", || watch.stalls().entries.iter().any(|entry| entry.count == 2));
    watch.shutdown_timeout(DEADLINE).expect("everything is reported");
}

/// Stalls before and after something of the program is stuck for good. Prints what the watch and its endpoint know.
fn stuck_for_good(builder: WatchBuilder, who: &str) {
    let watch = builder.listen("127.0.0.1:0").start().expect("starts");
    let runtime = runtime(&watch);
    make(&runtime, first_mistake);
    wait_for(&watch, "first_mistake");
    wait_until(who, || watch.stalls().notes.iter().any(|note| note.starts_with(who)));
    make(&runtime, second_mistake);
    wait_for(&watch, "second_mistake");
    let address = support::address_of(&watch);
    let ask = |path: &str| {
        let mut answer = ureq::get(format!("http://{address}{path}")).call().expect("it answers");
        answer.body_mut().read_to_string().expect("text")
    };
    let stalls: Value = serde_json::from_str(&ask("/debug/holdup/stalls")).expect("JSON");
    // What the page is told at first.
    let events = ureq::get(format!("http://{address}/debug/holdup/live")).call().expect("it answers");
    let mut lines = BufReader::new(events.into_body().into_reader()).lines().map_while(Result::ok);
    let page = lines.find(|line| line.starts_with("data: ") && line.contains("\"held\"")).expect("an event");
    let before = Instant::now();
    let outcome = watch.shutdown_timeout(Duration::from_secs(2));
    let took = before.elapsed();
    let known = serde_json::json!({
        "stalls": stalls,
        "page_says": page.contains(who.trim_start_matches("the program's ")),
        "pending": matches!(outcome, Err(Error::ReportsPending { .. })),
        "shutdown_ms": u64::try_from(took.as_millis()).expect("short"),
    });
    println!("\nKNOWN {known}");
    end();
}

/// Ends the child, also while threads are stuck.
#[allow(clippy::exit, reason = "what follows a test in libtest would wait for the full pipe")]
fn end() -> ! {
    std::process::exit(0)
}

/// Fills the pipe on standard error, which nobody reads, until a write would wait.
fn fill_standard_error() {
    use std::os::fd::AsFd;
    let descriptor = std::io::stderr().as_fd().try_clone_to_owned().expect("is open");
    std::thread::spawn(move || {
        let mut pipe = std::fs::File::from(descriptor);
        while pipe.write(&[b'.'; 4096]).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(300));
}

/// The case `stalled-log-pipe`: workers log to a pipe that nobody reads. One writes and the other waits for its lock.
fn full_log_pipe() {
    #[inline(never)]
    fn forward_frame(frame: u64) {
        tracing::info!(frame, body = "0123456789abcdef0123456789abcdef0123456789abcdef", "frame forwarded");
    }
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
    let watch = Watch::builder().start().expect("starts");
    let runtime = runtime(&watch);
    for _ in 0..6 {
        runtime.spawn(async {
            for frame in 0.. {
                tokio::time::sleep(Duration::from_millis(1)).await;
                forward_frame(frame);
            }
        });
    }
    let stuck = |watch: &Watch| {
        let entries = watch.stalls().entries;
        let at = |stall: &Stall| {
            !stall.ended
                && stall.culprit.as_ref().is_some_and(|culprit| culprit.frame.function.contains("forward_frame"))
        };
        entries.iter().filter(|entry| at(&entry.stall)).count()
    };
    wait_until("both workers are stuck", || stuck(&watch) == 2);
    wait_until("holdup says so", || !watch.stalls().notes.is_empty());
    let before = Instant::now();
    let outcome = watch.shutdown_timeout(Duration::from_secs(1));
    eprintln!("KNOWN {} {}", outcome.is_err(), before.elapsed() < Duration::from_secs(10));
    end();
}

fn child(scene: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    Command::new(program)
        .args(["--exact", "scene_of_a_child", "--nocapture"])
        .env(SCENE, scene)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Plays a scene to its end: its standard output and standard error.
fn play_in_child(scene: &str) -> (String, String) {
    let Output { status, stdout, stderr } = child(scene).wait_with_output().expect("ends");
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success(), "{stdout}\n{stderr}");
    (stdout, stderr)
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn without_a_subscriber_reports_go_to_standard_error_once() {
    let _alone = alone();
    for scene in ["plain", "filtered-log"] {
        let (stdout, stderr) = play_in_child(scene);
        assert_eq!(count(&stderr, "holdup: stall #1: worker"), 1, "{scene}: {stderr}");
        assert_eq!(count(&stderr, "culprit  watch_printing::first_mistake"), 1, "{scene}: {stderr}");
        let summary = "holdup: in all: 2 stalls by watch_printing::first_mistake, ";
        assert_eq!(count(&stderr, summary), 1, "{scene}: {stderr}");
        assert_eq!(count(&stderr, "sleeping at tests/watch/printing.rs:"), 1, "{scene}: {stderr}");
        assert!(!stderr.contains('\x1b'), "{scene}: no colors, because it is no terminal: {stderr:?}");
        assert!(!stdout.contains("holdup"), "{scene}: {stdout}");
    }
}

/// So far the machine is the cause, so nothing is said before the end.
#[test]
fn a_stall_that_is_announced_at_its_end_is_printed_once() {
    let _alone = alone();
    let (_stdout, stderr) = play_in_child("by-the-machine");
    let number =
        |line: &str| line.strip_prefix("holdup: stall #").map(|rest| rest.split(':').next().map(str::to_owned));
    let headlines = stderr.lines().filter(|line| line.contains(" was held for ")).filter_map(number).flatten();
    let numbers: Vec<String> = headlines.collect();
    assert!(!numbers.is_empty(), "{stderr}");
    for number in numbers {
        assert_eq!(count(&stderr, &format!("holdup: stall #{number}: ")), 1, "{stderr}");
    }
    let (stdout, _stderr) = play_in_child("by-the-machine-log");
    // A stall that is still not run after four thresholds is announced before its end.
    let is_first = |line: &&str| line.contains("cause=\"not_scheduled\"") && line.contains(" count=");
    let first: Vec<&str> = stdout.lines().filter(is_first).filter(|line| !line.contains("phase=\"summary\"")).collect();
    assert!(first.iter().any(|line| line.contains("phase=\"ended\"")), "{stdout}");
    assert!(first.iter().all(|line| line.contains("advice=\"The machine had no CPU")), "{stdout}");
}

#[test]
fn with_a_subscriber_reports_are_events_and_no_blocks() {
    let _alone = alone();
    let (stdout, stderr) = play_in_child("log");
    assert_eq!(count(&stdout, "phase=\"noticed\""), 1, "{stdout}");
    assert_eq!(count(&stdout, "advice=\"Replace std::thread::sleep"), 1, "{stdout}");
    assert_eq!(count(&stdout, "in all: 2 stalls by watch_printing::first_mistake"), 1, "{stdout}");
    assert!(!stderr.contains("holdup"), "{stderr}");
    let (stdout, stderr) = play_in_child("log-and-always");
    assert_eq!(count(&stdout, "phase=\"noticed\""), 1, "{stdout}");
    assert_eq!(count(&stderr, "holdup: stall #1: worker"), 1, "{stderr}");
    let (stdout, stderr) = play_in_child("never");
    assert!(!stdout.contains("holdup") && !stderr.contains("holdup"), "{stdout}\n{stderr}");
}

/// What a scene with something stuck has printed about itself.
fn known(stdout: &str) -> Value {
    let line = stdout.lines().find_map(|line| line.strip_prefix("KNOWN "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no outcome in {stdout}"))).expect("JSON")
}

#[track_caller]
fn goes_on(scene: &str, known: &Value) {
    let stalls = known["stalls"]["stalls"].as_array().expect("a list");
    for function in ["watch_printing::first_mistake", "watch_printing::second_mistake"] {
        assert!(stalls.iter().any(|stall| stall["culprit"]["function"] == function), "{scene}: {function}: {known:#}");
    }
    assert!(known["stalls"]["notes"][0].as_str().is_some_and(|note| note.contains("has not")), "{scene}: {known:#}");
    assert_eq!(known["page_says"], true, "{scene}");
    assert_eq!(known["pending"], true, "{scene}: the shutdown says that not everything was delivered");
    assert!(known["shutdown_ms"].as_u64() < Some(6_000), "{scene}: {}", known["shutdown_ms"]);
}

#[test]
fn a_subscriber_that_blocks_for_good_holds_nothing_of_holdup_up() {
    let _alone = alone();
    let (stdout, stderr) = play_in_child("stuck-subscriber");
    goes_on("stuck-subscriber", &known(&stdout));
    assert!(stderr.contains("tracing subscriber has not returned"), "{stderr}");
    for function in ["first_mistake", "second_mistake"] {
        let culprit = format!("culprit  watch_printing::{function} at");
        assert_eq!(count(&stderr, &culprit), 1, "it is printed instead, once: {stderr}");
    }
}

#[test]
fn a_callback_that_never_returns_holds_nothing_of_holdup_up() {
    let _alone = alone();
    let (stdout, stderr) = play_in_child("stuck-callback");
    goes_on("stuck-callback", &known(&stdout));
    assert_eq!(count(&stderr, "culprit  watch_printing::second_mistake at"), 1, "{stderr}");
}

#[test]
fn a_standard_error_that_nobody_reads_holds_nothing_of_holdup_up() {
    let _alone = alone();
    let mut child = child("stuck-standard-error");
    let mut stdout = String::new();
    // Standard error stays unread until the child has ended.
    child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
    goes_on("stuck-standard-error", &known(&stdout));
    assert!(child.wait().expect("ends").success());
}

#[test]
fn a_log_pipe_that_nobody_reads_is_reported_on_standard_error() {
    let _alone = alone();
    let mut child = child("full-log-pipe");
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert!(child.wait().expect("ends").success(), "{stderr}");
    assert!(stderr.contains("forward_frame at "), "{stderr}");
    assert!(stderr.contains("tracing subscriber has not returned"), "{stderr}");
    assert!(stderr.contains("KNOWN true true"), "the shutdown is bounded, and says what is missing: {stderr}");
}

#[test]
fn the_callback_is_called_in_order() {
    let _alone = alone();
    let phases: Arc<Mutex<Vec<holdup::stall::Phase>>> = Arc::default();
    let record = Arc::clone(&phases);
    let note = move |event: &holdup::StallEvent<'_>| record.lock().expect("no panic").push(event.phase);
    let watch = Watch::builder().print(Print::Never).on_stall(note).start().expect("starts");
    let runtime = runtime(&watch);
    make(&runtime, first_mistake);
    watch.shutdown_timeout(DEADLINE).expect("everything is delivered");
    let phases = phases.lock().expect("no panic");
    assert_eq!(phases.first(), Some(&holdup::stall::Phase::Noticed), "{phases:?}");
    assert_eq!(phases.last(), Some(&holdup::stall::Phase::Ended), "{phases:?}");
}
