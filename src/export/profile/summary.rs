//! A profile in two lines: its title and its quality.

use std::time::Duration;

use crate::export::text::{bytes, milliseconds};
use crate::model::plural::plural;
use crate::model::profile::{GROWTH, Profile, Unit};

/// The program and the kind of profile: `news_pipeline: CPU time`.
pub(crate) fn title(profile: &Profile) -> String {
    let kind = match &*profile.kind {
        "cpu" => "CPU time",
        "wall" => "wall-clock time",
        "stalled" => "stalled time",
        "heap" => "live memory",
        "allocs" => "allocated memory",
        "peak" => "memory at the peak",
        "leaks" => "memory allocated and kept",
        "temporary" => "memory freed at once",
        other => other,
    };
    if profile.program.is_empty() { kind.to_owned() } else { format!("{}: {kind}", profile.program) }
}

/// The total, the rate and the quality: `1.25 s of cpu, 99 Hz over 5.00 s, 124 samples, 0 lost, 2 truncated, 0.4 % of
/// frames without a name`.
pub(crate) fn quality(profile: &Profile) -> String {
    let mut parts = Vec::new();
    if let Some(drawn) = profile.drawn_value() {
        parts.push(format!("{} of {}", amount(profile.total(profile.drawn), drawn.unit), drawn.name));
    }
    if let Some(growth) = profile.value_named(GROWTH) {
        parts.push(format!("{} per minute", amount(profile.total(growth), Unit::Bytes)));
    }
    let over = milliseconds(profile.duration);
    match profile.rate {
        Some(rate) => parts.push(format!("{rate} Hz over {over}")),
        None if !profile.duration.is_zero() => parts.push(format!("over {over}")),
        None => {}
    }
    let quality = &profile.quality;
    let counted = profile.counted().and_then(|counted| profile.values.get(counted));
    parts.push(counted_in(profile.sample_count(), counted.map_or("samples", |value| &value.name)));
    parts.extend(uncertainty(profile, profile.sample_count()));
    parts.push(format!("{} lost", quality.lost));
    parts.push(format!("{} truncated", quality.truncated));
    parts.push(nameless(quality.nameless, quality.frames));
    if !quality.own_cpu.is_zero() {
        parts.push(format!("{} of holdup's own threads left out", milliseconds(quality.own_cpu)));
    }
    parts.join(", ")
}

/// `± 4.2 %`: how near the truth an estimate from this many samples of the heap is, 95 times of 100. `None` for other
/// profiles.
pub(crate) fn uncertainty(profile: &Profile, samples: u64) -> Option<String> {
    let is_estimate = profile.counted().is_some() && profile.drawn_value()?.unit == Unit::Bytes;
    let percent = uncertainty_percent(samples).filter(|_| is_estimate)?;
    Some(format!("± {percent:.1} %"))
}

/// How near the truth an estimate from this many samples of the heap is, 95 times of 100, in percent.
#[expect(clippy::cast_precision_loss, reason = "a percentage to one digit")]
pub(crate) fn uncertainty_percent(samples: u64) -> Option<f64> {
    (samples > 0).then(|| 196.0 / (samples as f64).sqrt())
}

/// `1 sample`, `2 samples`. The name of the value is a plural.
fn counted_in(count: u64, name: &str) -> String {
    match name.strip_suffix('s') {
        Some(singular) => plural(count, singular),
        None => format!("{count} {name}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share to one digit")]
fn nameless(nameless: u64, frames: u64) -> String {
    let share = if frames == 0 { 0.0 } else { nameless as f64 * 100.0 / frames as f64 };
    format!("{share:.1} % of frames without a name")
}

/// A value with its unit, for people.
pub(crate) fn amount(value: i64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if value >= 0 => milliseconds(Duration::from_nanos(value.unsigned_abs())),
        Unit::Nanoseconds => format!("-{}", milliseconds(Duration::from_nanos(value.unsigned_abs()))),
        Unit::Bytes => bytes(value),
        Unit::Count => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::{Labels, ProfileBuilder, Sample, ValueType};

    #[test]
    fn the_title_and_the_quality_are_one_line_each() {
        let mut builder = ProfileBuilder::new("cpu", vec![ValueType::new("cpu", Unit::Nanoseconds)]);
        let (stack, labels) = (builder.stack(&[]), builder.labels(Labels::default()));
        builder.add(Sample::new(None, stack, labels, [1_250_000_000, 0, 0, 0]));
        let profile = builder.profile();
        profile.program = "api".into();
        (profile.rate, profile.duration) = (Some(99), Duration::from_secs(5));
        (profile.quality.lost, profile.quality.frames, profile.quality.nameless) = (3, 1000, 4);
        let profile = builder.build();
        assert_eq!(title(&profile), "api: CPU time");
        assert_eq!(
            quality(&profile),
            "1.25 s of cpu, 99 Hz over 5.00 s, 1 sample, 3 lost, 0 truncated, 0.4 % of frames without a name"
        );
        assert_eq!(uncertainty(&profile, 100), None, "time is not an estimate by bytes");
        let values = vec![ValueType::new("samples", Unit::Count), ValueType::new("inuse_space", Unit::Bytes)];
        let heap = ProfileBuilder::new("heap", values).build();
        let values = vec![ValueType::new("leaked_space", Unit::Bytes), ValueType::new(GROWTH, Unit::Bytes)];
        let mut leaks = ProfileBuilder::new("leaks", values);
        leaks.drawn(0).add(Sample::new(None, 0, 0, [1024, 3 << 20, 0, 0]));
        let leaks = quality(&leaks.build());
        assert!(leaks.starts_with("1.0 KiB of leaked_space, 3.0 MiB per minute, "), "{leaks}");
        assert_eq!((uncertainty(&heap, 100).as_deref(), uncertainty(&heap, 0)), (Some("± 19.6 %"), None));
        let mut with_own = profile;
        with_own.quality.own_cpu = Duration::from_millis(30);
        assert!(quality(&with_own).ends_with(", 30.0 ms of holdup's own threads left out"), "{}", quality(&with_own));
        assert_eq!(
            (amount(-2_000_000, Unit::Nanoseconds).as_str(), amount(1536, Unit::Bytes).as_str()),
            ("-2.0 ms", "1.5 KiB")
        );
        assert_eq!((bytes(-7), bytes(5 << 30)), ("-7 B".to_owned(), "5.0 GiB".to_owned()));
    }
}
