//! Additions to the SVG that inferno draws: a dark style, a caption, and labels that show the end of a path.
//!
//! Each addition has a place that it looks for. If another version of inferno has no such place, the picture is drawn
//! without that addition; the tests then fail.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::frame_label::label;

const STYLE: &str = include_str!("flamegraph.css");

const SCRIPT: &str = include_str!("flamegraph.js");

/// The width of a picture where no script adapts it, in pixels.
const WIDTH: f64 = 1200.0;

/// The average width of a character of a label, in pixels: that of inferno.
const CHARACTER: f64 = 12.0 * 0.59;

/// The distance between two lines of the caption, in pixels.
const LINE: usize = 15;

/// The longest line of a caption, in characters.
const MAX_LINE: usize = 170;

/// The limit of lines of a caption.
const MAX_LINES: usize = 4;

/// The picture with all additions.
pub(super) fn completed(svg: &str, caption: &[String]) -> String {
    let lines: Vec<String> = caption.iter().flat_map(|text| wrapped(text)).take(MAX_LINES).collect();
    let svg = with_caption(svg, &lines).unwrap_or_else(|| svg.to_owned());
    with_labels(&with_style(&svg))
}

/// The style of light and dark pages, for an SVG without a script too.
pub(super) fn style() -> String {
    format!("<style>{STYLE}</style>")
}

/// The lines of a caption as SVG text, the first one at this height.
pub(super) fn caption_text(lines: &[String], top: usize) -> String {
    lines.iter().zip(0..).fold(String::new(), |mut text, (line, number): (&String, usize)| {
        let (y, line) = (top + number * LINE, escaped(line));
        let _infallible = write!(text, "<text class=\"caption\" x=\"10\" y=\"{y}\">{line}</text>");
        text
    })
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&").into()
}

/// The text in lines, broken at spaces.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > MAX_LINE {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.extend(word.chars().take(MAX_LINE));
        }
    }
    lines
}

/// The picture with lines below it, and the height that they need.
fn with_caption(svg: &str, lines: &[String]) -> Option<String> {
    let (_, rest) = svg.split_once(" height=\"")?;
    let height: usize = rest.split_once('"')?.0.parse().ok()?;
    let (old, new) = (format!("\"{height}\""), format!("\"{}\"", height + lines.len() * LINE));
    let canvas = format!("\"0 0 {WIDTH} {height}\"");
    let taller = svg.replacen(&format!(" height={old}"), &format!(" height={new}"), 2);
    let taller = taller.replacen(&canvas, &format!("\"0 0 {WIDTH} {}\"", height + lines.len() * LINE), 1);
    let (before, frames) = taller.split_once("<svg id=\"frames\"")?;
    Some(format!("{before}{}<svg id=\"frames\"{frames}", caption_text(lines, height + LINE / 3)))
}

/// The picture with our style and script after those of inferno, so that ours win.
fn with_style(svg: &str) -> String {
    const END: &str = "</script>";
    match svg.split_once(END) {
        Some((before, after)) => {
            format!("{before}{END}{}<script><![CDATA[{SCRIPT}]]></script>{after}", style())
        }
        None => svg.to_owned(),
    }
}

/// The picture with a label of ours in every rectangle.
fn with_labels(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, after)) = rest.split_once("<title>") {
        let end = after.find("</g>").unwrap_or(after.len());
        out.push_str(before);
        out.push_str("<title>");
        out.push_str(&labeled(&after[..end]).unwrap_or_else(|| after[..end].to_owned()));
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// A rectangle with its label: `NAME (…)</title><rect … width="12.3%" …/><text …>LABEL</text>`.
fn labeled(group: &str) -> Option<String> {
    let (title, rest) = group.split_once("</title>")?;
    let name = title.rsplit_once(" (").map_or(title, |(name, _)| name);
    let (_, width) = rest.split_once(" width=\"")?;
    let share: f64 = width.split_once("%\"")?.0.parse().ok()?;
    let text = rest.find("<text")?;
    let start = text + rest[text..].find('>')? + 1;
    let end = start + rest[start..].find("</text>")?;
    let label = escaped(&label(&unescaped(name), room(share)));
    Some(format!("{title}</title>{}{label}{}", &rest[..start], &rest[end..]))
}

/// The number of characters in a rectangle with this share of the width, in percent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn room(share: f64) -> usize {
    ((share / 100.0 * (WIDTH - 20.0) - 5.0) / CHARACTER).max(0.0) as usize
}
