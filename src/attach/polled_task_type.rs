//! The type of the polled task by its stack, for programs without descriptions of types. Tokio has its own poll functions for
//! each type of task; their symbols, or the functions that they call, name the type.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::task_dump_untyped::task_type;
use crate::dwarf::Program;
use crate::images::Image;
use crate::model::stack::{Address, Frame};
use crate::symbols::{TaskFunctions, TaskType};
use crate::sys::Process;
use crate::unwind::PollFrames;

/// The tasks of one process.
pub(crate) struct PolledTasks<'p, 'd> {
    process: Process,
    image: &'p Image,
    program: &'p Program<'d>,
    frames: Arc<PollFrames>,
    functions: OnceLock<TaskFunctions>,
    /// By the functions that poll them. The program bounds their number.
    known: Mutex<HashMap<Vec<u64>, Option<TaskType>>>,
}

impl<'p, 'd> PolledTasks<'p, 'd> {
    pub(crate) fn of(process: Process, image: &'p Image, program: &'p Program<'d>, frames: Arc<PollFrames>) -> Self {
        Self { process, image, program, frames, functions: OnceLock::new(), known: Mutex::default() }
    }

    /// Reads the symbols, which takes some milliseconds.
    pub(crate) fn warm_up(&self) {
        let _functions = self.functions();
    }

    /// The name of the future that is polled on a stack, given as addresses and as frames.
    pub(crate) fn future_on(&self, stack: &[Address], frames: &[Frame]) -> Option<Arc<str>> {
        let functions = self.frames.poll_functions(stack);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ty = match known.get(&functions) {
            Some(known) => known.clone()?,
            None => {
                let found = task_type(self.functions(), self.program, &functions);
                known.insert(functions, found.clone());
                found?
            }
        };
        // The type is certain where its own code is on the stack.
        ty.uncertain &= frames.iter().all(|frame| *frame.function != *ty.future);
        Some(ty.label().into())
    }

    fn functions(&self) -> &TaskFunctions {
        self.functions.get_or_init(|| TaskFunctions::of(self.process, self.image))
    }
}
