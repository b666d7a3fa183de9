//! What has to hold around any allocator.

#![allow(unsafe_code, reason = "calls an allocator through its raw interface")]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::mpsc;

use allocators::{Random, live, through, watch};
use holdup::heap::Sampling;

#[inline(never)]
fn carts(number: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut carts = Vec::with_capacity(number);
    carts.extend((0..number).map(|_| black_box(vec![1_u8; bytes])));
    carts
}

/// Checks the program's allocator, and the same one through its raw interface.
pub(crate) fn check(allocator: &(impl GlobalAlloc + Sync)) {
    {
        let watch = watch(Sampling::EVERY_ALLOCATION).expect("the allocator is holdup's");
        let known = || through(&live(&watch).expect("it is sampled"), "carts", |_| true)[0];
        for bytes in [1, 300, 8_191, 8_192, 100_000] {
            let mut held = carts(50, bytes);
            assert_eq!(known(), 51, "{bytes} bytes");
            held.iter_mut().for_each(|cart| cart.resize(bytes * 2, 2));
            assert!(held.iter().all(|cart| cart[..bytes].iter().all(|byte| *byte == 1)), "the content moves along");
            let (sender, receiver) = mpsc::channel();
            let frees = std::thread::spawn(move || receiver.into_iter().for_each(drop::<Vec<u8>>));
            held.into_iter().for_each(|cart| sender.send(cart).expect("it listens"));
            drop(sender);
            frees.join().expect("it ends");
            assert_eq!(known(), 0, "{bytes} bytes");
        }
    }
    let watch = watch(Sampling::SMALLEST).expect("the allocator is holdup's");
    std::thread::scope(|scope| {
        for seed in 1..4 {
            scope.spawn(move || mix(allocator, &mut Random::new(seed)));
        }
    });
    assert_eq!(through(&live(&watch).expect("it is sampled"), "mix", |_| true), [0; 4]);
}

/// A block with its layout and the byte that fills it.
type Block = (*mut u8, Layout, u8);

/// Allocates, moves and frees in random order and checks every byte.
#[inline(never)]
fn mix(allocator: &impl GlobalAlloc, random: &mut Random) {
    let mut held: Vec<Block> = Vec::new();
    for round in 0..20_000_u32 {
        let size = 1 + (2.0_f64.powf(random.uniform() * 16.0)) as usize;
        let fill = round as u8;
        if held.len() > 200 || (random.uniform() < 0.4 && !held.is_empty()) {
            let (block, layout, expected) = held.swap_remove((random.uniform() * held.len() as f64) as usize);
            check_block(block, layout.size(), expected);
            if random.uniform() < 0.5 {
                // SAFETY: the block was made with this layout.
                unsafe { allocator.dealloc(block, layout) };
                continue;
            }
            // SAFETY: the block was made with this layout, and the size is not 0.
            let moved = unsafe { allocator.realloc(block, layout, size) };
            check_block(moved, size.min(layout.size()), expected);
            held.push(filled(moved, Layout::from_size_align(size, layout.align()).expect("it is one"), fill));
            continue;
        }
        let layout = Layout::from_size_align(size, 1 << (random.uniform() * 8.0) as u32).expect("it is one");
        let zeroed = random.uniform() < 0.3;
        // SAFETY: the layout is not empty.
        let block = if zeroed { unsafe { allocator.alloc_zeroed(layout) } } else { unsafe { allocator.alloc(layout) } };
        assert!(block.addr().is_multiple_of(layout.align()), "{layout:?}");
        if zeroed {
            check_block(block, size, 0);
        }
        held.push(filled(block, layout, fill));
    }
    for (block, layout, expected) in held {
        check_block(block, layout.size(), expected);
        // SAFETY: the block was made with this layout.
        unsafe { allocator.dealloc(block, layout) };
    }
}

fn filled(block: *mut u8, layout: Layout, fill: u8) -> Block {
    assert!(!block.is_null());
    // SAFETY: the block has this many bytes.
    unsafe { block.write_bytes(fill, layout.size()) };
    (block, layout, fill)
}

fn check_block(block: *mut u8, bytes: usize, expected: u8) {
    // SAFETY: the block has at least this many bytes, which are written.
    let content = unsafe { std::slice::from_raw_parts(block, bytes) };
    assert!(content.iter().all(|byte| *byte == expected), "{bytes} bytes of {expected}");
}
