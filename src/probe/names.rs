//! Interned task names, in bounded memory. A poll carries only the number of its name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The limit of distinct names. Tasks with further names are shown without a name.
pub(crate) const MAX_NAMES: usize = 4096;

/// Longer names are truncated.
const MAX_NAME_BYTES: usize = 128;

/// The number of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameId(pub(super) u32);

impl NameId {
    pub(super) const NONE: Self = Self(0);

    /// The number of a name. `None` for an empty name, or if the limit of names is reached.
    #[cfg(any(feature = "tower", feature = "console"))]
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(intern(name)).filter(|name| *name != Self::NONE)
    }

    /// The name with this number.
    #[cfg(all(test, feature = "tower"))]
    pub(crate) fn text(self) -> Option<Arc<str>> {
        get(self)
    }
}

/// The first name has number 1.
static NAMES: RwLock<Option<Names>> = RwLock::new(None);

#[derive(Default)]
struct Names {
    by_number: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

/// The number of a name. Equal names have the same number.
pub(super) fn intern(name: &str) -> NameId {
    let name = truncate(name);
    let known = {
        let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
        names.as_ref().and_then(|names| names.by_name.get(name).copied())
    };
    NameId(known.unwrap_or_else(|| add(name)))
}

fn add(name: &str) -> u32 {
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(&number) = names.by_name.get(name) {
        return number;
    }
    if name.is_empty() || names.by_number.len() >= MAX_NAMES {
        return NameId::NONE.0;
    }
    let name: Arc<str> = name.into();
    names.by_number.push(Arc::clone(&name));
    let number = u32::try_from(names.by_number.len()).expect("MAX_NAMES fits");
    names.by_name.insert(name, number);
    number
}

/// The name with this number.
pub(super) fn get(id: NameId) -> Option<Arc<str>> {
    let index = usize::try_from(id.0.checked_sub(1)?).ok()?;
    NAMES.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.by_number.get(index).cloned()
}

fn truncate(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_share_a_number_and_long_names_are_truncated() {
        assert_eq!(intern("ingest"), intern("ingest"));
        assert_ne!(intern("ingest"), intern("serve"));
        assert_eq!(get(intern("ingest")).as_deref(), Some("ingest"));
        assert_eq!(intern(""), NameId::NONE);
        assert_eq!(get(NameId::NONE), None);
        let long = "é".repeat(MAX_NAME_BYTES);
        assert_eq!(get(intern(&long)).map(|name| name.len()), Some(MAX_NAME_BYTES));
    }
}
