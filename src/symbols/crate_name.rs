//! The crate with the code of a function, by its readable name.

use super::names::closing;

/// The standard library's crates. The compiler puts its allocator functions into `__rustc`.
const STD: [&str; 10] = [
    "std",
    "core",
    "alloc",
    "proc_macro",
    "test",
    "std_detect",
    "compiler_builtins",
    "panic_unwind",
    "panic_abort",
    "__rustc",
];

/// Types of the language. Only the standard library can give them methods: `u64::rotate_right`, `str::trim`.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    "f32", "f64",
];

/// Whether a crate is one of the standard library.
pub(super) fn is_std(name: &str) -> bool {
    STD.contains(&name)
}

/// The crate of a function outside the standard library; `None` for methods of traits.
pub(super) fn plain_crate(function: &str) -> Option<&str> {
    let (name, _) = function.split_once("::")?;
    let may_be_inlined = is_std(name) || PRIMITIVES.contains(&name);
    (is_identifier(name) && !may_be_inlined).then_some(name)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The crate with the code of a Rust path; `None` for other names, such as `clock_nanosleep`.
///
/// A method of a trait is in the type's crate or in the trait's. If one of them is the standard library, the method is in
/// the other one.
pub(crate) fn crate_of(function: &str) -> Option<&str> {
    let Some((of_type, of_trait)) = type_and_trait(function) else { return first_crate(function) };
    match (crate_of_type(of_type), first_crate(of_trait)) {
        (Some(one), Some(other)) if is_std(one) => Some(other),
        (of_type, of_trait) => of_type.or(of_trait),
    }
}

/// Whether a trait and a type are both the standard library's. Then no other crate can have written the method.
pub(super) fn is_impl_of_std(function: &str) -> bool {
    type_and_trait(function).is_some_and(|(of_type, of_trait)| {
        [crate_of_type(of_type), first_crate(of_trait)].into_iter().all(|name| name.is_some_and(is_std))
    })
}

/// The parts of `<Type as Trait>::method`.
fn type_and_trait(function: &str) -> Option<(&str, &str)> {
    let inside = function.strip_prefix('<')?;
    let inside = &inside[..closing(inside)?];
    let is_outside = |position: &usize| {
        let before = &inside[..*position];
        before.matches('<').count() == before.matches('>').count() - before.matches("->").count()
    };
    let at = inside.match_indices(" as ").map(|(position, _)| position).find(is_outside)?;
    Some((&inside[..at], &inside[at + " as ".len()..]))
}

/// The crate of a type; `None` for a type parameter.
fn crate_of_type(name: &str) -> Option<&str> {
    // A reference counts as what it refers to: another crate may implement a trait for it.
    let name = name.trim_start_matches(['&', ' ']);
    let name = name.strip_prefix("mut ").unwrap_or(name);
    if name.starts_with('<') {
        return crate_of(name);
    }
    first_crate(name).or_else(|| PRIMITIVES.contains(&name).then_some("core"))
}

/// The first crate in a path. Types of the language are in `core`.
fn first_crate(path: &str) -> Option<&str> {
    let path = path.trim_start_matches(['<', '&', ' ']);
    let path = ["mut ", "dyn "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let of_language = ["[", "(", "*const ", "*mut "];
    let is_function = || path.split("::").next().is_some_and(|name| name.contains("fn("));
    if of_language.iter().any(|start| path.starts_with(start)) || is_function() {
        return Some("core");
    }
    let (name, _) = path.split_once("::")?;
    if PRIMITIVES.contains(&name.trim_end_matches('>')) {
        return Some("core");
    }
    if !is_identifier(name) {
        let (_, rest) = path.split_once(" as ").or_else(|| path.split_once("impl "))?;
        return crate_of(rest);
    }
    Some(name)
}
