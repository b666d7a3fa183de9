//! A flamegraph as a self-contained SVG, for light and dark pages: the width is the drawn value, the color is the origin
//! of the code.
//!
//! Red is the user's code, yellow the standard library, blue Tokio and holdup, green other crates, gray the system and
//! functions without a name. An inlined function is drawn like a called one.

use std::collections::HashMap;
use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Options};

use super::exporter::Exporter;
use super::folded::{self, Inlined};
use super::frames::Frames;
use super::{summary, svg};
use crate::model::profile::{Profile, Unit};
use crate::model::stack::Origin;

/// The background on light pages; `flamegraph.css` has that of dark ones.
const BACKGROUND: Color = Color { r: 0xfa, g: 0xfa, b: 0xf8 };

const BACKGROUND_HEX: &str = "#fafaf8";

/// Draws a flamegraph.
pub(super) struct Flamegraph {
    /// The frames that the profile has, for the caption.
    pub(super) frames: Frames,
}

impl Exporter for Flamegraph {
    fn write(&self, profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
        let stacks = folded::stacks(profile, Inlined::Merged);
        let lines: Vec<String> = stacks.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
        let mut colors = colors(profile);
        let picture = Picture {
            title: summary::title(profile),
            subtitle: summary::quality(profile),
            caption: caption(profile.command.as_deref(), self.frames),
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
    /// Lines below the picture.
    pub(crate) caption: Vec<String>,
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
    pub(crate) fn draw(mut self, lines: &[String], out: &mut dyn Write) -> io::Result<()> {
        if lines.is_empty() {
            return self.nothing(out);
        }
        let caption = std::mem::take(&mut self.caption);
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
        options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
        options.min_width = 0.05;
        options.deterministic = true;
        let mut drawn = Vec::new();
        flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut drawn).map_err(io::Error::other)?;
        out.write_all(svg::completed(&String::from_utf8_lossy(&drawn), &caption).as_bytes())
    }

    fn nothing(&self, out: &mut dyn Write) -> io::Result<()> {
        let (title, subtitle) = (svg::escaped(&self.title), svg::escaped(&self.subtitle));
        let (style, caption) = (svg::style(), svg::caption_text(&self.caption, 108));
        let height = 96 + 15 * self.caption.len();
        write!(
            out,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="{height}" viewBox="0 0 1200 {height}" font-family="sans-serif">
{style}<linearGradient id="background"><stop stop-color="{BACKGROUND_HEX}"/></linearGradient>
<rect width="1200" height="{height}" fill="url(#background)"/>
<g text-anchor="middle"><text id="title" x="600" y="28" font-size="17">{title}</text>
<text x="600" y="56" font-size="15" fill="#3c8f58">Nothing was measured: no sample has a value to draw.</text>
<text id="subtitle" x="600" y="80" font-size="12">{subtitle}</text></g>
{caption}
</svg>
"##
        )
    }
}

/// The command that made a picture, and what it leaves out.
pub(crate) fn caption(command: Option<&str>, frames: Frames) -> Vec<String> {
    let left_out = "Frames of the runtime are left out; --all-frames or ?all_frames=true shows them.";
    let left_out = (frames == Frames::WithoutRuntime).then_some(left_out);
    command.map(str::to_owned).into_iter().chain(left_out.map(str::to_owned)).collect()
}

/// A color for every function by its origin. If two frames with equal names differ, the first one decides.
fn colors(profile: &Profile) -> PaletteMap {
    let mut origins: HashMap<String, Origin> = HashMap::new();
    for frame in &profile.frames {
        origins.entry(folded::name(frame, Inlined::Merged).into_owned()).or_insert(frame.frame.origin);
    }
    let mut colors = PaletteMap::default();
    // The name of the rectangle for everything.
    colors.insert(String::new(), shade(base(Origin::Unknown), ""));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, ProfileFrame, Sample, ValueType};
    use crate::model::stack::Frame;

    fn drawn(stacks: &[(&[&str], i64)], command: &str) -> String {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("cpu", Unit::Nanoseconds)]);
        builder.command(command);
        for (functions, value) in stacks {
            let mut frame = |name: &&str| builder.frame(ProfileFrame::of(Frame::new(*name, Origin::User)));
            let frames: Vec<u32> = functions.iter().map(&mut frame).collect();
            let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
            builder.add(Sample::new(None, stack, labels, [*value, 0, 0, 0]));
        }
        let mut svg = Vec::new();
        let flamegraph = Flamegraph { frames: Frames::WithoutRuntime };
        flamegraph.write(&builder.build(), &mut svg).expect("writing to a vector succeeds");
        String::from_utf8(svg).expect("it is UTF-8")
    }

    #[test]
    fn narrow_rectangles_show_the_end_of_the_path() {
        let of_trait = "<news_pipeline::cache::latest::Latest<T> as core::future::future::Future>::poll";
        let svg = drawn(&[(&[of_trait], 1_000), (&["news_pipeline::ingest::feed::parse_everything"], 9_000)], "a");
        assert!(svg.contains(">Latest&lt;T&gt;::poll</text>"), "{svg}");
        assert!(svg.contains(">news_pipeline::ingest::feed::parse_everything</text>"), "there is room");
        assert!(
            svg.contains("<title>&lt;news_pipeline::cache::latest::Latest&lt;T&gt; as"),
            "the tooltip has the path"
        );
    }

    #[test]
    fn a_picture_has_two_styles_and_its_command_below() {
        let svg = drawn(&[(&["f"], 1)], "holdup record -I 'a<b'");
        let command = svg.find(">holdup record -I 'a&lt;b'</text>").expect("the command is there");
        assert!(command < svg.find("<svg id=\"frames\"").expect("inferno draws it"), "outside of what zooms");
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("function update_text_for_elements"));
        let height = |before: &str| -> usize {
            let (_, rest) = svg.split_once(before).expect("inferno draws it");
            rest.split(['"', ' ']).next().expect("a number").parse().expect("a number")
        };
        let [whole, canvas, background] =
            ["width=\"1200\" height=\"", "viewBox=\"0 0 1200 ", "width=\"100%\" height=\""].map(height);
        assert_eq!((canvas, background), (whole, whole));
        let (_, of_caption) = svg.rsplit_once("class=\"caption\" x=\"10\" y=\"").expect("the last line");
        let last: usize = of_caption.split('"').next().expect("a number").parse().expect("a number");
        assert!((whole - 15..whole).contains(&last), "{last} of {whole}");
    }

    #[test]
    fn a_long_command_is_wrapped_and_cut() {
        let svg = drawn(&[(&["f"], 1)], &"argument ".repeat(500));
        assert_eq!(svg.matches("class=\"caption\"").count(), 4);
        assert!(drawn(&[], "holdup record").contains(">holdup record</text>"), "without samples too");
    }
}
