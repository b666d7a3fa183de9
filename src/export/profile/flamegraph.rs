//! A flamegraph as a self-contained SVG: the width is the drawn value, the color is the origin of the code.
//!
//! Red is the user's code, yellow the standard library, blue Tokio and holdup, green other crates, gray the system and
//! functions without a name. An inlined function is drawn like a called one.

use std::collections::HashMap;
use std::io::{self, Write};

use inferno::flamegraph::color::{Color, PaletteMap};
use inferno::flamegraph::{self, Options, TextTruncateDirection};

use super::exporter::Exporter;
use super::folded::{self, Inlined};
use super::summary;
use crate::model::profile::{Profile, Unit};
use crate::model::stack::Origin;

/// Draws a flamegraph.
pub(super) struct Flamegraph;

impl Exporter for Flamegraph {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let stacks = folded::stacks(profile, Inlined::Merged);
        let lines: Vec<String> = stacks.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
        let mut colors = colors(profile);
        let picture = Picture {
            title: summary::title(profile),
            subtitle: summary::quality(profile),
            unit: profile.drawn_value().map_or(Unit::Count, |value| value.unit),
            colors: Colors::Function(&mut colors),
        };
        picture.draw(&lines, out)
    }
}

/// The texts, unit and colors of a flamegraph.
pub(crate) struct Picture<'a> {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// The unit of the values.
    pub(crate) unit: Unit,
    pub(crate) colors: Colors<'a>,
}

/// The meaning of the colors.
pub(crate) enum Colors<'a> {
    /// The origin of a function.
    Function(&'a mut PaletteMap),
    /// Red if the second of two values is larger, blue if it is smaller.
    #[cfg(feature = "cli")]
    Change,
    /// Red if the first of two values is larger, blue if it is smaller.
    #[cfg(feature = "cli")]
    ChangeReversed,
}

impl Picture<'_> {
    /// Draws folded lines with one value, or with two values for a difference. Without lines, draws a notice.
    ///
    /// # Errors
    /// I/O errors of `out`.
    pub(crate) fn draw(self, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
        if lines.is_empty() {
            return self.nothing(out);
        }
        let mut options = Options::default();
        options.title = self.title;
        options.subtitle = Some(self.subtitle);
        (options.count_name, options.factor) = match self.unit {
            Unit::Nanoseconds => ("ms".to_owned(), 1e-6),
            Unit::Bytes => ("bytes".to_owned(), 1.0),
            Unit::Count => ("samples".to_owned(), 1.0),
        };
        match self.colors {
            Colors::Function(colors) => options.palette_map = Some(colors),
            #[cfg(feature = "cli")]
            Colors::Change => {}
            #[cfg(feature = "cli")]
            Colors::ChangeReversed => options.negate_differentials = true,
        }
        // Functions differ in the end of their paths.
        options.text_truncate_direction = TextTruncateDirection::Left;
        options.min_width = 0.05;
        options.deterministic = true;
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out).map_err(io::Error::other)
    }

    fn nothing(&self, out: &mut dyn Write) -> io::Result<()> {
        let (title, subtitle) = (escaped(&self.title), escaped(&self.subtitle));
        write!(
            out,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="96" viewBox="0 0 1200 96" font-family="sans-serif" text-anchor="middle">
<rect width="1200" height="96" fill="#f6f8f6"/>
<text x="600" y="28" font-size="17">{title}</text>
<text x="600" y="56" font-size="15" fill="#2b6b3f">Nothing was measured: no sample has a value to draw.</text>
<text x="600" y="80" font-size="12" fill="#666666">{subtitle}</text>
</svg>
"##
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A color for every function by its origin. If two frames with equal names differ, the first one decides.
fn colors(profile: &Profile) -> PaletteMap {
    let mut origins: HashMap<String, Origin> = HashMap::new();
    for frame in &profile.frames {
        origins.entry(folded::name(frame, Inlined::Merged).into_owned()).or_insert(frame.frame.origin);
    }
    let mut colors = PaletteMap::default();
    for (name, origin) in origins {
        let color = shade(base(origin), &name);
        colors.insert(name, color);
    }
    colors
}

fn base(origin: Origin) -> [u8; 3] {
    match origin {
        Origin::User => [226, 92, 66],
        Origin::Std => [228, 186, 84],
        Origin::Runtime => [112, 164, 214],
        Origin::Dependency => [134, 186, 116],
        Origin::System => [176, 176, 176],
        Origin::Unknown => [206, 206, 206],
    }
}

/// A shade that depends on the name: neighbors differ, and a function has the same color in every picture.
fn shade(base: [u8; 3], name: &str) -> Color {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let lighter = u8::try_from((hash >> 16) % 28).unwrap_or_default();
    let [r, g, b] = base.map(|part| part.saturating_add(lighter));
    Color { r, g, b }
}
