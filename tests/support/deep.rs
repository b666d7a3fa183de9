//! Stacks of known depth.
#![allow(dead_code, reason = "each test file uses its own part")]

use holdup::stall::Frame;

/// The variable of each call. The call's frame is only a little larger.
const FRAME: usize = 4096;

/// Acts on a stack that is at least this much deeper.
#[inline(never)]
pub(crate) fn at_depth(bytes: usize, act: &mut dyn FnMut()) {
    let mut frame = [0_u8; FRAME];
    std::hint::black_box(&mut frame);
    match bytes.checked_sub(FRAME) {
        Some(rest) => at_depth(rest, act),
        None => act(),
    }
    std::hint::black_box(&mut frame);
}

/// Calls of [`at_depth`] for a depth.
pub(crate) fn calls(bytes: usize) -> usize {
    bytes / FRAME + 1
}

/// Calls of [`at_depth`] in a stack.
pub(crate) fn calls_in<'f>(frames: impl IntoIterator<Item = &'f Frame>) -> usize {
    frames.into_iter().filter(|frame| frame.function.ends_with("::at_depth")).count()
}
