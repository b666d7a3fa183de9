//! `lost-waker`: a future returns `Pending` without keeping the waker of its task.
//!
//! Committed once. The task stays until the runtime ends, with all that it owns.

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

/// Work on a separate thread, which sets a flag at its end.
struct Work {
    done: Arc<AtomicBool>,
}

impl Work {
    fn start() -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        thread::Builder::new().name("work".to_owned()).spawn(move || {
            thread::sleep(HELD);
            // The waiting task should be woken here, but its waker was not kept.
            flag.store(true, Relaxed);
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
