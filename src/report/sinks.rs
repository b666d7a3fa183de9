//! Where reports go, besides the history: standard error, the program's `tracing` subscriber, and the user's callback.
//!
//! Each of them runs the program's code or writes to what the program holds, so each has a thread of its own. The reporter
//! hands over and goes on.
//!
//! ```text
//! reporter ──▶ holdup-tracing ── not wanted ──▶ holdup-stderr
//!     │              └─── stuck: taken back ────────▲
//!     ├─────────── Print::Always ───────────────────┘
//!     └─────▶ holdup-callback
//! ```

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::dispatcher::WeakDispatch;

use super::handover::Handover;
use super::news::News;
use super::printer::{Printer, Printing};
use super::subscriber;
use super::undelivered::Undelivered;
use crate::export::text::milliseconds;
use crate::model::own_thread;
use crate::model::stall::{Phase, Stall, StallEvent};
use crate::threads::Ended;

/// Events on their way to the callback.
const CALLBACK_QUEUE: usize = 256;

/// From this time on, a thread that works on one item is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Time for the last reports at the end of a watch, also when its limit has passed.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Between two checks whether everything was delivered.
const CHECK: Duration = Duration::from_millis(2);

/// The user's callback.
pub(crate) type Callback = Arc<dyn Fn(&StallEvent<'_>) + Send + Sync>;

/// A call of the callback.
type Call = (Phase, Arc<Stall>);

/// Who gets reports, besides the subscriber.
#[derive(Default)]
pub(crate) struct Audience {
    pub(crate) printing: Printing,
    pub(crate) callback: Option<Callback>,
    /// Called on the reporter's thread. It is holdup's own code, and never waits.
    pub(crate) direct: Option<Callback>,
}

/// The threads that deliver reports.
pub(crate) struct Sinks {
    printer: Arc<Printer>,
    subscriber: Handover<Arc<News>>,
    callback: Option<Handover<Call>>,
    direct: Option<Callback>,
    pub(crate) undelivered: Arc<Undelivered>,
    /// The subscriber of the thread that started them.
    of_starter: Option<WeakDispatch>,
    /// Whether the end has begun.
    ending: AtomicBool,
    /// Whether standard error has a notice that the subscriber is stuck.
    said_stuck: AtomicBool,
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sinks").field("printer", &self.printer).finish_non_exhaustive()
    }
}

impl Sinks {
    /// Starts the threads. Events go to the calling thread's subscriber, if it has one of its own.
    pub(crate) fn start(audience: Audience) -> io::Result<Self> {
        let undelivered = Arc::default();
        let printer = Arc::new(Printer::start(audience.printing, &undelivered)?);
        let of_starter = subscriber::of_caller();
        let subscriber = subscriber::start(Arc::clone(&printer), Arc::clone(&undelivered), of_starter.clone())?;
        let callback = audience.callback.map(|callback| caller(callback, Arc::clone(&undelivered))).transpose()?;
        let (ending, said_stuck) = (AtomicBool::new(false), AtomicBool::new(false));
        let direct = audience.direct;
        Ok(Self { printer, subscriber, callback, direct, undelivered, of_starter, ending, said_stuck })
    }

    /// Starts threads for what is said after the end of a watch. They have no callback.
    pub(crate) fn start_again(&self) -> io::Result<Self> {
        let audience = Audience { printing: self.printer.printing, ..Audience::default() };
        subscriber::with_subscriber(self.of_starter.as_ref(), || Self::start(audience))
    }

    /// Whether the end has begun. What is said from then on is lost.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Prints and sends an event, as the user wants it. Never waits.
    pub(crate) fn say(&self, news: News) {
        let news = Arc::new(news);
        self.printer.print_beside(&news);
        self.check();
        if self.is_stuck() || !self.subscriber.offer(Arc::clone(&news)) {
            self.printer.print_undelivered(&news);
        }
    }

    /// Calls the callback. Never waits.
    pub(crate) fn call(&self, phase: Phase, stall: &Arc<Stall>) {
        if let Some(direct) = &self.direct {
            direct(&StallEvent { phase, stall });
        }
        let missed = self.callback.as_ref().is_some_and(|callback| !callback.offer((phase, Arc::clone(stall))));
        if missed {
            self.undelivered.callbacks_missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Prints what a stuck subscriber has not taken. The reporter calls it while events are on their way.
    pub(crate) fn check(&self) {
        if !self.is_stuck() {
            self.said_stuck.store(false, Ordering::Relaxed);
            return;
        }
        if !self.said_stuck.swap(true, Ordering::Relaxed) {
            let notice = self.subscriber_note().map(|note| format!("{note}; reports are printed here until it does"));
            let _printed = notice.map(|notice| self.printer.print(&Arc::new(News::Notice(notice))));
        }
        self.take_back();
    }

    fn take_back(&self) {
        while let Some(news) = self.subscriber.take_back() {
            self.printer.print_undelivered(&news);
        }
    }

    /// Whether events are on their way to the subscriber.
    pub(crate) fn any_pending(&self) -> bool {
        !self.subscriber.is_idle()
    }

    fn is_stuck(&self) -> bool {
        is_stuck(&self.subscriber).is_some()
    }

    fn subscriber_note(&self) -> Option<String> {
        let since = milliseconds(is_stuck(&self.subscriber)?);
        Some(format!("the program's tracing subscriber has not returned from a report for {since}"))
    }

    /// What holds up the delivery of reports now, as sentences.
    pub(crate) fn notes(&self) -> Vec<String> {
        let printer = self.printer.queue.as_ref().and_then(is_stuck);
        let printer = printer.map(|since| format!("standard error has not taken a report for {}", milliseconds(since)));
        let callback = self.callback.as_ref().and_then(is_stuck);
        let callback = callback.map(|since| format!("the stall callback has not returned for {}", milliseconds(since)));
        self.subscriber_note().into_iter().chain(printer).chain(callback).collect()
    }

    /// Waits until everything is printed, up to a limit.
    pub(crate) fn settle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline
            && !(self.subscriber.is_idle() && self.printer.queue.as_ref().is_none_or(Handover::is_idle))
        {
            std::thread::sleep(CHECK);
        }
    }

    /// Delivers what is left, and ends the threads. A second call returns at once.
    pub(crate) fn end_by(&self, deadline: Instant) -> Ended {
        if self.ending.swap(true, Ordering::Relaxed) {
            return Ended::Yes;
        }
        // What was said just before has a moment too.
        let deadline = deadline.max(Instant::now() + LAST_WORDS);
        self.subscriber.close();
        self.callback.iter().for_each(Handover::close);
        while Instant::now() < deadline && !self.is_delivered() {
            self.check();
            std::thread::sleep(CHECK);
        }
        self.take_back();
        self.printer.queue.iter().for_each(Handover::close);
        let grace = deadline.max(Instant::now() + LAST_WORDS);
        let printed = self.printer.queue.as_ref().map_or(Ended::Yes, |queue| queue.end_by(grace));
        let taken = self.subscriber.end_by(grace);
        let called = self.callback.as_ref().map_or(Ended::Yes, |callback| callback.end_by(grace));
        printed.and(taken).and(called)
    }

    fn is_delivered(&self) -> bool {
        let called = |callback: &Handover<Call>| callback.is_idle() || callback.is_current_thread();
        self.subscriber.is_idle() && self.callback.as_ref().is_none_or(called)
    }
}

/// How long the thread has been stuck in one item.
fn is_stuck<T: Clone + Send + 'static>(handover: &Handover<T>) -> Option<Duration> {
    handover.busy_for().filter(|time| *time >= STUCK_AFTER)
}

/// The thread that calls the callback.
fn caller(callback: Callback, undelivered: Arc<Undelivered>) -> io::Result<Handover<Call>> {
    let deliver = move |(phase, stall): &Call| {
        let event = StallEvent { phase: *phase, stall };
        if catch_unwind(AssertUnwindSafe(|| callback(&event))).is_err() {
            undelivered.callback_panics.fetch_add(1, Ordering::Relaxed);
        }
        true
    };
    Handover::start(own_thread::CALLBACK, CALLBACK_QUEUE, deliver, drop)
}
