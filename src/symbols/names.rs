//! Readable names of compiler-made names.
//!
//! The compiler turns the body of `async fn parse_feed` into a closure. Its frames are named
//! `news::parse_feed::{{closure}}` (legacy mangling) or `news::parse_feed::{closure#0}` (v0). The readable name is
//! `news::parse_feed`.

use std::borrow::Cow;

/// A function's name as in the source code.
pub(super) fn readable(demangled: &str) -> String {
    // C libraries have symbols with a version, such as `pthread_mutex_lock@@GLIBC_2.2.5`.
    let (unversioned, _) = demangled.split_once('@').unwrap_or((demangled, ""));
    let plain = without_generics(&as_trait(unversioned));
    let mut segments: Vec<&str> = split_path(&plain).into_iter().map(segment).filter(|name| !name.is_empty()).collect();
    // v0 writes an inherent method as `<std::fs::File>::sync_all`.
    if let Some(first) = segments.first_mut() {
        let inherent =
            first.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).filter(|inside| !inside.contains(" as "));
        *first = inherent.unwrap_or(first);
    }
    // One closure at the end is the body of an `async fn`, or a closure in the named function; its line shows which.
    if segments.len() > 1 && segments.last() == Some(&CLOSURE) {
        segments.pop();
    }
    public_path(segments.join("::"))
}

/// The function that a generic implementation of a trait for functions runs, by a readable name: `shop::login` of
/// `<shop::login as axum::handler::Handler>::call`. `None` for methods of types, which are not in lower case.
pub(super) fn function_item(readable: &str) -> Option<&str> {
    let inside = readable.strip_prefix('<')?;
    let end = closing(inside)?;
    let (function, implemented) = inside[..end].split_once(" as ")?;
    let mut after = inside[end + 1..].strip_prefix("::")?.split("::");
    let is_method = after.next().is_some() && after.all(|part| part == CLOSURE);
    let is_closure = |path: &str| path.rsplit_once("::").is_some_and(|(_, last)| segment(last) == CLOSURE);
    let function = if is_closure(function) { function.rsplit_once("::")?.0 } else { function };
    let (path, name) = function.rsplit_once("::")?;
    let is_path = path.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':'));
    let is_function = name.starts_with(|c: char| c.is_lowercase() || c == '_');
    (is_method && is_path && is_function && is_for_functions(implemented)).then_some(function)
}

/// Whether functions implement a trait. Of the standard library's traits that have code of their own, they implement those
/// that call them. Types of C are in lower case too, and implement others such as `Debug`.
fn is_for_functions(implemented: &str) -> bool {
    let is_std = ["core::", "alloc::", "std::"].iter().any(|name| implemented.starts_with(name));
    !is_std
        || implemented.starts_with("core::ops::function::")
        || implemented.starts_with("core::ops::async_function::")
}

/// Rewrites a trait method from `news::_::<impl Trait for Type>::method` to `<Type as Trait>::method`. The compiler uses
/// both forms.
fn as_trait(name: &str) -> Cow<'_, str> {
    let found = || {
        let start = name.find("::<impl ")?;
        let inside = &name[start + "::<impl ".len()..];
        let end = closing(inside)?;
        let (implemented, method) = (&inside[..end], inside[end + 1..].strip_prefix("::")?);
        // The type follows the last ` for `, so that `impl<F: Fn(A) for<'a> …>` is not split.
        let (of, what) = implemented.rsplit_once(" for ")?;
        Some(format!("<{what} as {of}>::{method}"))
    };
    found().map_or(Cow::Borrowed(name), Cow::Owned)
}

/// The position of the `>` that closes the bracket around the text.
pub(super) fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut previous) = (0_usize, ' ');
    for (position, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' if previous == '-' => {}
            '>' if depth == 0 => return Some(position),
            '>' => depth -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

/// Private modules of the standard library, and the public modules that re-export their items.
const RE_EXPORTS: [(&str, &str); 8] = [
    ("std::thread::functions::", "std::thread::"),
    ("std::thread::join_handle::", "std::thread::"),
    ("std::sync::poison::mutex::", "std::sync::"),
    ("std::sync::poison::rwlock::", "std::sync::"),
    ("std::sync::poison::condvar::", "std::sync::"),
    ("std::net::tcp::", "std::net::"),
    ("std::net::udp::", "std::net::"),
    ("std::net::socket_addr::", "std::net::"),
];

/// The path in the standard library's documentation.
fn public_path(name: String) -> String {
    let inside = name.trim_start_matches('<').len();
    let (open, path) = name.split_at(name.len() - inside);
    match RE_EXPORTS.iter().find_map(|(private, public)| Some((public, path.strip_prefix(private)?))) {
        Some((public, rest)) => format!("{open}{public}{rest}"),
        None => name,
    }
}

/// The readable name of a closure.
const CLOSURE: &str = "{closure}";

/// Replaces every name of a closure or an async body by [`CLOSURE`]. Drops disambiguators and shims.
fn segment(name: &str) -> &str {
    let inside =
        name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map(|rest| rest.trim_matches(['{', '}']));
    match inside.map(|rest| rest.split('#').next().unwrap_or(rest)) {
        None => name.strip_suffix("{{vtable.shim}}").unwrap_or(name),
        Some("closure" | "async_fn" | "async_block" | "async_closure" | "closure_env") => CLOSURE,
        Some("vtable.shim" | "shim:vtable" | "impl") => "",
        Some(_) => name,
    }
}

/// Drops generic arguments, which do not help the reader of a stack: `alloc::vec::Vec<T>::push`, `collect::<Vec<_>>`.
/// `<T as Trait>::method` keeps its type and trait, without their arguments.
fn without_generics(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_usize;
    let mut previous = ' ';
    for character in name.chars() {
        let arrow = previous == '-' && character == '>';
        match character {
            // A qualified path opens at the start or after another opening character; arguments do not.
            '<' if depth == 0 && (out.is_empty() || matches!(previous, '<' | '&' | ' ' | '(')) => {
                out.push(character);
            }
            '<' => depth += 1,
            '>' if arrow && depth == 0 => out.push(character),
            '>' if arrow => {}
            '>' if depth > 0 => {
                depth -= 1;
                // `collect::<Vec<_>>` leaves `collect::`.
                if depth == 0 && out.ends_with("::") {
                    out.truncate(out.len() - 2);
                }
            }
            _ if depth == 0 => out.push(character),
            _ => {}
        }
        previous = character;
    }
    out
}

/// Splits at `::`, but not inside `<…>` or `{…}`.
fn split_path(name: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    let bytes = name.as_bytes();
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'{' | b'(' | b'[' => depth += 1,
            b'>' if position > 0 && bytes[position - 1] == b'-' => {}
            b'>' | b'}' | b')' | b']' => depth -= 1,
            b':' if depth == 0 && bytes.get(position + 1) == Some(&b':') => {
                segments.push(&name[start..position]);
                start = position + 2;
            }
            _ => {}
        }
    }
    segments.push(&name[start.min(name.len())..]);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_source_code() {
        for (compiler, developer) in [
            ("news_pipeline::ingest::parse_feed::{{closure}}", "news_pipeline::ingest::parse_feed"),
            ("news_pipeline::ingest::parse_feed::{closure#0}", "news_pipeline::ingest::parse_feed"),
            ("news::ingest::{async_fn#0}", "news::ingest"),
            ("news::main::{{closure}}::{{closure}}", "news::main::{closure}"),
            ("news::main::{closure#0}::{closure#3}", "news::main::{closure}"),
            ("std::thread::sleep", "std::thread::sleep"),
            ("pthread_mutex_lock@@GLIBC_2.2.5", "pthread_mutex_lock"),
            ("memcpy@GLIBC_2.2.5", "memcpy"),
            ("alloc::vec::Vec<T,A>::push", "alloc::vec::Vec::push"),
            ("<alloc::vec::Vec<u8> as std::io::Write>::write_all", "<alloc::vec::Vec as std::io::Write>::write_all"),
            ("core::iter::Iterator::collect::<alloc::vec::Vec<u8>>", "core::iter::Iterator::collect"),
            ("news::{impl#3}::fetch::{{closure}}", "news::fetch"),
            ("core::ops::function::FnOnce::call_once{{vtable.shim}}", "core::ops::function::FnOnce::call_once"),
            ("core::ptr::drop_in_place<core::option::Option<fn() -> u8>>", "core::ptr::drop_in_place"),
            ("<F as axum::handler::Handler<(M,T1),S>>::call::{{closure}}", "<F as axum::handler::Handler>::call"),
            ("<<T as A>::B as C>::d", "<<T as A>::B as C>::d"),
            ("<std::fs::File>::sync_all", "std::fs::File::sync_all"),
            ("std::thread::functions::sleep", "std::thread::sleep"),
            ("<std::sync::poison::mutex::Mutex<T>>::lock", "std::sync::Mutex::lock"),
            (
                "news::article::_::<impl serde::ser::Serialize for news::article::Article>::serialize",
                "<news::article::Article as serde::ser::Serialize>::serialize",
            ),
            ("core::cmp::impls::<impl core::cmp::PartialEq<&B> for &A>::eq", "<&A as core::cmp::PartialEq>::eq"),
            ("alloc::slice::<impl [T]>::sort_by::{{closure}}", "alloc::slice::sort_by"),
            ("clock_nanosleep", "clock_nanosleep"),
        ] {
            assert_eq!(readable(compiler), developer, "{compiler}");
        }
    }

    #[test]
    fn a_function_behind_a_trait_is_named() {
        for (symbol, function) in [
            (
                "_RNCNvXs1_NtCsehjUzYsSnyH_4axum7handlerNvNtCs4x4YSuJ0iw5_13axum_mistakes8handlers6remindINtB7_7HandlerTuENtNtBE_4shop4ShopE4call0BE_.llvm.6787416686440784930",
                Some("axum_mistakes::handlers::remind"),
            ),
            ("<shop::handlers::login as axum::handler::Handler<(M,), S>>::call", Some("shop::handlers::login")),
            ("<shop::login as axum::handler::Handler<((), ), S>>::call::{closure#0}", Some("shop::login")),
            ("<shop::login as axum::handler::Handler<(), S>>::call::{closure#0}::{closure#1}", Some("shop::login")),
            ("<shop::serve::{closure#3} as axum::handler::Handler<((), ), S>>::call", Some("shop::serve")),
            ("<shop::price::<u8> as core::ops::function::FnOnce<()>>::call_once", Some("shop::price")),
            ("<shop::_hidden as warp::Filter>::filter", Some("shop::_hidden")),
            ("<F as axum::handler::Handler<(M,T1),S>>::call::{{closure}}", None),
            ("<shop::Shop as tower::Service<R>>::call", None),
            ("<libc::timespec as core::fmt::Debug>::fmt", None),
            ("<&shop::login as core::ops::function::Fn<()>>::call", None),
            ("<u8 as core::ops::function::Fn<()>>::call", None),
            ("shop::login", None),
            ("<shop::login as axum::handler::Handler", None),
            ("<shop::login as ", None),
        ] {
            let name = readable(&format!("{:#}", rustc_demangle::demangle(symbol)));
            assert_eq!(function_item(&name), function, "{name}");
        }
    }

    #[test]
    fn invalid_names_do_not_panic() {
        for name in
            ["", "<", ">>", "::", "{{", "a::<b", "}}::{{", "::<impl ", "::<impl a for >::", "a::<impl > for <>::b"]
        {
            let _no_panic = readable(name);
        }
    }
}
