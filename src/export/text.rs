//! Parts of text that several renderers share: styles, wrapped prose and durations.

use std::borrow::Cow;
use std::time::Duration;

/// Whether escape sequences may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Colored,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colored => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    pub(super) fn loud(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// The width at which prose beside a field's name is wrapped.
pub(super) const PROSE_WIDTH: usize = 100;

/// Joins the lines of prose: a line break, and room below the field's name.
pub(super) const CONTINUATION: &str = "\n           ";

/// Prose broken into lines of at most `width` characters. A longer word has a line to itself.
pub(super) fn wrapped(prose: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in prose.split(' ') {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `7 B`, `1.5 KiB`, `3.0 MiB`.
#[cfg(any(feature = "export", all(feature = "testing", feature = "heap")))]
#[expect(clippy::cast_precision_loss, reason = "a size to one digit")]
pub(crate) fn bytes(value: i64) -> String {
    let mut size = value as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size.abs() < 1024.0 {
            return if unit == "B" { format!("{size} {unit}") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

/// A duration with three significant digits: `0.4 ms`, `10.3 ms`, `812 ms`, `4.21 s`, `3.2 min`.
pub(crate) fn milliseconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}

/// The last segment of a function's path, and the one before it where that is a type: `nap`, `Client::send`. Of a trait's
/// method it has the type, or the trait where the type is a parameter: `Client::call`, `Handler::call`.
pub(crate) fn short_name(function: &str) -> Cow<'_, str> {
    // `<api::Client as Service>::call` has its path inside.
    let path = function.rfind('>').map_or(0, |end| end + 1);
    let mut starts = function[path..].rmatch_indices("::").map(|(at, separator)| path + at + separator.len());
    let Some(last) = starts.next() else { return function.into() };
    let before = starts.next().unwrap_or(path);
    let names_type = function[before..].starts_with(char::is_uppercase) || function[last..].starts_with('{');
    let method = &function[if names_type { before } else { last }..];
    owner(&function[..path]).map_or_else(|| method.into(), |owner| format!("{owner}::{method}").into())
}

/// `Client` of `<api::Client as tower::Service>`, `Handler` of `<F as axum::handler::Handler>`.
fn owner(qualifier: &str) -> Option<&str> {
    let inside = qualifier.strip_prefix('<')?;
    let (of, name) = inside.split_once(" as ").unwrap_or((inside, ""));
    let of = of.trim_start_matches('&').trim_start_matches("mut ");
    // A type without a path is a parameter or a primitive one.
    [Some(of).filter(|of| of.contains("::")), Some(name)].into_iter().flatten().find_map(|path| {
        let path = path.split(['<', '>']).next()?;
        let last = path.rsplit("::").next()?;
        (last.starts_with(char::is_uppercase) && last.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_significant_digits() {
        for (micros, shown) in
            [(400, "0.4 ms"), (10_349, "10.3 ms"), (812_000, "812 ms"), (4_210_000, "4.21 s"), (192_000_000, "3.2 min")]
        {
            assert_eq!(milliseconds(Duration::from_micros(micros)), shown);
        }
    }

    #[test]
    fn long_advice_is_broken_between_words() {
        let advice = "word ".repeat(50);
        let lines = wrapped(advice.trim(), 30);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 30), "{lines:#?}");
        assert_eq!(lines.join(" "), advice.trim());
        assert_eq!(wrapped("one two", PROSE_WIDTH), ["one two"]);
    }

    #[test]
    fn short_names_keep_the_type_of_a_method() {
        for (function, short) in [
            ("news::faults::nap", "nap"),
            ("main", "main"),
            ("news::Client::send", "Client::send"),
            ("<news::Client as tower::Service>::call", "Client::call"),
            ("<&mut news::Client<T> as tower::Service<http::Request>>::call", "Client::call"),
            ("<F as axum::handler::Handler>::call", "Handler::call"),
            ("<F as axum::handler::Handler>::call::{closure}", "Handler::call::{closure}"),
            ("<news::read as axum::handler::Handler<T>>::call", "Handler::call"),
            ("<[T]>::sort", "sort"),
            ("news::serve::{closure}", "serve::{closure}"),
            ("0x7f0012", "0x7f0012"),
        ] {
            assert_eq!(short_name(function), short);
        }
    }
}
