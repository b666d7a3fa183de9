//! Walks a stack copy with given registers, frame by frame.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};
use object::read::ReadRef;
use object::{Object, ObjectSection};

use super::functions::{Functions, Section};
use crate::images::{Image, Images, ObjectReader};
use crate::model::stack::Address;
use crate::sys::{Process, StackCopy};

/// Frames of a stack at most. A deeper stack loses its outer frames and counts as incomplete.
const MAX_FRAMES: usize = 1024;

/// Cached ends of walks. A program has a handful.
const MAX_FIRST_FUNCTIONS: usize = 1024;

/// A frame pointer that no stack has. framehop takes 0 for the end of a stack.
pub(super) const NOWHERE: u64 = 1;

/// The result of unwinding a stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// Addresses, innermost first.
    pub(crate) addresses: Vec<Address>,
    /// Whether the walk reached the thread's first function through code with known unwind tables.
    pub(crate) complete: bool,
}

/// The loaded images and their unwind tables.
pub(super) struct FrameWalker {
    tables: UnwinderX86_64<Section>,
    cache: CacheX86_64,
    images: Images,
    functions: Vec<Functions>,
    /// Addresses at which walks ended, and whether each is in a thread's first function.
    first_functions: HashMap<u64, bool>,
}

impl std::fmt::Debug for FrameWalker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWalker").field("images", &self.images).finish_non_exhaustive()
    }
}

impl FrameWalker {
    /// Reads the images that a process has loaded.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(super) fn of(process: Process) -> io::Result<Self> {
        let mut unwinder = Self {
            tables: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            images: Images::of(process),
            functions: Vec::new(),
            first_functions: HashMap::new(),
        };
        unwinder.load_new_images()?;
        Ok(unwinder)
    }

    /// Adds the unwind tables of newly loaded libraries.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(super) fn load_new_images(&mut self) -> io::Result<()> {
        for image in self.images.load_new()? {
            if let Some((module, functions)) = image.read(UnwindTables(image)) {
                self.tables.add_module(module);
                self.functions.extend(functions);
            }
        }
        Ok(())
    }

    /// The loaded images.
    pub(super) fn images(&self) -> &Images {
        &self.images
    }

    /// The first address of the function that contains an address.
    pub(super) fn start_of_function(&self, address: u64) -> Option<u64> {
        self.functions.iter().find(|functions| functions.range.contains(&address))?.start_of(address)
    }

    /// Walks with a given frame pointer.
    ///
    /// framehop caches how to leave each function. After a failure with invalid registers or memory it caches a guess, which
    /// would spoil every later walk through that function. So the cache is dropped after a failure.
    pub(super) fn walk_from(&mut self, stack: &StackCopy, frame_pointer: u64) -> Walk {
        let walk = self.walk_cached(stack, frame_pointer);
        if !walk.complete {
            self.cache = CacheX86_64::new();
        }
        walk
    }

    fn walk_cached(&mut self, stack: &StackCopy, frame_pointer: u64) -> Walk {
        let registers = &stack.registers;
        let start = UnwindRegsX86_64::new(registers.instruction, registers.stack_pointer, frame_pointer);
        let mut read = |address| stack.word(address).ok_or(());
        let mut frames = self.tables.iter_frames(registers.instruction, start, &mut self.cache, &mut read);
        let mut walk = Walk::default();
        let mut last = FrameAddress::InstructionPointer(registers.instruction);
        loop {
            match frames.next() {
                Ok(Some(frame)) if walk.addresses.len() < MAX_FRAMES => {
                    last = frame;
                    walk.addresses.push(lookup_address(frame));
                }
                Ok(Some(_)) | Err(_) => return walk,
                Ok(None) => break,
            }
        }
        // Without a table, framehop assumes frame pointers and may skip frames.
        let known = walk.addresses.iter().all(|address| self.images.find(address.0).is_some());
        walk.complete = known && self.is_first_function(last);
        walk
    }

    /// Whether the unwind table marks this function as the first of its thread, whatever the registers and the stack hold.
    /// framehop also stops at a null frame pointer or return address, which a wrong walk soon finds.
    fn is_first_function(&mut self, address: FrameAddress) -> bool {
        if let Some(first) = self.first_functions.get(&address.address()) {
            return *first;
        }
        let mut nowhere = UnwindRegsX86_64::new(address.address(), NOWHERE, NOWHERE);
        let outcome = self.tables.unwind_frame(address, &mut nowhere, &mut CacheX86_64::new(), &mut |_| Err(()));
        let first = matches!(outcome, Ok(None));
        if self.first_functions.len() >= MAX_FIRST_FUNCTIONS {
            self.first_functions.clear();
        }
        self.first_functions.insert(address.address(), first);
        first
    }
}

fn lookup_address(frame: FrameAddress) -> Address {
    match frame {
        FrameAddress::InstructionPointer(address) => Address(address),
        FrameAddress::ReturnAddress(address) => Address(address.get() - 1),
    }
}

/// Reads an image's unwind tables, for framehop and for the starts of functions.
struct UnwindTables<'i>(&'i Image);

impl ObjectReader for UnwindTables<'_> {
    type Output = (Module<Section>, Option<Functions>);

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let range = |name: &str| -> Option<Range<u64>> {
            file.section_by_name(name).map(|section| section.address()..section.address() + section.size())
        };
        let bytes = |name: &str| -> Option<Section> {
            file.section_by_name(name).and_then(|section| section.data().ok()).map(Arc::from)
        };
        let Image { range: addresses, bias, name, .. } = self.0;
        let (index_at, index) = (range(".eh_frame_hdr"), bytes(".eh_frame_hdr"));
        let (table_at, table) = (range(".eh_frame"), bytes(".eh_frame"));
        let functions = || {
            Some(Functions {
                range: addresses.clone(),
                bias: *bias,
                index: (index_at.as_ref()?.start, index.clone()?),
                table: (table_at.as_ref()?.start, table.clone()?),
            })
        };
        let functions = functions();
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: table_at,
            eh_frame: table,
            eh_frame_hdr_svma: index_at,
            eh_frame_hdr: index,
            ..Default::default()
        };
        (Module::new(name.to_string(), addresses.clone(), *bias, sections), functions)
    }
}
