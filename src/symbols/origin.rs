//! The origin of a frame: user code, a dependency, the standard library or a runtime. Its source file shows it if there are
//! line tables, otherwise its crate's name.

use std::sync::Arc;

use super::names::closing;
use crate::model::stack::Origin;

/// The standard library's crates. The compiler puts its allocator functions into `__rustc`.
const STD: [&str; 10] = [
    "std",
    "core",
    "alloc",
    "proc_macro",
    "test",
    "std_detect",
    "compiler_builtins",
    "panic_unwind",
    "panic_abort",
    "__rustc",
];

/// Types of the language. Only the standard library can give them methods: `u64::rotate_right`, `str::trim`.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    "f32", "f64",
];

/// Beginnings of functions that the standard library and the compiler export without a path.
const STD_SYMBOLS: [&str; 6] = ["__rust_", "__rdl_", "__rg_", "rust_begin_unwind", "rust_panic", "rust_eh_personality"];

/// The crates that poll tasks, and this one.
const RUNTIME: [&str; 2] = ["tokio", "holdup"];

/// Distinguishes the user's code from all other code.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Names of the user's crates. They count only without line tables.
    pub(crate) user_crates: Vec<String>,
    /// Folders with the user's source. Shown paths are relative to them.
    pub(crate) source_roots: Vec<String>,
}

/// The origin of a frame, and its package or library.
pub(super) struct FrameOrigin {
    pub(super) origin: Origin,
    pub(super) package: Option<Arc<str>>,
}

impl Origins {
    /// The origin by file if one is known, otherwise by name.
    pub(super) fn find(&self, function: &str, file: Option<&str>, in_program: bool) -> FrameOrigin {
        let Some(file) = file else { return self.by_name(function, in_program) };
        let found = self.by_file(file);
        match &found.package {
            // Line tables of merged functions may name another crate's file.
            _ if is_impl_of_std(function) => self.by_name(function, in_program),
            // A macro such as `tokio::select!` puts its own lines into the function of another crate.
            Some(package) if is_of_another_crate(function, package) => self.by_name(function, in_program),
            _ => found,
        }
    }

    fn by_file(&self, file: &str) -> FrameOrigin {
        let package = |name: &str| Some(Arc::from(name));
        if let Some(rest) = in_std(file) {
            return FrameOrigin { origin: Origin::Std, package: package(first_folder(rest)) };
        }
        let inside_dependency = after(file, "/registry/src/")
            .and_then(|rest| rest.split_once('/').map(|(_, rest)| rest))
            .or_else(|| after(file, "/git/checkouts/"))
            .or_else(|| after(file, "/vendor/"))
            // Dependencies of the standard library.
            .or_else(|| file.strip_prefix("/rust/deps/"));
        if let Some(rest) = inside_dependency {
            let name = without_version(first_folder(rest));
            return FrameOrigin { origin: origin_of_dependency(name), package: package(name) };
        }
        if let Some(rest) = in_build(file) {
            let folder = first_folder(rest);
            let name = folder.rsplit_once('-').map_or(folder, |(name, _)| name);
            return FrameOrigin { origin: Origin::Dependency, package: package(name) };
        }
        if is_own_source(file) {
            return FrameOrigin { origin: Origin::Runtime, package: package("holdup") };
        }
        if file.ends_with(".rs") {
            return FrameOrigin { origin: Origin::User, package: None };
        }
        FrameOrigin { origin: Origin::System, package: None }
    }

    fn by_name(&self, function: &str, in_program: bool) -> FrameOrigin {
        let Some(name) = crate_of(function) else {
            if STD_SYMBOLS.iter().any(|symbol| function.starts_with(symbol)) {
                return FrameOrigin { origin: Origin::Std, package: Some("std".into()) };
            }
            let origin = if in_program { Origin::Dependency } else { Origin::System };
            return FrameOrigin { origin, package: None };
        };
        let origin = if is_std(name) {
            Origin::Std
        } else if self.user_crates.iter().any(|user| user == name) {
            Origin::User
        } else {
            origin_of_dependency(name)
        };
        FrameOrigin { origin, package: Some(name.into()) }
    }

    /// The path to show: relative to the user's source, to the package, or to the standard library.
    pub(super) fn shorten<'f>(&self, file: &'f str) -> &'f str {
        let in_user = |root: &String| file.strip_prefix(root.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let in_package = || after(file, "/registry/src/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
        let found = in_std(file)
            .or_else(in_package)
            .or_else(|| after(file, "/git/checkouts/"))
            .or_else(|| in_build(file))
            .or_else(|| self.source_roots.iter().find_map(in_user));
        found.unwrap_or(file)
    }

    /// The module of a source file by its path: `src/ingest/feed.rs` of crate `news` is `news::ingest::feed`. This is a
    /// guess, because a file may be included elsewhere and a package may contain a crate of another name.
    pub(super) fn module_of(&self, file: &str) -> Option<String> {
        let shown = self.shorten(file);
        let path = shown.strip_suffix(".rs")?;
        let (package, inside) = match path.split_once("src/") {
            Some((before, inside)) => (before.trim_end_matches('/').rsplit('/').next()?, inside),
            // `examples/news/faults.rs` and `tests/stalls.rs` are separate crates.
            None => path.split_once('/')?.1.split_once('/').unwrap_or((path.split_once('/')?.1, "")),
        };
        let name = match without_version(package) {
            "" => self.user_crates.first()?.clone(),
            package => package.replace('-', "_"),
        };
        let modules = inside.split('/').filter(|part| !matches!(*part, "" | "lib" | "main" | "mod"));
        Some(std::iter::once(name.as_str()).chain(modules).collect::<Vec<_>>().join("::"))
    }
}

fn origin_of_dependency(name: &str) -> Origin {
    if RUNTIME.contains(&name) { Origin::Runtime } else { Origin::Dependency }
}

/// Whether a file is holdup's own source. Its examples and tests count as user code.
fn is_own_source(file: &str) -> bool {
    file.starts_with(concat!(env!("CARGO_MANIFEST_DIR"), "/src/"))
}

/// Whether a crate is one of the standard library.
fn is_std(name: &str) -> bool {
    STD.contains(&name)
}

/// The path inside the standard library's source. Distributions build it in folders such as `rustc-1.91.0-src`.
fn in_std(file: &str) -> Option<&str> {
    let (compiler, inside) = file.split_once("/library/")?;
    let is_of_rust = |folder: &str| matches!(folder, "rustc" | "rustlib") || folder.starts_with("rustc-");
    let is_library = || compiler.split('/').any(is_of_rust);
    // Other folders there, such as `compiler-builtins`, have the crate's name with dashes.
    let of_crate = || is_std(&first_folder(inside).replace('-', "_"));
    let known = file.contains("/rustc/") || file.contains("/rustlib/");
    (known || is_library() && of_crate()).then_some(inside)
}

/// The path inside a build script's output, `target/…/build/NAME-HASH/out`: compiled C code and generated code.
fn in_build(file: &str) -> Option<&str> {
    after(file, "/target/").and_then(|rest| after(rest, "/build/"))
}

fn after<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

fn first_folder(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// A package's name: `hyper-util` of `hyper-util-0.1.21`, `raft` of the git checkout `raft-0123456789abcdef`.
fn without_version(folder: &str) -> &str {
    let hash = |text: &str| text.len() == 16 && text.chars().all(|c| c.is_ascii_hexdigit());
    match folder.rsplit_once('-') {
        Some((name, end)) if end.starts_with(|c: char| c.is_ascii_digit()) || hash(end) => name,
        _ => folder,
    }
}

/// Whether a function lies in another crate than this package's. False for methods of traits.
fn is_of_another_crate(function: &str, package: &str) -> bool {
    let Some((name, _)) = function.split_once("::") else { return false };
    let may_be_inlined = is_std(name) || PRIMITIVES.contains(&name);
    is_identifier(name) && !may_be_inlined && name != package.replace('-', "_")
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The crate with the code of a Rust path; `None` for other names, such as `clock_nanosleep`.
///
/// A method of a trait is in the type's crate or in the trait's. If one of them is the standard library, the method is in
/// the other one.
pub(crate) fn crate_of(function: &str) -> Option<&str> {
    let Some((of_type, of_trait)) = type_and_trait(function) else { return first_crate(function) };
    match (crate_of_type(of_type), first_crate(of_trait)) {
        (Some(one), Some(other)) if is_std(one) => Some(other),
        (of_type, of_trait) => of_type.or(of_trait),
    }
}

/// Whether a trait and a type are both the standard library's. Then no other crate can have written the method.
fn is_impl_of_std(function: &str) -> bool {
    type_and_trait(function).is_some_and(|(of_type, of_trait)| {
        [crate_of_type(of_type), first_crate(of_trait)].into_iter().all(|name| name.is_some_and(is_std))
    })
}

/// The parts of `<Type as Trait>::method`.
fn type_and_trait(function: &str) -> Option<(&str, &str)> {
    let inside = function.strip_prefix('<')?;
    let inside = &inside[..closing(inside)?];
    let is_outside = |position: &usize| {
        let before = &inside[..*position];
        before.matches('<').count() == before.matches('>').count() - before.matches("->").count()
    };
    let at = inside.match_indices(" as ").map(|(position, _)| position).find(is_outside)?;
    Some((&inside[..at], &inside[at + " as ".len()..]))
}

/// The crate of a type; `None` for a type parameter.
fn crate_of_type(name: &str) -> Option<&str> {
    // A reference counts as what it refers to: another crate may implement a trait for it.
    let name = name.trim_start_matches(['&', ' ']);
    let name = name.strip_prefix("mut ").unwrap_or(name);
    if name.starts_with('<') {
        return crate_of(name);
    }
    first_crate(name).or_else(|| PRIMITIVES.contains(&name).then_some("core"))
}

/// The first crate in a path. Types of the language are in `core`.
fn first_crate(path: &str) -> Option<&str> {
    let path = path.trim_start_matches(['<', '&', ' ']);
    let path = ["mut ", "dyn "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let of_language = ["[", "(", "*const ", "*mut "];
    let is_function = || path.split("::").next().is_some_and(|name| name.contains("fn("));
    if of_language.iter().any(|start| path.starts_with(start)) || is_function() {
        return Some("core");
    }
    let (name, _) = path.split_once("::")?;
    if PRIMITIVES.contains(&name.trim_end_matches('>')) {
        return Some("core");
    }
    if !is_identifier(name) {
        let (_, rest) = path.split_once(" as ").or_else(|| path.split_once("impl "))?;
        return crate_of(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_shows_its_origin() {
        let origins = Origins { user_crates: vec![], source_roots: vec!["/home/me/news".into()] };
        for (file, origin, package, shown) in [
            ("/rustc/59807616e/library/std/src/thread/mod.rs", Origin::Std, Some("std"), "std/src/thread/mod.rs"),
            (
                "/r/.cargo/registry/src/index-1/tokio-1.54.1/src/task.rs",
                Origin::Runtime,
                Some("tokio"),
                "tokio-1.54.1/src/task.rs",
            ),
            (
                "/r/.cargo/registry/src/index-1/hyper-util-0.1.21/src/x.rs",
                Origin::Dependency,
                Some("hyper-util"),
                "hyper-util-0.1.21/src/x.rs",
            ),
            (
                "/r/.cargo/git/checkouts/raft-f123456789abcdef/1a/src/lib.rs",
                Origin::Dependency,
                Some("raft"),
                "raft-f123456789abcdef/1a/src/lib.rs",
            ),
            (
                "/home/me/news/target/release/build/zstd-sys-0a1b/out/zstd.c",
                Origin::Dependency,
                Some("zstd-sys"),
                "zstd-sys-0a1b/out/zstd.c",
            ),
            (
                "/rust/deps/hashbrown-0.16.1/src/map.rs",
                Origin::Dependency,
                Some("hashbrown"),
                "/rust/deps/hashbrown-0.16.1/src/map.rs",
            ),
            ("/home/me/news/src/ingest.rs", Origin::User, None, "src/ingest.rs"),
            ("/build/other/src/lib.rs", Origin::User, None, "/build/other/src/lib.rs"),
            ("./nptl/pthread_create.c", Origin::System, None, "./nptl/pthread_create.c"),
        ] {
            let found = origins.find("f", Some(file), true);
            assert_eq!((found.origin, found.package.as_deref()), (origin, package), "{file}");
            assert_eq!(origins.shorten(file), shown);
        }
    }

    #[test]
    fn a_macro_of_another_crate_does_not_change_the_origin() {
        let origins = Origins { user_crates: vec!["news".into()], source_roots: vec![] };
        let select = "/r/.cargo/registry/src/index-1/tokio-1.54.1/src/macros/select.rs";
        for (function, origin) in [
            ("news::readers::start::{closure}::{closure}", Origin::User),
            ("axum::serve::handle_connection::{closure}", Origin::Dependency),
            ("tokio::runtime::park::park", Origin::Runtime),
            ("core::option::Option::map", Origin::Runtime),
            ("<F as core::future::future::Future>::poll", Origin::Runtime),
        ] {
            assert_eq!(origins.find(function, Some(select), true).origin, origin, "{function}");
        }
        assert_eq!(origins.shorten(select), "tokio-1.54.1/src/macros/select.rs");
    }

    #[test]
    fn a_path_shows_most_of_a_module() {
        let origins = Origins { user_crates: vec!["news".into()], source_roots: vec!["/home/me/news".into()] };
        for (file, module) in [
            ("/home/me/news/src/ingest/feed.rs", "news::ingest::feed"),
            ("/home/me/news/src/main.rs", "news"),
            ("/home/me/news/crates/feed-reader/src/lib.rs", "feed_reader"),
            ("/home/me/news/examples/pipeline/faults/sleep.rs", "pipeline::faults::sleep"),
            ("/home/me/news/tests/stalls.rs", "stalls"),
            ("/rustc/59807616e/library/std/src/thread/mod.rs", "std::thread"),
            ("/r/.cargo/registry/src/index-1/tokio-1.54.1/src/runtime/task/core.rs", "tokio::runtime::task::core"),
        ] {
            assert_eq!(origins.module_of(file).as_deref(), Some(module), "{file}");
        }
        assert_eq!(origins.module_of("/build/zlib/inflate.c"), None);
    }

    #[test]
    fn the_standard_library_is_recognized_in_every_form() {
        let origins = Origins { user_crates: vec!["news".into()], source_roots: vec![] };
        let inlined = "/rustc/59807616e/library/core/src/num/uint_macros.rs";
        for function in [
            "u64::rotate_right",
            "str::trim",
            "f64::powi",
            "[T]::sort",
            "[news::Feed]::sort_by",
            "<[u8]>::sort",
            "<u64>::rotate_right",
            "*const T::read",
            "[u8; 4]::map",
            "core::num::rotate_right",
            "alloc::vec::Vec::push",
            "<alloc::vec::Vec as core::ops::drop::Drop>::drop",
            "<[news::Feed] as core::fmt::Debug>::fmt",
            "<u64 as core::fmt::Display>::fmt",
            "<str as alloc::string::ToString>::to_string",
            "<(A, B) as core::cmp::PartialEq>::eq",
            "<fn(A) -> B as core::ops::function::FnOnce>::call_once",
            "<T as core::convert::Into>::into",
            "<dyn core::any::Any>::downcast_ref",
            "compiler_builtins::mem::memcpy",
            "__rustc::__rust_alloc",
            "__rust_dealloc",
            "rust_begin_unwind",
        ] {
            assert_eq!(origins.find(function, None, true).origin, Origin::Std, "{function}");
            assert_eq!(origins.find(function, Some(inlined), true).origin, Origin::Std, "{function} with its file");
        }
        let merged = "/r/.cargo/registry/src/index-1/bytesize-2.7.0/src/lib.rs";
        let windows = "<core::slice::iter::Windows as core::iter::traits::iterator::Iterator>::next";
        assert_eq!(origins.find(windows, Some(merged), true).origin, Origin::Std, "only std can have written it");
        for file in [
            "/usr/src/rustc-1.91.0/library/alloc/src/vec/mod.rs",
            "/build/rustc-1.91.0-src/library/compiler-builtins/compiler-builtins/src/mem/mod.rs",
            "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/std/src/io/mod.rs",
        ] {
            assert_eq!(origins.find("f", Some(file), true).origin, Origin::Std, "{file}");
        }
        let of_the_user = "/home/me/rustc-like/library/books/src/lib.rs";
        assert_eq!(origins.find("f", Some(of_the_user), true).origin, Origin::User, "{of_the_user}");
    }

    #[test]
    fn the_crate_name_shows_the_origin_without_files() {
        let origins = Origins { user_crates: vec!["news".into()], source_roots: vec![] };
        for (function, origin) in [
            ("news::ingest::parse_feed", Origin::User),
            ("<news::Feed as core::future::future::Future>::poll", Origin::User),
            ("<&mut alloc::boxed::Box as core::future::future::Future>::poll", Origin::Std),
            ("tokio::runtime::task::raw::poll", Origin::Runtime),
            ("<F as axum::handler::Handler>::call", Origin::Dependency),
            ("rd_kafka_poll", Origin::Dependency),
            ("<alloc::vec::Vec as news::Summary>::summary", Origin::User),
            ("<&news::Feed as core::iter::IntoIterator>::into_iter", Origin::User),
            ("<u64 as news::Price>::cents", Origin::User),
            ("<<news::Feed as tower::Service>::Future as core::future::Future>::poll", Origin::User),
            ("<news::Feed as serde::ser::Serialize>::serialize", Origin::User),
            ("<tokio::time::Sleep as core::future::Future>::poll", Origin::Runtime),
        ] {
            assert_eq!(origins.find(function, None, true).origin, origin, "{function}");
        }
        assert_eq!(origins.find("clock_nanosleep", None, false).origin, Origin::System);
    }
}
