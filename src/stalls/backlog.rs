//! The tasks and workers behind a stuck worker.

use std::collections::HashMap;
use std::time::Instant;

use crate::model::evidence::WaitSite;
use crate::model::holds::Holds;
use crate::model::victims::VictimsUnknown;
use crate::model::waiting::{Driver, Waiting};
use crate::model::worker::{Activity, Worker};
use crate::process::WorkerSource;

/// The system calls in which one parked worker waits for events. The other parked workers wait on a futex.
const EVENT_WAITS: [&str; 3] = ["epoll_wait", "epoll_pwait", "epoll_pwait2"];

/// The queue lengths of the stuck worker's runtime, and the activity of its other workers.
pub(super) fn runtime_backlog<S: WorkerSource>(
    source: &mut S,
    stuck: usize,
    also_stuck: &HashMap<u64, Instant>,
) -> Waiting {
    let runtime = source.workers()[stuck].runtime.clone();
    let (local_queue, global_queue) = source.queue_lengths(stuck);
    let mut waiting = Waiting { local_queue, global_queue, ..Waiting::default() };
    let (mut for_events, mut unknown, mut busy) = (0_u32, 0_u32, 0_u32);
    for other in 0..source.workers().len() {
        let worker = &source.workers()[other];
        if other == stuck || worker.runtime != runtime || !takes_tasks(worker) {
            continue;
        }
        waiting.others += 1;
        let is_stuck = also_stuck.contains_key(&worker.key);
        match source.progress(other).activity {
            Activity::Parked => {
                waiting.others_parked += 1;
                let sample = source.sample_thread(other);
                match &sample.sleeps_in {
                    Some(WaitSite::Syscall { name, .. }) if EVENT_WAITS.contains(&name.as_str()) => for_events += 1,
                    Some(_) => {}
                    // The worker has just been woken.
                    None if sample.runs() => busy += 1,
                    None => unknown += 1,
                }
            }
            Activity::Polling | Activity::Between if is_stuck => waiting.others_stalled += 1,
            Activity::Polling | Activity::Between => busy += 1,
        }
    }
    waiting.victims = Err(VictimsUnknown::Running);
    waiting.driver = match (for_events, busy, unknown) {
        (1.., _, _) => Driver::Attended,
        (0, 1.., _) => Driver::InPassing,
        (0, 0, 1..) => Driver::Unknown,
        (0, 0, 0) => Driver::Unattended,
    };
    waiting
}

/// Whether it takes tasks of its runtime. The thread inside `block_on` of a multi-thread runtime does not, and does not drive
/// I/O and timers either.
fn takes_tasks(worker: &Worker) -> bool {
    worker.polls_tasks() && worker.holds != Holds::BlockOn
}

/// When the last worker of the runtime got stuck, so that no worker takes tasks from the shared queue. `None` while one is free.
pub(super) fn all_stuck_since<S: WorkerSource>(
    source: &S,
    stuck: usize,
    poll_start: Instant,
    also_stuck: &HashMap<u64, Instant>,
) -> Option<Instant> {
    let ours = &source.workers()[stuck];
    let others = source
        .workers()
        .iter()
        .filter(|worker| worker.key != ours.key && worker.runtime == ours.runtime && takes_tasks(worker));
    others
        .map(|worker| also_stuck.get(&worker.key).copied())
        .try_fold(poll_start, |latest, since| Some(latest.max(since?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::evidence::SyscallKind;
    use crate::model::stack::{RawStack, StackUnavailable};
    use crate::model::task::Task;
    use crate::model::worker::{Progress, Thread};
    use crate::process::{ThreadSample, WorkerSample};

    /// Workers, and the activity and system call of each.
    struct Scene(Vec<Arc<Worker>>, Vec<(Activity, Option<&'static str>)>);

    impl Scene {
        fn new(others: &[(Activity, Option<&'static str>)]) -> Self {
            let mut all = vec![(Activity::Polling, None)];
            all.extend_from_slice(others);
            let worker = |key: usize| {
                let thread = Thread { tid: 1, name: "w".into(), stack: None };
                Arc::new(Worker {
                    key: key as u64,
                    runtime: "api".into(),
                    index: Some(key),
                    holds: Holds::Worker,
                    thread,
                    uninstrumented: false,
                })
            };
            Self((0..all.len()).map(worker).collect(), all)
        }

        fn driver(others: &[(Activity, Option<&'static str>)], stuck: &[u64]) -> (Driver, usize) {
            let waiting = runtime_backlog(&mut Self::new(others), 0, &stuck_now(stuck));
            assert_eq!((waiting.others, waiting.local_queue, waiting.global_queue), (others.len(), Some(2), None));
            (waiting.driver, waiting.others_stalled)
        }
    }

    fn stuck_now(keys: &[u64]) -> HashMap<u64, Instant> {
        keys.iter().map(|key| (*key, Instant::now())).collect()
    }

    impl WorkerSource for Scene {
        fn refresh(&mut self) -> bool {
            false
        }

        fn workers(&self) -> &[Arc<Worker>] {
            &self.0
        }

        fn progress(&self, worker: usize) -> Progress {
            Progress { sequence: 1, parks: 0, activity: self.1[worker].0 }
        }

        fn task(&self, _worker: usize, _progress: Progress) -> Option<Task> {
            None
        }

        fn sample_thread(&mut self, worker: usize) -> ThreadSample {
            let place = |name: &str| WaitSite::Syscall {
                name: name.to_owned(),
                kind: SyscallKind::Other,
                file: None,
                stream: None,
            };
            ThreadSample { sleeps_in: self.1[worker].1.map(place), ..ThreadSample::default() }
        }

        fn capture_stack(&mut self, _worker: usize, _progress: Progress) -> Result<RawStack, StackUnavailable> {
            Err(StackUnavailable::Unavailable)
        }

        fn queue_lengths(&self, _worker: usize) -> (Option<usize>, Option<usize>) {
            (Some(2), None)
        }

        fn sample_worker(&mut self, worker: usize) -> WorkerSample {
            WorkerSample { progress: self.progress(worker), task: None, asleep: false, stack: None }
        }

        fn note_progress(&mut self, _worker: usize, _progress: Progress, _since: Instant) {}
    }

    #[test]
    fn the_driver_depends_on_the_other_workers() {
        let (parked, busy) = (Activity::Parked, Activity::Polling);
        assert_eq!(Scene::driver(&[], &[0]), (Driver::Unattended, 0), "a runtime of one worker");
        assert_eq!(
            Scene::driver(&[(parked, Some("epoll_wait")), (parked, Some("futex"))], &[0]),
            (Driver::Attended, 0)
        );
        assert_eq!(Scene::driver(&[(parked, Some("futex")), (parked, Some("futex"))], &[0]), (Driver::Unattended, 0));
        assert_eq!(Scene::driver(&[(parked, Some("futex")), (busy, None)], &[0]), (Driver::InPassing, 0));
        assert_eq!(Scene::driver(&[(busy, None), (busy, None)], &[0, 1, 2]), (Driver::Unattended, 2));
        assert_eq!(Scene::driver(&[(parked, None)], &[0]), (Driver::Unknown, 0));
    }

    #[test]
    fn a_thread_in_block_on_is_no_other_worker() {
        let mut scene = Scene::new(&[(Activity::Polling, None), (Activity::Parked, Some("futex"))]);
        let in_block_on = Worker { holds: Holds::BlockOn, index: None, uninstrumented: true, ..(*scene.0[2]).clone() };
        scene.0[2] = Arc::new(in_block_on);
        let stuck = stuck_now(&[0, 1]);
        let waiting = runtime_backlog(&mut scene, 0, &stuck);
        assert_eq!((waiting.others, waiting.others_parked, waiting.others_stalled), (1, 0, 1));
        assert!(all_stuck_since(&scene, 0, stuck[&0], &stuck).is_some());
    }
    #[test]
    fn the_shared_queue_is_stuck_when_the_last_worker_gets_stuck() {
        let scene = Scene::new(&[(Activity::Polling, None), (Activity::Polling, None)]);
        let began = Instant::now();
        let later = began + Duration::from_millis(50);
        let stuck = HashMap::from([(0, began), (1, later), (2, began)]);
        assert_eq!(all_stuck_since(&scene, 0, began, &stuck), Some(later));
        assert_eq!(all_stuck_since(&scene, 0, began, &stuck_now(&[0, 1])), None, "one is free");
        assert_eq!(
            all_stuck_since(&Scene::new(&[]), 0, began, &stuck_now(&[])),
            Some(began),
            "there is no other worker"
        );
    }
}
