//! Passes the level of debug information to the program, which prints it at its start.

use std::path::Path;

fn main() {
    let manifest = Path::new("../../Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    println!("cargo::rustc-env=NEWS_PIPELINE_DEBUG={}", debug_information(manifest));
}

/// The level of debug information. Cargo passes only whether there is any. The level comes from a variable, from the
/// manifest, or is cargo's default.
fn debug_information(manifest: &Path) -> String {
    if std::env::var("DEBUG").is_ok_and(|debug| debug == "false") {
        return "none".to_owned();
    }
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let profile = if release { "release" } else { "dev" };
    let variable = format!("CARGO_PROFILE_{}_DEBUG", profile.to_uppercase());
    println!("cargo::rerun-if-env-changed={variable}");
    if let Ok(level) = std::env::var(variable) {
        return level;
    }
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let section = text.split("\n[").find(|section| section.starts_with(&format!("profile.{profile}]")));
    let level = section.and_then(|section| section.lines().find_map(|line| line.strip_prefix("debug = ")));
    level.map_or_else(|| "full".to_owned(), |level| level.trim_matches('"').to_owned())
}
