//! Names of types as a developer writes them.

use crate::model::type_name::unwrapped;

/// The last part of a qualified name, with its type arguments.
pub(crate) fn last_segment(name: &str) -> &str {
    let (mut depth, mut start, mut previous) = (0_i32, 0, b' ');
    let bytes = name.as_bytes();
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if previous == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth -= 1,
            b':' if depth == 0 => start = position + 1,
            _ => {}
        }
        previous = *byte;
    }
    name.get(start..).unwrap_or(name)
}

/// The path of a type without type arguments. The coroutine of an `async fn` has the name of the function.
///
/// `receiver` is the type of `self` in a method that is an `async fn`. The compiler's name has only the number of the
/// `impl` block there.
pub(crate) fn type_name(compiler: &str, receiver: Option<&str>) -> String {
    let name = match receiver {
        Some(receiver) => with_receiver(compiler, receiver),
        None => compiler.to_owned(),
    };
    let plain = without_arguments(&name);
    let segments: Vec<&str> = plain.split("::").filter(|segment| !segment.starts_with("{impl#")).collect();
    let mut segments: Vec<&str> = segments.into_iter().map(readable).collect();
    if segments.len() > 1 && segments.last() == Some(&ASYNC_FN) {
        segments.pop();
    }
    let shown: Vec<&str> =
        segments.into_iter().map(|segment| if segment == ASYNC_FN { "{async}" } else { segment }).collect();
    shown.join("::")
}

/// The display name of a task: the name of its future's type without wrappers.
pub(crate) fn task_name(future: &str) -> String {
    type_name(unwrapped(future), None)
}

/// The coroutine of an `async fn` in the middle of a path.
const ASYNC_FN: &str = "{async fn}";

/// A path segment that the compiler generated, in a readable form.
fn readable(segment: &str) -> &str {
    let inside = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inside.map(|inside| inside.split('#').next().unwrap_or(inside)) {
        Some("async_fn_env" | "async_fn") => ASYNC_FN,
        Some("async_block_env" | "async_block") => "{async block}",
        Some("async_closure_env" | "async_closure") => "{async closure}",
        Some("closure_env" | "closure") => "{closure}",
        _ => segment,
    }
}

/// Replaces `{impl#N}` by the receiver: `sync::mutex::{impl#10}::lock` becomes `sync::mutex::Mutex::lock`.
fn with_receiver(name: &str, receiver: &str) -> String {
    let Some((before, rest)) = name.split_once("{impl#") else { return name.to_owned() };
    let Some((_, after)) = rest.split_once('}') else { return name.to_owned() };
    let receiver = receiver.trim_start_matches(['&', ' ']);
    let receiver = receiver.strip_prefix("mut ").unwrap_or(receiver);
    // If the receiver is from another module, the method belongs to a trait.
    let path = before.trim_end_matches(':');
    if without_arguments(receiver).rsplit_once("::").is_some_and(|(module, _)| module == path) {
        return format!("{receiver}{after}");
    }
    name.to_owned()
}

/// The name without everything in angle brackets.
fn without_arguments(name: &str) -> String {
    let (mut out, mut depth, mut previous) = (String::with_capacity(name.len()), 0_usize, ' ');
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' if previous == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(character),
            _ => {}
        }
        previous = character;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_names_become_source_names() {
        for (compiler, receiver, developer) in [
            ("app::nested::{async_fn_env#0}", None, "app::nested"),
            ("app::main::{async_block_env#2}", None, "app::main::{async block}"),
            ("app::main::{async_fn#0}::{async_block_env#0}", None, "app::main::{async}::{async block}"),
            ("tokio::time::timeout::Timeout<app::nested::{async_fn_env#0}>", None, "tokio::time::timeout::Timeout"),
            (
                "tokio::sync::mutex::{impl#10}::lock::{async_fn_env#0}<u32>",
                Some("&tokio::sync::mutex::Mutex<u32>"),
                "tokio::sync::mutex::Mutex::lock",
            ),
            ("app::{impl#0}::run::{async_fn_env#0}", Some("&other::Thing"), "app::run"),
        ] {
            assert_eq!(type_name(compiler, receiver), developer, "{compiler}");
        }
    }

    #[test]
    fn malformed_names_do_not_panic() {
        for name in ["", "<", ">>", "::", "{impl#", "a::{impl#3", "{}", "{#}::>", "a-><b"] {
            let _no_panic = (type_name(name, Some("<&")), last_segment(name));
        }
        assert_eq!(last_segment("core::option::Option<a::b::C>::Some"), "Some");
        assert_eq!(last_segment("a::F<fn() -> b::C>"), "F<fn() -> b::C>");
    }
}
