//! A census as text for a terminal. Tasks with the same await path are shown as one group.

use std::collections::HashMap;

use super::text::milliseconds;
use super::way_to_wait;
use crate::model::address_hash::BuildAddressHasher;
use crate::model::census::{
    Await, Census, Futurelock, HeldKind, LockStage, RuntimeNow, SourcePlace, TaskNow, TaskState, ThreadNow,
    UnplacedTask, WaitCycle, WaitStep, Waiter, WaitsFor, unseen_threads,
};
use crate::model::task::TaskId;

/// The maximum number of task ids in one line.
const TASKS_SHOWN: usize = 8;

/// The maximum number of steps of a cycle that are shown.
const STEPS_SHOWN: usize = 16;

/// The maximum number of file descriptors in one line.
const DESCRIPTORS_SHOWN: usize = 3;

/// Options of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Shows each task on its own.
    pub(crate) all: bool,
    /// Shows the call stacks of all threads, and not only of threads that poll.
    pub(crate) stacks: bool,
}

/// Tasks with the same await path and state.
type Group<'a> = Vec<&'a TaskNow>;

/// The text of a census.
pub(crate) fn text(census: &Census, options: Options) -> String {
    let mut out = String::new();
    let (tasks, threads) = (count(census.tasks.len(), "task"), count(census.threads.len(), "thread"));
    line(&mut out, 0, &format!("{} (process {}): {tasks}, {threads}", census.program, census.pid));
    if let Some(note) = &census.tier_note {
        line(&mut out, 0, &format!("debug information: {}; {note}", census.tier.as_str()));
    }
    for runtime in &census.runtimes {
        let own: Vec<&TaskNow> = census.tasks.iter().filter(|task| task.runtime == runtime.index).collect();
        out.push('\n');
        line(&mut out, 0, &format!("{}: {}", title(runtime), states(&own)));
        if let Some(unknown) = &runtime.unknown {
            line(&mut out, 1, &format!("! {unknown}"));
        }
        for group in groups(&own, options.all) {
            out.push('\n');
            write_group(&mut out, &group, census, options);
        }
        let is_in_block_on = |thread: &&ThreadNow| thread.block_on && thread.runtime == Some(runtime.index);
        for thread in
            census.threads.iter().filter(is_in_block_on).filter(|thread| thread.task.is_none() && !options.stacks)
        {
            out.push('\n');
            write_block_on(&mut out, thread);
        }
    }
    if census.tasks.iter().any(|task| task.state == TaskState::Lost) {
        out.push('\n');
        line(&mut out, 0, "lost: nothing can wake these tasks, because no waker of theirs exists");
        line(&mut out, 1, "advice: a future that returns Pending must keep the waker and call it later");
    }
    for cycle in &census.cycles {
        out.push('\n');
        write_cycle(&mut out, cycle);
    }
    for found in &census.futurelocks {
        out.push('\n');
        write_futurelock(&mut out, found);
    }
    // Without runtimes, there is nothing else to show.
    let stacks = options.stacks || census.runtimes.is_empty();
    for thread in census.threads.iter().filter(|_| stacks) {
        out.push('\n');
        write_thread(&mut out, thread);
    }
    out.push('\n');
    write_quality(&mut out, census);
    out
}

/// The heading of a runtime.
fn title(runtime: &RuntimeNow) -> String {
    let number = RuntimeNow::number(runtime.index);
    match runtime.flavor.as_str() {
        RuntimeNow::LOCAL_SET => format!("LocalSet (number {number})"),
        RuntimeNow::BLOCKING_POOL => format!("spawn_blocking (number {number})"),
        flavor => format!("runtime-{number} ({flavor})"),
    }
}

fn write_futurelock(out: &mut String, found: &Futurelock) {
    let unpolled = &found.unpolled;
    let at = |place: &Option<SourcePlace>| place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
    let semaphore = format!("the semaphore at {:#x}", unpolled.semaphore);
    let stage = match unpolled.stage {
        LockStage::Queued => format!("waits in the queue of {semaphore}"),
        LockStage::Granted => format!("was granted {semaphore}"),
        LockStage::Holds => format!("holds {semaphore}"),
    };
    let (task, future) = (found.task, &unpolled.future);
    line(out, 0, &format!("! futurelock: task {task} does not poll one of its futures, which {stage}"));
    line(out, 1, &format!("not polled: {future}{}", at(&unpolled.future_place)));
    line(
        out,
        1,
        &format!("kept in a variable of {}, which awaits something else{}", unpolled.function, at(&unpolled.place)),
    );
    line(out, 1, &format!("waiting for it: {}", task_ids(&found.waiting)));
    line(
        out,
        1,
        "advice: poll it while you await something else (with join!, or in a separate task), or drop it first",
    );
}

fn write_cycle(out: &mut String, cycle: &WaitCycle) {
    let word = if cycle.doubt.is_none() { "deadlock" } else { "possible deadlock" };
    let who = match (&*cycle.tasks(), &*cycle.steps) {
        (_, [step]) => format!("{} waits for itself", owner(step.waiting)),
        ([task], steps) if steps.iter().all(|step| step.waiting == Waiter::Task(*task)) => {
            format!("futures of task {task} wait for each other")
        }
        (tasks, steps) if steps.iter().all(|step| matches!(step.waiting, Waiter::Task(_))) => {
            format!("{} tasks wait for each other: {}", tasks.len(), some(tasks.iter(), TASKS_SHOWN))
        }
        (_, steps) if steps.iter().all(|step| matches!(step.waiting, Waiter::Thread { .. })) => {
            format!("{} threads wait for each other", steps.len())
        }
        (_, steps) => format!("{} futures wait for each other", steps.len()),
    };
    line(out, 0, &format!("! {word}: {who}"));
    for step in cycle.steps.iter().take(STEPS_SHOWN) {
        let place = step.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
        let holds = step.holds.as_ref().map_or_else(String::new, |what| format!(" holds {what} and"));
        let WaitStep { function, waits_for, .. } = step;
        line(out, 1, &format!("{} in {function}{place}{holds} waits for {waits_for}", owner(step.waiting)));
    }
    let more = cycle.steps.len().saturating_sub(STEPS_SHOWN);
    if more > 0 {
        line(out, 1, &format!("… and {} more", count(more, "step")));
    }
    if cycle.behind > 0 {
        let wait = if cycle.behind == 1 { "waits" } else { "wait" };
        let what = match cycle.steps.first().map(|step| step.waiting) {
            Some(Waiter::Thread { .. }) => "more thread",
            _ => "more task",
        };
        line(out, 1, &format!("{} {wait} behind this", count(cycle.behind, what)));
    }
    if let Some(doubt) = cycle.doubt {
        line(out, 1, &format!("This is a guess: {doubt}."));
    }
    line(out, 1, &format!("advice: {}", cycle.advice));
}

/// Whose future it is, or which thread.
fn owner(waiting: Waiter) -> String {
    match waiting {
        Waiter::Task(id) => format!("task {id}"),
        Waiter::BlockOn(thread) => format!("the future of block_on on thread {thread}"),
        Waiter::Thread { tid, task: None } => format!("thread {tid}"),
        Waiter::Thread { tid, task: Some(task) } => format!("thread {tid} (task {task})"),
    }
}

fn task_ids(tasks: &[TaskId]) -> String {
    let word = if tasks.len() == 1 { "task" } else { "tasks" };
    format!("{word} {}", some(tasks.iter(), TASKS_SHOWN))
}

/// How many tasks are in each state.
fn states(tasks: &[&TaskNow]) -> String {
    let number = |state| tasks.iter().filter(|task| task.state == state).count();
    let states = TaskState::ALL.into_iter().map(|state| (number(state), state)).filter(|(number, _)| *number > 0);
    let parts: Vec<String> = states.map(|(number, state)| format!("{number} {}", state.as_str())).collect();
    if parts.is_empty() {
        "no tasks".to_owned()
    } else {
        format!("{}: {}", count(tasks.len(), "task"), parts.join(", "))
    }
}

/// The groups of tasks: running tasks first, then the largest groups.
fn groups<'a>(tasks: &[&'a TaskNow], all: bool) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    // Two ways to wait may have the same hash.
    let mut positions: HashMap<u64, Vec<usize>, BuildAddressHasher> = HashMap::default();
    for task in tasks {
        if all || task.state == TaskState::Running {
            groups.push(vec![task]);
            continue;
        }
        let known = positions.entry(way_to_wait::hash(task)).or_default();
        let is_alike = |position: &&usize| {
            let first = groups.get(**position).and_then(|group| group.first());
            first.is_some_and(|first| way_to_wait::is_same(first, task))
        };
        match known.iter().find(is_alike).copied() {
            Some(position) => groups[position].push(task),
            None => {
                known.push(groups.len());
                groups.push(vec![task]);
            }
        }
    }
    groups.sort_by_key(|group| {
        let first = group.first();
        (first.map(|task| task.state), std::cmp::Reverse(group.len()), first.and_then(|task| task.id))
    });
    groups
}

fn write_group(out: &mut String, group: &[&TaskNow], census: &Census, options: Options) {
    let Some(task) = group.first() else { return };
    let who = match (group.len(), task.id) {
        (1, Some(id)) => format!("task {id}"),
        (1, None) => "a task".to_owned(),
        (number, _) => format!("{number} tasks"),
    };
    let mut head = format!("{who} [{}", task.state.as_str());
    if task.cancelled {
        head += ", cancelled";
    }
    head += &format!("] {}", task.future);
    if let Some(place) = task.spawned_at.as_ref().filter(|_| group.len() == 1) {
        head += &format!(", spawned at {place}");
    }
    line(out, 0, &head);
    if group.len() > 1 {
        line(out, 1, &format!("tasks {}", some(group.iter().filter_map(|task| task.id), TASKS_SHOWN)));
    }
    if let Some(unknown) = &task.unknown {
        line(out, 1, &format!("! unknown: {unknown}"));
    }
    let thread = census.threads.iter().find(|thread| task.thread == Some(thread.tid));
    if let Some(thread) = thread.filter(|_| !options.stacks) {
        write_thread(out, thread);
    }
    if let Some(unplaced) = census.unplaced.iter().find(|unplaced| Some(unplaced.task) == task.id) {
        line(out, 1, &format!("which thread runs it is not known{}", candidates(unplaced, census)));
    }
    let paths: Vec<&Await> = group.iter().filter_map(|task| task.path.as_ref()).collect();
    if task.state == TaskState::Running && !paths.is_empty() {
        line(out, 1, "last await:");
    }
    write_await(out, 1, &paths);
}

/// The threads that may run a task, as the end of a sentence.
fn candidates(unplaced: &UnplacedTask, census: &Census) -> String {
    let named = census.threads.iter().filter(|thread| unplaced.threads.contains(&thread.tid));
    let named = some(named.map(|thread| format!("{} {}", thread.tid, thread.name)), TASKS_SHOWN);
    match unplaced.threads.len() {
        0 => "; no stack shows a poll of it".to_owned(),
        1 => format!("; only thread {named} may"),
        _ => format!("; one of these may: threads {named}"),
    }
}

/// Writes a thread inside `block_on`. The await path of a sleeping thread's future is more useful than its stack.
fn write_block_on(out: &mut String, thread: &ThreadNow) {
    match &thread.block_on_future {
        None => {
            line(out, 0, "block_on (its future was not found):");
            write_thread(out, thread);
        }
        Some(future) => {
            let state = if thread.runs { TaskState::Running } else { TaskState::Idle };
            line(out, 0, &format!("block_on [{}] {} (not a task)", state.as_str(), future.future));
            if thread.runs {
                write_thread(out, thread);
                line(out, 1, "last await:");
            } else {
                line(out, 1, &format!("thread {} {} is sleeping", thread.tid, thread.name));
            }
            write_await(out, 1, &[future]);
        }
    }
}

/// Writes futures at the same position of similar paths as one.
fn write_await(out: &mut String, depth: usize, nodes: &[&Await]) {
    let Some(node) = nodes.first() else { return };
    let mut text = node.future.clone();
    if let Some(place) = &node.place {
        text += &format!(" at {place}");
    }
    if let Some(note) = &node.note {
        text += &format!(" ({note})");
    }
    let reasons: Vec<&WaitsFor> = nodes.iter().filter_map(|node| node.waits_for.as_ref()).collect();
    if let Some(reason) = waits_for(&reasons) {
        text += &format!(": {reason}");
    }
    line(out, depth, &text);
    for position in 0..node.children.len() {
        let children: Vec<&Await> = nodes.iter().filter_map(|node| node.children.get(position)).collect();
        write_await(out, depth + 1, &children);
    }
}

/// The reason why futures wait, for futures with the same kind of reason.
fn waits_for(all: &[&WaitsFor]) -> Option<String> {
    Some(match all.first()? {
        WaitsFor::Timer { .. } => {
            let times = all.iter().filter_map(|reason| match reason {
                WaitsFor::Timer { in_ms } => Some(*in_ms),
                _ => None,
            });
            let (first, last) = (times.clone().min()?, times.max()?);
            let (first, last) = (fires(first), fires(last));
            if first == last { first } else { format!("{first} … {last}") }
        }
        WaitsFor::Task(_) => {
            let tasks = all.iter().filter_map(|reason| match reason {
                WaitsFor::Task(id) => Some(*id),
                _ => None,
            });
            format!("waits for {}", task_ids(&tasks.collect::<Vec<_>>()))
        }
        WaitsFor::Permits { address, wanted, free, holders, .. } => {
            let mut text = format!("wants {} of the semaphore at {address:#x}", count_u64(*wanted, "permit"));
            if let Some(free) = free {
                text += &format!(", which has {free}");
            }
            for holder in holders {
                let verb = if holder.kind == HeldKind::Receiver { "received" } else { "held" };
                text += &format!("; {verb} by task {} in {}", holder.task, holder.function);
                if let Some(place) = &holder.place {
                    text += &format!(" at {place}");
                }
            }
            text
        }
        WaitsFor::Io { .. } => {
            let descriptors: Vec<String> = all.iter().filter_map(|reason| descriptor(reason)).collect();
            match &*descriptors {
                [] => "waits for I/O".to_owned(),
                [one] => format!("waits for file descriptor {one}"),
                many => format!("waits for file descriptors {}", some(many.iter(), DESCRIPTORS_SHOWN)),
            }
        }
        WaitsFor::Other(what) | WaitsFor::Message { what, .. } => format!("waits for {what}"),
    })
}

fn descriptor(reason: &WaitsFor) -> Option<String> {
    match reason {
        WaitsFor::Io { fd: Some(fd), what: Some(what) } => Some(format!("{fd} ({what})")),
        WaitsFor::Io { fd: Some(fd), what: None } => Some(fd.to_string()),
        _ => None,
    }
}

fn fires(in_ms: i64) -> String {
    let time = milliseconds(std::time::Duration::from_millis(in_ms.unsigned_abs()));
    if in_ms < 0 { format!("overdue by {time}") } else { format!("fires in {time}") }
}

/// The first items of a list, and how many more there are.
fn some(all: impl Iterator<Item = impl std::fmt::Display>, shown: usize) -> String {
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    let first = all.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > shown { format!("{first} and {} more", all.len() - shown) } else { first }
}

fn write_thread(out: &mut String, thread: &ThreadNow) {
    let mut head = format!("thread {} {}", thread.tid, thread.name);
    head += if thread.runs { " is running" } else { " is sleeping" };
    if let Some(unknown) = &thread.unknown {
        head += &format!(" ({unknown})");
    }
    line(out, 1, &head);
    match &thread.stack {
        Ok(stack) => {
            // The outer frames of a task are the runtime's own code.
            let runtime = |function: &str| function.starts_with("tokio::runtime::task::");
            let own = stack.frames.iter().position(|frame| runtime(&frame.function)).filter(|_| thread.task.is_some());
            let shown = own.unwrap_or(stack.frames.len());
            for frame in stack.frames.iter().take(shown) {
                let place = frame.location().map_or_else(String::new, |place| format!(" at {place}"));
                line(out, 2, &format!("{}{place}", frame.function));
            }
            if shown < stack.frames.len() {
                line(out, 2, &format!("… {} of the runtime", count(stack.frames.len() - shown, "frame")));
            } else if !stack.complete {
                line(out, 2, "… outer frames are missing");
            }
        }
        Err(why) => line(out, 2, &format!("no stack: {why}")),
    }
}

fn write_quality(out: &mut String, census: &Census) {
    let quality = &census.quality;
    let stopped = quality.stops.sentence();
    line(out, 0, &format!("{stopped}; {} KiB copied meanwhile", quality.copied / 1024));
    if quality.late_reads > 0 {
        line(out, 0, &format!("! {} read later and may be inconsistent", count_u64(quality.late_reads, "page")));
    }
    if quality.woken_threads > 0 {
        let threads = count(quality.woken_threads, "parked thread");
        line(out, 0, &format!("! {threads} woke up meanwhile; the tasks polled there may be inconsistent"));
    }
    if let Some(unseen) = unseen_threads(quality.unseen_threads) {
        line(out, 0, &format!("! {unseen}"));
    }
    for missing in &quality.missing {
        line(out, 0, &format!("! {missing}"));
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    for _ in 0..depth {
        out.push_str("  ");
    }
    out.push_str(text);
    out.push('\n');
}

fn count(number: usize, what: &str) -> String {
    count_u64(number as u64, what)
}

fn count_u64(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_names_the_sockets_of_its_tasks() {
        let io = |fd, what: Option<&str>| WaitsFor::Io { fd, what: what.map(str::to_owned) };
        let text = |all: &[WaitsFor]| waits_for(&all.iter().collect::<Vec<_>>()).expect("there is a reason");
        assert_eq!(text(&[io(None, None)]), "waits for I/O");
        assert_eq!(text(&[io(Some(8), Some("TCP"))]), "waits for file descriptor 8 (TCP)");
        let several: Vec<_> = (8..13).map(|fd| io(Some(fd), (fd == 8).then_some("TCP"))).collect();
        assert_eq!(text(&several[..2]), "waits for file descriptors 8 (TCP), 9");
        assert_eq!(text(&several), "waits for file descriptors 8 (TCP), 9, 10 and 2 more");
    }
}
