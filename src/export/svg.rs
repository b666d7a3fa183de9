//! Stalled time as a flamegraph.

use std::time::Duration;

use inferno::flamegraph::{self, Options, color::Palette};

use super::text::milliseconds;

/// Draws folded stacks (outermost frame first, `;` between frames), each with its stalled time.
///
/// # Errors
/// When inferno cannot draw them.
pub(crate) fn flamegraph(stacks: &[(String, Duration)], title: &str) -> std::io::Result<String> {
    let lines: Vec<String> = stacks
        .iter()
        .filter(|(stack, time)| !stack.is_empty() && time.as_micros() > 0)
        .map(|(stack, time)| format!("{stack} {}", time.as_micros()))
        .collect();
    let total: Duration = stacks.iter().map(|(_, time)| *time).sum();
    if lines.is_empty() {
        return Ok(nothing_yet());
    }
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle =
        Some(format!("{} of stalled time in {} different stacks; width is time", milliseconds(total), lines.len()));
    "µs".clone_into(&mut options.count_name);
    options.colors = Palette::Basic(flamegraph::color::BasicPalette::Hot);
    options.min_width = 0.05;
    options.image_width = None;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg).map_err(std::io::Error::other)?;
    String::from_utf8(svg).map_err(std::io::Error::other)
}

fn nothing_yet() -> String {
    r##"<svg xmlns="http://www.w3.org/2000/svg" width="600" height="60" viewBox="0 0 600 60">
<rect width="600" height="60" fill="#f6f8f6"/>
<text x="300" y="36" font-family="sans-serif" font-size="16" text-anchor="middle" fill="#2b6b3f">No stall so far: nothing has held this runtime up.</text>
</svg>
"##
    .to_owned()
}
