//! Counts with their nouns: "1 stall", "2 stalls".

/// The count and the noun, with an `s` unless the count is 1.
pub(crate) fn plural(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!([0, 1, 2].map(|count: u64| plural(count, "stall")), ["0 stalls", "1 stall", "2 stalls"]);
        assert_eq!(plural(1_usize, "worker"), "1 worker");
    }
}
