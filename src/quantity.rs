//! Durations and numbers in the command's arguments and the endpoint's parameters: one parser and one error for both.

use std::time::Duration;

/// A duration: seconds, or a number with a unit.
///
/// # Errors
/// The error names the text and the accepted forms.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(number.len()..) {
        Some("" | "s") => Some(1.0),
        Some("ms") => Some(1e-3),
        Some("m" | "min") => Some(60.0),
        _ => None,
    };
    let seconds = number.parse::<f64>().ok().zip(unit).map(|(number, unit)| number * unit);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .ok_or_else(|| format!("{text:?} is not a duration; write seconds, or a number with ms, s or m, such as 500ms"))
}

/// A whole number that is not negative.
///
/// # Errors
/// The error names the text and the accepted form.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("{text:?} is not a number; write a whole number, such as 100"))
}

/// A positive whole number.
///
/// # Errors
/// The error names the text and the accepted form.
#[cfg(feature = "cli")]
pub(crate) fn positive(text: &str) -> Result<u32, String> {
    match number(text)? {
        0 => Err("\"0\" is too small; write a whole number of at least 1".to_owned()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_without_a_unit() {
        for (text, ms) in [("2", 2_000), ("0.5", 500), ("250ms", 250), ("3s", 3_000), ("1m", 60_000)] {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1", "1h", "1 s", "nan", "inf", "1e99", "é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_accepted_forms() {
        assert_eq!(
            duration("abc").expect_err("not a duration"),
            "\"abc\" is not a duration; write seconds, or a number with ms, s or m, such as 500ms"
        );
        for text in ["abc", "-1", "1.5", "1e3", "", "4294967296"] {
            let error = number::<u32>(text).expect_err("not a number");
            assert_eq!(error, format!("{text:?} is not a number; write a whole number, such as 100"));
        }
        assert_eq!(number::<usize>("100"), Ok(100));
    }
}
