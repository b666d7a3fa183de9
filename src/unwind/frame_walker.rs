//! Walks a stack copy with given registers, frame by frame.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};
use object::read::ReadRef;
use object::{Object, ObjectSection};

use super::call::Call;
use super::functions::{Functions, Section, TablelessFunctions};
use super::passed::{Passed, Position, Walk};
use super::tableless::{Step, Tableless};
use crate::images::{Image, Images, ObjectReader};
use crate::model::stack::Address;
use crate::sys::{Process, StackCopy};

/// Frames of a stack at most. A deeper stack loses its outer frames and counts as incomplete.
const MAX_FRAMES: usize = 1024;

/// Cached ends of walks. A program has a handful.
const MAX_FIRST_FUNCTIONS: usize = 1024;

/// A frame pointer that no stack has. framehop takes 0 for the end of a stack.
pub(super) const NOWHERE: u64 = 1;

/// The loaded images and their unwind tables.
pub(super) struct FrameWalker {
    tables: UnwinderX86_64<Section>,
    cache: CacheX86_64,
    images: Images,
    functions: Vec<Functions>,
    /// The starts of images without any table.
    untabled: HashSet<u64>,
    covered: CoveredCode,
    /// The functions without tables, by the start of their image. They are read once a stack leads through one.
    named: HashMap<u64, TablelessFunctions>,
    tableless: Tableless,
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
            untabled: HashSet::new(),
            covered: CoveredCode::default(),
            named: HashMap::new(),
            tableless: Tableless::default(),
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
            if let Some(read) = image.read(UnwindTables(image)) {
                self.tables.add_module(read.module);
                self.functions.extend(read.functions);
                if !read.has_tables {
                    self.untabled.insert(image.range.start);
                }
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
    pub(super) fn walk_from(&mut self, stack: &StackCopy, frame_pointer: u64) -> Walk {
        self.walk_to_end(stack, frame_pointer).0
    }

    /// The same, with the position in the last frame.
    pub(super) fn walk_to_end(&mut self, stack: &StackCopy, frame_pointer: u64) -> (Walk, Position) {
        self.walk(stack, Position::first(stack, frame_pointer), None)
    }

    /// Walks on from a position. What earlier walks of this stack have passed is not walked again.
    pub(super) fn walk_on(&mut self, stack: &StackCopy, from: Position, passed: &mut Passed) -> Walk {
        self.walk(stack, from, Some(passed)).0
    }

    /// framehop caches how to leave each function. After a failure with invalid registers or memory it caches a guess, which
    /// would spoil every later walk through that function. So the cache is dropped after a failure.
    fn walk(&mut self, stack: &StackCopy, from: Position, passed: Option<&mut Passed>) -> (Walk, Position) {
        let (walk, last) = self.walk_cached(stack, from, passed);
        if !walk.complete {
            self.cache = CacheX86_64::new();
        }
        (walk, last)
    }

    fn walk_cached(&mut self, stack: &StackCopy, from: Position, passed: Option<&mut Passed>) -> (Walk, Position) {
        let Some(passed) = passed else { return self.walk_frames(stack, from, |_| None) };
        let mut positions = Vec::new();
        let (walk, last) = self.walk_frames(stack, from, |position| {
            let rest = passed.rest(position);
            positions.extend(rest.is_none().then_some(position));
            rest
        });
        passed.add(&positions, &walk);
        (walk, last)
    }

    /// `known_rest` is asked at each frame for the rest of the walk.
    fn walk_frames(
        &mut self,
        stack: &StackCopy,
        from: Position,
        mut known_rest: impl FnMut(Position) -> Option<Walk>,
    ) -> (Walk, Position) {
        let mut current = UnwindRegsX86_64::new(from.address, from.stack_pointer, from.frame_pointer);
        let (mut frame, mut last) = (from.frame(), from);
        let mut walk = Walk::default();
        // Without an image, framehop assumes frame pointers and may skip frames.
        let mut known = true;
        while walk.addresses.len() < MAX_FRAMES {
            last = Position::of(frame, &current);
            if let Some(rest) = known_rest(last) {
                walk.addresses.extend(rest.addresses);
                walk.complete = known && rest.complete;
                walk.is_cut = known && rest.is_cut;
                break;
            }
            let address = frame.address_for_lookup();
            walk.addresses.push(Address(address));
            let next = match self.code_at(address) {
                Code::Tableless => match self.step_without_table(frame, &mut current, stack) {
                    Step::Caller { return_address, .. } => Some(return_address),
                    Step::First => {
                        walk.complete = known;
                        break;
                    }
                    Step::Unknown => break,
                },
                code => {
                    known &= code == Code::Covered;
                    let mut is_behind = false;
                    let mut read = |address| {
                        let word = stack.word(address);
                        is_behind |= word.is_none() && stack.ends_shortly_before(address);
                        word.ok_or(())
                    };
                    match self.tables.unwind_frame(frame, &mut current, &mut self.cache, &mut read) {
                        Ok(next) => next,
                        Err(_) => {
                            walk.is_cut = known && is_behind;
                            break;
                        }
                    }
                }
            };
            match next.map(FrameAddress::from_return_address) {
                Some(Some(caller)) => frame = caller,
                Some(None) => break,
                None => {
                    walk.complete = known && self.is_first_function(frame);
                    break;
                }
            }
        }
        (walk, last)
    }

    /// Leaves a function that has no table. The registers become the caller's.
    fn step_without_table(&mut self, frame: FrameAddress, registers: &mut UnwindRegsX86_64, stack: &StackCopy) -> Step {
        let address = frame.address_for_lookup();
        let Some(image) = self.images.find(address) else { return Step::Unknown };
        // A wrong walk goes anywhere. To read an image's symbols for it would take long.
        if let FrameAddress::ReturnAddress(to) = frame
            && Call::before(image.process(), to.get()) == Call::None
        {
            return Step::Unknown;
        }
        let functions = self.functions.iter().find(|functions| functions.range.contains(&address));
        let start_of = |address: u64| functions.and_then(|functions| functions.start_of(address));
        let named = self.named.entry(image.range.start);
        let named = named.or_insert_with(|| TablelessFunctions::of(image));
        let is_function = |address: u64| start_of(address) == Some(address);
        let step = self.tableless.step(frame, (registers.sp(), registers.bp()), stack, named, is_function);
        if let Step::Caller { stack_pointer, frame_pointer, .. } = step {
            registers.set_sp(stack_pointer);
            registers.set_bp(frame_pointer.unwrap_or(NOWHERE));
        }
        step
    }

    /// Whether an unwind table covers the code at an address.
    fn code_at(&mut self, address: u64) -> Code {
        if self.covered.contains(address) {
            return Code::Covered;
        }
        let Some(image) = self.images.find(address) else { return Code::Outside };
        let functions = self.functions.iter().find(|functions| functions.range.contains(&address));
        let is_covered = match functions {
            Some(functions) => functions.start_of(address).is_some(),
            None => !self.untabled.contains(&image.range.start),
        };
        if is_covered {
            self.covered.insert(address);
            Code::Covered
        } else {
            Code::Tableless
        }
    }

    /// Whether the unwind table marks this function as the first of its thread.
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

/// Who knows how to leave the code at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// An unwind table covers it.
    Covered,
    /// It is in an image, but in no unwind table.
    Tableless,
    /// It is in no image.
    Outside,
}

/// Addresses that unwind tables cover, as far as they were looked up. Each lookup in a table takes longer than a step of a
/// walk, and stacks lead through the same addresses again.
struct CoveredCode(Box<[u64; Self::PLACES]>);

impl Default for CoveredCode {
    fn default() -> Self {
        Self(Box::new([0; Self::PLACES]))
    }
}

impl CoveredCode {
    const PLACES: usize = 2048;

    fn place(address: u64) -> usize {
        (address ^ (address >> 11)) as usize % Self::PLACES
    }

    fn contains(&self, address: u64) -> bool {
        self.0[Self::place(address)] == address
    }

    fn insert(&mut self, address: u64) {
        self.0[Self::place(address)] = address;
    }
}

/// The unwind tables of an image.
struct ImageTables {
    module: Module<Section>,
    /// The functions with tables, if there is an index of them.
    functions: Option<Functions>,
    has_tables: bool,
}

/// Reads an image's unwind tables, for framehop and for the starts of functions.
struct UnwindTables<'i>(&'i Image);

impl ObjectReader for UnwindTables<'_> {
    type Output = ImageTables;

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
        let has_tables = table.as_ref().is_some_and(|table| !table.is_empty());
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
        let module = Module::new(name.to_string(), addresses.clone(), *bias, sections);
        ImageTables { module, functions, has_tables }
    }
}
