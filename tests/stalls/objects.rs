//! Stalls that wait for a known object: each must be reported with it, inside the process and from outside.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code, reason = "has an allocator with a lock")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/terminal.rs"]
mod terminal;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Barrier, Condvar, LazyLock, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holdup::stall::{CauseClass, CauseObject};
use holdup::{Print, Watch};
use support::{DEADLINE, function_of, wait_until};

/// Names the file to which the program that is stuck writes what is reported of it.
const REPORTS: &str = "HOLDUP_TEST_REPORTS";

/// More than any pipe or terminal holds.
static MUCH: [u8; 1 << 20] = [b'.'; 1 << 20];

/// A function that never returns, with the class and the objects that must be reported.
type Case = (&'static str, CauseClass, &'static [CauseObject]);

const CASES: &[Case] = &[
    ("fill_stdout", CauseClass::File, &[CauseObject::StandardOutputPipe]),
    ("print_beside_it", CauseClass::Lock, &[CauseObject::OutputLock]),
    ("fill_stderr", CauseClass::File, &[CauseObject::StandardErrorPipe]),
    ("read_stdin", CauseClass::File, &[CauseObject::StandardInput]),
    ("fill_pipe", CauseClass::File, &[CauseObject::PipeWrite]),
    ("read_pipe", CauseClass::File, &[CauseObject::PipeRead]),
    ("fill_terminal", CauseClass::File, &[CauseObject::TerminalOutput]),
    ("read_terminal", CauseClass::File, &[CauseObject::TerminalInput]),
    ("lock_file", CauseClass::Lock, &[CauseObject::FileLock]),
    ("lock_twice", CauseClass::Lock, &[CauseObject::StuckLock]),
    ("write_while_reading", CauseClass::Lock, &[CauseObject::StuckLock]),
    ("join_thread", CauseClass::Lock, &[CauseObject::ThreadJoin]),
    ("scope_thread", CauseClass::Lock, &[CauseObject::ThreadJoin]),
    ("receive", CauseClass::Lock, &[CauseObject::ChannelReceive]),
    ("send", CauseClass::Lock, &[CauseObject::ChannelSend]),
    ("initialize", CauseClass::Lock, &[CauseObject::Initialization]),
    ("wait_for_condition", CauseClass::Lock, &[CauseObject::ConditionVariable]),
    ("wait_at_barrier", CauseClass::Lock, &[CauseObject::ConditionVariable]),
    ("park", CauseClass::Lock, &[CauseObject::ThreadPark]),
    ("allocate", CauseClass::Lock, &[CauseObject::AllocatorLock]),
    ("log_line", CauseClass::Lock, &[CauseObject::Logger]),
    ("request", CauseClass::Network, &[CauseObject::BlockingHttp]),
    ("<stalls_objects::Session as core::ops::drop::Drop>::drop", CauseClass::Sleeping, &[CauseObject::Drop]),
    (
        "<stalls_objects::Owner as core::ops::drop::Drop>::drop",
        CauseClass::Lock,
        &[CauseObject::ThreadJoin, CauseObject::Drop],
    ),
];

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(600);

#[inline(never)]
fn fill_stdout() {
    std::io::stdout().write_all(&MUCH).expect("the pipe is open");
}

/// One of the bytes may come before those of `fill_stdout`.
async fn print_again_and_again() {
    loop {
        print_beside_it();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[inline(never)]
fn print_beside_it() {
    print!(".");
    std::hint::black_box(());
}

#[inline(never)]
fn fill_stderr() {
    std::io::stderr().write_all(&MUCH).expect("the pipe is open");
}

#[inline(never)]
fn read_stdin() {
    std::io::stdin().read_exact(&mut [0]).expect("the pipe is open");
}

#[inline(never)]
fn fill_pipe(mut pipe: PipeWriter) {
    pipe.write_all(&MUCH).expect("the pipe is open");
}

#[inline(never)]
fn read_pipe(mut pipe: PipeReader) {
    pipe.read_exact(&mut [0]).expect("the pipe is open");
}

#[inline(never)]
fn fill_terminal(mut terminal: File) {
    terminal.write_all(&MUCH).expect("the terminal is open");
}

#[inline(never)]
fn read_terminal(mut terminal: File) {
    terminal.read_exact(&mut [0]).expect("the terminal is open");
}

#[inline(never)]
fn lock_file(file: &File) {
    file.lock().expect("the file is open");
    std::hint::black_box(());
}

#[inline(never)]
fn lock_twice(mutex: &Mutex<()>) {
    let first = mutex.lock();
    let second = mutex.lock();
    std::hint::black_box((first, second).0.is_ok());
}

#[inline(never)]
fn write_while_reading(lock: &RwLock<()>) {
    let read = lock.read();
    let write = lock.write();
    std::hint::black_box((read, write).0.is_ok());
}

#[inline(never)]
fn join_thread(thread: JoinHandle<()>) {
    thread.join().expect("it does not panic");
}

#[inline(never)]
fn scope_thread() {
    std::thread::scope(|scope| {
        scope.spawn(|| std::thread::sleep(FOREVER));
    });
    std::hint::black_box(());
}

#[inline(never)]
fn receive(channel: &Receiver<()>) {
    channel.recv().expect("the sender lives");
}

#[inline(never)]
fn send(channel: &SyncSender<()>) {
    channel.send(()).expect("the receiver lives");
    channel.send(()).expect("the receiver lives");
}

static BEING_MADE: AtomicBool = AtomicBool::new(false);

static SLOWLY_MADE: LazyLock<()> = LazyLock::new(|| {
    BEING_MADE.store(true, Ordering::Release);
    std::thread::sleep(FOREVER);
});

#[inline(never)]
fn initialize() {
    LazyLock::force(&SLOWLY_MADE);
    std::hint::black_box(());
}

#[inline(never)]
fn wait_for_condition(never: &(Mutex<()>, Condvar)) {
    let guard = never.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(never.1.wait(guard));
    std::hint::black_box(());
}

#[inline(never)]
fn wait_at_barrier(barrier: &Barrier) {
    barrier.wait();
    std::hint::black_box(());
}

#[inline(never)]
fn park() {
    std::thread::park();
    std::hint::black_box(());
}

/// The allocator of the program. Allocations of one size take a lock.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The lock of the allocations of this size, which nothing else has.
static OF_SIZE: Mutex<()> = Mutex::new(());
const SIZE: usize = 7_654_321;

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == SIZE {
            drop(OF_SIZE.lock());
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same, and all memory comes from this allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline(never)]
fn allocate() {
    let buffer: Vec<u8> = Vec::with_capacity(SIZE);
    std::hint::black_box(buffer);
}

/// A file of a logger that never takes a line, and says when it has one.
struct StuckLog;

static IS_LOGGING: AtomicBool = AtomicBool::new(false);

impl Write for StuckLog {
    fn write(&mut self, _line: &[u8]) -> std::io::Result<usize> {
        IS_LOGGING.store(true, Ordering::Release);
        std::thread::sleep(FOREVER);
        Ok(0)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[inline(never)]
fn log_line() {
    tracing::warn!("a line");
    std::hint::black_box(());
}

#[inline(never)]
fn request(address: SocketAddr) {
    let answer = ureq::get(format!("http://{address}/")).call();
    std::hint::black_box(answer.is_ok());
}

struct Session;

impl Drop for Session {
    fn drop(&mut self) {
        std::thread::sleep(FOREVER);
        std::hint::black_box(());
    }
}

/// Its thread ends with it.
struct Owner(Option<JoinHandle<()>>);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ended = self.0.take().map(JoinHandle::join);
    }
}

fn endless_thread() -> JoinHandle<()> {
    std::thread::spawn(|| std::thread::sleep(FOREVER))
}

/// The program that is stuck. Each task never returns from its poll.
#[test]
#[ignore = "run by the other test, in a separate process"]
fn stuck_program() {
    let reports = PathBuf::from(std::env::var_os(REPORTS).expect("the test names a file"));
    let locked = reports.with_extension("locked");
    let file = Mutex::new(File::create(&reports).expect("the folder is there"));
    let watch = Watch::builder().threshold(Duration::from_millis(10)).print(Print::Never).on_stall(move |event| {
        let objects: Vec<_> = event.stall.cause.objects.iter().map(ToString::to_string).collect();
        let line = format!("{} {} {}\n", function_of(event.stall), event.stall.cause.class, objects.join(","));
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).expect("there is room");
    });
    let watch = watch.start().expect("starts");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(CASES.len() + 3).enable_all()).expect("builds");

    let (empty, _writer) = std::io::pipe().expect("pipe");
    let (_reader, full) = std::io::pipe().expect("pipe");
    let (drawn, _other_side) = terminal::open().expect("terminal");
    let (typed, _another_side) = terminal::open().expect("terminal");
    let (_sender, receiver) = channel();
    let (sender, _receiver) = sync_channel(1);
    let theirs = File::create(&locked).expect("the folder is there");
    theirs.lock().expect("it is free");
    let ours = File::open(&locked).expect("it is there");
    let _initializing = std::thread::spawn(|| LazyLock::force(&SLOWLY_MADE));
    // Otherwise the task may be the one that makes the value.
    wait_until("the value is being made", || BEING_MADE.load(Ordering::Acquire));

    runtime.spawn(async { fill_stdout() });
    runtime.spawn(print_again_and_again());
    runtime.spawn(async { fill_stderr() });
    runtime.spawn(async { read_stdin() });
    runtime.spawn(async { fill_pipe(full) });
    runtime.spawn(async { read_pipe(empty) });
    runtime.spawn(async { fill_terminal(drawn) });
    runtime.spawn(async { read_terminal(typed) });
    runtime.spawn(async move { lock_file(&ours) });
    runtime.spawn(async { lock_twice(&Mutex::default()) });
    runtime.spawn(async { write_while_reading(&RwLock::default()) });
    runtime.spawn(async { join_thread(endless_thread()) });
    runtime.spawn(async { scope_thread() });
    runtime.spawn(async move { receive(&receiver) });
    runtime.spawn(async move { send(&sender) });
    runtime.spawn(async { initialize() });
    runtime.spawn(async { wait_for_condition(&Default::default()) });
    runtime.spawn(async { wait_at_barrier(&Barrier::new(2)) });
    runtime.spawn(async { park() });
    let _kept = OF_SIZE.lock();
    runtime.spawn(async { allocate() });
    let log = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(Mutex::new(StuckLog)).finish());
    let same_log = log.clone();
    let _logging = std::thread::spawn(move || tracing::dispatcher::with_default(&same_log, log_line));
    wait_until("a line is being logged", || IS_LOGGING.load(Ordering::Acquire));
    runtime.spawn(async move { tracing::dispatcher::with_default(&log, log_line) });
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it is bound");
    runtime.spawn(async move { request(address) });
    runtime.spawn(async { drop(Session) });
    runtime.spawn(async { drop(Owner(Some(endless_thread()))) });
    runtime.block_on(std::future::pending::<()>());
}

/// The program, which is killed on drop, and the file with what is reported inside.
struct Stuck {
    child: Child,
    reports: PathBuf,
}

impl Stuck {
    /// Nobody reads its output, and nobody writes to its input.
    fn start() -> Self {
        let reports = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("objects-{}", std::process::id()));
        let child = Command::new(std::env::current_exe().expect("is running"))
            .args(["--exact", "stuck_program", "--ignored", "--nocapture"])
            .env(REPORTS, &reports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        Self { child, reports }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
        for file in [self.reports.clone(), self.reports.with_extension("locked")] {
            let _was_there = std::fs::remove_file(file);
        }
    }
}

fn full_name(function: &str) -> String {
    if function.starts_with('<') { function.to_owned() } else { format!("stalls_objects::{function}") }
}

/// What is missing of the cases, in text that has a line for each report.
fn missing(reports: &str) -> Vec<Case> {
    let is_missing = |(function, class, objects): &&Case| {
        let objects: Vec<_> = objects.iter().map(|object| object.as_str()).collect();
        let line = format!("{} {class} {}", full_name(function), objects.join(","));
        !reports.lines().any(|reported| reported == line)
    };
    CASES.iter().filter(is_missing).copied().collect()
}

#[test]
fn every_object_is_reported_inside_and_from_outside() {
    let stuck = Stuck::start();
    wait_for_all("inside", || std::fs::read_to_string(&stuck.reports).unwrap_or_default());
    #[cfg(feature = "cli")]
    wait_for_all("from outside", || outside(stuck.child.id()));
}

/// Waits until every case is reported. A busy machine may need several attempts.
fn wait_for_all(place: &str, reports: impl Fn() -> String) {
    let limit = Instant::now() + DEADLINE;
    loop {
        let reports = reports();
        let missing = missing(&reports);
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < limit, "not reported {place} in {DEADLINE:?}: {missing:?}, but\n{reports}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What `holdup stalls --pid` reports, in the form of the file.
#[cfg(feature = "cli")]
fn outside(pid: u32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_holdup"))
        .args(["stalls", "--pid", &pid.to_string(), "--duration", "8s", "--json"])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the command runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let line = |stall: &serde_json::Value| {
        let objects = stall["cause"]["objects"].as_array().into_iter().flatten().filter_map(|word| word.as_str());
        let [function, class] =
            [&stall["culprit"]["function"], &stall["cause"]["class"]].map(|word| word.as_str().unwrap_or("none"));
        format!("{function} {class} {}\n", objects.collect::<Vec<_>>().join(","))
    };
    answer["stalls"].as_array().expect("a list").iter().map(line).collect()
}
