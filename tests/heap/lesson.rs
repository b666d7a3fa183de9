//! The lesson `examples/find_the_leak.rs`: its commands lead to the line that keeps memory.

#[allow(unreachable_pub, reason = "it is a program of its own")]
#[path = "../../examples/find_the_leak.rs"]
mod find_the_leak;

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use clap::Parser;
use holdup::Profile;
use support::{DEADLINE, alone};

/// The lesson in another process, as its `main` would run it.
#[test]
#[ignore = "the tests below run it in a process of its own"]
fn the_service() {
    let options = std::env::var("LESSON").expect("a test has set it");
    let options = find_the_leak::Options::parse_from(["find_the_leak"].into_iter().chain(options.split(' ')));
    find_the_leak::run(&options).expect("it runs");
}

/// The running lesson. It is killed on drop.
struct Lesson {
    child: Child,
    url: String,
}

impl Lesson {
    fn start(options: &str) -> Self {
        let run_for = DEADLINE.as_secs() * 2;
        let mut child = Command::new(std::env::current_exe().expect("it has a path"))
            .args(["the_service", "--exact", "--ignored", "--nocapture", "--test-threads=2"])
            .env("LESSON", format!("--diagnostics 127.0.0.1:0 --for {run_for}s{options}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("diagnostics  ").map(str::to_owned)).expect("it says where");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.trim_end_matches('/').to_owned() }
    }

    /// The recorded file of this mode.
    fn record(&self, mode: &str, name: &str) -> PathBuf {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lesson-{name}.json"));
        let path = file.to_str().expect("the path is text");
        holdup(&["record", &self.url, "--mode", mode, "-d", "6s", "-o", path]);
        file
    }
}

impl Drop for Lesson {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The output of a command of the lesson.
fn holdup(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_holdup")).args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // 1 is a profile without samples.
    let good = matches!(output.status.code(), Some(0 | 1));
    assert!(good, "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The functions of `holdup top`, the largest first.
fn top(file: &std::path::Path) -> Vec<String> {
    let table = holdup(&["top", file.to_str().expect("the path is text")]);
    table.lines().skip_while(|line| !line.ends_with("  function")).skip(1).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_lesson_lead_to_the_line() {
    let _alone = alone();
    let lesson = Lesson::start("");
    let live = top(&lesson.record("heap", "heap"));
    assert!(live[0].contains("load_catalogue"), "the catalogue is the largest: {live:#?}");

    let leaks = lesson.record("leaks", "leaks");
    let kept = top(&leaks);
    assert!(kept[0].contains("::Limiter::recent_of"), "the leak is the largest: {kept:#?}");
    assert!(kept[0].contains("find_the_leak.rs"), "with its file: {kept:#?}");
    assert!(kept.iter().all(|line| !line.contains("load_catalogue")), "{kept:#?}");

    let profile = Profile::read(&std::fs::read(&leaks).expect("it was written")).expect("it is a profile");
    // Each request is a task of its own, so the leak has many samples. One sample of other memory may be larger.
    let leaked = |sample: &&holdup::profile::Sample| {
        profile.frames_of(sample).any(|frame| frame.frame.function.contains("recent_of"))
    };
    let leaked: Vec<_> = profile.samples.iter().filter(leaked).collect();
    let tasks = leaked.iter().map(|sample| profile.labels_of(sample).and_then(|labels| labels.task_name.as_deref()));
    let named = tasks.clone().filter(|task| *task == Some("GET /product/{id}")).count();
    assert!(named * 10 >= leaked.len() * 9, "the request is named: {:?}", tasks.collect::<Vec<_>>());
    let most = leaked.iter().max_by_key(|sample| sample.values[2]).expect("there are samples");
    let line = profile.frames_of(most).find_map(|frame| {
        let is_leak = frame.frame.function.contains("recent_of");
        frame.frame.line.filter(|_| is_leak)
    });
    let source = include_str!("../../examples/find_the_leak.rs");
    let line = line.and_then(|line| source.lines().nth(line as usize - 1)).expect("it has a line");
    assert!(line.contains("VecDeque::with_capacity"), "the line is: {line}");
}

#[test]
fn the_fix_of_the_lesson_ends_the_leak() {
    let _alone = alone();
    let leaks = Lesson::start("").record("leaks", "before");
    let fixed = Lesson::start(" --fixed").record("leaks", "after");
    let table = holdup(&["diff", leaks.to_str().expect("text"), fixed.to_str().expect("text")]);
    let row = table.lines().find(|line| line.contains("recent_of")).expect("the leak is in the table");
    let now = row.split_whitespace().collect::<Vec<_>>();
    // `self then` and `now` are a number and its unit each.
    assert!(now[0] != "0" && now[2] == "0", "nothing of it is left: {table}");
}
