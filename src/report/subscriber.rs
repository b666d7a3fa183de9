//! The thread that sends events to the program's `tracing` subscriber, and may be stuck in it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::subscriber::NoSubscriber;

use super::handover::Handover;
use super::news::News;
use super::printer::Printer;
use super::undelivered::{Gap, Undelivered};
use crate::model::own_thread;

/// Events on their way to the subscriber.
const QUEUE: usize = 64;

/// Starts the thread. What no subscriber takes is printed.
pub(super) fn start(
    printer: Arc<Printer>,
    undelivered: Arc<Undelivered>,
    of_caller: Option<WeakDispatch>,
) -> io::Result<Handover<Arc<News>>> {
    let mut gap = Gap::default();
    let deliver = move |news: &Arc<News>| {
        let send = || with_subscriber(of_caller.as_ref(), || send(news, &mut gap, &undelivered));
        // A subscriber that panics has not taken the event.
        catch_unwind(AssertUnwindSafe(send)).unwrap_or(false)
    };
    let unwanted = move |news: Arc<News>| printer.print_instead(&news);
    Handover::start(own_thread::SUBSCRIBER, QUEUE, deliver, unwanted)
}

/// The subscriber of the calling thread. `None` if it has none yet: the program may set a global one later.
pub(super) fn of_caller() -> Option<WeakDispatch> {
    dispatcher::get_default(subscriber_of)
}

/// Runs something with a subscriber. If there is none, or it is gone, the calling thread keeps its own.
pub(super) fn with_subscriber<T>(subscriber: Option<&WeakDispatch>, run: impl FnOnce() -> T) -> T {
    match subscriber.and_then(WeakDispatch::upgrade) {
        Some(subscriber) => dispatcher::with_default(&subscriber, run),
        None => run(),
    }
}

fn subscriber_of(current: &Dispatch) -> Option<WeakDispatch> {
    (!current.is::<NoSubscriber>()).then(|| current.downgrade())
}

/// Whether the current subscriber has taken the event.
fn send(news: &News, gap: &mut Gap, undelivered: &Undelivered) -> bool {
    let taken = news.is_taken();
    if taken {
        let _said = gap.sentence(undelivered).map(|sentence| News::Notice(sentence).emit());
        news.emit();
    }
    taken
}
