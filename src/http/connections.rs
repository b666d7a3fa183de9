//! Open connections. Their number is limited, and a new one takes the place of the one that has been quiet longest. So clients
//! that connect and send nothing, or read nothing, lock nobody out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::activity::Activity;

/// Connections at a time.
const LIMIT: usize = 64;

/// A new connection has this time to send its request, whatever comes after it.
const GRACE: Duration = Duration::from_millis(200);

/// The time between two looks for a quiet connection.
const LOOK: Duration = Duration::from_millis(20);

/// The connections of an endpoint.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    tasks: HashMap<u64, (Activity, AbortHandle)>,
}

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(LIMIT)), open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, and makes one.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if self.places.available_permits() == 0 {
                // A connection may be about to end.
                tokio::task::yield_now().await;
            }
            if self.places.available_permits() == 0 {
                self.end_quietest();
            }
            let place = tokio::time::timeout(LOOK, Arc::clone(&self.places).acquire_owned());
            if let Ok(Ok(place)) = place.await {
                return place;
            }
        }
    }

    /// Ends the connection that has been quiet longest. Its place is free once its task has been dropped.
    fn end_quietest(&self) {
        let mut open = self.open();
        let quiet = open.tasks.iter().filter_map(|(number, (activity, _))| Some((activity.quiet_since()?, *number)));
        let longest = quiet.min().filter(|(since, _)| since.elapsed() >= GRACE);
        if let Some((_, task)) = longest.and_then(|(_, number)| open.tasks.remove(&number)) {
            task.abort();
        }
    }

    /// Runs a connection until it ends, in its place.
    pub(super) fn run(
        self: &Arc<Self>,
        place: OwnedSemaphorePermit,
        activity: Activity,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let number = {
            let mut open = self.open();
            open.next += 1;
            open.next
        };
        let entry = Entry { connections: Arc::clone(self), number, _place: place };
        let task = tokio::spawn(async move {
            connection.await;
            drop(entry);
        });
        // It does not run before this, because the endpoint has one thread.
        self.open().tasks.insert(number, (activity, task.abort_handle()));
    }
}

/// An entry of the list, removed on drop.
struct Entry {
    connections: Arc<Connections>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _ended = self.connections.open().tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_takes_the_place_of_the_quietest() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let connections = Connections::new();
            let mut alive = Vec::new();
            let mut answering = Vec::new();
            for at in 0..LIMIT {
                let (activity, mark) = (Activity::new(), Arc::new(()));
                alive.push(Arc::downgrade(&mark));
                if at % 2 == 0 {
                    answering.push(activity.begin());
                }
                let forever = async move {
                    std::future::pending::<()>().await;
                    drop(mark);
                };
                connections.run(connections.place().await, activity, forever);
            }
            let place = connections.place().await;
            let gone: Vec<usize> = (0..LIMIT).filter(|at| alive[*at].strong_count() == 0).collect();
            assert_eq!(gone, [1], "the first one answers a request");
            connections.run(place, Activity::new(), async {});
            // The next one finds the place of that, which has ended.
            drop(connections.place().await);
            assert_eq!(connections.open().tasks.len(), LIMIT - 1);
            assert_eq!(alive.iter().filter(|mark| mark.strong_count() > 0).count(), LIMIT - 1);
        });
    }
}
