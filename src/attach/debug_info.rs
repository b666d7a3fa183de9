//! What is known of another program's types and names: its debug information, a symbol file that was made of it, or the
//! cache.

use super::error::AttachError;
use super::open_process::OpenProcess;
use super::remedies;
use super::symbol_cache::SymbolCache;
use super::symbol_file::Contents;
use crate::debug_files::Identity;
use crate::dwarf::{self, PackedTypes, Program, Sections};
use crate::images::Images;
use crate::sys::Permissions;

/// What is known of a process's program.
#[derive(Debug)]
pub(crate) struct DebugInfo {
    pub(crate) images: Images,
    pub(crate) sections: Sections,
    /// Its types, where they did not have to be read from the sections.
    pub(crate) packed: Option<PackedTypes>,
    /// What could not be read.
    pub(crate) missing: Vec<String>,
    pub(crate) origin: TypeOrigin,
}

/// Where the types of a program come from.
#[derive(Debug)]
pub(crate) struct TypeOrigin {
    /// In words.
    pub(crate) description: String,
    /// Where they can be cached, and under which name.
    cacheable: Option<(SymbolCache, Identity)>,
}

impl TypeOrigin {
    fn new(description: impl Into<String>) -> Self {
        Self { description: description.into(), cacheable: None }
    }

    /// Caches types that were read from debug information. A cache that cannot be written is no reason to stop.
    pub(crate) fn cache(&self, program: &Program<'_>) {
        let Some((cache, identity)) = &self.cacheable else { return };
        let Some(types) = dwarf::pack(program) else { return };
        if let Err(reason) = cache.store(identity, &Contents::of(identity, types, Vec::new())) {
            tracing::warn!(target: "holdup", "{reason}");
        }
    }
}

/// The program by its types, wherever they come from.
pub(crate) fn program_of(packed: Option<PackedTypes>, sections: &Sections) -> Program<'_> {
    packed.map_or_else(|| Program::of(sections), Program::unpacked)
}

impl DebugInfo {
    /// Reads what the process has loaded, and the debug information of its program.
    ///
    /// # Errors
    /// When the process has ended, or its memory cannot be read.
    pub(crate) fn read(open: &OpenProcess) -> Result<Self, AttachError> {
        let process = open.process;
        let pid = process.id();
        let mut images = Images::of(process);
        images.load_new().map_err(|error| AttachError::of_read(process, error))?;
        let image = images.program().ok_or(AttachError::NoProcess { pid })?;
        if process.read_word(image.range.start).is_none() {
            return Err(AttachError::Closed { pid, reason: remedies::closed_memory(&Permissions::own()) });
        }
        let (path, name) = (image.path.clone(), image.name.clone());
        let (sections, missing) = (Sections::default(), Vec::new());
        let types = open.symbols.as_ref().map(|symbols| &symbols.types).filter(|types| !types.is_empty());
        if let Some(types) = types {
            let (packed, origin) = (PackedTypes::read(types.clone()), TypeOrigin::new("read from the symbol file"));
            return Ok(Self { images, sections, packed, missing, origin });
        }
        let origin = TypeOrigin::new("read from debug information");
        let mut info = Self { images, sections, packed: None, missing, origin };
        if let Some(identity) = path.as_ref().and_then(|path| Identity::of(path).ok()).filter(|_| open.options.cache) {
            info.read_cache(identity);
        }
        if info.packed.is_none() {
            let sections = path.as_deref().map_or_else(|| Ok(Sections::default()), Sections::read);
            info.sections = sections.unwrap_or_else(|error| {
                info.missing.push(format!("the debug information of {name} cannot be read: {error}"));
                Sections::default()
            });
            info.missing.extend(info.sections.missing.iter().cloned());
            if !info.missing.is_empty() {
                // What is missing may be there the next time.
                info.origin.cacheable = None;
            }
        }
        Ok(info)
    }

    fn read_cache(&mut self, identity: Identity) {
        let cache = match SymbolCache::open(Permissions::own().user) {
            Ok(cache) => cache,
            Err(reason) => {
                self.origin.description = format!("read from debug information; {reason}");
                return;
            }
        };
        match cache.load(&identity) {
            Ok(Some(contents)) => self.packed = PackedTypes::read(contents.types),
            Ok(None) => {}
            Err(reason) => self.origin.description = format!("read from debug information; {reason}"),
        }
        match self.packed {
            Some(_) => self.origin.description = "read from the cache".to_owned(),
            None => self.origin.cacheable = Some((cache, identity)),
        }
    }
}
