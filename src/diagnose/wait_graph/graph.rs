//! Futures, what they wait for, and which of them continue.

use std::collections::HashMap;

use crate::model::census::{Await, Census, Held, HeldKind, RuntimeNow, TaskNow, TaskState, Waiter, WaitsFor};
use crate::model::task::TaskId;

/// Futures that continue only when all of their parts have.
const ALL: [&str; 5] = ["join!", "try_join!", "JoinAll", "Join<", "Join3"];

/// Something that futures wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Thing {
    /// Permits of the semaphore at this address.
    Semaphore(u64),
    /// A message of the channel at this address.
    Channel(u64),
    /// The end of a task.
    Task(TaskId),
    /// A thread of the blocking pool. Its functions do not say whose pool it is, so all pools count as one.
    Pool,
}

/// A future.
#[derive(Debug)]
pub(super) struct Node<'c> {
    pub(super) future: &'c Await,
    pub(super) owner: Waiter,
    /// What it waits for, if it has no parts.
    pub(super) waits_for: Option<Thing>,
    pub(super) parent: Option<usize>,
    /// The number of parts that have to continue first.
    needed: usize,
    /// It continues sooner or later, as far as can be seen.
    pub(super) continues: bool,
}

/// What is known of a thing.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The futures that can release it.
    pub(super) holders: Vec<(usize, Option<HeldKind>)>,
    /// The futures that wait for it.
    pub(super) waiters: Vec<usize>,
    pub(super) is_released: bool,
}

/// The graph of the futures that wait for a thing.
#[derive(Debug, Default)]
pub(super) struct Graph<'c> {
    pub(super) nodes: Vec<Node<'c>>,
    pub(super) things: HashMap<Thing, Known>,
    /// Futures that continue, and whose consequences are not yet followed.
    fresh: Vec<usize>,
}

/// The functions given to `spawn_blocking`.
#[derive(Debug, Default)]
pub(super) struct BlockingPool {
    /// Those that wait for a thread.
    queued: Vec<(TaskId, Await)>,
    /// The threads of those that run.
    threads: Vec<Option<i32>>,
}

impl BlockingPool {
    pub(super) fn of(census: &Census) -> Self {
        let is_pool = |runtime: &usize| {
            census.runtimes.get(*runtime).is_some_and(|runtime| runtime.flavor == RuntimeNow::BLOCKING_POOL)
        };
        let mut pool = Self::default();
        for task in census.tasks.iter().filter(|task| is_pool(&task.runtime)) {
            match (task.state, task.id) {
                (TaskState::Scheduled, Some(id)) => {
                    pool.queued.push((id, Await { future: task.future.clone(), ..Await::default() }));
                }
                (TaskState::Running, _) => pool.threads.push(task.thread),
                _ => {}
            }
        }
        pool
    }
}

/// The path of a task that may be stuck. Of all others, the futures continue.
fn path_of(task: &TaskNow) -> Option<&Await> {
    let may_be_stuck =
        matches!(task.state, TaskState::Idle | TaskState::Lost) && !task.cancelled && task.unknown.is_none();
    task.path.as_ref().filter(|path| may_be_stuck && waits_for_a_thing(path))
}

/// Most tasks wait for a timer or a socket. They need no place in the graph, because they continue.
fn waits_for_a_thing(node: &Await) -> bool {
    thing_of(node).is_some() || node.children.iter().any(waits_for_a_thing)
}

fn thing_of(node: &Await) -> Option<Thing> {
    match node.waits_for.as_ref()? {
        WaitsFor::Permits { address, .. } => Some(Thing::Semaphore(*address)),
        WaitsFor::Message { channel, .. } => Some(Thing::Channel(*channel)),
        WaitsFor::Task(task) => Some(Thing::Task(*task)),
        _ => None,
    }
}

/// What a held thing is waited for as.
fn held_thing(held: Held) -> Thing {
    match held.kind {
        HeldKind::Sender => Thing::Channel(held.address),
        _ => Thing::Semaphore(held.address),
    }
}

/// Whether a future needs all of its parts.
fn needs_all(future: &Await) -> bool {
    let last = future.future.rsplit("::").next().unwrap_or_default();
    ALL.iter().any(|name| last.starts_with(name))
}

impl<'c> Graph<'c> {
    /// The graph of a census, with the futures that continue.
    pub(super) fn of(census: &'c Census, pool: &'c BlockingPool) -> Self {
        let mut graph = Self::default();
        for task in &census.tasks {
            if let (Some(id), Some(path)) = (task.id, path_of(task)) {
                let root = graph.add(path, Waiter::Task(id), None);
                graph.hold(Thing::Task(id), root, None);
            }
            // The graph has no place for futures that are not polled. They may be dropped.
            for unpolled in &task.unpolled {
                graph.release(Thing::Semaphore(unpolled.semaphore));
            }
        }
        let mut threads = HashMap::new();
        for thread in census.threads.iter().filter(|thread| !thread.runs) {
            if let Some(path) = thread.block_on_future.as_ref().filter(|path| waits_for_a_thing(path)) {
                threads.insert(thread.tid, graph.add(path, Waiter::BlockOn(thread.tid), None));
            }
        }
        graph.add_pool(pool, &threads);
        graph.release_what_is_not_seen_whole();
        graph.follow();
        graph
    }

    /// Adds a future with all that it awaits. The reader of the path limits its depth.
    fn add(&mut self, future: &'c Await, owner: Waiter, parent: Option<usize>) -> usize {
        let index = self.nodes.len();
        let needed = if needs_all(future) { future.children.len() } else { 1 };
        let waits_for = thing_of(future);
        self.nodes.push(Node { future, owner, waits_for, parent, needed, continues: false });
        for held in &future.holds {
            self.hold(held_thing(*held), index, Some(held.kind));
        }
        match waits_for {
            Some(thing) => self.things.entry(thing).or_default().waiters.push(index),
            // A timer, a socket, or what is not understood.
            None if future.children.is_empty() => self.fresh.push(index),
            None => {}
        }
        for child in &future.children {
            self.add(child, owner, Some(index));
        }
        index
    }

    fn hold(&mut self, thing: Thing, holder: usize, kind: Option<HeldKind>) {
        self.things.entry(thing).or_default().holders.push((holder, kind));
    }

    /// Adds the functions that wait for a thread, and the futures that threads of the pool wait for inside `block_on`.
    fn add_pool(&mut self, pool: &'c BlockingPool, threads: &HashMap<i32, usize>) {
        for (id, function) in &pool.queued {
            let index = self.nodes.len();
            let (owner, waits_for) = (Waiter::Task(*id), Some(Thing::Pool));
            self.nodes.push(Node { future: function, owner, waits_for, parent: None, needed: 1, continues: false });
            self.things.entry(Thing::Pool).or_default().waiters.push(index);
            self.hold(Thing::Task(*id), index, None);
        }
        for thread in &pool.threads {
            match thread.and_then(|thread| threads.get(&thread)) {
                Some(future) => self.hold(Thing::Pool, *future, None),
                // Its function may end.
                None => self.release(Thing::Pool),
            }
        }
    }

    /// Releases everything that somebody may release who is not in the graph.
    fn release_what_is_not_seen_whole(&mut self) {
        let open: Vec<Thing> = self
            .things
            .iter()
            .filter(|(thing, known)| !self.is_seen_whole(**thing, known))
            .map(|(thing, _)| *thing)
            .collect();
        for thing in open {
            // Things that were released early have got more waiters since.
            self.things.entry(thing).or_default().is_released = false;
            self.release(thing);
        }
    }

    /// Whether all that could release a thing is among its holders.
    fn is_seen_whole(&self, thing: Thing, known: &Known) -> bool {
        let waits = || known.waiters.iter().filter_map(|waiter| self.nodes.get(*waiter)?.future.waits_for.as_ref());
        let held_as = |wanted: HeldKind| known.holders.iter().filter(|(_, kind)| *kind == Some(wanted)).count();
        let ([_, ..], [_, ..]) = (&*known.holders, &*known.waiters) else { return false };
        match thing {
            Thing::Task(_) => known.holders.len() == 1,
            Thing::Pool => true,
            Thing::Channel(_) => waits().all(
                |wait| matches!(wait, WaitsFor::Message { senders, .. } if *senders == known.holders.len() as u64),
            ),
            Thing::Semaphore(_) => {
                // Free permits, or permits that are assigned to a future which is not polled yet.
                let moves = |wait: &WaitsFor| {
                    matches!(wait, WaitsFor::Permits { missing, free, .. }
                    if *free != Some(0) || missing.is_none_or(|missing| missing == 0))
                };
                if waits().any(moves) {
                    return false;
                }
                match held_as(HeldKind::Mutex) + held_as(HeldKind::WriteLock) {
                    0 => {
                        held_as(HeldKind::ReadLock) == 0 || readers(waits()) == Some(held_as(HeldKind::ReadLock) as u64)
                    }
                    // A variable may still look like a guard after the guard was dropped.
                    exclusive => exclusive == 1 && known.holders.len() == 1,
                }
            }
        }
    }

    /// Follows what each future that continues releases.
    fn follow(&mut self) {
        while let Some(index) = self.fresh.pop() {
            let Some(node) = self.nodes.get_mut(index).filter(|node| !node.continues) else { continue };
            node.continues = true;
            let (future, owner, parent) = (node.future, node.owner, node.parent);
            for held in &future.holds {
                self.release(held_thing(*held));
            }
            match (parent.and_then(|parent| Some((parent, self.nodes.get_mut(parent)?))), owner) {
                (Some((parent, node)), _) => {
                    node.needed = node.needed.saturating_sub(1);
                    if node.needed == 0 {
                        self.fresh.push(parent);
                    }
                }
                (None, Waiter::Task(id)) => self.release(Thing::Task(id)),
                (None, Waiter::BlockOn(_) | Waiter::Thread { .. }) => {}
            }
        }
    }

    fn release(&mut self, thing: Thing) {
        let known = self.things.entry(thing).or_default();
        if !known.is_released {
            known.is_released = true;
            self.fresh.extend(&known.waiters);
        }
    }
}

/// The number of readers that hold a lock, if a writer waits for it. A writer wants all permits.
fn readers<'w>(waits: impl Iterator<Item = &'w WaitsFor>) -> Option<u64> {
    let (mut all, mut assigned) = (0, 0);
    for wait in waits {
        if let WaitsFor::Permits { wanted, missing: Some(missing), .. } = wait {
            all = all.max(*wanted);
            assigned += wanted.saturating_sub(*missing);
        }
    }
    all.checked_sub(assigned).filter(|_| all > 1)
}
