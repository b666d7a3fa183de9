//! Names of types with type arguments, as the compiler writes them.

/// Futures that wrap another future, with the position of the inner future among their type arguments. Spawned futures are
/// often wrapped, and the inner future is the useful name of a task.
const WRAPPERS: [(&str, usize); 17] = [
    ("alloc::boxed::Box", 0),
    ("core::panic::unwind_safe::AssertUnwindSafe", 0),
    ("core::pin::Pin", 0),
    ("futures_util::abortable::Abortable", 0),
    ("futures_util::future::future::catch_unwind::CatchUnwind", 0),
    ("holdup::probe::watched::WakesWatchdog", 0),
    ("holdup::probe::watched::Watched", 0),
    ("opentelemetry::context::future_ext::WithContext", 0),
    ("tokio::task::coop::unconstrained::Unconstrained", 0),
    ("tokio::task::task_local::TaskLocalFuture", 1),
    ("tokio::task::unconstrained::Unconstrained", 0),
    ("tokio::time::timeout::Timeout", 0),
    ("tokio_metrics::task::Instrumented", 0),
    ("tokio_util::task::task_tracker::TrackedFuture", 0),
    ("tracing::instrument::Instrumented", 0),
    ("tracing::instrument::WithDispatch", 0),
    ("tracing_futures::Instrumented", 0),
];

/// The name of a future with a type that is only known at run time.
const DYN_FUTURE: &str = "dyn Future";

/// The name of the future inside all wrappers.
pub(crate) fn unwrapped(name: &str) -> &str {
    let mut inner = name;
    while let Some(inside) = wrapped(inner) {
        inner = inside;
    }
    let object = inner.trim_start_matches('(').strip_prefix("dyn ");
    if object.is_some_and(|of| of.contains("future::Future")) { DYN_FUTURE } else { inner }
}

/// The name of the future inside one wrapper.
fn wrapped(name: &str) -> Option<&str> {
    let (path, rest) = name.split_once('<')?;
    let (_, number) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == path)?;
    arguments(rest.strip_suffix('>')?).nth(*number)
}

/// Whether this is the path of a wrapper, without type arguments.
pub(crate) fn is_wrapper(path: &str) -> bool {
    WRAPPERS.iter().any(|(wrapper, _)| *wrapper == path)
}

/// The type arguments in the text between angle brackets.
pub(crate) fn arguments(inside: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut previous) = (0_i32, ' ');
    let separates = move |character: char| {
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        previous = character;
        depth == 0 && character == ','
    };
    inside.split(separates).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_task_is_that_of_the_inner_future() {
        for (name, inside) in [
            ("app::work::{async_fn_env#0}", "app::work::{async_fn_env#0}"),
            ("app::Instrumented<app::work::{async_fn_env#0}>", "app::Instrumented<app::work::{async_fn_env#0}>"),
            (
                "tracing::instrument::Instrumented<app::work::{async_fn_env#0}<u8, u16>>",
                "app::work::{async_fn_env#0}<u8, u16>",
            ),
            (
                "holdup::probe::watched::Watched<core::pin::Pin<alloc::boxed::Box<app::F<fn(u8) -> u8>, alloc::alloc::Global>>>",
                "app::F<fn(u8) -> u8>",
            ),
            ("tokio::task::task_local::TaskLocalFuture<app::Id, app::work::{{closure}}>", "app::work::{{closure}}"),
            (
                "core::pin::Pin<alloc::boxed::Box<(dyn core::future::future::Future<Output=()> + core::marker::Send), alloc::alloc::Global>>",
                "dyn Future",
            ),
            ("core::pin::Pin<alloc::boxed::Box<dyn app::Job>>", "dyn app::Job"),
        ] {
            assert_eq!(unwrapped(name), inside, "{name}");
        }
    }

    #[test]
    fn malformed_names_do_not_panic() {
        for name in
            ["", "<", ">", "core::pin::Pin<", "core::pin::Pin<>", "core::pin::Pin<<>", "core::pin::Pin<,>", "a-><b"]
        {
            let _no_panic = unwrapped(name);
        }
        assert_eq!(arguments("a::F<b, c>, d::S").collect::<Vec<_>>(), ["a::F<b, c>", "d::S"]);
        assert_eq!(arguments("fn(u8) -> (b::C, u8), d::S").nth(1), Some("d::S"));
    }
}
