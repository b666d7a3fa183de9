//! The search for cycles among things that nobody releases.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::graph::{Graph, Known, Thing};
use crate::model::census::{HeldKind, WaitCycle, WaitStep, Waiter};

/// The maximum number of cycles that are reported.
const MAX_CYCLES: usize = 64;

const POOL_THREAD: &str = "a thread of the blocking pool";

/// The advice for cycles through the blocking pool, and for others.
const POOL_ADVICE: &str =
    "a function of spawn_blocking must not wait for async code that needs a thread of the same pool";
const ADVICE: &str = "take locks in one order, and release what others need before you await them";

/// Why a cycle may be none.
const UNSEEN_HOLDERS: &str = "a dump does not show all who may release it, such as permits in a collection";

/// From a thing to another one: a future holds the first, and a part of it waits for the second.
#[derive(Clone, Copy, Debug)]
struct Edge {
    to: Thing,
    holder: usize,
}

/// The cycles, each once. Of a future that waits for several things, each is followed.
pub(super) fn of(graph: &Graph<'_>) -> Vec<WaitCycle> {
    let stuck = |thing: &Thing| graph.things.get(thing).is_some_and(|known| !known.is_released);
    let mut edges: BTreeMap<Thing, Vec<Edge>> = BTreeMap::new();
    let waits = waits_of(graph);
    for (thing, known) in graph.things.iter().filter(|(thing, known)| stuck(thing) && !known.waiters.is_empty()) {
        let all = edges.entry(*thing).or_default();
        for (holder, _) in &known.holders {
            let things = waits.get(holder).into_iter().flatten().filter(|thing| stuck(thing));
            all.extend(things.map(|to| Edge { to: *to, holder: *holder }));
        }
    }
    let (mut found, mut done) = (Vec::new(), HashSet::new());
    for start in edges.keys() {
        follow(*start, &edges, &mut done, &mut found);
    }
    // All threads of a pool wait for the same thread, each through another function.
    let (through_pool, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|cycle| cycle.iter().any(|(thing, _)| *thing == Thing::Pool));
    let found = others.iter().chain(through_pool.first());
    let mut cycles: Vec<WaitCycle> = found.filter_map(|cycle| shown(graph, cycle)).collect();
    cycles.sort_by_key(|cycle| cycle.steps.first().map(|step| step.waiting));
    cycles
}

/// The things that each holder waits for, itself or through the futures that it awaits.
fn waits_of(graph: &Graph<'_>) -> HashMap<usize, Vec<Thing>> {
    let holders: HashSet<usize> = graph
        .things
        .values()
        .filter(|known| !known.is_released)
        .flat_map(|known| known.holders.iter().map(|(holder, _)| *holder))
        .collect();
    let mut waits: HashMap<usize, Vec<Thing>> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(thing) = node.waits_for.filter(|_| !node.continues) else { continue };
        let mut at = Some(index);
        while let Some(one) = at {
            if holders.contains(&one) {
                let all = waits.entry(one).or_default();
                if !all.contains(&thing) {
                    all.push(thing);
                }
            }
            at = graph.nodes.get(one).and_then(|node| node.parent);
        }
    }
    waits
}

/// A depth-first search. It uses no recursion, because chains may be long. Each thing is visited once.
fn follow(
    start: Thing,
    edges: &BTreeMap<Thing, Vec<Edge>>,
    done: &mut HashSet<Thing>,
    found: &mut Vec<Vec<(Thing, usize)>>,
) {
    if !done.insert(start) {
        return;
    }
    // Each step: the thing, the number of its edges that were followed, and the holder of the last of them.
    let mut path = vec![(start, 0, 0)];
    let mut positions = HashMap::from([(start, 0)]);
    while let Some((thing, next, holder)) = path.last_mut() {
        let edge = edges.get(thing).and_then(|edges| edges.get(*next)).copied();
        *next += 1;
        let Some(edge) = edge else {
            let left = path.pop();
            left.and_then(|(thing, ..)| positions.remove(&thing));
            continue;
        };
        *holder = edge.holder;
        if let Some(position) = positions.get(&edge.to) {
            if found.len() < MAX_CYCLES {
                found.push(path.iter().skip(*position).map(|(thing, _, holder)| (*thing, *holder)).collect());
            }
        } else if done.insert(edge.to) {
            positions.insert(edge.to, path.len());
            path.push((edge.to, 0, 0));
        }
    }
}

/// A cycle as it is reported. `None` if its futures wait for messages only: idle actors may be meant to.
fn shown(graph: &Graph<'_>, cycle: &[(Thing, usize)]) -> Option<WaitCycle> {
    if cycle.iter().all(|(thing, _)| matches!(thing, Thing::Channel(_))) {
        return None;
    }
    let next = cycle.iter().cycle().skip(1);
    let steps = cycle.iter().zip(next).filter_map(|((thing, holder), (awaited, _))| {
        let (node, known) = (graph.nodes.get(*holder)?, graph.things.get(thing)?);
        Some(WaitStep {
            waiting: node.owner,
            function: node.future.future.clone(),
            place: node.future.place.clone(),
            holds: held_name(*thing, known),
            waits_for: awaited_name(*awaited, graph.things.get(awaited)?),
        })
    });
    let mut steps: Vec<WaitStep> = steps.collect();
    let smallest = steps.iter().enumerate().min_by_key(|(_, step)| step.waiting).map_or(0, |(index, _)| index);
    steps.rotate_left(smallest);
    let inside: HashSet<Waiter> = steps.iter().map(|step| step.waiting).collect();
    let waiters = cycle.iter().filter_map(|(thing, _)| graph.things.get(thing)).flat_map(|known| &known.waiters);
    let owners: HashSet<Waiter> = waiters
        .filter_map(|waiter| Some(graph.nodes.get(*waiter)?.owner))
        .filter(|one| !inside.contains(one))
        .collect();
    let is_certain =
        cycle.iter().all(|(thing, _)| graph.things.get(thing).is_some_and(|known| is_limited(*thing, known)));
    let doubt = (!is_certain).then_some(UNSEEN_HOLDERS);
    let through_pool = cycle.iter().any(|(thing, _)| *thing == Thing::Pool);
    let advice = if through_pool { POOL_ADVICE } else { ADVICE };
    Some(WaitCycle { steps, doubt, behind: owners.len(), advice })
}

/// Whether it is known how many can hold a thing. A semaphore may have permits that no future keeps.
fn is_limited(thing: Thing, known: &Known) -> bool {
    match thing {
        Thing::Task(_) | Thing::Pool => true,
        Thing::Channel(_) => false,
        Thing::Semaphore(_) => known.holders.iter().all(|(_, kind)| *kind != Some(HeldKind::Permit)),
    }
}

/// What a holder has of a thing, in words. `None` for the end of a task, which is no possession.
fn held_name(thing: Thing, known: &Known) -> Option<String> {
    match thing {
        Thing::Task(_) => None,
        Thing::Pool => Some(POOL_THREAD.to_owned()),
        Thing::Channel(address) => Some(format!("a sender of the channel at {address:#x}")),
        Thing::Semaphore(address) if has(known, &[HeldKind::Receiver, HeldKind::Reserved]) => {
            Some(format!("the receiver of the channel at {address:#x}"))
        }
        Thing::Semaphore(address) => Some(lock_name(address, known)),
    }
}

/// What a future wants of a thing, in words.
fn awaited_name(thing: Thing, known: &Known) -> String {
    match thing {
        Thing::Task(id) => format!("the end of task {id}"),
        Thing::Pool => POOL_THREAD.to_owned(),
        Thing::Channel(address) => format!("a message of the channel at {address:#x}"),
        Thing::Semaphore(address) if has(known, &[HeldKind::Receiver, HeldKind::Reserved]) => {
            format!("room in the channel at {address:#x}")
        }
        // Readers wait for other readers only if a writer is queued between them.
        Thing::Semaphore(address) if has(known, &[HeldKind::ReadLock]) => {
            format!("{}, behind a writer in its queue", lock_name(address, known))
        }
        Thing::Semaphore(address) => lock_name(address, known),
    }
}

fn lock_name(address: u64, known: &Known) -> String {
    if has(known, &[HeldKind::Mutex]) {
        format!("the Mutex at {address:#x}")
    } else if has(known, &[HeldKind::ReadLock, HeldKind::WriteLock]) {
        format!("the RwLock at {address:#x}")
    } else {
        format!("a permit of the semaphore at {address:#x}")
    }
}

fn has(known: &Known, wanted: &[HeldKind]) -> bool {
    known.holders.iter().any(|(_, kind)| kind.is_some_and(|kind| wanted.contains(&kind)))
}
