//! `/debug/holdup/live`: server-sent events for the page, and `/debug/holdup/timeline`: what they continue.
//!
//! One task makes the events, and each of them is made once for all pages. A page that does not read is disconnected when its
//! buffer is full. So a page costs little, and a slow one holds nothing up.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use super::answer::{TEXT, answer, json};
use crate::export::live_json::{HeldEvent, Program, TimelineAnswer};
use crate::inprocess::{NUMBERS_INTERVAL, NumberSampler, WatchState};

/// Pages at a time. Each has a connection of its own, and other requests need some too.
const MAX_PAGES: usize = 32;

/// Events that wait for a page to read them.
const BUFFER: usize = 16;

/// A stream ends after this time, and the page opens the next one: a connection has its limits.
const LONGEST: Duration = Duration::from_secs(240);

/// The time between two looks at what is held up.
const LOOK: Duration = Duration::from_millis(100);

/// While something is held up, a page gets news at least this often.
const REPEAT: Duration = Duration::from_secs(1);

const EVENTS: &str = "text/event-stream";

/// The pages that are open.
#[derive(Debug, Default)]
pub(super) struct Live {
    pages: Mutex<Vec<OpenPage>>,
    opened: Notify,
}

/// A page, and when its stream began.
#[derive(Debug)]
struct OpenPage {
    events: mpsc::Sender<Bytes>,
    since: Instant,
}

impl Live {
    fn pages(&self) -> MutexGuard<'_, Vec<OpenPage>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events from now on.
    pub(super) fn open(&self) -> Response {
        let mut pages = self.pages();
        pages.retain(OpenPage::is_open);
        if pages.len() >= MAX_PAGES {
            let sentence = format!("{MAX_PAGES} pages are open, which is the limit; close one of them\n");
            return (StatusCode::SERVICE_UNAVAILABLE, answer(TEXT, sentence)).into_response();
        }
        let (sender, events) = mpsc::channel(BUFFER);
        pages.push(OpenPage { events: sender, since: Instant::now() });
        drop(pages);
        self.opened.notify_one();
        let mut response = answer(EVENTS, Body::new(Events(events)));
        // A proxy must not hold events back.
        response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
        response
    }

    fn any(&self) -> bool {
        let mut pages = self.pages();
        pages.retain(OpenPage::is_open);
        !pages.is_empty()
    }

    fn send<T: serde::Serialize>(&self, name: &str, value: &T) {
        let Ok(data) = serde_json::to_string(value) else { return };
        let event = Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        self.pages().retain(|page| page.events.try_send(event.clone()).is_ok());
    }

    /// Says that the watch ends.
    pub(super) fn end(&self) {
        self.send("bye", &());
        self.pages().clear();
    }

    /// Makes the events, and keeps the numbers of the last minutes also while no page is open.
    pub(super) async fn run(&self, watch: &WatchState) {
        let mut sampler = NumberSampler::new();
        let mut news = News::default();
        let mut seconds = tokio::time::interval(NUMBERS_INTERVAL);
        let mut looks = tokio::time::interval(LOOK);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_open = self.any();
            tokio::select! {
                _ = seconds.tick() => {
                    sampler.sample(watch);
                    let timeline = news.timeline(watch);
                    if is_open {
                        self.send("timeline", &timeline);
                    }
                }
                _ = looks.tick(), if is_open => {
                    if let Some(held) = news.held(watch) {
                        self.send("held", &held);
                    }
                }
                () = self.opened.notified() => news.said = None,
            }
        }
    }
}

impl OpenPage {
    fn is_open(&self) -> bool {
        !self.events.is_closed() && self.since.elapsed() < LONGEST
    }
}

/// What the pages have been told.
#[derive(Debug, Default)]
struct News {
    next_bin: u64,
    numbers_until: Option<SystemTime>,
    /// The version of the stalls that they know, how many were not explained yet, and when they were told. `None` for a new page.
    said: Option<(u64, u64, Instant)>,
}

impl News {
    /// The bins and numbers since the previous call.
    fn timeline(&mut self, watch: &WatchState) -> TimelineAnswer {
        let lanes = watch.log.totals.lanes.since(self.next_bin);
        let numbers = watch.numbers.after(self.numbers_until);
        self.next_bin = lanes.next;
        self.numbers_until = numbers.last().map(|second| second.at).or(self.numbers_until);
        TimelineAnswer::new(program(watch), &lanes, &numbers, ms(NUMBERS_INTERVAL))
    }

    /// What is held up now, if that is news.
    fn held(&mut self, watch: &WatchState) -> Option<HeldEvent> {
        let now = Instant::now();
        let (version, any_open) = watch.log.version();
        let pending = watch.log.pending();
        let is_known = self.said.is_some_and(|(known, waited, at)| {
            (known, waited) == (version, pending) && (!any_open && pending == 0 || now - at < REPEAT)
        });
        if is_known {
            return None;
        }
        self.said = Some((version, pending, now));
        let mut event = HeldEvent::new(watch.log.running(), version, watch.log.counters(), watch.log.sinks.notes());
        if pending > 0 {
            // The first explanation reads debug information, which takes a second in a large program.
            event.add_unexplained(&watch.workers(), watch.log.threshold);
        }
        Some(event)
    }
}

/// `/debug/holdup/timeline`.
pub(super) fn timeline(watch: &WatchState) -> Response {
    let lanes = watch.log.totals.lanes.since(0);
    json(&TimelineAnswer::new(program(watch), &lanes, &watch.numbers.after(None), ms(NUMBERS_INTERVAL)))
}

fn program(watch: &WatchState) -> Program<'_> {
    Program { name: &watch.log.program, threshold: watch.log.threshold }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The body of a response that never ends.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_does_not_read_is_disconnected() {
        let live = Live::default();
        let page = live.open();
        assert_eq!(page.status(), StatusCode::OK);
        (0..BUFFER).for_each(|_| live.send("held", &1));
        assert!(live.any());
        live.send("held", &1);
        assert!(!live.any(), "its buffer is full");
    }

    #[test]
    fn pages_have_a_limit_and_closed_ones_make_room() {
        let live = Live::default();
        let pages: Vec<Response> = (0..MAX_PAGES).map(|_| live.open()).collect();
        assert_eq!(live.open().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(pages);
        assert_eq!(live.open().status(), StatusCode::OK);
    }
}
