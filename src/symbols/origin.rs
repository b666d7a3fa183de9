//! The origin of a frame: user code, a dependency, the standard library or a runtime. Its source file shows it if there are
//! line tables, otherwise the owner of its crate.

use std::sync::Arc;

use super::crate_name::{crate_of, is_impl_of_std, is_std, plain_crate};
use super::crate_owners::{CrateOwner, CrateOwners};
use super::source_path::{PathOwner, in_build, in_git_checkout, in_registry, in_std, without_version};
use crate::model::stack::Origin;

/// Beginnings of functions that the standard library and the compiler export without a path.
const STD_SYMBOLS: [&str; 6] = ["__rust_", "__rdl_", "__rg_", "rust_begin_unwind", "rust_panic", "rust_eh_personality"];

/// The crate to which the compiler gives the functions of `#[global_allocator]`.
const OF_COMPILER: &str = "__rustc::";

/// The crates that poll tasks, and this one.
const RUNTIME: [&str; 2] = ["tokio", "holdup"];

/// Distinguishes the user's code from all other code.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Crates that the user named. They count only without line tables.
    pub(crate) user_crates: Vec<String>,
    /// Crates that are the user's unless the program shows another owner.
    pub(crate) presumed: Vec<String>,
    /// Folders with the user's source. Shown paths are relative to them.
    pub(crate) source_roots: Vec<String>,
}

/// The origin of a frame, and its package or library.
pub(super) struct FrameOrigin {
    pub(super) origin: Origin,
    pub(super) package: Option<Arc<str>>,
}

impl FrameOrigin {
    fn of(origin: Origin, package: Option<&str>) -> Self {
        Self { origin, package: package.map(Arc::from) }
    }
}

impl Origins {
    /// The origin by file if one is known, otherwise by name.
    pub(super) fn find(&self, function: &str, file: Option<&str>, owners: &CrateOwners) -> FrameOrigin {
        match file.map(PathOwner::of) {
            None => self.by_name(function, owners),
            // Line tables of merged functions may name another crate's file.
            Some(_) if is_impl_of_std(function) => self.by_name(function, owners),
            // Their lines are those of the attribute.
            Some(_) if is_generated(function) => self.by_name(function, owners),
            // A macro such as `tokio::select!` puts its own lines into the function of another crate. The program's own
            // crate may be a package too, installed from a registry.
            Some(PathOwner::Package(name) | PathOwner::Versioned(name))
                if plain_crate(function)
                    .is_some_and(|found| found != name.replace('-', "_") || owners.is_root(found)) =>
            {
                self.by_name(function, owners)
            }
            Some(owner) => by_file(owner),
        }
    }

    fn by_name(&self, function: &str, owners: &CrateOwners) -> FrameOrigin {
        let Some(name) = crate_of(function) else {
            if is_generated(function) {
                return FrameOrigin::of(Origin::Std, Some("std"));
            }
            let linked = owners.holds_rust() && !owners.is_static();
            return FrameOrigin::of(if linked { Origin::Dependency } else { Origin::System }, None);
        };
        let origin = if is_std(name) {
            Origin::Std
        } else if self.is_users(name, owners) {
            Origin::User
        } else {
            origin_of_dependency(name)
        };
        FrameOrigin::of(origin, Some(name))
    }

    fn is_users(&self, name: &str, owners: &CrateOwners) -> bool {
        let is_in = |crates: &[String]| crates.iter().any(|known| known == name);
        if is_in(&self.user_crates) || owners.is_root(name) {
            return true;
        }
        if RUNTIME.contains(&name) {
            return false;
        }
        owners.owner(name).map_or_else(|| is_in(&self.presumed), |owner| owner == CrateOwner::User)
    }

    /// The path to show: relative to the user's source, to the package, or to the standard library.
    pub(super) fn shorten<'f>(&self, file: &'f str) -> &'f str {
        let in_user = |root: &String| file.strip_prefix(root.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let found = in_std(file)
            .or_else(|| in_registry(file))
            .or_else(|| in_git_checkout(file))
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

fn is_generated(function: &str) -> bool {
    function.starts_with(OF_COMPILER) || STD_SYMBOLS.iter().any(|symbol| function.starts_with(symbol))
}

fn origin_of_dependency(name: &str) -> Origin {
    if RUNTIME.contains(&name) { Origin::Runtime } else { Origin::Dependency }
}

fn by_file(owner: PathOwner<'_>) -> FrameOrigin {
    match owner {
        PathOwner::Std(name) => FrameOrigin::of(Origin::Std, Some(name)),
        PathOwner::Package(name) | PathOwner::Versioned(name) => {
            FrameOrigin::of(origin_of_dependency(name), Some(name))
        }
        PathOwner::Built(name) => FrameOrigin::of(Origin::Dependency, Some(name)),
        PathOwner::Holdup => FrameOrigin::of(Origin::Runtime, Some("holdup")),
        PathOwner::User => FrameOrigin::of(Origin::User, None),
        PathOwner::Other => FrameOrigin::of(Origin::System, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_news() -> Origins {
        Origins { user_crates: vec!["news".into()], source_roots: vec!["/home/me/news".into()], ..Origins::default() }
    }

    #[test]
    fn a_source_file_shows_its_origin() {
        let origins = Origins { source_roots: vec!["/home/me/news".into()], ..Origins::default() };
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
            let found = origins.find("f", Some(file), &CrateOwners::unknown());
            assert_eq!((found.origin, found.package.as_deref()), (origin, package), "{file}");
            assert_eq!(origins.shorten(file), shown);
        }
    }

    #[test]
    fn a_macro_of_another_crate_does_not_change_the_origin() {
        let origins = of_news();
        let select = "/r/.cargo/registry/src/index-1/tokio-1.54.1/src/macros/select.rs";
        for (function, origin) in [
            ("news::readers::start::{closure}::{closure}", Origin::User),
            ("axum::serve::handle_connection::{closure}", Origin::Dependency),
            ("tokio::runtime::park::park", Origin::Runtime),
            ("core::option::Option::map", Origin::Runtime),
            ("<F as core::future::future::Future>::poll", Origin::Runtime),
        ] {
            assert_eq!(origins.find(function, Some(select), &CrateOwners::unknown()).origin, origin, "{function}");
        }
        assert_eq!(origins.shorten(select), "tokio-1.54.1/src/macros/select.rs");
    }

    #[test]
    fn a_path_shows_most_of_a_module() {
        let origins = of_news();
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
    fn functions_of_the_compiler_are_not_the_users() {
        let attribute = Some("/home/me/news/src/main.rs");
        for function in ["__rustc::__rust_alloc", "__rust_alloc", "__rg_dealloc"] {
            assert_eq!(of_news().find(function, attribute, &CrateOwners::unknown()).origin, Origin::Std, "{function}");
        }
        let own = "<news::Counting as core::alloc::global::GlobalAlloc>::alloc";
        assert_eq!(of_news().find(own, attribute, &CrateOwners::unknown()).origin, Origin::User);
    }

    #[test]
    fn the_standard_library_is_recognized_in_every_form() {
        let origins = of_news();
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
            assert_eq!(origins.find(function, None, &CrateOwners::unknown()).origin, Origin::Std, "{function}");
            assert_eq!(
                origins.find(function, Some(inlined), &CrateOwners::unknown()).origin,
                Origin::Std,
                "{function} with its file"
            );
        }
        let merged = "/r/.cargo/registry/src/index-1/bytesize-2.7.0/src/lib.rs";
        let windows = "<core::slice::iter::Windows as core::iter::traits::iterator::Iterator>::next";
        assert_eq!(
            origins.find(windows, Some(merged), &CrateOwners::unknown()).origin,
            Origin::Std,
            "only std can have written it"
        );
        for file in [
            "/usr/src/rustc-1.91.0/library/alloc/src/vec/mod.rs",
            "/build/rustc-1.91.0-src/library/compiler-builtins/compiler-builtins/src/mem/mod.rs",
            "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/std/src/io/mod.rs",
        ] {
            assert_eq!(origins.find("f", Some(file), &CrateOwners::unknown()).origin, Origin::Std, "{file}");
        }
        let of_the_user = "/home/me/rustc-like/library/books/src/lib.rs";
        assert_eq!(origins.find("f", Some(of_the_user), &CrateOwners::unknown()).origin, Origin::User, "{of_the_user}");
    }

    #[test]
    fn the_crate_name_shows_the_origin_without_files() {
        let origins = of_news();
        for (function, origin) in [
            ("news::ingest::parse_feed", Origin::User),
            ("<news::Feed as core::future::future::Future>::poll", Origin::User),
            ("<&mut alloc::boxed::Box as core::future::future::Future>::poll", Origin::Std),
            ("tokio::runtime::task::raw::poll", Origin::Runtime),
            ("<F as axum::handler::Handler>::call", Origin::Dependency),
            ("<alloc::vec::Vec as news::Summary>::summary", Origin::User),
            ("<&news::Feed as core::iter::IntoIterator>::into_iter", Origin::User),
            ("<u64 as news::Price>::cents", Origin::User),
            ("<<news::Feed as tower::Service>::Future as core::future::Future>::poll", Origin::User),
            ("<news::Feed as serde::ser::Serialize>::serialize", Origin::User),
            ("<tokio::time::Sleep as core::future::Future>::poll", Origin::Runtime),
        ] {
            assert_eq!(origins.find(function, None, &CrateOwners::unknown()).origin, origin, "{function}");
        }
        // The image is unknown.
        assert_eq!(origins.find("clock_nanosleep", None, &CrateOwners::unknown()).origin, Origin::System);
    }
}
