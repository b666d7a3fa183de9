//! Measures two variants alternately, so that changes of the machine's speed affect both equally.

use std::fmt;

/// The ratios of consecutive measurements.
#[derive(Default)]
pub(crate) struct Rounds {
    ratios: Vec<f64>,
}

/// Measures both variants once. The first variant comes first in every other round.
pub(crate) fn in_turn<T>(round: usize, first: impl FnOnce() -> T, second: impl FnOnce() -> T) -> (T, T) {
    if round.is_multiple_of(2) {
        let measured = first();
        (measured, second())
    } else {
        let measured = second();
        (first(), measured)
    }
}

impl Rounds {
    pub(crate) fn add(&mut self, base: f64, way: f64) {
        self.ratios.push(way / base);
    }

    pub(crate) fn count(&self) -> usize {
        self.ratios.len()
    }
}

/// The median, an interval that contains the true median in 19 of 20 cases, and the quartiles.
///
/// The interval is that of the sign test: the ordered values `0.98 √n` places below and above the middle.
impl fmt::Display for Rounds {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.ratios.len() as f64;
        let half = 0.98 / count.sqrt();
        write!(
            text,
            "{:.4} (95 % of it {:.4} to {:.4}; quartiles {:.4} and {:.4}; {count} rounds)",
            quantile(&self.ratios, 0.5),
            quantile(&self.ratios, 0.5 - half),
            quantile(&self.ratios, 0.5 + half),
            quantile(&self.ratios, 0.25),
            quantile(&self.ratios, 0.75),
        )
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value at a proportion, interpolated between two values.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut ordered = values.to_vec();
    ordered.sort_by(f64::total_cmp);
    let last = ordered.len().saturating_sub(1);
    let place = (part * last as f64).clamp(0.0, last as f64);
    let at = |place: f64| ordered.get(place as usize).copied().unwrap_or(f64::NAN);
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}
