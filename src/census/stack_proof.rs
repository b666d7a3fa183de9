//! Which thread polls which task, for programs without descriptions of types. Only a thread's stack can prove it: a function
//! of the task's type is on it, and so is the task's address. Everything else is a candidate.

use std::collections::{HashMap, HashSet};

use super::task_scan::ScannedTask;
use crate::dwarf::Memory;
use crate::model::census::TaskState;
use crate::model::task::TaskId;
use crate::tokio_internals::debug_info::VTABLE_FUNCTIONS;

/// A task that was inside a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningTask {
    pub(super) id: TaskId,
    /// The address of its header.
    pub(crate) header: u64,
    /// The functions of its type.
    pub(super) functions: [u64; VTABLE_FUNCTIONS],
}

/// What the stack of one thread shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackEvidence {
    /// Whether the stack reaches the thread's first function.
    pub(crate) complete: bool,
    /// The first addresses of the functions on it, innermost first.
    pub(crate) functions: Vec<u64>,
    /// The addresses of tasks that are on it or in registers.
    pub(crate) headers: HashSet<u64>,
    /// A function of Tokio that polls tasks of some type is on it, by its symbol.
    pub(crate) polls: bool,
    /// The words of the thread's `CONTEXT`, which has the id of the innermost task. Empty if symbols do not name it.
    pub(crate) context: Vec<u64>,
}

/// The tasks that threads poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolledTasks {
    /// For each thread, its tasks, innermost first.
    pub(super) proven: Vec<Vec<TaskId>>,
    /// For each task that no thread is proven to poll, the positions of the threads that may poll it.
    pub(super) candidates: HashMap<TaskId, Vec<usize>>,
}

/// A poll on a stack.
#[derive(Clone, Debug)]
struct PollOnStack {
    thread: usize,
    /// The number of polls inside it.
    depth: usize,
    /// The tasks that it may be of.
    tasks: Vec<TaskId>,
    /// Whether it proves the task if there is only one.
    is_proof: bool,
}

impl PolledTasks {
    /// Pairs threads with tasks.
    pub(crate) fn of(threads: &[StackEvidence], tasks: &[RunningTask]) -> Self {
        let mut open: Vec<PollOnStack> =
            threads.iter().enumerate().flat_map(|(position, thread)| thread.polls(position, tasks)).collect();
        let mut proven = vec![Vec::new(); threads.len()];
        loop {
            let only = |poll: &PollOnStack| {
                Some(poll.tasks[..].first().copied()?).filter(|_| poll.is_proof && poll.tasks.len() == 1)
            };
            // Only one thread polls a task, so two proofs prove nothing.
            let claims = |task: TaskId| open.iter().filter(|poll| only(poll) == Some(task)).count();
            let Some(at) = open.iter().position(|poll| only(poll).is_some_and(|task| claims(task) == 1)) else { break };
            let poll = open.remove(at);
            for other in &mut open {
                other.tasks.retain(|task| !poll.tasks.contains(task));
            }
            proven[poll.thread].extend(poll.tasks.iter().map(|task| (poll.depth, *task)));
        }
        let innermost_first = |mut polls: Vec<(usize, TaskId)>| -> Vec<TaskId> {
            polls.sort_unstable();
            polls.into_iter().map(|(_, task)| task).collect()
        };
        let proven: Vec<Vec<TaskId>> = proven.into_iter().map(innermost_first).collect();
        let unproven = tasks.iter().filter(|task| !proven.iter().flatten().any(|id| *id == task.id));
        let candidates = unproven.map(|task| {
            let may_poll = |position: &usize| {
                let is_open = |poll: &PollOnStack| poll.thread == *position && poll.tasks.contains(&task.id);
                threads.get(*position).is_some_and(|thread| !thread.complete) || open.iter().any(is_open)
            };
            (task.id, (0..threads.len()).filter(may_poll).collect())
        });
        Self { candidates: candidates.collect(), proven }
    }
}

impl StackEvidence {
    /// The polls on the stack, innermost first.
    fn polls(&self, position: usize, tasks: &[RunningTask]) -> Vec<PollOnStack> {
        let mut polls = Vec::new();
        for function in &self.functions {
            let of_type: Vec<&RunningTask> = tasks.iter().filter(|task| task.functions.contains(function)).collect();
            if !of_type.is_empty() {
                polls.push(self.poll(position, &of_type, polls.len()));
            }
        }
        if polls.is_empty() && self.polls {
            // The compiler may have made other functions of the type's functions.
            let poll = self.poll(position, &tasks.iter().collect::<Vec<_>>(), 0);
            let is_on_stack =
                tasks.iter().any(|task| poll.tasks.contains(&task.id) && self.headers.contains(&task.header));
            polls.push(PollOnStack { is_proof: is_on_stack && !self.context.is_empty(), ..poll });
        }
        polls
    }

    /// A poll of one of these tasks.
    fn poll(&self, thread: usize, tasks: &[&RunningTask], depth: usize) -> PollOnStack {
        let ids = |wanted: &dyn Fn(&RunningTask) -> bool| -> Vec<TaskId> {
            tasks.iter().filter(|task| wanted(task)).map(|task| task.id).collect()
        };
        let is_on_stack = |task: &RunningTask| self.headers.contains(&task.header);
        let is_in_context = |task: &RunningTask| self.context.contains(&task.id.0);
        // The innermost task is also in the context. An address alone may be from an earlier poll.
        let by_context = depth == 0 && !self.context.is_empty();
        let both = ids(&|task| is_on_stack(task) && (!by_context || is_in_context(task)));
        if !both.is_empty() {
            return PollOnStack { thread, depth, tasks: both, is_proof: true };
        }
        // The address may be in a register that nobody has saved.
        let named = ids(&|task| by_context && is_in_context(task));
        let is_proof = named.len() == 1;
        PollOnStack { thread, depth, tasks: if is_proof { named } else { ids(&|_| true) }, is_proof }
    }
}

impl super::task_scan::TaskScan {
    /// The tasks that are inside a poll. Workers and blocking functions do not count. `code` is the memory with the program's
    /// functions.
    pub(crate) fn running(&self, tasks: &[ScannedTask], code: &dyn Memory) -> Vec<RunningTask> {
        let listed = tasks.iter().filter(|task| task.state == TaskState::Running && task.list != 0);
        let running = listed.filter_map(|task| {
            let functions = self.vtables.get(&task.vtable)?.functions.map(|function| jumped_to(code, function));
            Some(RunningTask { id: task.id, header: task.header, functions })
        });
        running.collect()
    }
}

/// The function that runs when a function is called. In optimized code, the function of a vtable is often only a jump to
/// another one, which is then on the stack instead.
fn jumped_to(code: &dyn Memory, function: u64) -> u64 {
    let mut bytes = [0; 5];
    // If it cannot be read, the bytes are no jump.
    let _readable = code.read(function, &mut bytes);
    match bytes {
        // jmp, with the distance from the next instruction
        [0xe9, distance @ ..] => function.wrapping_add(5).wrapping_add_signed(i32::from_le_bytes(distance).into()),
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_memory::TestMemory;
    use super::*;

    fn task(id: u64, ty: u64) -> RunningTask {
        RunningTask { id: TaskId(id), header: 0x1000 * id, functions: std::array::from_fn(|at| ty * 100 + at as u64) }
    }

    fn thread(functions: &[u64], headers: &[u64], context: &[u64]) -> StackEvidence {
        StackEvidence {
            complete: true,
            functions: functions.to_vec(),
            headers: headers.iter().copied().collect(),
            polls: false,
            context: context.to_vec(),
        }
    }

    fn proven(threads: &[StackEvidence], tasks: &[RunningTask]) -> Vec<Vec<u64>> {
        let found = PolledTasks::of(threads, tasks);
        found.proven.iter().map(|ids| ids.iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn a_function_of_the_type_and_the_address_prove_a_poll() {
        let tasks = [task(5, 1), task(6, 2)];
        let polls_5 = thread(&[7, 100, 9], &[0x5000], &[]);
        let parked = thread(&[7, 9], &[0x6000], &[6]);
        assert_eq!(proven(&[polls_5.clone(), parked.clone()], &tasks), [vec![5], vec![]]);
        let found = PolledTasks::of(&[polls_5, parked.clone()], &tasks);
        assert_eq!(found.candidates, HashMap::from([(TaskId(6), vec![])]), "a whole stack without a poll of it");
        let cut = StackEvidence { complete: false, ..parked };
        assert_eq!(PolledTasks::of(&[cut], &tasks[1..]).candidates, HashMap::from([(TaskId(6), vec![0])]));
    }

    #[test]
    fn the_context_decides_between_tasks_of_one_type() {
        let tasks = [task(5, 1), task(6, 1)];
        // The address of a task that the thread polled before is still on its stack.
        let stale = [0x5000, 0x6000];
        assert_eq!(proven(&[thread(&[100], &stale, &[9, 6])], &tasks), [vec![6]]);
        assert_eq!(proven(&[thread(&[100], &stale, &[])], &tasks), [vec![0; 0]], "no context");
        assert_eq!(proven(&[thread(&[100], &stale, &[5, 6])], &tasks), [vec![0; 0]], "both are in it");
        assert_eq!(proven(&[thread(&[100], &[0x5000], &[9])], &tasks), [vec![0; 0]], "it polls another task now");
        assert_eq!(proven(&[thread(&[100], &[], &[5])], &tasks), [vec![5]], "the address is in a register only");
        let candidates = PolledTasks::of(&[thread(&[100], &stale, &[])], &tasks).candidates;
        assert_eq!(candidates, HashMap::from([(TaskId(5), vec![0]), (TaskId(6), vec![0])]));
    }

    #[test]
    fn a_task_inside_another_is_the_first() {
        let tasks = [task(5, 1), task(6, 2)];
        assert_eq!(proven(&[thread(&[200, 100], &[0x5000, 0x6000], &[6])], &tasks), [vec![6, 5]]);
    }

    #[test]
    fn a_function_that_is_only_a_jump_is_not_on_the_stack() {
        // jmp to 0x1000 + 5 + 0x20; ret
        let code = TestMemory(vec![u64::from_le_bytes([0xe9, 0x20, 0, 0, 0, 0xcc, 0xcc, 0xcc]), 0xc3]);
        assert_eq!([0x1000, 0x1008, 0x9000].map(|function| jumped_to(&code, function)), [0x1025, 0x1008, 0x9000]);
    }

    #[test]
    fn two_threads_cannot_poll_one_task() {
        let tasks = [task(5, 1)];
        let claims = thread(&[100], &[0x5000], &[]);
        let found = PolledTasks::of(&[claims.clone(), claims], &tasks);
        assert_eq!(found.proven, [vec![], vec![]]);
        assert_eq!(found.candidates, HashMap::from([(TaskId(5), vec![0, 1])]));
    }

    #[test]
    fn a_task_that_another_thread_polls_is_ruled_out() {
        let tasks = [task(5, 1), task(6, 1)];
        let threads = [thread(&[100], &[0x5000, 0x6000], &[]), thread(&[100], &[0x6000], &[])];
        assert_eq!(proven(&threads, &tasks), [[5], [6]]);
        let unknown = StackEvidence::default();
        let found = PolledTasks::of(&[unknown, thread(&[100], &[0x6000], &[])], &tasks);
        assert_eq!(found.candidates, HashMap::from([(TaskId(5), vec![0])]), "a proven poll is no candidate");
    }

    #[test]
    fn a_poll_without_a_function_of_the_type_needs_address_and_context() {
        let tasks = [task(5, 1)];
        let polls = |headers: &[u64], context: &[u64]| StackEvidence { polls: true, ..thread(&[7], headers, context) };
        assert_eq!(proven(&[polls(&[0x5000], &[5])], &tasks), [[5]]);
        assert_eq!(proven(&[polls(&[0x5000], &[]), polls(&[], &[5])], &tasks), [vec![0; 0], vec![]]);
        assert_eq!(PolledTasks::of(&[polls(&[0x5000], &[])], &tasks).candidates[&TaskId(5)], [0]);
    }
}
