//! 95 % intervals that hold the truth also at the ends of a score's range and for few images.
//!
//! The percentiles of a bootstrap have no width where all images score the same: of one object that
//! was found they say "1, surely". The interval of a share is therefore that of Korn and Graubard
//! (1998, "Confidence intervals for proportions with small expected number of positive counts
//! estimated from survey data"): Clopper and Pearson's exact one for as many independent cases as
//! would give the variance of the bootstrap, fewer by the quantile of Student's t, because the
//! variance itself is an estimate; and for as many cases as there are units where the bootstrap has
//! no variance.

/// What values a score can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// 0 to 1.
    Share,
    /// From 0, a count for each image.
    Rate,
    /// From 0, of any size.
    Loss,
}

/// What a score rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Support {
    pub range: Range,
    /// Units of the bootstrap that decide the score. Of a mean over classes: the number of cases
    /// whose mean has the variance of the mean of the classes' means.
    pub units: f64,
}

/// Tail on either side of an interval.
const TAIL: f64 = 0.025;
/// The 97.5th percentile of the normal distribution.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;
/// Standard deviations below this are rounding.
const ROUNDING: f64 = 1e-12;
/// Cases that a count is one of, as a share: so many that their binomial is a Poisson distribution.
const CASES_OF_A_COUNT: f64 = 1e4;

/// The interval of a score whose values in the resamples are `sorted`; NaN where there is none:
/// without resamples, where the score is not defined, and where nothing says how far an unbounded
/// score would move.
pub(crate) fn interval(value: f64, sorted: &[f64], support: Support) -> (f64, f64) {
    if value.is_nan() || sorted.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    let ends = [TAIL, 1.0 - TAIL].map(|share| percentile(sorted, share));
    match support.range {
        Range::Share => share_interval(value, deviation(sorted), support.units, ends),
        Range::Rate => {
            let scaled = |rate: f64| (rate / CASES_OF_A_COUNT).min(1.0);
            let (low, high) = share_interval(
                scaled(value),
                deviation(sorted) / CASES_OF_A_COUNT,
                support.units * CASES_OF_A_COUNT,
                ends.map(scaled),
            );
            (low * CASES_OF_A_COUNT, high * CASES_OF_A_COUNT)
        }
        Range::Loss if ends[1] - ends[0] > ROUNDING => (ends[0], ends[1]),
        Range::Loss => (f64::NAN, f64::NAN),
    }
}

/// The same for a difference of two scores. Two shares differ by -1 to 1, which is a share again.
/// A difference that is 0 in every resample is 0.
pub(crate) fn difference_interval(value: f64, sorted: &[f64], support: Support) -> (f64, f64) {
    let is_zero = |difference: &f64| difference.abs() < ROUNDING;
    if !sorted.is_empty() && is_zero(&value) && sorted.iter().all(is_zero) {
        return (0.0, 0.0);
    }
    match support.range {
        Range::Share => {
            let as_share = |difference: f64| (difference + 1.0) / 2.0;
            let shares: Vec<f64> = sorted.iter().copied().map(as_share).collect();
            let (low, high) = interval(as_share(value), &shares, support);
            (2.0 * low - 1.0, 2.0 * high - 1.0)
        }
        Range::Rate | Range::Loss => {
            interval(value, sorted, Support { range: Range::Loss, ..support })
        }
    }
}

/// Linear between the two nearest of sorted values, as `numpy.percentile`; NaN without values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let below = (at.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Of a share with this standard deviation over resamples, of which `ends` are the percentiles.
fn share_interval(value: f64, deviation: f64, units: f64, ends: [f64; 2]) -> (f64, f64) {
    let variance = value * (1.0 - value);
    if deviation < ROUNDING || variance <= 0.0 {
        let (low, high) = clopper_pearson(value, units.max(1.0));
        return (low.min(ends[0]), high.max(ends[1]));
    }
    let freedom = (units - 1.0).max(1.0);
    let shrinkage = NORMAL_QUANTILE / student_quantile(freedom);
    clopper_pearson(value, variance / deviation.powi(2) * shrinkage.powi(2))
}

/// The exact interval of a share of `cases` independent cases (Clopper and Pearson, 1934), by its
/// quantiles of the beta distribution, which are defined for any number of cases above 0.
fn clopper_pearson(value: f64, cases: f64) -> (f64, f64) {
    let hits = value * cases;
    let low = if value <= 0.0 { 0.0 } else { beta_quantile(TAIL, hits, cases - hits + 1.0) };
    let high = if value >= 1.0 { 1.0 } else { beta_quantile(1.0 - TAIL, hits + 1.0, cases - hits) };
    (low.min(value), high.max(value))
}

/// The 97.5th percentile of Student's t distribution.
fn student_quantile(freedom: f64) -> f64 {
    let x = beta_quantile(2.0 * TAIL, freedom / 2.0, 0.5);
    (freedom * (1.0 / x - 1.0)).sqrt()
}

/// Where the beta distribution reaches `share`: its distribution function rises, so the value is
/// enclosed, to the last digits.
fn beta_quantile(share: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    let scale = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    // Small values are enclosed by their size: 60 halvings leave 2^-60.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        *(if incomplete_beta(middle, a, b, scale) < share { &mut low } else { &mut high }) = middle;
        if high - low <= high * 1e-13 {
            break;
        }
    }
    f64::midpoint(low, high)
}

/// The regularised incomplete beta function by Lentz's continued fraction (Press et al., 2007,
/// "Numerical Recipes", 6.4); `scale` is the logarithm of 1 over the beta function.
fn incomplete_beta(x: f64, a: f64, b: f64, scale: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (scale + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast on this side of the mean.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let apart_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / apart_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut found = d;
    // Enough for a million cases; it ends where the digits do.
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / apart_from_zero(1.0 + term * d);
            c = apart_from_zero(1.0 + term / c);
            change = c * d;
            found *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    found
}

/// Logarithm of the gamma function for arguments above 0 (Lanczos, 1964, with the coefficients for
/// g = 7 and 9 terms of Godfrey, 2001).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // The series is for arguments from 1/2 on: Γ(x) = Γ(x + 1) / x.
        return ln_gamma(x + 1.0) - x.ln();
    }
    let x = x - 1.0;
    let series = COEFFICIENTS
        .iter()
        .enumerate()
        .fold(0.999_999_999_999_809_9, |sum, (i, c)| sum + c / (x + i as f64 + 1.0));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, right: f64) {
        assert!((found - right).abs() < 1e-9 * right.abs().max(1.0), "{found} and {right}");
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&values, 0.5), 3.0);
        assert_eq!(percentile(&values, 0.025), 1.075);
        assert_eq!(percentile(&values, 1.0), 8.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    /// By `scipy.stats.beta.ppf` and `scipy.stats.t.ppf`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        near(beta_quantile(0.025, 3.0, 8.0), SCIPY[0]);
        near(beta_quantile(0.975, 0.35, 120.5), SCIPY[1]);
        near(beta_quantile(0.025, 81_234.5, 20_000.25), SCIPY[2]);
        near(student_quantile(1.0), SCIPY[3]);
        near(student_quantile(29.0), SCIPY[4]);
        // It is of use for its first digits where there are so many units.
        assert!((student_quantile(1e6) - SCIPY[5]).abs() < 1e-7);
    }

    const SCIPY: [f64; 6] = [
        0.066_739_511_177_734_47,
        0.017_063_636_433_675_69,
        0.799_978_588_949_423,
        12.706_204_736_174_694,
        2.045_229_642_132_703,
        1.959_966_356_814_107,
    ];

    #[test]
    fn an_exact_interval_has_width_at_the_ends() {
        let (low, high) = clopper_pearson(1.0, 1.0);
        near(low, 0.025);
        assert_eq!(high, 1.0);
        // The rule of three, exactly: 1 - 0.025^(1/117).
        let (low, high) = clopper_pearson(0.0, 117.0);
        assert_eq!(low, 0.0);
        near(high, 1.0 - 0.025_f64.powf(1.0 / 117.0));
    }

    #[test]
    fn what_does_not_move_in_any_resample_is_still_not_certain() {
        let share = |units| Support { range: Range::Share, units };
        let (low, high) = interval(1.0, &[1.0; 100], share(1.0));
        near(low, 0.025);
        assert_eq!(high, 1.0);
        let (low, high) = interval(0.7, &[0.7; 100], share(1.0));
        assert!(low < 0.1 && high > 0.95, "{low} {high}");
        let (low, high) = difference_interval(1.0, &[1.0; 100], share(1.0));
        assert!(low < 0.0 && high == 1.0, "{low} {high}");
        assert_eq!(difference_interval(0.0, &[0.0; 100], share(5.0)), (0.0, 0.0));
        // No false alarm in 20 images: the exact limit of a Poisson count, -ln(0.025) / 20.
        let (low, high) = interval(0.0, &[0.0; 100], Support { range: Range::Rate, units: 20.0 });
        assert_eq!(low, 0.0);
        assert!((high - 0.184_44).abs() < 1e-4, "{high}");
    }

    #[test]
    fn what_is_not_defined_or_not_known_has_no_interval() {
        let share = Support { range: Range::Share, units: 10.0 };
        let loss = Support { range: Range::Loss, units: 10.0 };
        for (low, high) in [
            interval(f64::NAN, &[0.5], share),
            interval(0.5, &[], share),
            interval(0.5, &[0.5; 10], loss),
            difference_interval(0.5, &[0.5; 10], loss),
            difference_interval(0.5, &[], share),
        ] {
            assert!(low.is_nan() && high.is_nan());
        }
    }
}
