//! Who owns the crates of an image, for code without line tables. The source paths of panic messages show most packages. The
//! program's `main` shows its own crate. A crate that is in neither belongs to the package whose paths its functions use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use object::read::ReadRef;
use object::{Object, ObjectSymbol, SymbolKind};

use super::crate_name::crate_of;
use super::locations::Locations;
use super::source_path::{PathOwner, crate_of_path};
use crate::images::{Image, ObjectReader};

/// Symbols that are read.
const MAX_SYMBOLS: usize = 2_000_000;

/// Functions of one crate that are searched for source paths.
const MAX_FUNCTIONS: usize = 256;

/// Bytes of a function's code that are searched.
const MAX_CODE_BYTES: u64 = 64 * 1024;

/// The owner of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrateOwner {
    User,
    Others,
}

/// The owners of the crates of one image. Everything is read when it is first asked for.
#[derive(Debug)]
pub(super) struct CrateOwners {
    image: Option<Image>,
    shown: OnceLock<Shown>,
    voted: OnceLock<HashMap<String, CrateOwner>>,
}

/// The owners that paths and `main` show.
#[derive(Debug, Default)]
struct Shown {
    locations: Locations,
    owners: BTreeMap<String, CrateOwner>,
    roots: Vec<String>,
    is_static: bool,
}

impl CrateOwners {
    pub(super) fn of(image: &Image) -> Self {
        Self { image: Some(image.clone()), shown: OnceLock::new(), voted: OnceLock::new() }
    }

    /// Those of an unknown image: none.
    pub(super) fn unknown() -> Self {
        Self { image: None, shown: OnceLock::new(), voted: OnceLock::new() }
    }

    /// The owner of a crate; `None` if nothing shows it.
    pub(super) fn owner(&self, name: &str) -> Option<CrateOwner> {
        let shown = self.shown();
        if self.is_root(name) {
            return Some(CrateOwner::User);
        }
        shown.owners.get(name).or_else(|| self.voted().get(name)).copied()
    }

    /// Whether a crate has the `main` of this program.
    pub(super) fn is_root(&self, name: &str) -> bool {
        self.shown().roots.iter().any(|root| root == name)
    }

    /// Whether it was written in Rust, at least in part. Only then C code in it is that of a dependency.
    pub(super) fn holds_rust(&self) -> bool {
        !self.shown().locations.is_empty() || !self.shown().roots.is_empty()
    }

    /// Whether it is a program that contains its libc.
    pub(super) fn is_static(&self) -> bool {
        self.shown().is_static
    }

    /// The crates that are known to be the user's: first that of `main`.
    pub(super) fn user_crates(&self) -> Vec<String> {
        let shown = self.shown();
        let by_path = shown.owners.iter().filter(|(_, owner)| **owner == CrateOwner::User).map(|(name, _)| name);
        let further = by_path.filter(|name| !shown.roots.contains(name));
        shown.roots.iter().chain(further).cloned().collect()
    }

    fn shown(&self) -> &Shown {
        self.shown.get_or_init(|| self.image.as_ref().map(Shown::of).unwrap_or_default())
    }

    fn voted(&self) -> &HashMap<String, CrateOwner> {
        self.voted.get_or_init(|| {
            let (Some(image), shown) = (&self.image, self.shown()) else { return HashMap::new() };
            if shown.locations.is_empty() {
                return HashMap::new();
            }
            vote(image, shown)
        })
    }
}

impl Shown {
    fn of(image: &Image) -> Self {
        let (roots, is_static) = image.read(ReadRoots).unwrap_or_default();
        let locations = Locations::of(image);
        let owners = by_paths(locations.paths());
        Self { locations, owners, roots, is_static: is_static && image.program }
    }
}

/// The owners of the crates that paths name. A crate that a folder of the user and another package have in common is left out.
fn by_paths<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeMap<String, CrateOwner> {
    let (mut owners, mut ambiguous) = (BTreeMap::new(), BTreeSet::new());
    for path in paths {
        let named = match PathOwner::of(path) {
            PathOwner::Package(name) | PathOwner::Versioned(name) => Some((name.replace('-', "_"), CrateOwner::Others)),
            PathOwner::User => crate_of_path(path).map(|name| (name, CrateOwner::User)),
            _ => None,
        };
        let Some((name, owner)) = named else { continue };
        if *owners.entry(name.clone()).or_insert(owner) != owner {
            ambiguous.insert(name);
        }
    }
    owners.retain(|name, _| !ambiguous.contains(name));
    owners
}

/// The owner of a source path, where it says something about the crate of a function that uses it.
fn owner_of_path(path: &str) -> Option<CrateOwner> {
    match PathOwner::of(path) {
        PathOwner::User => Some(CrateOwner::User),
        PathOwner::Package(_) | PathOwner::Versioned(_) => Some(CrateOwner::Others),
        _ => None,
    }
}

/// The owners of crates that no path names, by the paths that most of their functions use.
fn vote(image: &Image, shown: &Shown) -> HashMap<String, CrateOwner> {
    let is_open = |name: &str| !shown.owners.contains_key(name) && !shown.roots.iter().any(|root| root == name);
    let functions = image.read(ReadFunctions { is_open: &is_open }).unwrap_or_default();
    let decide = |(name, list): (String, Vec<(u64, u64)>)| {
        let (mut users, mut others) = (0_usize, 0_usize);
        for (start, size) in list {
            let code = code_of(image, start, size);
            for owner in shown.locations.referred_by(&code, start).into_iter().filter_map(owner_of_path) {
                match owner {
                    CrateOwner::User => users += 1,
                    CrateOwner::Others => others += 1,
                }
            }
        }
        match users.cmp(&others) {
            std::cmp::Ordering::Greater => Some((name, CrateOwner::User)),
            std::cmp::Ordering::Less => Some((name, CrateOwner::Others)),
            std::cmp::Ordering::Equal => None,
        }
    };
    functions.into_iter().filter_map(decide).collect()
}

fn code_of(image: &Image, start: u64, size: u64) -> Vec<u8> {
    let mut code = vec![0; usize::try_from(size.min(MAX_CODE_BYTES)).unwrap_or(0)];
    let length = image.process().read_memory(start.wrapping_add(image.bias), &mut code);
    code.truncate(length);
    code
}

/// Reads the crates with a `main`, and whether the program needs no dynamic linker.
struct ReadRoots;

impl ObjectReader for ReadRoots {
    type Output = (Vec<String>, bool);

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let names = file.symbols().take(MAX_SYMBOLS).filter(|symbol| symbol.kind() == SymbolKind::Text);
        let mut roots: Vec<String> = names.filter_map(|symbol| root_of(symbol.name().ok()?)).collect();
        roots.sort();
        roots.dedup();
        (roots, file.section_by_name(".interp").is_none())
    }
}

/// The crate of a symbol such as `news::main`.
fn root_of(symbol: &str) -> Option<String> {
    if !symbol.contains("4main") {
        return None;
    }
    let name = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    let root = name.strip_suffix("::main")?;
    let is_crate = !root.is_empty() && root.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_crate.then(|| root.to_owned())
}

/// Reads start and size of the functions of each crate that is asked for.
struct ReadFunctions<'a> {
    is_open: &'a dyn Fn(&str) -> bool,
}

impl ObjectReader for ReadFunctions<'_> {
    type Output = HashMap<String, Vec<(u64, u64)>>;

    fn read<'d, R: ReadRef<'d>>(self, file: &object::File<'d, R>) -> Self::Output {
        let mut functions = Self::Output::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).take(MAX_SYMBOLS) {
            let Some(name) = symbol.name().ok().and_then(crate_of_symbol) else { continue };
            if !(self.is_open)(&name) {
                continue;
            }
            let list = functions.entry(name).or_default();
            if list.len() < MAX_FUNCTIONS {
                list.push((symbol.address(), symbol.size()));
            }
        }
        functions
    }
}

/// The crate of a function by its symbol; `None` for methods of traits, whose code may come from several crates.
fn crate_of_symbol(symbol: &str) -> Option<String> {
    if let Some(path) = symbol.strip_prefix("_ZN") {
        let digits = path.find(|c: char| !c.is_ascii_digit())?;
        let name = path.get(digits..digits.checked_add(path[..digits].parse().ok()?)?)?;
        let is_rust = symbol.contains("17h") && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        return is_rust.then(|| name.to_owned());
    }
    if !symbol.starts_with("_R") {
        return None;
    }
    let name = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    crate_of(&name).filter(|found| name.starts_with(found)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Images;
    use crate::sys::Process;

    #[test]
    fn paths_name_crates_and_their_owners() {
        let paths = [
            "/r/.cargo/registry/src/index-1/hyper-util-0.1.21/src/x.rs",
            "/r/.cargo/registry/src/index-1/prices-2.0.0/src/lib.rs",
            "crates/prices/src/lib.rs",
            "crates/feed-reader/src/lib.rs",
            "src/main.rs",
            "/rustc/59807616e/library/core/src/a.rs",
        ];
        let owners = by_paths(paths.into_iter());
        let owners: Vec<_> = owners.iter().map(|(name, owner)| (name.as_str(), *owner)).collect();
        assert_eq!(owners, [("feed_reader", CrateOwner::User), ("hyper_util", CrateOwner::Others)]);
    }

    #[test]
    fn main_names_the_root_crate() {
        for (symbol, root) in [
            ("_ZN9map_guard4main17h0123456789abcdefE", Some("map_guard")),
            ("_RNvCs2g2qvAd2obi_8awaiting4main", Some("awaiting")),
            ("_ZN3std2rt10lang_start17h0123456789abcdefE", None),
            ("_ZN9map_guard4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", None),
            ("_ZN4news7service4main17h0123456789abcdefE", None),
            ("main", None),
        ] {
            assert_eq!(root_of(symbol).as_deref(), root, "{symbol}");
        }
    }

    #[test]
    fn a_symbol_names_its_crate() {
        for (symbol, name) in [
            ("_ZN9map_guard8add_peer17h0123456789abcdefE", Some("map_guard")),
            ("_ZN55_$LT$a..B$u20$as$u20$c..D$GT$4call17h0123456789abcdefE", None),
            ("_RNvCs2g2qvAd2obi_8awaiting4main", Some("awaiting")),
            ("_ZN99short17h", None),
            ("clock_nanosleep", None),
        ] {
            assert_eq!(crate_of_symbol(symbol).as_deref(), name, "{symbol}");
        }
    }

    #[test]
    fn the_crates_of_this_program_have_owners() {
        let mut images = Images::of(Process::own());
        images.load_new().expect("/proc is mounted");
        let owners = CrateOwners::of(images.program().expect("it runs"));
        assert_eq!(owners.owner("holdup"), Some(CrateOwner::User), "its tests have a main");
        assert_eq!(owners.owner("tokio"), Some(CrateOwner::Others));
        assert_eq!(owners.owner("no_such_crate"), None);
        assert!(owners.holds_rust() && !owners.is_static());
        let libc = images.all().iter().find(|image| image.name.starts_with("libc.so")).expect("it is linked");
        assert!(!CrateOwners::of(libc).holds_rust());
    }
}
