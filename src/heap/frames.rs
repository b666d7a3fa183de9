//! Leaves out the frames of the allocator, and of the standard library that calls it: an allocation belongs to the code that
//! wanted the memory. A stack of the standard library alone keeps its frames.

use std::sync::Arc;

use crate::model::profile::{Profile, ProfileFrame};
use crate::model::stack::Origin;

/// Frames of jemalloc in a stack that it has taken, inlined ones included, are fewer.
const DEEPEST_OF_JEMALLOC: usize = 32;

/// Removes the innermost frames of every stack that only allocate.
pub(crate) fn without_allocator(mut profile: Profile) -> Profile {
    let frame = |position: &u32| profile.frames.get(*position as usize);
    let shortened = |stack: &Arc<[u32]>| {
        // jemalloc's functions call others without a name of its own.
        let inner = stack.iter().take(DEEPEST_OF_JEMALLOC).rposition(|at| frame(at).is_some_and(is_of_jemalloc));
        let stack = stack.get(inner.map_or(0, |inner| inner + 1)..).filter(|rest| !rest.is_empty()).unwrap_or(stack);
        let skip = |skips: fn(&ProfileFrame) -> bool| {
            stack.iter().position(|position| !frame(position).is_some_and(skips)).unwrap_or(stack.len())
        };
        let first = match skip(|frame| is_of_allocator(frame) || is_of_library(frame)) {
            first if first < stack.len() => first,
            _ => skip(is_of_allocator).min(stack.len().saturating_sub(1)),
        };
        stack.get(first..).unwrap_or_default().into()
    };
    profile.stacks = profile.stacks.iter().map(shortened).collect();
    profile
}

fn is_of_allocator(frame: &ProfileFrame) -> bool {
    let function = &*frame.frame.function;
    ["holdup::sys::heap::", "__rust_alloc", "__rust_realloc", "__rustc", "__rg_"]
        .iter()
        .any(|part| function.contains(part))
}

/// Functions of `tikv-jemallocator` and, with the prefix that it gives them or without, of jemalloc.
fn is_of_jemalloc(frame: &ProfileFrame) -> bool {
    let function = &*frame.frame.function;
    function.contains("jemallocator::")
        || ["_rjem_", "je_"].iter().any(|prefix| function.starts_with(prefix))
        || ["malloc", "calloc", "realloc", "mallocx", "rallocx"].contains(&function)
}

/// Packages inside the standard library, such as the tables of `HashMap`, have paths of their own.
fn is_of_library(frame: &ProfileFrame) -> bool {
    let is_inside = |file: &str| file.starts_with("/rust/deps/");
    matches!(frame.frame.origin, Origin::Std | Origin::System) || frame.frame.file.as_deref().is_some_and(is_inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, Sample, Unit, ValueType};
    use crate::model::stack::Frame;

    #[test]
    fn the_innermost_frame_is_the_code_that_wanted_the_memory() {
        let mut builder = ProfileBuilder::new("heap", vec![ValueType::new("inuse_space", Unit::Bytes)]);
        let allocator = Frame::new(
            "<holdup::sys::heap::allocator::Allocator as core::alloc::global::GlobalAlloc>::alloc",
            Origin::Runtime,
        );
        let allocates = [allocator, Frame::new("__rustc::__rust_alloc", Origin::Unknown)];
        let mut table = Frame::new("hashbrown::raw::alloc::inner::do_alloc", Origin::Dependency);
        table.file = Some("/rust/deps/hashbrown-0.16.1/src/raw/alloc.rs".into());
        let library =
            [Frame::new("alloc::alloc::alloc", Origin::Std), table, Frame::new("HashMap::entry", Origin::Std)];
        let rest = [Frame::new("shop::cart", Origin::User), Frame::new("std::rt::lang_start", Origin::Std)];
        let whole: Vec<Frame> = allocates.iter().chain(&library).chain(&rest).cloned().collect();
        let of_library: Vec<Frame> = allocates.iter().chain(&library).cloned().collect();
        for stack in [whole, of_library] {
            let frames: Vec<u32> = stack.into_iter().map(|frame| builder.frame(ProfileFrame::of(frame))).collect();
            let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
            builder.add(Sample::new(None, stack, labels, [1, 0, 0, 0]));
        }
        let profile = without_allocator(builder.build());
        let names = |stack: u32| profile.stack(stack).map(|frame| &*frame.frame.function).collect::<Vec<_>>();
        assert_eq!(names(0), ["shop::cart", "std::rt::lang_start"]);
        assert_eq!(names(1), ["alloc::alloc::alloc", "hashbrown::raw::alloc::inner::do_alloc", "HashMap::entry"]);
    }

    #[test]
    fn jemallocs_frames_are_left_out() {
        let mut builder = ProfileBuilder::new("heap", vec![ValueType::new("inuse_space", Unit::Bytes)]);
        let frame = |name: &str, origin| ProfileFrame::of(Frame::new(name, origin));
        let stack = [
            frame("prof_backtrace_impl", Origin::Unknown),
            frame("_rjem_je_prof_tctx_create", Origin::Unknown),
            frame("imalloc_body", Origin::Unknown),
            frame("_rjem_mallocx", Origin::Unknown),
            frame("<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc", Origin::Dependency),
            frame("__rustc::__rust_alloc", Origin::Unknown),
            frame("alloc::alloc::alloc", Origin::Std),
            frame("shop::cart", Origin::User),
        ];
        let frames: Vec<u32> = stack.into_iter().map(|frame| builder.frame(frame)).collect();
        let (stack, labels) = (builder.stack(&frames), builder.labels(Labels::default()));
        builder.add(Sample::new(None, stack, labels, [1, 0, 0, 0]));
        let profile = without_allocator(builder.build());
        assert_eq!(profile.stack(0).map(|frame| &*frame.frame.function).collect::<Vec<_>>(), ["shop::cart"]);
    }
}
