//! Walks a stack copy, frame by frame.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};
use object::read::ReadRef;
use object::{Object, ObjectSection};

use super::frame_pointer;
use super::functions::Functions;
use crate::images::{Image, Images, Reader};
use crate::model::stack::Address;
use crate::sys::{Process, StackCopy};

/// The deepest stack that is walked. A deeper one loses its outer frames, and says so.
pub(crate) const MAX_FRAMES: usize = 1024;

/// Ends of walks that are remembered; there are a handful in a program.
const MAX_FIRST_FUNCTIONS: usize = 1024;

/// Unwind tables are kept as long as the unwinder lives.
pub(super) type Section = Arc<[u8]>;

/// An address that no stack has. framehop takes 0 for the end of a stack.
pub(super) const NOWHERE: u64 = 1;

/// What walking a stack gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// Innermost first.
    pub(crate) addresses: Vec<Address>,
    /// Reached the thread's first function, through code whose unwind tables are known.
    pub(crate) complete: bool,
}

/// The loaded images, and the walk over their unwind tables.
pub(crate) struct Unwinder {
    tables: UnwinderX86_64<Section>,
    cache: CacheX86_64,
    images: Images,
    functions: Vec<Functions>,
    /// Where walks ended, and whether that was in a thread's first function.
    first_functions: HashMap<u64, bool>,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwinder").field("images", &self.images).finish_non_exhaustive()
    }
}

impl Unwinder {
    /// Reads what a process has loaded now.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(crate) fn of(process: Process) -> io::Result<Self> {
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

    /// Adds the unwind tables of libraries that were loaded since.
    ///
    /// # Errors
    /// When the list of mappings cannot be read.
    pub(crate) fn load_new_images(&mut self) -> io::Result<()> {
        for image in self.images.load_new()? {
            if let Some((module, functions)) = image.read(Tables(image)) {
                self.tables.add_module(module);
                self.functions.extend(functions);
            }
        }
        Ok(())
    }

    /// What is loaded.
    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    /// The first address of the function that an address lies in.
    pub(super) fn start_of_function(&self, address: u64) -> Option<u64> {
        self.functions.iter().find(|functions| functions.range.contains(&address))?.start_of(address)
    }

    /// Walks a stack of this moment. One that does not reach its end may lead through a library that was loaded since.
    pub(crate) fn walk_now(&mut self, stack: &StackCopy) -> Walk {
        let walk = self.walk(stack);
        let last = walk.addresses.last().map_or(0, |address| address.0);
        if walk.complete || self.images.find(last).is_some() || self.load_new_images().is_err() {
            return walk;
        }
        self.walk(stack)
    }

    /// Walks a stack from its registers outwards. A stack without a known frame pointer is walked with the one
    /// that makes most sense.
    pub(crate) fn walk(&mut self, stack: &StackCopy) -> Walk {
        match stack.registers.frame_pointer {
            Some(frame_pointer) => self.walk_from(stack, frame_pointer),
            None => frame_pointer::walk(self, stack),
        }
    }

    /// Walks with a given frame pointer.
    ///
    /// framehop remembers how to leave each function. Where leaving one failed, with registers or memory that made no
    /// sense, it remembers a guess instead, which would spoil every later walk through that function: then everything
    /// is forgotten.
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
        // Where there is no table, framehop guesses that there are frame pointers, and may leave frames out.
        let known = walk.addresses.iter().all(|address| self.images.find(address.0).is_some());
        walk.complete = known && self.is_first_function(last);
        walk
    }

    /// Whether the unwind table says that nobody called this function, whatever the registers and the stack hold.
    /// framehop also stops at a null frame pointer or return address, which a walk that went wrong finds soon.
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

/// Reads an image's unwind tables, for framehop and for finding where functions begin.
struct Tables<'i>(&'i Image);

impl Reader for Tables<'_> {
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
