//! `block-on`: a handler calls async code through `futures::executor::block_on`, which parks the worker.
//!
//! Here a separate thread answers, so that the wait ends. If the answer came from a task, a timer or a socket of the
//! same runtime, and all workers waited here, the runtime would deadlock.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Commit, HELD};

type Question = oneshot::Sender<Duration>;

pub(super) fn arm() -> io::Result<Commit> {
    let (ask, questions) = channel::<Question>();
    thread::Builder::new().name("slow-answers".to_owned()).spawn(move || {
        for question in questions {
            thread::sleep(HELD);
            // Fails if the receiver is gone.
            let _ = question.send(HELD);
        }
    })?;
    Ok(Box::new(move |_| {
        block_on_inside_task(&ask)?;
        Ok(())
    }))
}

// Not inlined, because the report must name it.
#[inline(never)]
fn block_on_inside_task(ask: &Sender<Question>) -> io::Result<Duration> {
    let (question, answer) = oneshot::channel();
    ask.send(question).map_err(io::Error::other)?;
    futures_executor::block_on(answer).map_err(io::Error::other)
}
