//! The sampling allocator: it decides which allocations are sampled, and keeps what is known about them until they are
//! freed.
//!
//! # Contract of an allocation
//! Nothing here allocates, takes a lock, or can fault. All lists are lock-free and lie in memory of the program that is
//! touched when it is needed. A sampled allocation reads the clock, and copies registers and stack. It is unwound later.
//!
//! # An object's life
//!
//! | step | by | what |
//! |---|---|---|
//! | claimed | the allocating thread | a number from the pool of objects; without one the sample is lost and counted |
//! | placed | the allocating thread | small objects lie in the region, others are in the table of addresses |
//! | new | the allocating thread | the object's facts and the number of its stack record go to a mailbox |
//! | freed | any thread | found by its address; time and poll of the free go to a second mailbox |
//! | given back | the collector | it has read both mailboxes; the number and the place are free again |
//!
//! A free is a state of the object and no message that could find a queue full, so none is lost.
//!
//! In a child of `fork` no collector runs: sampling is off there, and frees work as before.

/// What is known about sampled objects.
mod facts;

/// The wrapper of a program's allocator.
mod allocator;

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
use linux as platform;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
mod unsupported;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(holdup_unsupported))))]
use unsupported as platform;

pub use allocator::Allocator;
pub(crate) use facts::{Allocated, Freed, HeapTotals, PollNumber, StartError};

#[cfg(all(test, target_os = "linux", target_arch = "x86_64", not(holdup_unsupported)))]
pub(crate) use platform::{SEEDED_MEAN, seeded};
pub(crate) use platform::{
    SMALL_BYTES, drain, enter_worker, expect_deep_stacks, has_region, is_forked, is_installed, is_on, leave_worker,
    lost, start, stop, totals, without_sampling,
};
