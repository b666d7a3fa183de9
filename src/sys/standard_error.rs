//! Standard error without the lock of `std`, which a stuck thread of the program may hold forever.

use std::io;

/// Writes to standard error. It waits while nobody reads a full pipe, so only a thread that may be stuck calls it.
///
/// # Errors
/// When standard error is closed, or nobody can read it any more.
#[cfg(unix)]
pub(crate) fn write_to_standard_error(text: &[u8]) -> io::Result<()> {
    use std::fs::File;
    use std::os::fd::AsFd;

    // A copy each time, because the program may redirect its standard error.
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    write_all_to(file, text)
}

/// See above. Elsewhere the lock cannot be avoided.
#[cfg(not(unix))]
pub(crate) fn write_to_standard_error(text: &[u8]) -> io::Result<()> {
    write_all_to(io::stderr(), text)
}

/// Writes everything, also where the program has made the file non-blocking.
fn write_all_to(mut file: impl io::Write, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, and refuses every other time.
    struct Slow(Vec<u8>, bool);

    impl io::Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = text.len().min(3);
            self.0.extend_from_slice(&text[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_is_not_ready_gets_everything() {
        let mut slow = Slow(Vec::new(), false);
        write_all_to(&mut slow, b"a whole report").expect("is written");
        assert_eq!(slow.0, b"a whole report");
    }
}
