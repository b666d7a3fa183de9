//! Unwinds stack copies.

use std::io;

use super::frame_pointer;
use super::frame_walker::FrameWalker;
use super::passed::Walk;
use crate::images::Images;
use crate::sys::{Process, StackCopy};

/// Unwinds stack copies of one process.
#[derive(Debug)]
pub(crate) struct Unwinder {
    walker: FrameWalker,
}

impl Unwinder {
    /// Reads the images that a process has loaded.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(crate) fn of(process: Process) -> io::Result<Self> {
        Ok(Self { walker: FrameWalker::of(process)? })
    }

    /// The loaded images.
    pub(crate) fn images(&self) -> &Images {
        self.walker.images()
    }

    /// The first address of the function that contains an address.
    #[cfg(feature = "attach")]
    pub(crate) fn start_of_function(&self, address: u64) -> Option<u64> {
        self.walker.start_of_function(address)
    }

    /// Unwinds a stack that was copied just now. An incomplete stack may lead through a library that was loaded since, so
    /// new images are read and the stack is unwound again.
    pub(crate) fn walk_now(&mut self, stack: &StackCopy) -> Walk {
        let walk = self.walk(stack);
        let last = walk.addresses.last().map_or(0, |address| address.0);
        if walk.complete || self.walker.images().find(last).is_some() || self.walker.load_new_images().is_err() {
            return walk;
        }
        self.walk(stack)
    }

    /// Unwinds a stack from its registers outwards. An unknown frame pointer is searched for.
    pub(crate) fn walk(&mut self, stack: &StackCopy) -> Walk {
        match stack.registers.frame_pointer {
            Some(frame_pointer) => self.walker.walk_from(stack, frame_pointer),
            None => frame_pointer::walk(&mut self.walker, stack),
        }
    }
}
