//! How often allocations are sampled.

use std::fmt;
use std::str::FromStr;

const KIB: u64 = 1024;

/// The mean distance between two samples, in allocated bytes: 512 KiB unless set.
///
/// ```
/// use holdup::heap::Sampling;
///
/// assert_eq!("512KiB".parse(), Ok(Sampling::default()));
/// assert_eq!(Sampling::bytes(64 * 1024).to_string(), "64KiB");
/// assert!("1KiB".parse::<Sampling>().is_err(), "too small");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// In bytes; 0 for every allocation.
    mean: u64,
}

impl Sampling {
    /// Every allocation, for tests. A thread may wait for its stack to be read, so this is slow.
    pub const EVERY_ALLOCATION: Self = Self { mean: 0 };

    /// The smallest distance: 4 KiB.
    pub const SMALLEST: Self = Self { mean: 4 * KIB };

    /// The largest distance: 64 MiB.
    pub const LARGEST: Self = Self { mean: 64 * KIB * KIB };

    /// A distance in bytes. One that is too small or too large becomes the nearest possible one.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        if bytes < Self::SMALLEST.mean {
            return Self::SMALLEST;
        }
        if bytes > Self::LARGEST.mean { Self::LARGEST } else { Self { mean: bytes } }
    }

    /// That with this [`mean`](Self::mean).
    #[cfg(feature = "cli")]
    pub(super) fn of_mean(mean: u64) -> Self {
        Self { mean }
    }

    /// In bytes; 0 for every allocation.
    pub(crate) fn mean(self) -> u64 {
        self.mean
    }
}

/// 512 KiB, as Go has it.
impl Default for Sampling {
    fn default() -> Self {
        Self { mean: 512 * KIB }
    }
}

/// `512KiB`, `64MiB`, `5000`, `every allocation`.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mean {
            0 => f.write_str("every allocation"),
            mean if mean % (KIB * KIB) == 0 => write!(f, "{}MiB", mean / KIB / KIB),
            mean if mean % KIB == 0 => write!(f, "{}KiB", mean / KIB),
            mean => write!(f, "{mean}"),
        }
    }
}

/// The error of a text that is no [`Sampling`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSamplingError(String);

impl fmt::Display for ParseSamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no distance between two samples of the heap; write a size from {} to {}, such as 512KiB, or all",
            self.0,
            Sampling::SMALLEST,
            Sampling::LARGEST
        )
    }
}

impl std::error::Error for ParseSamplingError {}

/// A size such as `512KiB`, `1MiB` or `8192`; or `all` for every allocation.
impl FromStr for Sampling {
    type Err = ParseSamplingError;

    fn from_str(text: &str) -> Result<Self, ParseSamplingError> {
        let wrong = || ParseSamplingError(text.to_owned());
        if text == "all" {
            return Ok(Self::EVERY_ALLOCATION);
        }
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.get(number.len()..) {
            Some("" | "B") => 1,
            Some("KiB") => KIB,
            Some("MiB") => KIB * KIB,
            _ => return Err(wrong()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
        Some(Self::bytes(bytes)).filter(|sampling| sampling.mean == bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_read_as_they_are_written() {
        for text in ["4KiB", "512KiB", "64MiB", "5000"] {
            assert_eq!(text.parse::<Sampling>().expect(text).to_string(), text);
        }
        assert_eq!("all".parse(), Ok(Sampling::EVERY_ALLOCATION));
        for text in ["", "0", "4095", "65MiB", "512 KiB", "512kb", "-1", "1e9", "99999999999999999999MiB"] {
            let error = text.parse::<Sampling>().expect_err(text).to_string();
            assert!(error.contains("from 4KiB to 64MiB"), "{error}");
        }
        assert_eq!((Sampling::bytes(1), Sampling::bytes(u64::MAX)), (Sampling::SMALLEST, Sampling::LARGEST));
    }
}
