//! Shared code of the tests: a watch that records its events, and waits for events.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

/// A task that acts in each of its polls.
pub(crate) mod acting;

/// A load with known shares.
pub(crate) mod cpu_load;

/// A CPU with other load.
pub(crate) mod one_cpu;

/// A CPU quota.
pub(crate) mod quota;

/// Profiles of the heap.
#[cfg(feature = "heap")]
pub(crate) mod heap;

/// A limit on memory.
pub(crate) mod memory_limit;

/// An HTTP client with access to the whole response.
pub(crate) mod http;

/// A runtime with known tasks.
pub(crate) mod scene;

/// A process that is watched from outside.
#[cfg(feature = "cli")]
pub(crate) mod observed;

/// A deadline for conditions, and one test of a file at a time.
mod waiting;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdup::stall::Phase;
use holdup::{EndpointAddress, Print, Stall, Watch, WatchBuilder};

pub(crate) use waiting::{DEADLINE, alone, wait_until};

/// The address and port of a watch's endpoint.
pub(crate) fn address_of(watch: &Watch) -> SocketAddr {
    watch.endpoint().and_then(EndpointAddress::tcp).expect("it listens")
}

/// Every event of a watch, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: Mutex<Vec<(Phase, Stall)>>,
    changed: Condvar,
}

impl Events {
    /// A watch without output and with a threshold of 10 ms, which records its events here.
    pub(crate) fn watch(&self) -> Watch {
        self.builder().start().expect("the watch starts")
    }

    pub(crate) fn builder(&self) -> WatchBuilder {
        let events = self.clone();
        Watch::builder().threshold(Duration::from_millis(10)).print(Print::Never).on_stall(move |event| {
            events.list().push((event.phase, event.stall.clone()));
            events.0.changed.notify_all();
        })
    }

    fn list(&self) -> MutexGuard<'_, Vec<(Phase, Stall)>> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<(Phase, Stall)> {
        self.list().clone()
    }

    /// Every event of a watch that ends here. Reports wait until holdup has read the debug information, and tests that
    /// count them at once count too few.
    pub(crate) fn all_of(&self, watch: Watch) -> Vec<(Phase, Stall)> {
        watch.shutdown_timeout(DEADLINE).expect("every stall is reported");
        self.all()
    }

    /// Whether a stall of the task with this name has ended.
    pub(crate) fn any_ended(&self, task: &str) -> bool {
        let ended =
            |(phase, stall): &(Phase, Stall)| *phase == Phase::Ended && stall.task.name.as_deref() == Some(task);
        self.list().iter().any(ended)
    }

    /// Waits for the first event that satisfies the condition. Panics with all events after the deadline.
    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(Phase, &Stall) -> bool) -> Stall {
        let limit = Instant::now() + DEADLINE;
        let mut events = self.list();
        loop {
            if let Some((_, stall)) = events.iter().find(|(phase, stall)| condition(*phase, stall)) {
                return stall.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event in {DEADLINE:?}: {what}; there were {:#?}", summary(&events));
            events = self.0.changed.wait_timeout(events, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn summary(events: &[(Phase, Stall)]) -> Vec<String> {
    let one = |(phase, stall): &(Phase, Stall)| {
        let function = function_of(stall);
        format!("{phase:?} {function} {} {:?} {:?}", stall.cause.class, stall.duration, stall.cause.evidence)
    };
    events.iter().map(one).collect()
}

/// The culprit's function, or the reason why there is none.
pub(crate) fn function_of(stall: &Stall) -> String {
    match (&stall.culprit, &stall.stack) {
        (Some(culprit), _) => culprit.frame.function.to_string(),
        (None, Ok(_)) => "(no culprit)".to_owned(),
        (None, Err(reason)) => format!("({reason})"),
    }
}

/// Starts something exclusive, and repeats this if another one was first.
pub(crate) fn start_first<T>(what: &str, start: impl Fn() -> T, others_are_refused: impl Fn() -> bool) -> T {
    let limit = Instant::now() + DEADLINE;
    loop {
        let running = start();
        std::thread::sleep(Duration::from_millis(200));
        if others_are_refused() {
            return running;
        }
        assert!(Instant::now() < limit, "no other is excluded in {DEADLINE:?}: {what}");
        drop(running);
        wait_until("it has ended", || !others_are_refused());
    }
}
