//! A terminal without a user: nothing is typed, and nothing is drawn.
#![allow(unsafe_code, reason = "the standard library opens no terminal")]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// The program's side of a new terminal, and the other side.
pub(crate) fn open() -> io::Result<(File, OwnedFd)> {
    let (mut other, mut terminal) = (-1, -1);
    // SAFETY: both descriptors are live variables, and null pointers stand for no name and for the usual settings.
    let opened =
        unsafe { libc::openpty(&raw mut other, &raw mut terminal, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open and belongs to nobody else.
    let terminal = unsafe { File::from_raw_fd(terminal) };
    // SAFETY: the same.
    let other = unsafe { OwnedFd::from_raw_fd(other) };
    Ok((terminal, other))
}
