//! Waiting for locks, channels, threads and futures on other threads.

use std::fs::File;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Case, Scene, elsewhere, later, prepared, scratch};
use crate::truth::Cause;

/// Time between the lock by another thread and the attempt of the case.
const SLACK: Duration = Duration::from_millis(1);

pub(super) const CASES: &[Case] = &[
    Case::stall("mutex", "a std Mutex that another thread holds", Cause::Lock, |scene| {
        Box::pin(async move {
            let mutex: &'static Mutex<()> = Box::leak(Box::default());
            elsewhere(scene.length() + SLACK, || mutex.lock()).await?;
            lock_mutex(&scene, mutex);
            Ok(())
        })
    }),
    Case::stall("rwlock", "a std RwLock that another thread writes", Cause::Lock, |scene| {
        Box::pin(async move {
            let lock: &'static RwLock<()> = Box::leak(Box::default());
            elsewhere(scene.length() + SLACK, || lock.write()).await?;
            read_rwlock(&scene, lock);
            Ok(())
        })
    }),
    Case::stall("condvar", "a std Condvar that is notified late", Cause::Lock, |scene| {
        Box::pin(async move {
            let gate = Arc::new(Gate::default());
            let other = Arc::clone(&gate);
            later(scene.length(), move || other.open())?;
            gate.wait(&scene);
            Ok(())
        })
    }),
    Case::stall("mpsc", "recv of a std channel that is sent to late", Cause::Lock, |scene| {
        Box::pin(async move {
            let (sender, receiver) = channel();
            // The receiver is gone if the case has failed.
            later(scene.length(), move || {
                let _gone = sender.send(());
            })?;
            receive(&scene, &receiver)
        })
    }),
    Case::stall("thread-join", "joins a thread that sleeps", Cause::Lock, |scene| {
        Box::pin(async move {
            let length = scene.length();
            join(&scene, std::thread::spawn(move || std::thread::sleep(length)))
        })
    }),
    Case::stall("file-lock", "File::lock of a locked file", Cause::Lock, |scene| {
        Box::pin(async move {
            let path = scratch("lock");
            let paths = (path.clone(), path.clone());
            let (theirs, ours) = prepared(move || Ok((File::create(&paths.0)?, File::create(&paths.1)?))).await?;
            elsewhere(scene.length() + SLACK, move || (theirs.lock(), theirs)).await?;
            lock_file(&scene, &ours)?;
            prepared(move || Ok(std::fs::remove_file(&path)?)).await
        })
    }),
    Case::stall("block-on", "futures' block_on inside a task", Cause::Lock, |scene| {
        Box::pin(async move {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            // The receiver is gone if the case has failed.
            later(scene.length(), move || {
                let _gone = sender.send(());
            })?;
            block_on(&scene, receiver)
        })
    }),
    Case::stall("rayon", "waits for work of a rayon pool", Cause::Lock, |scene| {
        Box::pin(async move {
            let pool = prepared(pool).await?;
            wait_for_pool(&scene, pool);
            Ok(())
        })
    }),
];

#[inline(never)]
fn lock_mutex(scene: &Scene, mutex: &Mutex<()>) {
    drop(held!(scene.log, mutex.lock()));
}

#[inline(never)]
fn read_rwlock(scene: &Scene, lock: &RwLock<()>) {
    drop(held!(scene.log, lock.read()));
}

/// A gate that is closed until it is opened.
#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    #[inline(never)]
    fn wait(&self, scene: &Scene) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(held!(scene.log, self.opened.wait_while(open, |open| !*open)));
    }
}

#[inline(never)]
fn receive(scene: &Scene, receiver: &Receiver<()>) -> anyhow::Result<()> {
    Ok(held!(scene.log, receiver.recv())?)
}

#[inline(never)]
fn join(scene: &Scene, thread: JoinHandle<()>) -> anyhow::Result<()> {
    held!(scene.log, thread.join()).map_err(|_| anyhow!("the thread has panicked"))
}

#[inline(never)]
fn lock_file(scene: &Scene, file: &File) -> anyhow::Result<()> {
    held!(scene.log, file.lock())?;
    Ok(file.unlock()?)
}

#[inline(never)]
fn block_on(scene: &Scene, receiver: tokio::sync::oneshot::Receiver<()>) -> anyhow::Result<()> {
    Ok(held!(scene.log, futures_executor::block_on(receiver))?)
}

/// A pool of one thread.
fn pool() -> anyhow::Result<&'static ThreadPool> {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let pool = ThreadPoolBuilder::new().num_threads(1).build()?;
    Ok(POOL.get_or_init(|| pool))
}

#[inline(never)]
fn wait_for_pool(scene: &Scene, pool: &ThreadPool) {
    let length = scene.length();
    held!(scene.log, pool.install(|| std::thread::sleep(length)));
}
