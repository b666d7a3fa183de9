//! A shared cell for a `&'static T`. Setting it is one plain store, reading it one plain load.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Holds a `&'static T` or nothing.
#[derive(Debug)]
pub(crate) struct StaticRef<T: 'static> {
    pointer: AtomicPtr<T>,
    /// Sharing the cell shares the `&'static T` in it.
    shares: PhantomData<&'static T>,
}

impl<T: Sync> StaticRef<T> {
    pub(crate) const fn empty() -> Self {
        Self { pointer: AtomicPtr::new(std::ptr::null_mut()), shares: PhantomData }
    }

    /// A release store, which is a plain store on x86_64. A reader of the reference sees its target initialized.
    #[inline]
    pub(crate) fn set(&self, value: Option<&'static T>) {
        let pointer = value.map_or(std::ptr::null(), std::ptr::from_ref);
        self.pointer.store(pointer.cast_mut(), Ordering::Release);
    }

    /// The current value.
    pub(crate) fn get(&self) -> Option<&'static T> {
        let pointer = self.pointer.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from a `&'static T` given to `set`, and is never written through.
        unsafe { pointer.as_ref() }
    }
}
