//! The compilation units of a program, including those in split debug information. All entries share one numbering.

use std::sync::Arc;

use gimli::{AttributeValue, Section, UnitOffset};

use super::sections::{Sections, Slice};

/// A type, identified by the position of its entry in the debug information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TypeId(pub(super) usize);

/// A compilation unit, with the sections that its attributes refer to.
#[derive(Debug)]
pub(super) struct Unit<'d> {
    /// The position of its first entry. Units of split files are numbered after those of the program's file.
    start: usize,
    /// The position at which the numbering of its section starts.
    base: usize,
    pub(super) dwarf: Arc<gimli::Dwarf<Slice<'d>>>,
    pub(super) unit: gimli::Unit<Slice<'d>>,
    /// The sections with the names of source files. A split unit shares those of its skeleton unit.
    lines: Arc<gimli::Dwarf<Slice<'d>>>,
}

/// All units of a program, in the order of their positions.
#[derive(Debug, Default)]
pub(super) struct Units<'d>(Vec<Unit<'d>>);

impl<'d> Units<'d> {
    /// Reads the units of a program. Damaged units are left out.
    pub(super) fn of(sections: &'d Sections) -> Self {
        let main = Arc::new(sections.dwarf());
        let package = sections.package();
        let (mut units, mut skeletons) = (Vec::new(), Vec::new());
        let mut end = main.debug_info.reader().slice().len();
        let mut headers = main.units();
        while let Ok(Some(header)) = headers.next() {
            let (Some(start), Ok(unit)) = (header.debug_info_offset(), main.unit(header)) else { continue };
            // The skeleton of a split unit has the addresses of code, and no types.
            let list = if unit.dwo_id.is_some() { &mut skeletons } else { &mut units };
            list.push(Unit { start: start.0, base: 0, dwarf: Arc::clone(&main), unit, lines: Arc::clone(&main) });
        }
        for skeleton in skeletons {
            let Some(id) = skeleton.unit.dwo_id else { continue };
            let dwarf = match &package {
                Some(package) => package.find_cu(id, &main).ok().flatten(),
                None => sections.split(id),
            };
            let split = dwarf.and_then(|mut dwarf| {
                dwarf.make_dwo(&main);
                Self::split(dwarf, id, &skeleton, &mut end)
            });
            units.extend(split);
        }
        Self(units)
    }

    fn split(dwarf: gimli::Dwarf<Slice<'d>>, id: gimli::DwoId, from: &Unit<'d>, end: &mut usize) -> Option<Unit<'d>> {
        let mut headers = dwarf.units();
        let mut unit = loop {
            let unit = dwarf.unit(headers.next().ok()??).ok()?;
            // The id differs if the file belongs to another build.
            if unit.dwo_id.is_none_or(|found| found == id) {
                break unit;
            }
        };
        unit.copy_relocated_attributes(&from.unit);
        let dwarf = Arc::new(dwarf);
        let mut lines = Arc::clone(&dwarf);
        if unit.line_program.is_none() {
            unit.line_program.clone_from(&from.unit.line_program);
            lines = Arc::clone(&from.dwarf);
        }
        unit.comp_dir = unit.comp_dir.or(from.unit.comp_dir);
        let base = *end;
        let start = base.checked_add(unit.header.debug_info_offset()?.0)?;
        *end = base.checked_add(dwarf.debug_info.reader().slice().len())?;
        Some(Unit { start, base, dwarf, unit, lines })
    }

    pub(super) fn list(&self) -> &[Unit<'d>] {
        &self.0
    }

    /// The unit that contains an entry, and the offset of the entry in it.
    pub(super) fn find(&self, id: TypeId) -> Option<(&Unit<'d>, UnitOffset)> {
        let next = self.0.partition_point(|unit| unit.start <= id.0);
        let unit = self.0.get(next.checked_sub(1)?)?;
        Some((unit, UnitOffset(id.0.checked_sub(unit.start)?)))
    }
}

impl<'d> Unit<'d> {
    /// The id of the entry at an offset in this unit.
    pub(super) fn id(&self, offset: UnitOffset) -> TypeId {
        TypeId(self.start.saturating_add(offset.0))
    }

    /// The entry that an attribute refers to.
    pub(super) fn reference(&self, value: AttributeValue<Slice<'d>>) -> Option<TypeId> {
        match value {
            AttributeValue::UnitRef(offset) => Some(self.id(offset)),
            AttributeValue::DebugInfoRef(offset) => Some(TypeId(self.base.saturating_add(offset.0))),
            _ => None,
        }
    }

    /// The text of an attribute.
    pub(super) fn text(&self, value: AttributeValue<Slice<'d>>) -> Option<Slice<'d>> {
        self.dwarf.attr_string(&self.unit, value).ok()
    }

    /// The path of a source file. Paths inside the unit's compilation directory are relative to it.
    pub(super) fn source_file(&self, index: u64) -> Option<String> {
        let program = self.unit.line_program.as_ref()?.header();
        let file = program.file(index)?;
        let text = |value| Some(self.lines.attr_string(&self.unit, value).ok()?.to_string_lossy().into_owned());
        let path = text(file.path_name())?;
        // Directory 0 is the compilation directory.
        let directory = if file.directory_index() == 0 { None } else { file.directory(program).and_then(text) };
        Some(match directory {
            Some(directory) if !path.starts_with('/') => format!("{}/{path}", directory.trim_end_matches('/')),
            _ => path,
        })
    }
}
