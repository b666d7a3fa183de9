//! One unit's part of the index.

use std::collections::HashMap;
use std::sync::Arc;

use gimli::{AttributeValue, DwTag, Operation};

use super::index::{TaskTypes, ThreadLocal};
use super::sections::Slice;
use super::types::TypeId;
use super::units::Unit;

/// Functions whose first parameter tells that a type is polled.
const POLLS: [&str; 2] = ["poll", "poll_next"];

/// Where Tokio's generic functions on tasks are.
const RAW_TASK: &str = "tokio::runtime::task::raw";

/// Within it: the function that polls a task, with its type arguments.
const POLL_TASK: &str = "poll<";

/// Where Tokio's functions are that poll a future on the thread that calls them,
const RUNTIME: &str = "tokio::runtime";

/// and what they are called, with the type of that future.
const BLOCK_ON: &str = "block_on<";

/// Where Tokio keeps what belongs to a thread.
const CONTEXT: &str = "tokio::runtime::context::CONTEXT";

/// Names longer than this are cut: they are made of nested type arguments.
const MAX_NAME: usize = 16 * 1024;

/// What was found, before the parts are put together.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each with its qualified name, and whether it is a complete definition.
    pub(super) types: Vec<(TypeId, Arc<str>, bool)>,
    pub(super) tasks: Vec<(u64, TaskTypes)>,
    /// Addresses of functions that poll tasks, with their names.
    pub(super) polls: Vec<(u64, Arc<str>)>,
    /// Addresses of trait objects' tables, with the types of the tables.
    pub(super) vtables: Vec<(u64, TypeId)>,
    /// By the type of a table: what it is for.
    pub(super) containing: HashMap<TypeId, TypeId>,
    pub(super) contexts: Vec<ThreadLocal>,
    /// The types of first parameters of functions that poll.
    pub(super) polled: Vec<TypeId>,
    /// Functions that poll a future given to `block_on`, by their entries, with its type.
    pub(super) roots: Vec<(TypeId, TypeId)>,
}

/// What stands above an entry.
#[derive(Default)]
struct Scope {
    /// The qualified name of what encloses the entry.
    path: String,
    /// Depth, how long the path was before, and the position in the list of types for a type.
    levels: Vec<(isize, usize, Option<usize>)>,
}

impl Scope {
    fn leave(&mut self, depth: isize) {
        while let Some((_, length, _)) = self.levels.pop_if(|(level, ..)| *level >= depth) {
            self.path.truncate(length);
        }
    }

    fn enter(&mut self, depth: isize, name: &str, ty: Option<usize>) {
        self.levels.push((depth, self.path.len(), ty));
        if !self.path.is_empty() {
            self.path.push_str("::");
        }
        let end = name.floor_char_boundary(MAX_NAME.saturating_sub(self.path.len()).min(name.len()));
        self.path.push_str(name.get(..end).unwrap_or_default());
    }
}

/// A function whose parameters are looked at.
enum Function {
    /// It polls a task. Its type arguments so far.
    Task { entry: TypeId, address: Option<u64>, future: Option<TypeId>, scheduler: Option<TypeId> },
    /// It may poll a future, which its first parameter tells.
    Poll,
    /// It polls a future that is no task, which its type argument tells.
    BlockOn(TypeId),
}

/// The attributes that are asked for, of whichever kind of entry.
#[derive(Default)]
struct Attributes<'d> {
    name: Option<&'d str>,
    size: u64,
    declaration: bool,
    containing: Option<TypeId>,
    ty: Option<TypeId>,
    address: Option<u64>,
    origin: Option<TypeId>,
    location: Option<gimli::Expression<Slice<'d>>>,
}

/// Adds what a unit holds.
///
/// # Errors
/// When the unit is damaged; what stands before the damage is added.
pub(super) fn unit(unit: &Unit<'_>, found: &mut Found) -> gimli::Result<()> {
    let mut scope = Scope::default();
    let mut function: Option<(isize, Function)> = None;
    // Functions that poll tasks, by their entries: the code of one may be described by another entry.
    let mut generic: HashMap<TypeId, TaskTypes> = HashMap::new();
    let mut named: HashMap<TypeId, Arc<str>> = HashMap::new();
    let mut concrete: Vec<(TypeId, u64)> = Vec::new();
    let mut entries = unit.unit.entries_raw(None)?;
    while !entries.is_empty() {
        let depth = entries.next_depth();
        let id = unit.id(entries.next_offset());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        scope.leave(depth);
        if let Some((_, done)) = function.take_if(|(level, _)| depth <= *level) {
            note_task(&done, found, &mut generic);
        }
        let inside = function.as_ref().is_some_and(|(level, _)| depth == level + 1);
        let tag = abbreviation.tag();
        // Units may repeat a type's name and size without what it is made of.
        if matches!(tag, gimli::DW_TAG_member | gimli::DW_TAG_variant_part)
            && let Some((level, _, Some(ty))) = scope.levels.last()
            && level + 1 == depth
            && let Some((_, _, complete)) = found.types.get_mut(*ty)
        {
            *complete = true;
        }
        if !wanted(tag, inside) {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let mut read = Attributes::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            read.take(unit, &attribute);
        }
        match tag {
            gimli::DW_TAG_subprogram => {
                if let (Some(address), Some(origin)) = (read.address, read.origin) {
                    concrete.push((origin, address));
                }
                let name = read.name.unwrap_or_default();
                if scope.path == RAW_TASK && name.starts_with(POLL_TASK) {
                    named.insert(id, name.into());
                    found.polls.extend(read.address.map(|address| (address, name.into())));
                    let task = Function::Task { entry: id, address: read.address, future: None, scheduler: None };
                    function = Some((depth, task));
                } else if name.starts_with(BLOCK_ON) && scope.path.starts_with(RUNTIME) {
                    function = Some((depth, Function::BlockOn(id)));
                } else if POLLS.contains(&name.split('<').next().unwrap_or_default()) {
                    function = Some((depth, Function::Poll));
                }
            }
            gimli::DW_TAG_template_type_parameter => match (&mut function, read.name) {
                (Some((_, Function::Task { future, .. })), Some("T")) => *future = read.ty,
                (Some((_, Function::Task { scheduler, .. })), Some("S")) => *scheduler = read.ty,
                (Some((_, Function::BlockOn(entry))), Some("F")) => {
                    found.roots.extend(read.ty.map(|future| (*entry, future)));
                }
                _ => {}
            },
            gimli::DW_TAG_formal_parameter => {
                if let Some((_, Function::Poll)) = function {
                    found.polled.extend(read.ty);
                    function = None;
                }
            }
            gimli::DW_TAG_variable => note_variable(&read, unit, &scope, found),
            gimli::DW_TAG_namespace => scope.enter(depth, read.name.unwrap_or_default(), None),
            _ => {
                let name = read.name.unwrap_or_default();
                scope.enter(depth, name, Some(found.types.len()));
                let complete = !read.declaration && read.size == 0;
                found.types.push((id, scope.path.as_str().into(), complete));
                if let Some(containing) = read.containing {
                    found.containing.insert(id, containing);
                }
            }
        }
    }
    if let Some((_, done)) = function {
        note_task(&done, found, &mut generic);
    }
    for (origin, address) in concrete {
        found.polls.extend(named.get(&origin).map(|name| (address, Arc::clone(name))));
        found.tasks.extend(generic.get(&origin).map(|types| (address, *types)));
    }
    Ok(())
}

fn wanted(tag: DwTag, inside_function: bool) -> bool {
    match tag {
        gimli::DW_TAG_namespace
        | gimli::DW_TAG_structure_type
        | gimli::DW_TAG_union_type
        | gimli::DW_TAG_enumeration_type
        | gimli::DW_TAG_subprogram
        | gimli::DW_TAG_variable => true,
        gimli::DW_TAG_template_type_parameter | gimli::DW_TAG_formal_parameter => inside_function,
        _ => false,
    }
}

fn note_task(function: &Function, found: &mut Found, generic: &mut HashMap<TypeId, TaskTypes>) {
    let Function::Task { entry, address, future: Some(future), scheduler: Some(scheduler) } = *function else { return };
    let types = TaskTypes { future, scheduler };
    generic.insert(entry, types);
    found.tasks.extend(address.map(|address| (address, types)));
}

fn note_variable(read: &Attributes<'_>, unit: &Unit<'_>, scope: &Scope, found: &mut Found) {
    let (Some(name), Some(ty), Some(location)) = (read.name, read.ty, read.location) else { return };
    let mut operations = location.operations(unit.unit.encoding());
    // Split debug information has addresses in a table.
    let in_table = |index| unit.dwarf.address(&unit.unit, index).ok();
    let Ok(Some(first)) = operations.next() else { return };
    if name.ends_with("{vtable}") {
        let address = match first {
            Operation::Address { address } => Some(address),
            Operation::AddressIndex { index } => in_table(index),
            _ => None,
        };
        found.vtables.extend(address.map(|address| (address, ty)));
    } else if scope.path.starts_with(CONTEXT) {
        let offset = match first {
            Operation::UnsignedConstant { value } => Some(value),
            Operation::ConstantIndex { index } => in_table(index),
            _ => None,
        };
        if let (Some(offset), Ok(Some(Operation::TLS))) = (offset, operations.next()) {
            found.contexts.push(ThreadLocal { offset, ty });
        }
    }
}

impl<'d> Attributes<'d> {
    fn take(&mut self, unit: &Unit<'d>, attribute: &gimli::Attribute<Slice<'d>>) {
        let value = attribute.value();
        match attribute.name() {
            gimli::DW_AT_name => {
                self.name = unit.text(value).and_then(|name| std::str::from_utf8(name.slice()).ok());
            }
            gimli::DW_AT_byte_size => self.size = attribute.udata_value().unwrap_or(0),
            gimli::DW_AT_declaration => self.declaration = true,
            gimli::DW_AT_containing_type => self.containing = unit.reference(value),
            gimli::DW_AT_type => self.ty = unit.reference(value),
            gimli::DW_AT_low_pc => self.address = unit.dwarf.attr_address(&unit.unit, value).ok().flatten(),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => self.origin = unit.reference(value),
            gimli::DW_AT_location => {
                if let AttributeValue::Exprloc(location) = value {
                    self.location = Some(location);
                }
            }
            _ => {}
        }
    }
}
