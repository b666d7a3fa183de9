//! A flamegraph as a self-contained SVG: width is the drawn value, colour is whose code it is.
//!
//! Red is the user's own code, yellow the standard library, blue Tokio and holdup, green other crates, grey the system
//! and what has no name. An inlined function is drawn like one that was called.

use std::collections::HashMap;
use std::io::{self, Write};

use inferno::flamegraph::color::{Color, PaletteMap};
use inferno::flamegraph::{self, Options, TextTruncateDirection};

use super::folded::{self, Inlined};
use super::{Exporter, summary};
use crate::model::profile::{Profile, Unit};
use crate::model::stack::Origin;

/// Draws a flamegraph.
pub(super) struct Flamegraph;

impl Exporter for Flamegraph {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let stacks = folded::stacks(profile, Inlined::Merged);
        let lines: Vec<String> = stacks.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
        let mut colours = colours(profile);
        let picture = Picture {
            title: summary::title(profile),
            subtitle: summary::quality(profile),
            unit: profile.drawn_value().map_or(Unit::Count, |value| value.unit),
            colours: Colours::Function(&mut colours),
        };
        picture.draw(&lines, out)
    }
}

/// What a flamegraph says beside its stacks.
pub(crate) struct Picture<'a> {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// What the values are.
    pub(crate) unit: Unit,
    pub(crate) colours: Colours<'a>,
}

/// What colours mean.
pub(crate) enum Colours<'a> {
    /// Whose a function is.
    Function(&'a mut PaletteMap),
    /// Red is more and blue is less in the second of two values than in the first.
    #[cfg(feature = "cli")]
    Change,
    /// Red is more and blue is less in the first of two values than in the second.
    #[cfg(feature = "cli")]
    ChangeBack,
}

impl Picture<'_> {
    /// Draws folded lines with one value, or with two for a difference. Without lines it says that there is nothing.
    ///
    /// # Errors
    /// Those of `out`.
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
        match self.colours {
            Colours::Function(colours) => options.palette_map = Some(colours),
            #[cfg(feature = "cli")]
            Colours::Change => {}
            #[cfg(feature = "cli")]
            Colours::ChangeBack => options.negate_differentials = true,
        }
        // The end of a path is what tells functions apart.
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

/// A colour for every function by its origin. Where two frames of one name differ, the one seen first decides.
fn colours(profile: &Profile) -> PaletteMap {
    let mut origins: HashMap<String, Origin> = HashMap::new();
    for frame in &profile.frames {
        origins.entry(folded::name(frame, Inlined::Merged).into_owned()).or_insert(frame.frame.origin);
    }
    let mut colours = PaletteMap::default();
    for (name, origin) in origins {
        let colour = shade(base(origin), &name);
        colours.insert(name, colour);
    }
    colours
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

/// Neighbours differ a little, and a function looks the same in every picture.
fn shade(base: [u8; 3], name: &str) -> Color {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let lighter = u8::try_from((hash >> 16) % 28).unwrap_or_default();
    let [r, g, b] = base.map(|part| part.saturating_add(lighter));
    Color { r, g, b }
}
