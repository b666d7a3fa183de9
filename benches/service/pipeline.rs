//! The cost of watching the whole pipeline, and the gain of a second thread.
//!
//! The reference service runs completely. Two feeds have a thousand new articles at every visit. The service parses and
//! deduplicates them, publishes them to the embedded broker, consumes and caches them, while four readers request the news.
//! It is always saturated, so its articles per second measure the total cost.
//!
//! In a round, two services alternate every second: one runs while the other is stopped (`SIGSTOP`). Slow changes of the
//! machine's speed then affect both. Each round starts new processes, because the memory layout of a process changes its
//! speed. The result is the median of the rounds' ratios.
//!
//! - `holdup on`: watched against not watched (`--watch off`). The goal is a ratio of at least 0.99. With
//!   `MALLOC_ARENA_MAX=64` in the environment each thread has its own arena of glibc; otherwise holdup's threads make others
//!   share one.
//! - `holdup at work`: one watched process, alternating a second with and a second without holdup's threads, which are
//!   stopped (`ptrace`) in those seconds. Differences between processes cancel out, and each pair of seconds is a round, so
//!   this is more precise. Task hooks run in both cases; `poll_cost` measures them.
//! - `a CPU profile at 99 Hz`: watched and profiled all the time, against not watched.
//! - `heap at 512KiB` and `heap at 64KiB`: watched with one sample per so many bytes, against watched without. The goals are 0.99
//!   and 0.97.
//! - `current-thread`: watched on a current-thread runtime, against watched on a multi-thread one.
//! - `nothing`: not watched against not watched, which shows the noise of the other numbers.
//!
//! The second result is the CPU time per article of all threads, which depends less on other load. An iteration is 100 000
//! articles. `-- --sample-size 30` takes more rounds.

mod support;

use std::ops::AddAssign;
use std::path::Path;
use std::process::Command;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use holdup::bench_support::while_stopped;
use support::rounds::{Rounds, in_turn};
use support::service::{Service, program};

const ARTICLES: u32 = 100_000;

/// Articles before the first turn. Caches are full then, and the group has its partitions.
const BEFORE: u64 = 50_000;

/// The shortest time before the first turn. The program's names are loaded in it, at the first stall.
const STARTING: Duration = Duration::from_secs(2);

/// Turns of each service in a round.
const TURNS: usize = 10;

const TURN: Duration = Duration::from_secs(1);

/// The start of a turn that does not count, because the service was stopped and its clocks are behind.
const SETTLING: Duration = Duration::from_millis(200);

/// The time by which a profile begins before the first turn and ends after the last.
const MARGIN: Duration = Duration::from_secs(2);

const DEADLINE: Duration = Duration::from_secs(60);

/// The service ends by itself after this time, also if the benchmark has failed.
const LIFE: &str = "180s";

/// The names of holdup's threads.
const AT_WORK: [&str; 2] = ["holdup-watchdog", "holdup-reporter"];

const LOAD: [&str; 8] =
    ["--odd-feed", "flood,flood", "--feed-interval", "1ms", "--readers", "4", "--reader-interval", "20ms"];

const OFF: Way = Way { name: "nothing", arguments: &["--watch", "off"], profiled: false, heap: None };
const ON: Way = Way { name: "holdup on", arguments: &["--watch", "on"], ..OFF };
const PROFILED: Way = Way { name: "a CPU profile at 99 Hz", profiled: true, ..ON };
const HEAP_512: Way = Way { name: "heap at 512KiB", heap: Some("512KiB"), ..ON };
const HEAP_64: Way = Way { name: "heap at 64KiB", heap: Some("64KiB"), ..ON };
const CURRENT_THREAD: Way = Way { name: "current-thread", arguments: &["--runtime", "current-thread"], ..OFF };

/// A variant of the service.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    profiled: bool,
    /// The mean distance between two samples of memory.
    heap: Option<&'static str>,
}

/// The work of one service in its turns.
#[derive(Clone, Copy, Default)]
struct Work {
    articles: u64,
    time: Duration,
    /// CPU time in the unit of `/proc`; the unit cancels out in a ratio.
    cpu: u64,
}

impl Work {
    fn between(before: &Moment, after: &Moment) -> Self {
        Self { articles: after.articles - before.articles, time: after.at - before.at, cpu: after.cpu - before.cpu }
    }

    fn articles_per_second(self) -> f64 {
        self.articles as f64 / self.time.as_secs_f64()
    }

    fn cpu_per_article(self) -> f64 {
        self.cpu as f64 / self.articles as f64
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.articles += other.articles;
        self.time += other.time;
        self.cpu += other.cpu;
    }
}

/// The counters of a service at one moment.
struct Moment {
    at: Instant,
    articles: u64,
    cpu: u64,
}

impl Moment {
    fn of(service: &Service) -> Self {
        let health = get(&format!("http://{}/healthz", service.address("news")));
        let health: serde_json::Value = serde_json::from_slice(&health).expect("it is JSON");
        let at = Instant::now();
        let articles = health["consumed"].as_u64().expect("a number");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.child.id())).expect("it runs");
        // The name may contain anything. After it follow the state and, from the twelfth field on, the times in user and kernel.
        let (_, fields) = stat.rsplit_once(')').expect("it has a name");
        let cpu = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Self { at, articles, cpu }
    }
}

fn get(url: &str) -> Vec<u8> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).build());
    let mut answer = agent.get(url).call().expect("it answers");
    answer.body_mut().with_config().limit(64 << 20).read_to_vec().expect("a body")
}

fn profile(service: &Service) -> JoinHandle<Vec<u8>> {
    // The profile also covers the time while the service is stopped, which has no samples.
    let seconds = (2 * TURNS as u32 * (TURN + SETTLING) + 2 * MARGIN).as_secs();
    let url = format!(
        "http://{}/debug/holdup/profile?mode=cpu&rate=99&format=folded&seconds={seconds}",
        service.address("diagnostics")
    );
    let profiling = spawn(move || get(&url));
    sleep(MARGIN / 4);
    profiling
}

/// A service in its saturated state.
fn under_load(way: &Way) -> Service {
    let mut command = Command::new(program());
    command.args(["--for", LIFE]).args(LOAD).args(way.arguments).envs(way.heap.map(|heap| ("HOLDUP_HEAP", heap)));
    let service = Service::run(&mut command);
    let started = Instant::now();
    let limit = started + DEADLINE;
    while Moment::of(&service).articles < BEFORE {
        assert!(Instant::now() < limit, "{}: not even {BEFORE} articles in {DEADLINE:?}", way.name);
        sleep(Duration::from_millis(50));
    }
    sleep(STARTING.saturating_sub(started.elapsed()));
    service
}

/// A service that runs in its turns only.
struct Player {
    service: Service,
    work: Work,
    profiling: Option<JoinHandle<Vec<u8>>>,
}

impl Player {
    fn start(way: &Way) -> Self {
        let service = under_load(way);
        let profiling = way.profiled.then(|| profile(&service));
        let player = Self { service, work: Work::default(), profiling };
        player.signal("-STOP");
        player
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.service.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the service lives");
    }

    fn turn(&mut self) {
        self.signal("-CONT");
        sleep(SETTLING);
        let before = Moment::of(&self.service);
        sleep(TURN);
        let after = Moment::of(&self.service);
        self.signal("-STOP");
        self.work += Work::between(&before, &after);
    }

    fn finish(mut self) -> Work {
        self.signal("-CONT");
        if let Some(profiling) = self.profiling.take() {
            assert!(!profiling.join().expect("no panic").is_empty(), "a profile of a busy service has samples");
        }
        self.work
    }
}

/// Alternates turns without and with holdup's threads in one process; each pair is a round.
fn pairs_in_one() -> Vec<(Work, Work)> {
    let service = under_load(&ON);
    let threads = threads_of_holdup(service.child.id());
    let turn = || {
        sleep(SETTLING);
        let before = Moment::of(&service);
        sleep(TURN);
        Work::between(&before, &Moment::of(&service))
    };
    let without = || while_stopped(&threads, turn).expect("they can be stopped");
    (0..TURNS).map(|number| in_turn(number, without, turn)).collect()
}

fn threads_of_holdup(pid: u32) -> Vec<i32> {
    let threads = Path::new("/proc").join(pid.to_string()).join("task");
    let all = std::fs::read_dir(threads).expect("it runs").map(|entry| entry.expect("it runs").path());
    let ours = all.filter(|thread| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| AT_WORK.contains(&name.trim_end()))
    });
    let number = |thread: &Path| thread.file_name()?.to_str()?.parse().ok();
    let ours: Vec<i32> = ours.map(|thread| number(&thread).expect("a number")).collect();
    assert_eq!(ours.len(), AT_WORK.len(), "{AT_WORK:?}");
    ours
}

fn round(number: usize, base: &Way, way: &Way) -> (Work, Work) {
    let (mut base, mut way) = in_turn(number, || Player::start(base), || Player::start(way));
    for turn in 0..TURNS {
        let ((), ()) = in_turn(number + turn, || base.turn(), || way.turn());
    }
    (base.finish(), way.finish())
}

fn compare(criterion: &mut Criterion, name: &str, measure: impl Fn(usize) -> Vec<(Work, Work)>) {
    let mut group = criterion.benchmark_group("pipeline");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(u64::from(ARTICLES)));
    let (mut speed, mut cpu) = (Rounds::default(), Rounds::default());
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = 0.0;
            for _ in 0..iterations {
                let mut ways = Work::default();
                for (base, way) in measure(speed.count()) {
                    speed.add(base.articles_per_second(), way.articles_per_second());
                    cpu.add(base.cpu_per_article(), way.cpu_per_article());
                    ways += way;
                }
                total += f64::from(ARTICLES) / ways.articles_per_second();
            }
            Duration::from_secs_f64(total)
        });
    });
    if speed.count() > 0 {
        println!("pipeline/{name}: articles a second, over those of its base: {speed}");
        println!("pipeline/{name}: CPU time per article, over that of its base: {cpu}");
    }
    group.finish();
}

fn pipeline(criterion: &mut Criterion) {
    compare(criterion, "holdup at work", |_| pairs_in_one());
    for (base, way) in [(OFF, ON), (OFF, PROFILED), (ON, HEAP_512), (ON, HEAP_64), (ON, CURRENT_THREAD), (OFF, OFF)] {
        compare(criterion, way.name, |number| vec![round(number, &base, &way)]);
    }
}

criterion_group! {
    name = benches;
    config = support::by_runs();
    targets = pipeline
}
criterion_main!(benches);
