//! Stalls that wait for a known object of a crate that only the corpus has: each must be reported with it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use holdup::stall::CauseObject::{self, BlockOn, DiskSync, RayonPool, Sqlite, SqliteLock};
use holdup::stall::{CauseClass, Phase};
use holdup::{Print, Watch};
use rusqlite::Connection;
use tokio::runtime::Builder;

/// The time until every object must have been reported.
const DEADLINE: Duration = Duration::from_secs(60);

/// The duration of a stall that waits.
const WAIT: Duration = Duration::from_millis(60);

/// A function, with the class and the object that must be reported.
type Case = (&'static str, CauseClass, CauseObject);

/// What was reported of a stall: function, class and objects.
type Report = (String, CauseClass, Vec<CauseObject>);

#[inline(never)]
fn query(database: &Connection) {
    let begun = Instant::now();
    let query = "SELECT count(*) FROM news a, news b WHERE a.title = b.title AND a.id % 7 = b.id % 5";
    while begun.elapsed() < WAIT {
        database.query_row(query, (), |row| row.get::<_, i64>(0)).expect("the table is there");
    }
}

#[inline(never)]
fn begin_writing(database: &Connection) {
    database.execute_batch("BEGIN IMMEDIATE").expect_err("another connection writes");
    std::hint::black_box(());
}

#[inline(never)]
fn ask_pool(pool: &rayon::ThreadPool) {
    pool.install(|| std::thread::sleep(WAIT));
    std::hint::black_box(());
}

#[inline(never)]
fn block_on_future() {
    let woken = async {
        let mut is_first = true;
        std::future::poll_fn(|context| {
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            std::thread::spawn(move || {
                std::thread::sleep(WAIT);
                waker.wake();
            });
            Poll::Pending
        })
        .await;
    };
    futures_executor::block_on(woken);
}

fn sync(file: &File) {
    let begun = Instant::now();
    while begun.elapsed() < WAIT {
        write_and_sync(file);
    }
}

#[inline(never)]
fn write_and_sync(mut file: &File) -> Duration {
    file.write_all(&[b'.'; 4096]).expect("there is room");
    let begun = Instant::now();
    file.sync_all().expect("the file is open");
    begun.elapsed()
}

/// Whether a sync of this file takes much longer than what comes before it. It does not in a file system in memory.
fn waits_for_disk(file: &File) -> bool {
    let begun = Instant::now();
    let synced: Duration = (0..20).map(|_| write_and_sync(file)).sum();
    synced > begun.elapsed() * 4 / 5 && synced > Duration::from_millis(4)
}

/// A database in memory with a table.
fn filled() -> Connection {
    let database = Connection::open_in_memory().expect("there is memory");
    database.execute_batch("CREATE TABLE news (id INTEGER, title TEXT)").expect("it is empty");
    for number in 0..200 {
        let row = (number, format!("title {}", number % 97));
        database.execute("INSERT INTO news VALUES (?1, ?2)", row).expect("the table is there");
    }
    database
}

/// Two connections to a database, of which the first writes.
fn one_writes(path: &PathBuf) -> (Connection, Connection) {
    let [first, second] = [(); 2].map(|()| Connection::open(path).expect("the folder is there"));
    first.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
    second.busy_timeout(WAIT).expect("it is open");
    (first, second)
}

/// Executes it again and again in a task.
fn repeat(runtime: &holdup::Handle, mut act: impl FnMut() + Send + 'static) {
    runtime.spawn(async move {
        loop {
            act();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn objects_of_crates_are_reported() {
    let folder = std::env::temp_dir().join(format!("holdup-objects-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let reported: Arc<Mutex<Vec<Report>>> = Arc::default();
    let list = Arc::clone(&reported);
    let watch = Watch::builder().threshold(Duration::from_millis(10)).print(Print::Never).on_stall(move |event| {
        if event.phase == Phase::Ended {
            let function = event.stall.culprit.as_ref().map(|culprit| culprit.frame.function.to_string());
            let report = (function.unwrap_or_default(), event.stall.cause.class, event.stall.cause.objects.clone());
            list.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        }
    });
    let watch = watch.start().expect("starts");
    let runtime = watch.runtime(Builder::new_multi_thread().worker_threads(7).enable_time()).expect("builds");

    let mut cases: Vec<Case> = vec![
        ("objects::query", CauseClass::Computing, Sqlite),
        ("objects::begin_writing", CauseClass::Sleeping, SqliteLock),
        ("objects::ask_pool", CauseClass::Lock, RayonPool),
        ("objects::block_on_future", CauseClass::Lock, BlockOn),
    ];
    let tasks = runtime.handle();
    let database = filled();
    repeat(tasks, move || query(&database));
    let (_writes, waits) = one_writes(&folder.join("database"));
    repeat(tasks, move || begin_writing(&waits));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("threads can be started");
    repeat(tasks, move || ask_pool(&pool));
    repeat(tasks, block_on_future);
    let file = File::create(folder.join("synced")).expect("the folder is there");
    if waits_for_disk(&file) {
        cases.push(("objects::write_and_sync", CauseClass::File, DiskSync));
        repeat(tasks, move || sync(&file));
    } else {
        eprintln!("disk_sync is left out: {} is not on a disk", folder.display());
    }

    let limit = Instant::now() + DEADLINE;
    loop {
        let reported = reported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_missing = |(function, class, object): &&Case| {
            !reported.iter().any(|report| report == &((*function).to_owned(), *class, vec![*object]))
        };
        let missing: Vec<_> = cases.iter().filter(is_missing).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < limit, "not reported in {DEADLINE:?}: {missing:?}, but\n{reported:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    runtime.shutdown_background();
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
