//! Which type of task a stack lies in the poll of, in a program that describes no types: Tokio has one function for each type
//! that polls it, and some more, and their symbols or what they call tells the type.

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
    /// By the functions that poll them: no more than the program has.
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

    /// The name of the future that is polled on a stack, given by its addresses and by what they are called.
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
        // It cannot be another one where this one's code is on the stack.
        ty.uncertain &= frames.iter().all(|frame| *frame.function != *ty.future);
        Some(ty.label().into())
    }

    fn functions(&self) -> &TaskFunctions {
        self.functions.get_or_init(|| TaskFunctions::of(self.process, self.image))
    }
}
