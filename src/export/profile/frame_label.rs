//! The label of a function in a rectangle that may be too narrow for its path.

use std::borrow::Cow;

/// The longest label with room for `room` characters: the path, the path without the trait, then ever fewer of its last
/// segments, and at last the beginning of the function's name. `flamegraph.js` does the same at other widths.
pub(super) fn label(name: &str, room: usize) -> Cow<'_, str> {
    let fits = |text: &str| text.chars().count() <= room;
    if fits(name) {
        return name.into();
    }
    let plain = without_trait(name);
    let starts: Vec<usize> = segments(&plain).collect();
    if let Some(start) = starts.iter().copied().find(|start| fits(&plain[*start..])) {
        return plain[start..].to_owned().into();
    }
    let last = starts.last().map_or(&*plain, |start| &plain[*start..]);
    match room {
        0..3 => "".into(),
        room => last.chars().take(room - 2).chain(['.', '.']).collect::<String>().into(),
    }
}

/// `<a::Type as b::Trait>::method` is `a::Type::method`: the type distinguishes it from other methods of the trait.
fn without_trait(name: &str) -> Cow<'_, str> {
    let Some(inside) = name.strip_prefix('<') else { return name.into() };
    let Some(end) = outside(inside).find(|(_, rest)| rest.starts_with('>')).map(|(at, _)| at) else {
        return name.into();
    };
    let (inside, method) = (&inside[..end], &inside[end + 1..]);
    let of_type = outside(inside).find(|(_, rest)| rest.starts_with(" as ")).map_or(inside, |(at, _)| &inside[..at]);
    let of_type = of_type.trim_start_matches(['&', '*', ' ']);
    let of_type = ["mut ", "const ", "dyn "].iter().fold(of_type, |name, word| name.strip_prefix(word).unwrap_or(name));
    format!("{}{method}", without_trait(of_type)).into()
}

/// The beginnings of the path's segments. `{closure}` belongs to the segment before it.
fn segments(path: &str) -> impl Iterator<Item = usize> {
    let after = outside(path).filter(|(_, rest)| rest.starts_with("::") && !rest.starts_with("::{"));
    std::iter::once(0).chain(after.map(|(at, _)| at + 2))
}

/// Positions outside brackets, with the text from there. A closing bracket without its opening one is outside.
fn outside(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut depth, mut previous) = (0_usize, ' ');
    text.char_indices().filter_map(move |(at, character)| {
        let is_outside = depth == 0;
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        previous = character;
        is_outside.then(|| (at, &text[at..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_shows_what_distinguishes_the_function() {
        let of_trait = "<hyper::server::Connection as core::future::future::Future>::poll";
        for (name, room, shown) in [
            ("news::ingest::feed::parse", 40, "news::ingest::feed::parse"),
            ("news::ingest::feed::parse", 24, "ingest::feed::parse"),
            ("news::ingest::feed::parse", 18, "feed::parse"),
            ("news::ingest::feed::parse", 10, "parse"),
            ("news::ingest::feed::parse", 4, "pa.."),
            ("news::ingest::feed::parse", 2, ""),
            ("news::ingest::feed::parse", 0, ""),
            (of_trait, 80, of_trait),
            (of_trait, 40, "hyper::server::Connection::poll"),
            (of_trait, 20, "Connection::poll"),
            (of_trait, 5, "poll"),
            ("<<T as A>::B as C>::method", 12, "T::B::method"),
            ("<&mut alloc::boxed::Box as core::future::Future>::poll", 12, "Box::poll"),
            ("news::main::{closure}::{closure}", 26, "main::{closure}::{closure}"),
            ("news::main::{closure}", 16, "main::{closure}"),
            ("alloc::slice::<impl [a::T]>::sort", 22, "<impl [a::T]>::sort"),
            ("news::été::mangée", 14, "été::mangée"),
            ("clock_nanosleep", 8, "clock_.."),
            ("task: GET /news/{id}::x (17)", 12, "x (17)"),
        ] {
            assert_eq!(label(name, room), shown, "{name} in {room}");
        }
    }

    #[test]
    fn every_name_and_width_has_a_label_that_fits() {
        for name in ["", "<", ">", "::", "<a as ", "a->b::c", "<>::", "é::ü", "{{", "<a>b::c", "}}::{{"] {
            for room in 0..8 {
                assert!(label(name, room).chars().count() <= room, "{name} in {room}");
            }
        }
    }
}
