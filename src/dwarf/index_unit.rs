//! The index of one compilation unit.

use std::collections::HashMap;
use std::sync::Arc;

use gimli::{AttributeValue, DwTag, Operation};

use super::sections::Slice;
use super::types::{TaskTypes, ThreadLocal};
use super::units::{TypeId, Unit};
use crate::tokio_internals::debug_info::{BLOCK_ON, CONTEXT_VARIABLE, POLL_TASK, RAW_TASK, RUNTIME};

/// Functions with a future or stream as their first parameter.
const POLL_FUNCTIONS: [&str; 2] = ["poll", "poll_next"];

/// The maximum length of a qualified name. Longer names have deeply nested type arguments, and are cut.
const MAX_NAME: usize = 16 * 1024;

/// The index of one or more units.
#[derive(Debug, Default)]
pub(super) struct UnitIndex {
    /// Each type with its qualified name, and whether this is a complete definition.
    pub(super) types: Vec<(TypeId, Arc<str>, bool)>,
    /// The addresses of functions that poll tasks, with the types of the tasks.
    pub(super) tasks: Vec<(u64, TaskTypes)>,
    /// The addresses of functions that poll tasks, with the names of the functions.
    pub(super) poll_names: Vec<(u64, Arc<str>)>,
    /// The addresses of vtables, with the types of the vtables.
    pub(super) vtables: Vec<(u64, TypeId)>,
    /// The concrete type of a trait object, by the type of its vtable.
    pub(super) concrete_types: HashMap<TypeId, TypeId>,
    pub(super) contexts: Vec<ThreadLocal>,
    /// The types of the first parameters of poll functions.
    pub(super) polled: Vec<TypeId>,
    /// The entries of functions that poll a future given to `block_on`, with the type of that future.
    pub(super) block_on_functions: Vec<(TypeId, TypeId)>,
}

/// The path of enclosing namespaces and types.
#[derive(Default)]
struct Scope {
    /// Their qualified name.
    path: String,
    levels: Vec<Level>,
}

/// One enclosing namespace or type.
struct Level {
    depth: isize,
    /// The length of the path without it.
    outer_length: usize,
    /// For a type: its position in [`UnitIndex::types`].
    ty: Option<usize>,
}

impl Scope {
    fn leave(&mut self, depth: isize) {
        while let Some(level) = self.levels.pop_if(|level| level.depth >= depth) {
            self.path.truncate(level.outer_length);
        }
    }

    fn enter(&mut self, depth: isize, name: &str, ty: Option<usize>) {
        self.levels.push(Level { depth, outer_length: self.path.len(), ty });
        if !self.path.is_empty() {
            self.path.push_str("::");
        }
        let end = name.floor_char_boundary(MAX_NAME.saturating_sub(self.path.len()).min(name.len()));
        self.path.push_str(name.get(..end).unwrap_or_default());
    }
}

/// A function with parameters that matter.
enum Function {
    /// It polls a task. Its type arguments are the types of the task.
    PollTask { entry: TypeId, address: Option<u64>, future: Option<TypeId>, scheduler: Option<TypeId> },
    /// Its first parameter may be a future.
    Poll,
    /// It polls a future that is not a task. Its type argument is the type of the future.
    BlockOn(TypeId),
}

/// The attributes that are read, of any kind of entry.
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

/// An entry of the debug information.
struct Entry<'d> {
    id: TypeId,
    depth: isize,
    attributes: Attributes<'d>,
}

/// Reads a unit from its first entry to its last.
struct UnitIndexer<'u, 'd> {
    unit: &'u Unit<'d>,
    index: &'u mut UnitIndex,
    scope: Scope,
    /// The enclosing function, with its depth.
    function: Option<(isize, Function)>,
    /// The types of tasks, by the entry of the function that polls them. Another entry may have the address.
    task_types: HashMap<TypeId, TaskTypes>,
    /// The names of these functions, by their entries.
    poll_names: HashMap<TypeId, Arc<str>>,
    /// Addresses of functions, with the entry that describes each function.
    addresses: Vec<(TypeId, u64)>,
}

/// Adds the content of a unit to the index.
///
/// # Errors
/// If the unit is damaged. What comes before the damage is added.
pub(super) fn index_unit(unit: &Unit<'_>, index: &mut UnitIndex) -> gimli::Result<()> {
    let mut indexer = UnitIndexer {
        unit,
        index,
        scope: Scope::default(),
        function: None,
        task_types: HashMap::new(),
        poll_names: HashMap::new(),
        addresses: Vec::new(),
    };
    indexer.read_entries()?;
    indexer.finish();
    Ok(())
}

impl<'d> UnitIndexer<'_, 'd> {
    fn read_entries(&mut self) -> gimli::Result<()> {
        let unit = self.unit;
        let mut entries = unit.unit.entries_raw(None)?;
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let id = unit.id(entries.next_offset());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let tag = abbreviation.tag();
            self.leave(depth);
            self.mark_complete(tag, depth);
            if !self.is_relevant(tag, depth) {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let mut attributes = Attributes::default();
            for specification in abbreviation.attributes() {
                attributes.add(unit, &entries.read_attribute(*specification)?);
            }
            let entry = Entry { id, depth, attributes };
            match tag {
                gimli::DW_TAG_subprogram => self.add_function(&entry),
                gimli::DW_TAG_template_type_parameter => self.add_type_argument(&entry),
                gimli::DW_TAG_formal_parameter => self.add_parameter(&entry),
                gimli::DW_TAG_variable => self.add_variable(&entry),
                gimli::DW_TAG_namespace => {
                    self.scope.enter(entry.depth, entry.attributes.name.unwrap_or_default(), None);
                }
                _ => self.add_type(&entry),
            }
        }
        Ok(())
    }

    /// Leaves the scopes and the function that end before an entry of this depth.
    fn leave(&mut self, depth: isize) {
        self.scope.leave(depth);
        if let Some((_, function)) = self.function.take_if(|(level, _)| depth <= *level) {
            self.add_task(&function);
        }
    }

    /// A type with members is complete. Units may repeat the name and size of a type without its members.
    fn mark_complete(&mut self, tag: DwTag, depth: isize) {
        if matches!(tag, gimli::DW_TAG_member | gimli::DW_TAG_variant_part)
            && let Some(Level { depth: level, ty: Some(ty), .. }) = self.scope.levels.last()
            && level + 1 == depth
            && let Some((_, _, complete)) = self.index.types.get_mut(*ty)
        {
            *complete = true;
        }
    }

    fn is_relevant(&self, tag: DwTag, depth: isize) -> bool {
        match tag {
            gimli::DW_TAG_namespace
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_subprogram
            | gimli::DW_TAG_variable => true,
            gimli::DW_TAG_template_type_parameter | gimli::DW_TAG_formal_parameter => {
                self.function.as_ref().is_some_and(|(level, _)| depth == level + 1)
            }
            _ => false,
        }
    }

    fn add_function(&mut self, entry: &Entry<'d>) {
        let address = entry.attributes.address;
        if let (Some(address), Some(origin)) = (address, entry.attributes.origin) {
            self.addresses.push((origin, address));
        }
        let name = entry.attributes.name.unwrap_or_default();
        let function = if self.scope.path == RAW_TASK && name.starts_with(POLL_TASK) {
            self.poll_names.insert(entry.id, name.into());
            self.index.poll_names.extend(address.map(|address| (address, name.into())));
            Function::PollTask { entry: entry.id, address, future: None, scheduler: None }
        } else if name.starts_with(BLOCK_ON) && self.scope.path.starts_with(RUNTIME) {
            Function::BlockOn(entry.id)
        } else if POLL_FUNCTIONS.contains(&name.split('<').next().unwrap_or_default()) {
            Function::Poll
        } else {
            return;
        };
        self.function = Some((entry.depth, function));
    }

    fn add_type_argument(&mut self, entry: &Entry<'d>) {
        let ty = entry.attributes.ty;
        match (&mut self.function, entry.attributes.name) {
            (Some((_, Function::PollTask { future, .. })), Some("T")) => *future = ty,
            (Some((_, Function::PollTask { scheduler, .. })), Some("S")) => *scheduler = ty,
            (Some((_, Function::BlockOn(function))), Some("F")) => {
                self.index.block_on_functions.extend(ty.map(|future| (*function, future)));
            }
            _ => {}
        }
    }

    fn add_parameter(&mut self, entry: &Entry<'d>) {
        if let Some((_, Function::Poll)) = self.function {
            self.index.polled.extend(entry.attributes.ty);
            // Only the first parameter matters.
            self.function = None;
        }
    }

    fn add_variable(&mut self, entry: &Entry<'d>) {
        let Attributes { name: Some(name), ty: Some(ty), location: Some(location), .. } = entry.attributes else {
            return;
        };
        let unit = self.unit;
        let mut operations = location.operations(unit.unit.encoding());
        // Split debug information has its addresses in a table.
        let in_table = |index| unit.dwarf.address(&unit.unit, index).ok();
        let Ok(Some(first)) = operations.next() else { return };
        if name.ends_with("{vtable}") {
            let address = match first {
                Operation::Address { address } => Some(address),
                Operation::AddressIndex { index } => in_table(index),
                _ => None,
            };
            self.index.vtables.extend(address.map(|address| (address, ty)));
        } else if self.scope.path.starts_with(CONTEXT_VARIABLE) {
            let offset = match first {
                Operation::UnsignedConstant { value } => Some(value),
                Operation::ConstantIndex { index } => in_table(index),
                _ => None,
            };
            if let (Some(offset), Ok(Some(Operation::TLS))) = (offset, operations.next()) {
                self.index.contexts.push(ThreadLocal { offset, ty });
            }
        }
    }

    fn add_type(&mut self, entry: &Entry<'d>) {
        let attributes = &entry.attributes;
        self.scope.enter(entry.depth, attributes.name.unwrap_or_default(), Some(self.index.types.len()));
        // A type without size needs no members to be complete.
        let complete = !attributes.declaration && attributes.size == 0;
        self.index.types.push((entry.id, self.scope.path.as_str().into(), complete));
        if let Some(concrete) = attributes.containing {
            self.index.concrete_types.insert(entry.id, concrete);
        }
    }

    /// Adds the types of a task when all type arguments of its poll function were read.
    fn add_task(&mut self, function: &Function) {
        let Function::PollTask { entry, address, future: Some(future), scheduler: Some(scheduler) } = *function else {
            return;
        };
        let types = TaskTypes { future, scheduler };
        self.task_types.insert(entry, types);
        self.index.tasks.extend(address.map(|address| (address, types)));
    }

    /// Adds poll functions that have their address in another entry than their type arguments.
    fn finish(mut self) {
        if let Some((_, function)) = self.function.take() {
            self.add_task(&function);
        }
        for (origin, address) in self.addresses {
            self.index.poll_names.extend(self.poll_names.get(&origin).map(|name| (address, Arc::clone(name))));
            self.index.tasks.extend(self.task_types.get(&origin).map(|types| (address, *types)));
        }
    }
}

impl<'d> Attributes<'d> {
    fn add(&mut self, unit: &Unit<'d>, attribute: &gimli::Attribute<Slice<'d>>) {
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
