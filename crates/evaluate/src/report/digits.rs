//! Scores as text, with the digits that their intervals bear.

use ossify_page::TableCell;

use crate::scores::bootstrap::Interval;

/// `0.84 (0.78 to 0.89)`; a dash where the score is not defined.
pub(crate) fn with_interval(score: &Interval) -> String {
    let interval = interval(score);
    if interval.is_empty() { value(score) } else { format!("{} ({interval})", value(score)) }
}

/// The score alone, with as many decimals as its interval.
pub(crate) fn value(score: &Interval) -> String {
    rounded(score.value, decimals(score))
}

/// The interval alone; empty if there is no interval.
pub(crate) fn interval(score: &Interval) -> String {
    if score.low.is_nan() {
        String::new()
    } else {
        format!(
            "{} to {}",
            rounded(score.low, decimals(score)),
            rounded(score.high, decimals(score))
        )
    }
}

/// Two decimals; a dash for what is not defined.
pub(crate) fn two(value: f64) -> String {
    rounded(value, 2)
}

/// A threshold or another small number with three significant digits, at most six decimals.
pub(crate) fn three_digits(value: f64) -> String {
    let size = if value.abs() > 0.0 { -value.abs().log10().floor() } else { 0.0 };
    rounded(value, (size + 2.0).clamp(2.0, 6.0) as usize)
}

/// With so many decimals; a dash for what is not defined.
pub(crate) fn rounded(value: f64, decimals: usize) -> String {
    if value.is_nan() { "–".into() } else { format!("{value:.decimals$}") }
}

/// Two, more for small scores, and more for narrow intervals, so that their ends differ.
pub(crate) fn decimals(score: &Interval) -> usize {
    let finest = |size: f64| {
        (size > 0.0 && size.is_finite())
            .then(|| (-size.log10()).ceil().clamp(1.0, 5.0) as usize + 1)
    };
    let for_width = finest(score.high - score.low).unwrap_or(2);
    let for_size = finest(score.value.abs()).unwrap_or(2);
    for_width.max(for_size).clamp(2, 6)
}

/// A score with its interval below.
pub(crate) fn score_cell(score: &Interval) -> TableCell {
    TableCell::new(value(score)).remark(interval(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_thresholds_are_not_0() {
        let digits = [0.000_432_1, 0.0123, 0.5, 1.0, 0.0].map(three_digits);
        assert_eq!(digits, ["0.000432", "0.0123", "0.500", "1.00", "0.00"]);
    }

    #[test]
    fn scores_have_the_decimals_that_their_intervals_bear() {
        let score = |value, low, high| with_interval(&Interval { value, low, high });
        assert_eq!(score(0.8412, 0.7801, 0.8933), "0.84 (0.78 to 0.89)");
        assert_eq!(score(0.6213, 0.6198, 0.6235), "0.6213 (0.6198 to 0.6235)");
        assert_eq!(score(0.0671, 0.052, 0.11), "0.067 (0.052 to 0.110)");
        assert_eq!(score(1.0, 1.0, 1.0), "1.00 (1.00 to 1.00)");
        assert_eq!(score(0.5, f64::NAN, f64::NAN), "0.50");
        assert_eq!(score(f64::NAN, f64::NAN, f64::NAN), "–");
    }
}
