//! A program of a workspace with two crates, without line tables: `tests/fixtures/two_crates`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Built once for all tests of a file.
pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/two_crates");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two_crates");
    let mut cargo = Command::new(env!("CARGO"));
    // Its dependencies are a subset of those of the tests, so nothing is downloaded.
    cargo.args(["build", "--locked", "--offline", "--quiet"]).current_dir(&folder).env("CARGO_TARGET_DIR", &target);
    // The environment of the tests may ask for line tables.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "it cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/shop-app")
});

/// Copies of it with the names of a library and of another program. They are removed on drop.
pub(crate) struct Renamed(PathBuf);

impl Renamed {
    pub(crate) fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("renamed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for files");
        let renamed = Self(folder);
        for copy in renamed.programs() {
            std::fs::copy(&*PROGRAM, copy).expect("it can be copied");
        }
        renamed
    }

    pub(crate) fn programs(&self) -> [PathBuf; 2] {
        ["server", "parking_lot"].map(|name| self.0.join(name))
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        let _ours = std::fs::remove_dir_all(&self.0);
    }
}
