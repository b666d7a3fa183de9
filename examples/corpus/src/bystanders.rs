//! Tasks that become ready during a stall. Their wait is part of the truth. A separate thread wakes some of them in every
//! stall; cases may make others ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::place;
use crate::truth::nanoseconds;

/// Number of tasks woken in each stall.
const WOKEN: usize = 3;

/// Time from the start of the stall to the wake. The shortest stalls that must be found are three times as long.
const AFTER: Duration = Duration::from_millis(4);

/// A task that became ready during a stall and was not polled before its end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TrueVictim {
    /// Tokio's task id.
    pub(crate) task: u64,
    /// When it became ready, in nanoseconds since 1970.
    pub(crate) ready_ns: u64,
}

/// A task and whether it has been polled.
#[derive(Clone, Debug)]
struct Waits {
    victim: TrueVictim,
    polled: Arc<AtomicBool>,
}

/// A task that waits for its wake.
#[derive(Debug)]
struct Sleeper {
    task: u64,
    wake: Arc<Notify>,
    polled: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    sleepers: Vec<Sleeper>,
    ready: Vec<Waits>,
    /// The current stalls.
    lasting: usize,
}

impl State {
    fn made_ready(&mut self, task: u64, polled: &Arc<AtomicBool>) {
        let ready_ns = since_1970();
        self.ready.push(Waits { victim: TrueVictim { task, ready_ns }, polled: Arc::clone(polled) });
    }

    fn wake_sleepers(&mut self) {
        for sleeper in std::mem::take(&mut self.sleepers) {
            let waits = self.ready.iter().any(|waits| waits.victim.task == sleeper.task);
            if !waits {
                sleeper.polled.store(false, Ordering::SeqCst);
                self.made_ready(sleeper.task, &sleeper.polled);
                sleeper.wake.notify_one();
            }
            self.sleepers.push(sleeper);
        }
    }
}

/// The tasks of a run.
#[derive(Debug)]
pub(crate) struct Bystanders {
    state: Arc<Mutex<State>>,
    begun: Sender<Instant>,
}

impl Bystanders {
    /// Starts the thread that wakes them. It ends when all senders are gone.
    pub(crate) fn start() -> anyhow::Result<Arc<Self>> {
        let state = Arc::<Mutex<State>>::default();
        let (begun, stalls) = channel();
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("wakes".to_owned()).spawn(move || wake(&shared, &stalls))?;
        Ok(Arc::new(Self { state, begun }))
    }

    /// Spawns the tasks to wake, on the runtime that will stall.
    pub(crate) fn spawn_on(&self, runtime: &Handle) {
        let _inside = runtime.enter();
        let sleepers = (0..WOKEN).map(|_| {
            let (wake, polled) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
            let (woken, flag) = (Arc::clone(&wake), Arc::clone(&polled));
            let task = place::spawn(async move {
                loop {
                    woken.notified().await;
                    flag.store(true, Ordering::SeqCst);
                }
            });
            Sleeper { task: number(task.id()), wake, polled }
        });
        let sleepers: Vec<_> = sleepers.collect();
        lock(&self.state).sleepers = sleepers;
    }

    /// Spawns a task that is ready at once and ends at its first poll.
    pub(crate) fn spawn_ready(&self) {
        let polled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&polled);
        let task = place::spawn(async move { flag.store(true, Ordering::SeqCst) });
        lock(&self.state).made_ready(number(task.id()), &polled);
    }

    /// Notes the start of a stall.
    pub(crate) fn begin(&self) {
        lock(&self.state).lasting += 1;
        // Fails only if the thread has ended, which is last.
        let _sent = self.begun.send(Instant::now());
    }

    /// Notes the end of a stall, and returns the tasks that still wait. Of concurrent stalls, the first that ends gets them.
    pub(crate) fn end(&self) -> Vec<TrueVictim> {
        let mut state = lock(&self.state);
        state.lasting = state.lasting.saturating_sub(1);
        let ready = std::mem::take(&mut state.ready);
        ready.into_iter().filter(|waits| !waits.polled.load(Ordering::SeqCst)).map(|waits| waits.victim).collect()
    }
}

fn wake(state: &Mutex<State>, stalls: &Receiver<Instant>) {
    while let Ok(begun) = stalls.recv() {
        std::thread::sleep(AFTER.saturating_sub(begun.elapsed()));
        let mut state = lock(state);
        if state.lasting > 0 {
            state.wake_sleepers();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in Tokio's task id, which is available as text only. 0 is not used.
fn number(id: tokio::task::Id) -> u64 {
    id.to_string().parse().unwrap_or(0)
}

fn since_1970() -> u64 {
    nanoseconds(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
