//! Task statistics, compared with tasks that count and time their own polls.

#[path = "../support/mod.rs"]
mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use holdup::tasks::{TaskColumn, TaskGroup, TaskStats, TaskUse};
use holdup::{Print, Watch, WatchFutureExt};
use support::{DEADLINE, alone, wait_until};
use tokio::runtime::Builder;

fn watch() -> Watch {
    Watch::builder().print(Print::Never).start().expect("starts")
}

/// Computes for the same time in each of its polls, and records them itself.
struct Work {
    polls_left: u64,
    poll: Duration,
    books: Arc<Books>,
}

#[derive(Debug, Default)]
struct Books {
    polls: AtomicU64,
    nanoseconds: AtomicU64,
    longest: AtomicU64,
}

impl Books {
    fn busy(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

impl Future for Work {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        while began.elapsed() < self.poll {
            std::hint::spin_loop();
        }
        self.polls_left -= 1;
        let took = u64::try_from(began.elapsed().as_nanos()).expect("a short time");
        self.books.polls.fetch_add(1, Ordering::Relaxed);
        self.books.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.books.longest.fetch_max(took, Ordering::Relaxed);
        if self.polls_left == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn work(polls: u64, poll: Duration) -> (Work, Arc<Books>) {
    let books = Arc::new(Books::default());
    (Work { polls_left: polls, poll, books: Arc::clone(&books) }, books)
}

/// Collects task statistics while something runs, and a little longer. If the machine is too slow for the window, it runs again
/// in a longer one.
fn count_during<R: Send>(watch: &Watch, run: impl Fn() -> R + Sync) -> (TaskStats, R) {
    for seconds in [2, 10, 30] {
        let attempt = std::thread::scope(|scope| {
            let counting =
                scope.spawn(move || watch.count_tasks_blocking(Duration::from_secs(seconds)).expect("few ask"));
            // The window opens within microseconds, but nothing reports it.
            std::thread::sleep(Duration::from_millis(200));
            let outcome = run();
            let in_time = !counting.is_finished();
            let stats = counting.join().expect("it counts");
            in_time.then_some((stats, outcome))
        });
        if let Some(counted) = attempt {
            return counted;
        }
    }
    panic!("the machine is too slow");
}

fn named<'a>(stats: &'a TaskStats, name: &str) -> &'a TaskUse {
    let found = stats.tasks.iter().find(|task| task.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name} is not in {stats:#?}"))
}

/// The statistics agree with the task's own records, plus a little overhead.
fn assert_agrees(task: &TaskUse, books: &Books) {
    assert_eq!(task.polls, books.polls.load(Ordering::Relaxed), "{task:#?}");
    let (counted, own) = (task.busy, books.busy());
    assert!(counted >= own, "{counted:?} includes {own:?}");
    // The machine may stop a thread between the two clocks, but rarely and briefly.
    assert!(counted <= own * 3 / 2 + Duration::from_millis(100), "{counted:?} is about {own:?}");
    assert!(task.longest >= Duration::from_nanos(books.longest.load(Ordering::Relaxed)), "{task:#?}");
    assert!(task.longest <= task.busy && task.mean() <= task.longest, "{task:#?}");
}

#[test]
fn two_tasks_that_share_a_worker_one_to_three() {
    let _alone = alone();
    let watch = watch();
    let mut current = Builder::new_current_thread();
    let mut multi = Builder::new_multi_thread();
    for builder in [&mut current, multi.worker_threads(2)] {
        let runtime = watch.runtime(builder.name("shared").enable_all()).expect("builds");
        let (stats, [small_books, large_books]) = count_during(&watch, || {
            let (small, small_books) = work(100, Duration::from_micros(500));
            let (large, large_books) = work(300, Duration::from_micros(500));
            runtime.block_on(async {
                let small = holdup::spawn_named("small", small);
                let large = holdup::spawn_named("large", large);
                small.await.expect("it ends");
                large.await.expect("it ends");
            });
            [small_books, large_books]
        });
        let (small, large) = (named(&stats, "small"), named(&stats, "large"));
        assert_eq!((small.polls, large.polls), (100, 300));
        assert_agrees(small, &small_books);
        assert_agrees(large, &large_books);
        // The machine may stop both, but neither computes for less than its time.
        assert!(small.busy >= Duration::from_millis(50) && large.busy >= Duration::from_millis(150), "{stats:#?}");
        let ratio = |large: Duration, small: Duration| large.as_secs_f64() / small.as_secs_f64();
        let (counted, own) = (ratio(large.busy, small.busy), ratio(large_books.busy(), small_books.busy()));
        assert!((0.3..3.0).contains(&(counted / own)), "{counted} is about {own}");
        for task in [small, large] {
            assert_eq!((task.tasks, task.ended, &*task.runtime), (1, 1, "shared"), "{task:#?}");
            assert!(task.id.is_some() && task.spawned_at.file().ends_with("tasks.rs"), "{task:#?}");
            assert!(task.delay.is_none(), "schedule latency is not enabled: {task:#?}");
            assert!(!task.workers.is_empty() && task.workers.iter().all(|worker| *worker < 2), "{task:#?}");
            assert!(task.idle > Duration::ZERO && task.idle < stats.window, "{task:#?}");
        }
        assert!(stats.window >= Duration::from_secs(2), "{:?}", stats.window);
        assert_eq!(stats.polls_not_kept_apart, 0);
    }
}

#[test]
fn an_idle_task_is_idle_and_a_stuck_task_is_busy() {
    let _alone = alone();
    let watch = watch();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(2).enable_all()).expect("builds");
    let release = Arc::new(AtomicBool::new(false));
    let (stats, ()) = count_during(&watch, || {
        let stuck = Arc::clone(&release);
        runtime.spawn(std::future::pending::<()>().watched_as("idle"));
        let before = Instant::now();
        runtime.spawn(
            async move {
                while !stuck.load(Ordering::Relaxed) && before.elapsed() < DEADLINE {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            .watched_as("stuck"),
        );
        // The poll begins long before the window ends.
        std::thread::sleep(Duration::from_millis(100));
    });
    let (idle, stuck) = (named(&stats, "idle"), named(&stats, "stuck"));
    assert_eq!((idle.polls, idle.ended), (1, 0));
    assert!(idle.idle > Duration::from_millis(500), "{idle:#?}");
    assert_eq!((stuck.polls, stuck.ended, stuck.idle), (1, 0, Duration::ZERO), "it is still in its poll");
    assert!(stuck.longest > Duration::from_millis(500) && stuck.busy == stuck.longest, "{stuck:#?}");
    // In the next window it is still in a poll that began earlier.
    let later = watch.count_tasks_blocking(Duration::from_millis(100)).expect("few ask");
    let stuck = named(&later, "stuck");
    assert_eq!(stuck.polls, 1);
    assert!(stuck.busy >= Duration::from_millis(100), "{stuck:#?}");
    assert!(stuck.busy < later.window + Duration::from_secs(1), "not from its beginning: {stuck:#?}");
    assert!(later.tasks.iter().all(|task| task.name.as_deref() != Some("idle")), "it was not polled: {later:#?}");
    release.store(true, Ordering::Relaxed);
}

#[test]
fn many_short_tasks_have_records_up_to_a_limit_and_no_poll_is_lost() {
    const TASKS: u64 = 20_000;
    let _alone = alone();
    let watch = watch();
    let runtime = watch.runtime(&mut Builder::new_current_thread()).expect("builds");
    let (stats, ()) = count_during(&watch, || {
        runtime.block_on(async {
            for _ in 0..TASKS {
                holdup::spawn(async {}).await.expect("it ends");
            }
        });
    });
    let mut short: Vec<_> = stats.rows(TaskGroup::Spawn, TaskColumn::Polls);
    short.retain(|row| row.id.is_none() && row.tasks > 1);
    assert_eq!(short.len(), 1, "{short:#?}");
    let row = &short[0];
    assert_eq!(row.polls, TASKS, "each was polled once");
    assert!(row.tasks < TASKS && row.tasks == row.ended, "{row:#?}");
    assert_eq!(row.tasks + stats.polls_not_kept_apart, TASKS);
    assert!(stats.tasks.len() < 16_000, "{}", stats.tasks.len());
}

#[test]
fn requests_of_one_connection_are_grouped_by_name() {
    let _alone = alone();
    let watch = watch();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(2)).expect("builds");
    let request = |polls: u32, name: &'static str| {
        let work = async move {
            for _ in 1..polls {
                tokio::task::yield_now().await;
            }
        };
        work.watched_as(name)
    };
    let (stats, ()) = count_during(&watch, || {
        let connection = move || async move {
            for _ in 0..10 {
                request(3, "GET /news").await;
                tokio::task::yield_now().await;
                request(1, "POST /news").await;
            }
        };
        runtime.block_on(async {
            let connections: Vec<_> = (0..4).map(|_| tokio::spawn(connection())).collect();
            for connection in connections {
                connection.await.expect("it ends");
            }
        });
    });
    let rows = stats.rows(TaskGroup::Name, TaskColumn::Polls);
    let row = |name: &str| rows.iter().find(|row| row.name.as_deref() == Some(name)).expect("it was polled");
    let polls = |name: &str| (row(name).tasks, row(name).polls);
    // With task hooks, the poll that ends one request and begins the next counts once, with the name of the first.
    let of_news = if cfg!(tokio_unstable) { 4 * (3 + 9 * 2) } else { 4 * 10 * 3 };
    assert_eq!((polls("GET /news"), polls("POST /news")), ((4, of_news), (4, 4 * 10)), "{rows:#?}");
    let of = |rows: &[TaskUse]| rows.iter().map(|row| row.polls).sum::<u64>();
    assert_eq!(of(&rows), of(&stats.tasks), "every poll is in one row");
}

#[test]
fn a_future_wrapped_twice_counts_once_under_its_outer_name() {
    let _alone = alone();
    let watch = watch();
    for hooks in [holdup::Hooks::new(), holdup::Hooks::new().without_task_hooks()] {
        let runtime = watch.runtime_with(Builder::new_multi_thread().worker_threads(1), hooks).expect("builds");
        let (stats, books) = count_during(&watch, || {
            let (inner, books) = work(50, Duration::from_micros(100));
            runtime.block_on(async {
                let nested = inner.watched_as("inner").watched_as("outer");
                tokio::spawn(nested).await.expect("it ends");
            });
            books
        });
        assert_agrees(named(&stats, "outer"), &books);
        assert!(stats.tasks.iter().all(|task| task.name.as_deref() != Some("inner")), "{stats:#?}");
    }
}

#[test]
fn a_poll_with_block_in_place_counts_once_and_stalls_no_worker() {
    let _alone = alone();
    let watch = watch();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1)).expect("builds");
    let (stats, ()) = count_during(&watch, || {
        let other_polls = Arc::new(AtomicU64::new(0));
        let polls = Arc::clone(&other_polls);
        runtime.block_on(async {
            let away = holdup::spawn_named("away", async move {
                tokio::task::block_in_place(|| {
                    // Continues once another thread has taken the worker and polls.
                    wait_until("another thread has the worker", || polls.load(Ordering::Relaxed) > 0);
                    std::thread::sleep(Duration::from_millis(400));
                });
            });
            let counted = Arc::clone(&other_polls);
            let other = holdup::spawn_named("other", async move { counted.fetch_add(1, Ordering::Relaxed) });
            other.await.expect("it ends");
            away.await.expect("it ends");
        });
    });
    let (away, other) = (named(&stats, "away"), named(&stats, "other"));
    assert_eq!((away.polls, other.polls), (1, 1));
    assert!(away.busy < Duration::from_millis(400), "{away:#?}");
    assert_eq!((away.workers.as_slice(), other.workers.as_slice()), (&[0][..], &[0][..]));
}

#[test]
fn windows_overlap_up_to_a_limit_and_are_independent() {
    let _alone = alone();
    let watch = watch();
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(1)).expect("builds");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let task = runtime.spawn(
        async move {
            while !stopped.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
        }
        .watched_as("yields"),
    );
    std::thread::scope(|scope| {
        let count = |ms: u64| watch.count_tasks_blocking(Duration::from_millis(ms));
        let windows: Vec<_> = [400, 400, 400, 800].map(|ms| scope.spawn(move || count(ms))).into_iter().collect();
        wait_until("a fifth is refused", || match count(0) {
            Err(error) => error.to_string().contains("ask again"),
            Ok(_) => false,
        });
        let polls: Vec<_> = windows
            .into_iter()
            .map(|window| named(&window.join().expect("it counts").expect("it has room"), "yields").polls)
            .collect();
        assert!(polls.iter().all(|polls| *polls > 0), "{polls:?}");
        assert!(polls[3] > polls[0], "twice the time: {polls:?}");
    });
    assert!(watch.count_tasks_blocking(Duration::ZERO).is_ok(), "there is room again");
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async { task.await.expect("it ends") });
}

#[test]
fn windows_and_workers_that_start_and_end_lose_and_duplicate_no_poll() {
    const WORKERS: u32 = 2;
    let _alone = alone();
    let watch = watch();
    let mut builder = Builder::new_multi_thread();
    let runtime = watch.runtime(builder.worker_threads(WORKERS as usize).enable_all()).expect("builds");
    let done = AtomicBool::new(false);
    let ((stats, books), glimpses) = std::thread::scope(|scope| {
        let glimpses = scope.spawn(|| {
            let (mut glimpses, mut polls) = (0_u64, 0_u64);
            while !done.load(Ordering::Relaxed) {
                let stats = watch.count_tasks_blocking(Duration::from_micros(200)).expect("few ask");
                polls += stats.tasks.iter().map(|task| task.polls).sum::<u64>();
                glimpses += 1;
            }
            (glimpses, polls)
        });
        let counted = count_during(&watch, || {
            let (mut tasks, mut books) = (Vec::new(), Vec::new());
            for number in 0..8 {
                let (busy, own) = work(300, Duration::from_micros(50));
                books.push(own);
                tasks.push(runtime.spawn(busy.watched_as(&format!("busy {number}"))));
                // Each gives its worker to another thread.
                tasks.push(runtime.spawn(async {
                    for _ in 0..20 {
                        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_micros(100)));
                        tokio::task::yield_now().await;
                    }
                }));
            }
            runtime.block_on(async {
                for task in tasks {
                    task.await.expect("it ends");
                }
            });
            books
        });
        done.store(true, Ordering::Relaxed);
        (counted, glimpses.join().expect("it counts"))
    });
    for (number, books) in books.iter().enumerate() {
        let task = named(&stats, &format!("busy {number}"));
        assert_eq!(task.polls, books.polls.load(Ordering::Relaxed), "{task:#?}");
        assert!(task.busy <= books.busy() * 3 / 2 + Duration::from_millis(100), "{:?}: {task:#?}", books.busy());
    }
    assert!(glimpses.0 > 10 && glimpses.1 > 0, "{glimpses:?}");
    let busy: Duration = stats.tasks.iter().filter(|task| task.id.is_some()).map(|task| task.busy).sum();
    assert!(busy <= stats.window * WORKERS, "{busy:?} by {WORKERS} workers in {:?}", stats.window);
}

#[cfg(all(tokio_unstable, feature = "schedule-latency"))]
#[test]
fn the_schedule_latency_of_a_queued_task_is_known() {
    let _alone = alone();
    let watch = watch();
    let mut builder = Builder::new_current_thread();
    let runtime = watch.runtime(builder.track_task_schedule_latency()).expect("builds");
    let (stats, ()) = count_during(&watch, || {
        let (first, _) = work(1, Duration::from_millis(50));
        let (second, _) = work(1, Duration::ZERO);
        runtime.block_on(async {
            let first = holdup::spawn_named("first", first);
            let second = holdup::spawn_named("second", second);
            first.await.expect("it ends");
            second.await.expect("it ends");
        });
    });
    let delay = named(&stats, "second").delay.expect("schedule latency is enabled");
    assert_eq!(delay.polls, 1);
    assert!(delay.longest >= Duration::from_millis(50) && delay.mean() == delay.longest, "{delay:?}");
}
