//! Who owns a source file, by its path. Cargo gives rustc the paths of a workspace's members relative to the workspace. It
//! gives the paths of all other packages as they lie on the disk.

use super::crate_name::is_std;

/// The owner of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathOwner<'p> {
    /// The standard library's crate with this name.
    Std(&'p str),
    /// A package that others wrote.
    Package(&'p str),
    /// A folder such as `tokio-1.54.1` outside cargo's own folders. Vendored packages lie in such folders, and so do programs
    /// that are built from a released archive.
    Versioned(&'p str),
    /// Code that a build script compiled or wrote, for this package.
    Built(&'p str),
    /// holdup's own source.
    Holdup,
    /// The user: any other Rust file.
    User,
    /// Code in another language.
    Other,
}

impl<'p> PathOwner<'p> {
    pub(super) fn of(path: &'p str) -> Self {
        if let Some(rest) = in_std(path) {
            return Self::Std(first_folder(rest));
        }
        if let Some(rest) = in_package(path) {
            return Self::Package(without_version(first_folder(rest)));
        }
        if let Some(rest) = in_build(path) {
            let folder = first_folder(rest);
            return Self::Built(folder.rsplit_once('-').map_or(folder, |(name, _)| name));
        }
        if is_own_source(path) {
            return Self::Holdup;
        }
        match versioned_folder(path) {
            _ if !path.ends_with(".rs") => Self::Other,
            Some(name) => Self::Versioned(name),
            None => Self::User,
        }
    }
}

/// The name of the crate that most likely contains a source file of the user, such as `feed_reader` for
/// `crates/feed-reader/src/lib.rs`, or `stalls` for `tests/stalls.rs`. `None` for `src/lib.rs`, which names no package.
pub(super) fn crate_of_path(path: &str) -> Option<String> {
    let (folder, inside) = match path.rsplit_once("/src/") {
        Some((folder, inside)) => (folder, inside),
        None => ("", path.strip_prefix("src/").unwrap_or(path)),
    };
    let below = |mark: &str| path.split_once(mark).map(|(_, rest)| first_folder(rest));
    let file_in = |marks: &[&str]| marks.iter().find_map(|mark| below(mark));
    let name = match inside.strip_prefix("bin/") {
        Some(program) => first_folder(program),
        None if !folder.is_empty() => last_folder(folder),
        None if path.starts_with("src/") => return None,
        // Each file or folder in these folders is a crate.
        None => file_in(&["tests/", "examples/", "benches/"])?,
    };
    Some(name.strip_suffix(".rs").unwrap_or(name).replace('-', "_"))
}

fn last_folder(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// The path inside the standard library's source. Distributions build it in folders such as `rustc-1.91.0-src`.
pub(super) fn in_std(file: &str) -> Option<&str> {
    let (compiler, inside) = file.split_once("/library/")?;
    let is_of_rust = |folder: &str| matches!(folder, "rustc" | "rustlib") || folder.starts_with("rustc-");
    let is_library = || compiler.split('/').any(is_of_rust);
    // Other folders there, such as `compiler-builtins`, have the crate's name with dashes.
    let of_crate = || is_std(&first_folder(inside).replace('-', "_"));
    let known = file.contains("/rustc/") || file.contains("/rustlib/");
    (known || is_library() && of_crate()).then_some(inside)
}

/// The path from the folder of a package on, in cargo's folders or a vendored one.
fn in_package(path: &str) -> Option<&str> {
    in_registry(path)
        .or_else(|| in_git_checkout(path))
        .or_else(|| in_vendored(path))
        // Dependencies of the standard library.
        .or_else(|| path.strip_prefix("/rust/deps/"))
}

pub(super) fn in_registry(path: &str) -> Option<&str> {
    after(path, "/registry/src/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest)
}

pub(super) fn in_git_checkout(path: &str) -> Option<&str> {
    after(path, "/git/checkouts/")
}

/// `vendor` may also be a module of the user, below `src`.
fn in_vendored(path: &str) -> Option<&str> {
    let (before, rest) = match path.strip_prefix("vendor/") {
        Some(rest) => ("", rest),
        None => path.split_once("/vendor/")?,
    };
    let is_package = !format!("{before}/").contains("/src/") && rest.contains("/src/");
    is_package.then_some(rest)
}

/// The path inside a build script's output, `target/…/build/NAME-HASH/out`: compiled C code and generated code.
pub(super) fn in_build(path: &str) -> Option<&str> {
    after(path, "/target/").and_then(|rest| after(rest, "/build/"))
}

/// The package of the innermost folder that ends in a version, such as `tokio` of `tokio-1.54.1/src/task.rs`.
fn versioned_folder(path: &str) -> Option<&str> {
    let folders = path.rsplit('/').skip(1);
    folders.filter_map(|folder| folder.split_once('-').map(|_| folder)).find_map(|folder| {
        let (position, _) = folder.match_indices('-').find(|(position, _)| is_version(&folder[position + 1..]))?;
        Some(&folder[..position])
    })
}

/// Whether a text begins with three numbers, as in `1.54.1` and `0.11.0-rc.1`.
fn is_version(text: &str) -> bool {
    let mut parts = text.split(['.', '-', '+']);
    (0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())))
}

/// Whether a file is holdup's own source. Its examples and tests count as user code.
fn is_own_source(path: &str) -> bool {
    path.starts_with(concat!(env!("CARGO_MANIFEST_DIR"), "/src/"))
}

/// A package's name: `hyper-util` of `hyper-util-0.1.21`, `raft` of the git checkout `raft-0123456789abcdef`.
pub(super) fn without_version(folder: &str) -> &str {
    let hash = |text: &str| text.len() == 16 && text.chars().all(|c| c.is_ascii_hexdigit());
    match folder.rsplit_once('-') {
        Some((name, end)) if end.starts_with(|c: char| c.is_ascii_digit()) || hash(end) => name,
        _ => folder,
    }
}

pub(super) fn first_folder(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn after<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_the_owner() {
        for (path, owner) in [
            ("/rustc/59807616e/library/std/src/thread/mod.rs", PathOwner::Std("std")),
            ("/r/.rustup/toolchains/x/lib/rustlib/src/rust/library/core/src/a.rs", PathOwner::Std("core")),
            ("/r/.cargo/registry/src/index-1/hyper-util-0.1.21/src/x.rs", PathOwner::Package("hyper-util")),
            ("/r/.cargo/git/checkouts/raft-f123456789abcdef/1a/src/lib.rs", PathOwner::Package("raft")),
            ("/home/me/news/vendor/tokio/src/task.rs", PathOwner::Package("tokio")),
            ("vendor/tokio-1.54.1/src/task.rs", PathOwner::Package("tokio")),
            ("/home/me/news/src/vendor/prices.rs", PathOwner::User),
            ("/rust/deps/hashbrown-0.16.1/src/map.rs", PathOwner::Package("hashbrown")),
            ("/home/me/news/target/release/build/zstd-sys-0a1b/out/zstd.c", PathOwner::Built("zstd-sys")),
            ("external/crates__tokio-1.54.1/src/task.rs", PathOwner::Versioned("crates__tokio")),
            ("tokio-util-0.7.1/src/codec/mod.rs", PathOwner::Versioned("tokio-util")),
            ("sha2-0.11.0-rc.2/src/lib.rs", PathOwner::Versioned("sha2")),
            ("src/main.rs", PathOwner::User),
            ("crates/feed-2/src/lib.rs", PathOwner::User),
            ("/home/me/news/src/ingest.rs", PathOwner::User),
            ("./nptl/pthread_create.c", PathOwner::Other),
        ] {
            assert_eq!(PathOwner::of(path), owner, "{path}");
        }
    }

    #[test]
    fn a_path_names_its_crate() {
        for (path, name) in [
            ("crates/feed-reader/src/lib.rs", Some("feed_reader")),
            ("examples/news_pipeline/src/faults/sleep.rs", Some("news_pipeline")),
            ("/home/me/prices/src/model/mod.rs", Some("prices")),
            ("src/bin/tool.rs", Some("tool")),
            ("app/src/bin/tool.rs", Some("tool")),
            ("examples/slow_service.rs", Some("slow_service")),
            ("tests/attach/stalls.rs", Some("attach")),
            ("src/lib.rs", None),
            ("build.rs", None),
            ("src/tests/prices.rs", None),
            ("crates/api/tests/prices.rs", Some("prices")),
        ] {
            assert_eq!(crate_of_path(path).as_deref(), name, "{path}");
        }
    }
}
