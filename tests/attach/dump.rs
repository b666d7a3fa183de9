//! `holdup dump --pid`: the tasks of a program whose tasks, awaits and locks are known, seen from outside.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;

use std::process::{Command, Output, Stdio};

use awaiting::{Awaiting, MANY};
use serde_json::Value;

/// The program's source, whose lines are marked.
const SOURCE: &str = include_str!("../fixtures/awaiting/src/main.rs");

fn dump(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdup"));
    command.arg("dump").args(arguments).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("the command runs")
}

fn json(pid: &str, arguments: &[&str]) -> Value {
    let output = dump(&[&["--pid", pid, "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A census in which nothing is about to happen any more: one task runs, and all others wait.
fn settled(program: &Awaiting) -> Value {
    let mut census = Value::Null;
    support::wait_until("all tasks but one wait", || {
        census = json(&program.pid().to_string(), &[]);
        let tasks = census["tasks"].as_array().expect("a list");
        tasks.iter().filter(|task| task["state"] != "idle").count() == 1
    });
    census
}

/// The line that ends with `// MARK`.
fn line(mark: &str) -> usize {
    let found: Vec<usize> = SOURCE
        .lines()
        .enumerate()
        .filter(|(_, line)| line.split_once("// ").is_some_and(|(_, comment)| comment == mark))
        .map(|(index, _)| index + 1)
        .collect();
    assert_eq!(found.len(), 1, "one line is marked {mark}");
    found[0]
}

/// A path in one line: `name:line(children)`; lines of the program only, for those of libraries change.
fn shape(node: &Value) -> String {
    let name = node["future"].as_str().expect("a name").rsplit("::").next().expect("a part").to_owned();
    let own = node["place"]["file"].as_str().is_some_and(|file| file == "src/main.rs");
    let place = if own { format!(":{}", node["place"]["line"]) } else { String::new() };
    let children: Vec<String> = node["children"].as_array().expect("a list").iter().map(shape).collect();
    let children = if children.is_empty() { String::new() } else { format!("({})", children.join(" ")) };
    format!("{name}{place}{children}")
}

fn tasks<'a>(census: &'a Value, future: &str) -> Vec<&'a Value> {
    let all = census["tasks"].as_array().expect("a list");
    all.iter().filter(|task| task["future"] == format!("awaiting::{future}")).collect()
}

fn only<'a>(census: &'a Value, future: &str) -> &'a Value {
    let found = tasks(census, future);
    assert_eq!(found.len(), 1, "{future}: {census:#}");
    found[0]
}

/// The end of the path's last branch.
fn end(task: &Value) -> &Value {
    let mut node = &task["path"];
    while let Some(child) = node["children"].as_array().and_then(|children| children.last()) {
        node = child;
    }
    &node["waits_for"]
}

#[test]
fn every_task_has_the_path_that_its_source_tells() {
    for flavor in ["multi_thread", "current_thread"] {
        let program = Awaiting::with(flavor);
        let census = settled(&program);
        assert_eq!(census["runtimes"].as_array().map(Vec::len), Some(1));
        assert_eq!(census["runtimes"][0]["flavor"], flavor);
        assert_paths(&census);
    }
}

/// Every task of the program, as its source says.
fn assert_paths(census: &Value) {
    let leaf = format!("leaf:{}(Sleep)", line("leaf"));
    let middle = format!("middle:{}({leaf})", line("middle"));
    // Where an `async fn` with a macro of several futures begins.
    let begins = |name: &str| {
        let found = SOURCE.lines().position(|line| line.starts_with(&format!("async fn {name}(")));
        found.expect("it is there") + 1
    };
    for (future, expected) in [
        ("nested", format!("nested:{}({middle})", line("nested"))),
        ("joins", format!("joins:{}(join!({leaf} {middle}))", begins("joins"))),
        ("selects", format!("selects:{}(select!(Notified {middle}))", begins("selects"))),
        ("boxed", format!("boxed:{}({middle})", line("boxed"))),
        ("times_out", format!("times_out:{}(Timeout({middle} Sleep))", line("times_out"))),
        ("wrapped", format!("Timeout(wrapped:{}({leaf}) Sleep)", line("wrapped"))),
        ("holds_lock", format!("holds_lock:{}({leaf})", line("holds_lock"))),
        (
            "waits_for_lock",
            format!("waits_for_lock:{}(lock({{async block}}(acquire(Acquire))))", line("waits_for_lock")),
        ),
        ("waits_for_permit", format!("waits_for_permit:{}(acquire(Acquire))", line("waits_for_permit"))),
        ("receives", format!("receives:{}(recv(Rx))", line("receives"))),
        ("receives_once", format!("receives_once:{}(Receiver)", line("receives_once"))),
        ("waits_for_task", format!("waits_for_task:{}(JoinHandle)", line("waits_for_task"))),
        ("unordered", format!("unordered:{}(Next({leaf} {leaf} {leaf}))", line("unordered"))),
        ("joins_set", format!("joins_set:{}(join_next(PollFn(JoinHandle JoinHandle)))", line("joins_set"))),
    ] {
        assert_eq!(shape(&only(census, future)["path"]), expected, "{future}");
        assert_eq!(only(census, future)["state"], "idle", "{future}");
    }
    let threads = census["threads"].as_array().expect("a list");
    let roots: Vec<String> =
        threads.iter().map(|thread| &thread["root"]).filter(|root| !root.is_null()).map(shape).collect();
    // Link-time optimization moves the code that polls it into another unit, where it is not looked for.
    let told = std::env::var_os("HOLDUP_LTO").is_none().then(|| format!("begin:{}(Receiver)", line("begin")));
    assert_eq!(roots, Vec::from_iter(told), "the future given to block_on");
    assert_eq!(tasks(census, "many").len(), MANY);
    for task in tasks(census, "many") {
        assert_eq!(shape(&task["path"]), format!("many:{}({leaf})", line("many")));
    }
    let all = census["tasks"].as_array().expect("a list");
    assert!(all.iter().all(|task| task["unknown"].is_null()), "{census:#}");
    // Those above, what they spawn, and the one that runs.
    assert_eq!(all.len(), 14 + MANY + 2 + 3 + 2, "{census:#}");
}

#[test]
fn what_is_waited_for_is_explained() {
    let program = Awaiting::start();
    let census = settled(&program);
    let hour = 3_600_000;
    let timer = end(only(&census, "nested"));
    assert!(timer["kind"] == "timer" && (1..=hour).contains(&timer["in_ms"].as_i64().expect("a time")), "{timer}");
    let delay = end(only(&census, "times_out"))["in_ms"].as_i64().expect("a time");
    assert!((hour + 1..=2 * hour).contains(&delay), "{delay}");

    let lock = end(only(&census, "waits_for_lock"));
    let holder = only(&census, "holds_lock");
    assert_eq!((&lock["kind"], &lock["free"]), (&"permits".into(), &0.into()));
    assert_eq!(lock["holders"].as_array().map(Vec::len), Some(1), "{lock}");
    assert_eq!(lock["holders"][0]["task"], holder["id"]);
    assert_eq!(lock["holders"][0]["place"]["line"], line("holds_lock"));
    assert!(end(only(&census, "waits_for_permit"))["holders"].as_array().expect("a list").is_empty());

    let crossing: Vec<&Value> = tasks(&census, "crosses").into_iter().map(|task| &task["id"]).collect();
    assert_eq!(crossing.len(), 2);
    assert_eq!(census["cycles"], serde_json::json!([crossing]), "they wait for each other");

    let waited = end(only(&census, "waits_for_task"))["task"].clone();
    let children = tasks(&census, "leaf");
    assert_eq!(children.len(), 3, "one that is awaited, and a set of two");
    assert!(children.iter().any(|task| task["id"] == waited), "{waited}");
    let io = end(only(&census, "accepts"));
    assert!(io["kind"] == "io" && io["fd"].as_i64().is_some_and(|fd| fd > 2), "{io}");
    assert!(io["what"].as_str().is_some_and(|what| what.starts_with("TCP, listens on 127.0.0.1:")), "{io}");
    assert!(end(only(&census, "receives"))["what"].as_str().expect("words").contains("mpsc channel with 1 sender"));
}

#[test]
fn a_running_task_has_the_stack_of_its_thread() {
    // The second runs on the first thread, whose variables are found only by holding it.
    for program in [Awaiting::start(), Awaiting::with("current_thread")] {
        // A machine that does not run the thread for long cannot hold it.
        let mut census = Value::Null;
        support::wait_until("the thread is held", || {
            census = json(&program.pid().to_string(), &["--state", "running"]);
            census["quality"]["held_threads"].as_u64() > Some(0)
        });
        assert_eq!(census["tasks"].as_array().map(Vec::len), Some(1), "{census:#}");
        let task = only(&census, "runs");
        let threads = census["threads"].as_array().expect("a list");
        let thread = threads.iter().find(|thread| thread["tid"] == task["thread"]).expect("it is polled by one");
        assert_eq!(thread["task"], task["id"]);
        let frames = thread["stack"].as_array().expect("a list");
        let compute = frames.iter().position(|frame| frame["function"] == "awaiting::compute").expect("it computes");
        let runs = &frames[compute + 1];
        assert_eq!((&runs["function"], &runs["line"]), (&"awaiting::runs".into(), &line("runs").into()));
    }
}

#[test]
fn text_shows_equal_paths_once_and_filters() {
    let program = Awaiting::start();
    let output = dump(&["--pid", &program.pid().to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let leaf = format!("awaiting::leaf at src/main.rs:{}", line("leaf"));
    for part in [
        format!("{MANY} tasks [idle] awaiting::many"),
        format!("    {leaf}\n"),
        "held by task".to_owned(),
        "block_on [idle] awaiting::begin, which is no task\n".to_owned(),
        format!("\n  awaiting::begin at src/main.rs:{}\n", line("begin")),
        "2 tasks wait for each other".to_owned(),
        "awaiting::compute at ".to_owned(),
        "KiB copied at that moment".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    let all = dump(&["--pid", &program.pid().to_string(), "--all", "--function", "awaiting::many"]);
    let text = String::from_utf8_lossy(&all.stdout).into_owned();
    assert_eq!(text.matches("[idle] awaiting::many").count(), MANY, "{text}");
    assert!(!text.contains("awaiting::joins"), "{text}");
}

/// How often each sleeping thread of a process went to sleep so far, by its number.
fn sleeps(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let mut sleeps: Vec<_> = tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let sleeping = field("State:")?.starts_with('S');
            sleeping.then(|| Some((field("Pid:")?.to_owned(), field("voluntary_ctxt_switches:")?.to_owned())))?
        })
        .collect();
    sleeps.sort();
    sleeps
}

#[test]
fn a_dump_does_not_wake_what_sleeps() {
    let program = Awaiting::start();
    // A program that has just begun may still be about to sleep; one that is woken by a dump never stays asleep.
    support::wait_until("five dumps wake none of the three sleeping threads", || {
        // The other worker, the thread that is in `block_on`, and the one that reads the input.
        let before = sleeps(program.pid());
        let all: Vec<Value> = (0..5).map(|_| json(&program.pid().to_string(), &[])).collect();
        let undisturbed = |census: &Value| {
            let quality = &census["quality"];
            quality["late_reads"] == 0 && quality["woken_threads"] == 0
        };
        before.len() == 3 && all.iter().all(undisturbed) && sleeps(program.pid()) == before
    });
}

#[test]
fn a_dump_that_is_killed_leaves_the_program_running() {
    let program = Awaiting::start();
    let is_held = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it lives");
        let mut stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stats.any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['t', 'T'])))
    };
    let mut killed_while_held = 0;
    for _ in 0..20 {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_holdup"))
            .args(["dump", "--json", "--no-cache", "--pid", &program.pid().to_string()])
            .stdout(Stdio::null())
            .spawn()
            .expect("the command runs");
        // Looks for the moment in which it holds a thread, which is short, until it is over.
        while tool.try_wait().expect("it is our own child").is_none() {
            if is_held() {
                killed_while_held += 1;
                break;
            }
        }
        let _over = tool.kill();
        tool.wait().expect("it is our own child");
        support::wait_until("every thread runs on", || !is_held());
    }
    println!("killed {killed_while_held} times while a thread was held");
}

#[test]
fn processes_that_cannot_be_dumped_are_named_with_the_reason() {
    let message = |pid: &str| {
        let output = dump(&["--pid", pid]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Above the largest number that a process can have (`PID_MAX_LIMIT`).
    assert!(message("4194999").contains("there is no process 4194999"), "{}", message("4194999"));
    let mut sleeping = Command::new("sleep").arg("600").spawn().expect("sleep is there");
    let told = message(&sleeping.id().to_string());
    sleeping.kill().expect("it is our own child");
    sleeping.wait().expect("it ended");
    assert!(told.contains("no Tokio runtime is known in process"), "{told}");
}

#[test]
fn tasks_that_no_runtime_lists_are_found_in_memory() {
    let program = Awaiting::with("unlisted");
    let mut census = Value::Null;
    support::wait_until("nothing is about to happen", || {
        census = json(&program.pid().to_string(), &[]);
        let tasks = census["tasks"].as_array().expect("a list");
        let of_state = |state: &str| tasks.iter().filter(|task| task["state"] == state).count();
        // The one that computes and the function that blocks; the function that waits for a thread.
        (of_state("running"), of_state("scheduled")) == (2, 1)
    });
    let runtimes = census["runtimes"].as_array().expect("a list");
    let flavors: Vec<&str> = runtimes.iter().map(|runtime| runtime["flavor"].as_str().expect("a word")).collect();
    assert_eq!(flavors.iter().filter(|flavor| **flavor == "local_set").count(), 1, "{flavors:?}");
    let own = |flavor: &str| -> Vec<&Value> {
        let number = &runtimes.iter().find(|runtime| runtime["flavor"] == flavor).expect("is there")["number"];
        census["tasks"].as_array().expect("a list").iter().filter(|task| task["runtime"] == *number).collect()
    };
    // Those that ended are not among them, though their memory may still say what they were.
    let set = own("local_set");
    let shapes: Vec<String> = set.iter().map(|task| shape(&task["path"])).collect();
    let mut expected = [
        format!("waits_in_set:{}(Notified)", line("waits_in_set")),
        format!("sets_child:{}(JoinHandle)", line("sets_child")),
        format!("leaf:{}(Sleep)", line("leaf")),
    ];
    expected.sort();
    let mut sorted = shapes.clone();
    sorted.sort();
    assert_eq!(sorted, expected, "{set:#?}");
    assert!(set.iter().all(|task| task["state"] == "idle" && task["unknown"].is_null()), "{set:#?}");
    let child = set.iter().find(|task| task["future"] == "awaiting::leaf").expect("is there");
    let waits = set.iter().find(|task| task["future"] == "awaiting::sets_child").expect("is there");
    assert_eq!(end(waits)["task"], child["id"]);

    let pool = own("blocking_pool");
    assert_eq!(pool.len(), 2, "workers of a runtime are none: {pool:#?}");
    let function = "awaiting::blocking_functions::{async}::{closure}";
    assert!(pool.iter().all(|task| task["future"] == function), "{pool:#?}");
    let running = pool.iter().find(|task| task["state"] == "running").expect("one blocks");
    let threads = census["threads"].as_array().expect("a list");
    let thread = threads.iter().find(|thread| thread["tid"] == running["thread"]).expect("on a thread");
    let frames = thread["stack"].as_array().expect("a list");
    let blocks = frames.iter().find(|frame| frame["function"] == "awaiting::blocks").expect("it blocks there");
    assert_eq!(blocks["line"], line("blocks"));
    // The main thread, and that of the set.
    assert_eq!(threads.iter().filter(|thread| thread["block_on"] == true).count(), 2, "{threads:#?}");
    let numbers: Vec<&Value> = census["tasks"].as_array().expect("a list").iter().map(|task| &task["id"]).collect();
    let different: std::collections::HashSet<String> = numbers.iter().map(ToString::to_string).collect();
    assert_eq!(different.len(), numbers.len(), "no task twice");

    let output = dump(&["--pid", &program.pid().to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "LocalSet (number ",
        "spawn_blocking (number ",
        "block_on [idle] awaiting::begin, which is no task",
        "block_on, whose future is no task:",
        "awaiting::local_set at ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_future_that_keeps_a_lock_and_is_not_polled_is_found() {
    let program = Awaiting::with("unpolled");
    let census = settled(&program);
    let task = only(&census, "futurelocks");
    let found = census["futurelocks"].as_array().expect("a list");
    // Not those that are polled on, were dropped, or were never polled.
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = &found[0];
    assert_eq!((&found["task"], &found["stage"]), (&task["id"], &"granted".into()));
    assert_eq!((&found["future"], &found["function"]), (&"awaiting::locks".into(), &"awaiting::futurelocks".into()));
    assert_eq!(found["future_place"]["line"], line("locks"));
    let bystander = only(&census, "locks");
    assert_eq!(found["waiting"], serde_json::json!([task["id"], bystander["id"]]));
    assert_eq!(end(bystander)["address"], found["semaphore"]);
    for negative in ["polls_on", "drops_first", "keeps_for_later"] {
        assert_eq!(only(&census, negative)["state"], "idle", "it is there and waits");
    }
    let output = dump(&["--pid", &program.pid().to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("! futurelock: task {} does not poll", task["id"]);
    assert!(text.contains(&told) && text.contains("advice: poll it on"), "{text}");
    assert!(json(&Awaiting::start().pid().to_string(), &[])["futurelocks"] == serde_json::json!([]), "there are none");
}
