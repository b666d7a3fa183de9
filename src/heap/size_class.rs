//! Size classes: powers of two, as labels of samples.

use std::sync::Arc;

/// Labels by class. Each is made once, because a sample of every allocation would make millions.
#[derive(Debug)]
pub(super) struct SizeClasses([Option<Arc<str>>; u64::BITS as usize + 1]);

impl Default for SizeClasses {
    fn default() -> Self {
        Self([const { None }; u64::BITS as usize + 1])
    }
}

impl SizeClasses {
    /// The label of an object of this size: the smallest power of two that is not below it.
    pub(super) fn label(&mut self, size: u64) -> Option<Arc<str>> {
        let exponent = u64::BITS - size.saturating_sub(1).leading_zeros();
        let known = self.0.get_mut(exponent as usize)?;
        Some(Arc::clone(known.get_or_insert_with(|| text(exponent).into())))
    }
}

/// `64 B`, `4 KiB`, `1 MiB`, and so on.
fn text(exponent: u32) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = units.get(exponent as usize / 10).copied().unwrap_or_default();
    format!("{} {unit}", 1_u64 << (exponent % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_ends_with_its_power_of_two() {
        let mut classes = SizeClasses::default();
        let mut label = |size| classes.label(size).map(|label| label.to_string()).unwrap_or_default();
        for (size, class) in [(1, "1 B"), (2, "2 B"), (3, "4 B"), (64, "64 B"), (65, "128 B"), (513, "1 KiB")] {
            assert_eq!(label(size), class, "{size}");
        }
        assert_eq!((label(1 << 20).as_str(), label((1 << 20) + 1).as_str()), ("1 MiB", "2 MiB"));
        assert_eq!((label(0).as_str(), label(u64::MAX).as_str()), ("1 B", "16 EiB"));
        assert!(Arc::ptr_eq(&classes.label(100).expect("known"), &classes.label(128).expect("known")));
    }
}
