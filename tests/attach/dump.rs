//! `holdup dump --pid` of a program with known tasks, awaits and locks.
#![cfg(all(feature = "cli", target_os = "linux", target_arch = "x86_64"))]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/awaiting.rs"]
mod awaiting;

#[path = "../support/dumps.rs"]
mod dumps;

use std::process::{Command, Stdio};

use awaiting::{Awaiting, MANY};
use dumps::{dump, json, printed, settled};
use serde_json::Value;

/// The source of the program, with marked lines.
const SOURCE: &str = include_str!("../fixtures/awaiting/src/main.rs");

/// The number of the line that ends with `// MARK`.
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

/// A path in one line: `name:line(children)`. Lines of libraries are left out, because they change between versions.
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

/// What the last future on the path's last branch waits for.
fn end(task: &Value) -> &Value {
    let mut node = &task["path"];
    while let Some(child) = node["children"].as_array().and_then(|children| children.last()) {
        node = child;
    }
    &node["waits_for"]
}

#[test]
fn every_task_has_the_path_that_its_source_shows() {
    for flavor in ["multi_thread", "current_thread"] {
        let program = Awaiting::with(flavor);
        let census = settled(&program);
        assert_eq!(census["runtimes"].as_array().map(Vec::len), Some(1));
        assert_eq!(census["runtimes"][0]["flavor"], flavor);
        assert_paths(&census);
    }
}

/// Checks every task of the program against its source.
fn assert_paths(census: &Value) {
    let leaf = format!("leaf:{}(Sleep)", line("leaf"));
    let middle = format!("middle:{}({leaf})", line("middle"));
    // The first line of an `async fn`.
    let first_line = |name: &str| {
        let found = SOURCE.lines().position(|line| line.starts_with(&format!("async fn {name}(")));
        found.expect("it is there") + 1
    };
    for (future, expected) in [
        ("nested", format!("nested:{}({middle})", line("nested"))),
        ("joins", format!("joins:{}(join!({leaf} {middle}))", first_line("joins"))),
        ("selects", format!("selects:{}(select!(Notified {middle}))", first_line("selects"))),
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
    let futures = threads.iter().map(|thread| &thread["block_on_future"]);
    let futures: Vec<String> = futures.filter(|future| !future.is_null()).map(shape).collect();
    // Link-time optimization moves the code that polls it into another unit, which is not searched.
    let expected = std::env::var_os("HOLDUP_LTO").is_none().then(|| format!("begin:{}(Receiver)", line("begin")));
    assert_eq!(futures, Vec::from_iter(expected), "the future given to block_on");
    assert_eq!(tasks(census, "many").len(), MANY);
    for task in tasks(census, "many") {
        assert_eq!(shape(&task["path"]), format!("many:{}({leaf})", line("many")));
    }
    let all = census["tasks"].as_array().expect("a list");
    assert!(all.iter().all(|task| task["unknown"].is_null()), "{census:#}");
    // The tasks above, the tasks that they spawn, and the running task.
    assert_eq!(all.len(), 14 + MANY + 2 + 3 + 2, "{census:#}");
}

#[test]
fn reasons_for_waiting_are_explained() {
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
    assert_eq!(census["cycles"].as_array().map(Vec::len), Some(1), "{}", census["cycles"]);
    let cycle = &census["cycles"][0];
    assert_eq!((&cycle["tasks"], &cycle["certain"]), (&serde_json::json!(crossing), &true.into()), "{cycle}");
    for step in cycle["steps"].as_array().expect("a list") {
        assert_eq!((&step["function"], &step["place"]["line"]), (&"awaiting::crosses".into(), &line("crosses").into()));
        assert!(step["holds"].as_str().is_some_and(|what| what.starts_with("the Mutex at 0x")), "{step}");
        assert_ne!(step["holds"], step["waits_for"], "{step}");
    }

    let waited = end(only(&census, "waits_for_task"))["task"].clone();
    let children = tasks(&census, "leaf");
    assert_eq!(children.len(), 3, "one is awaited, and two are in a set");
    assert!(children.iter().any(|task| task["id"] == waited), "{waited}");
    let io = end(only(&census, "accepts"));
    assert!(io["kind"] == "io" && io["fd"].as_i64().is_some_and(|fd| fd > 2), "{io}");
    assert!(io["what"].as_str().is_some_and(|what| what.starts_with("TCP, listens on 127.0.0.1:")), "{io}");
    assert!(end(only(&census, "receives"))["what"].as_str().expect("text").contains("mpsc channel with 1 sender"));
}

#[test]
fn a_running_task_has_the_stack_of_its_thread() {
    // The task of the second program runs on the main thread. Its thread-local variables are only found by stopping it.
    for program in [Awaiting::start(), Awaiting::with("current_thread")] {
        // On a busy machine, the thread may not be running and is not stopped.
        let mut census = Value::Null;
        support::wait_until("the thread is stopped", || {
            census = json(&program.pid().to_string(), &["--state", "running"]);
            census["quality"]["stopped_threads"].as_u64() > Some(0)
        });
        assert_eq!(census["tasks"].as_array().map(Vec::len), Some(1), "{census:#}");
        let task = only(&census, "runs");
        let threads = census["threads"].as_array().expect("a list");
        let thread = threads.iter().find(|thread| thread["tid"] == task["thread"]).expect("a thread polls it");
        assert_eq!(thread["task"], task["id"]);
        let frames = thread["stack"].as_array().expect("a list");
        let compute = frames.iter().position(|frame| frame["function"] == "awaiting::compute").expect("it computes");
        let runs = &frames[compute + 1];
        assert_eq!((&runs["function"], &runs["line"]), (&"awaiting::runs".into(), &line("runs").into()));
    }
}

#[test]
fn text_shows_equal_paths_once_and_can_be_filtered() {
    let program = Awaiting::start();
    let text = printed(&program, &[]);
    let leaf = format!("awaiting::leaf at src/main.rs:{}", line("leaf"));
    for part in [
        format!("{MANY} tasks [idle] awaiting::many"),
        format!("    {leaf}\n"),
        "held by task".to_owned(),
        "block_on [idle] awaiting::begin (not a task)\n".to_owned(),
        format!("\n  awaiting::begin at src/main.rs:{}\n", line("begin")),
        "2 tasks wait for each other".to_owned(),
        "awaiting::compute at ".to_owned(),
        "KiB copied meanwhile".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    let text = printed(&program, &["--all", "--function", "awaiting::many"]);
    assert_eq!(text.matches("[idle] awaiting::many").count(), MANY, "{text}");
    assert!(!text.contains("awaiting::joins"), "{text}");
}

/// How often each sleeping thread of a process has gone to sleep, with the ids of the threads.
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
fn a_dump_wakes_no_sleeping_thread() {
    let program = Awaiting::start();
    // Threads of a new program may not sleep yet. If dumps woke them, this would never succeed.
    support::wait_until("five dumps wake none of the three sleeping threads", || {
        // The idle worker, the thread inside `block_on`, and the thread that reads the input.
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
    let is_stopped = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it lives");
        let mut stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stats.any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['t', 'T'])))
    };
    let mut killed_while_stopped = 0;
    for _ in 0..20 {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_holdup"))
            .args(["dump", "--json", "--no-cache", "--pid", &program.pid().to_string()])
            .stdout(Stdio::null())
            .spawn()
            .expect("the command runs");
        // A thread is stopped only for a short time. Checks until then, or until the command ends.
        while tool.try_wait().expect("it is a child of the test").is_none() {
            if is_stopped() {
                killed_while_stopped += 1;
                break;
            }
        }
        let _may_have_ended = tool.kill();
        tool.wait().expect("it is a child of the test");
        support::wait_until("every thread continues", || !is_stopped());
    }
    println!("killed {killed_while_stopped} times while a thread was stopped");
}

#[test]
fn processes_that_cannot_be_dumped_are_named_with_the_reason() {
    let message = |pid: &str| {
        let output = dump(&["--pid", pid]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Above the largest process id (`PID_MAX_LIMIT`).
    assert!(message("4194999").contains("there is no process 4194999"), "{}", message("4194999"));
    let mut sleeping = Command::new("sleep").arg("600").spawn().expect("sleep is there");
    let text = message(&sleeping.id().to_string());
    sleeping.kill().expect("it is a child of the test");
    sleeping.wait().expect("it ended");
    assert!(text.contains("no Tokio runtime is known in process"), "{text}");
}

#[test]
fn tasks_in_no_list_are_found_on_the_heap() {
    let program = Awaiting::with("heap_tasks");
    let mut census = Value::Null;
    support::wait_until("all tasks have reached their final state", || {
        census = json(&program.pid().to_string(), &[]);
        let tasks = census["tasks"].as_array().expect("a list");
        let of_state = |state: &str| tasks.iter().filter(|task| task["state"] == state).count();
        // Running: the task that computes and the function that blocks. Scheduled: the function that waits for a thread.
        (of_state("running"), of_state("scheduled")) == (2, 1)
    });
    let runtimes = census["runtimes"].as_array().expect("a list");
    let flavors: Vec<&str> = runtimes.iter().map(|runtime| runtime["flavor"].as_str().expect("a word")).collect();
    assert_eq!(flavors.iter().filter(|flavor| **flavor == "local_set").count(), 1, "{flavors:?}");
    let own = |flavor: &str| -> Vec<&Value> {
        let number = &runtimes.iter().find(|runtime| runtime["flavor"] == flavor).expect("is there")["number"];
        census["tasks"].as_array().expect("a list").iter().filter(|task| task["runtime"] == *number).collect()
    };
    // Finished tasks are not included, even if their memory still has its old content.
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
    assert_eq!(pool.len(), 2, "workers of a runtime are not included: {pool:#?}");
    let function = "awaiting::blocking_functions::{async}::{closure}";
    assert!(pool.iter().all(|task| task["future"] == function), "{pool:#?}");
    let running = pool.iter().find(|task| task["state"] == "running").expect("one blocks");
    let threads = census["threads"].as_array().expect("a list");
    let thread = threads.iter().find(|thread| thread["tid"] == running["thread"]).expect("on a thread");
    let frames = thread["stack"].as_array().expect("a list");
    let blocks = frames.iter().find(|frame| frame["function"] == "awaiting::blocks").expect("it blocks there");
    assert_eq!(blocks["line"], line("blocks"));
    // The main thread, and the thread of the set.
    assert_eq!(threads.iter().filter(|thread| thread["block_on"] == true).count(), 2, "{threads:#?}");
    let numbers: Vec<&Value> = census["tasks"].as_array().expect("a list").iter().map(|task| &task["id"]).collect();
    let different: std::collections::HashSet<String> = numbers.iter().map(ToString::to_string).collect();
    assert_eq!(different.len(), numbers.len(), "no task twice");

    let text = printed(&program, &[]);
    for part in [
        "LocalSet (number ",
        "spawn_blocking (number ",
        "block_on [idle] awaiting::begin (not a task)",
        "block_on (its future was not found):",
        "awaiting::local_set at ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn an_unpolled_future_with_a_lock_is_found() {
    let program = Awaiting::with("futurelock");
    let census = settled(&program);
    let task = only(&census, "futurelocks");
    let found = census["futurelocks"].as_array().expect("a list");
    // Futures that are still polled, were dropped, or were never polled are not reported.
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
    let text = printed(&program, &[]);
    let headline = format!("! futurelock: task {} does not poll", task["id"]);
    assert!(text.contains(&headline) && text.contains("advice: poll it while"), "{text}");
    assert!(json(&Awaiting::start().pid().to_string(), &[])["futurelocks"] == serde_json::json!([]), "there are none");
}
