//! `lost-waker`: a future says that it is not ready, and keeps nothing that could wake its task.
//!
//! Committed once. The task stays until the runtime ends, with everything that it holds.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    thread,
};

use super::{Commit, HELD};

pub(super) fn arm() -> io::Result<Commit> {
    let committed = AtomicBool::new(false);
    Ok(Box::new(move |_| {
        if !committed.swap(true, Relaxed) {
            let work = Work::start()?;
            holdup::spawn_named("waits for ever", work);
        }
        Ok(())
    }))
}

/// Work on a thread of its own, which says when it is done.
struct Work {
    done: Arc<AtomicBool>,
}

impl Work {
    fn start() -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        thread::Builder::new().name("work".to_owned()).spawn(move || {
            thread::sleep(HELD);
            // Who waits should be woken here, but nobody kept its waker.
            told.store(true, Relaxed);
        })?;
        Ok(Self { done })
    }
}

impl Future for Work {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if self.done.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }
}
