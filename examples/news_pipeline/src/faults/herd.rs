//! `herd`: every waiting task is woken, and all but one find nothing to do.

use std::{
    io,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use super::Commit;

const TASKS: usize = 2000;

pub(super) fn arm() -> io::Result<Commit> {
    let bell = Arc::new(Notify::new());
    let work = Arc::new(AtomicU64::new(0));
    let gathered = Once::new();
    Ok(Box::new(move |_| {
        gathered.call_once(|| gather(&bell, &work));
        work.fetch_add(1, Relaxed);
        wake_everybody(&bell);
        Ok(())
    }))
}

fn gather(bell: &Arc<Notify>, work: &Arc<AtomicU64>) {
    for _ in 0..TASKS {
        let (bell, work) = (Arc::clone(bell), Arc::clone(work));
        holdup::spawn_named("one of the herd", async move {
            loop {
                bell.notified().await;
                // The first task takes the work. `notify_one` would have woken only one.
                let _taken = work.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            }
        });
    }
}

#[inline(never)]
fn wake_everybody(bell: &Notify) {
    bell.notify_waiters();
}
