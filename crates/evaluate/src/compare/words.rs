//! A comparison's figures as sentences and as a plain table.

use ossify_page::{count, counted, percent};

use crate::compare::comparison::{AgainstBaseline, Comparison};
use crate::report::digits::{decimals, rounded};
use crate::scores::bootstrap::Difference;

/// Differences that rounding alone makes.
const ROUNDING: f64 = 1e-12;
/// Characters of a table's name in the terminal.
const NAME_WIDTH: usize = 24;

/// What a difference says of the table that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its interval lies on the good side of 0.
    Better,
    /// Its interval lies on the bad side of 0.
    Worse,
    /// 0 is within its interval, or there is no interval.
    Unclear,
    /// It is 0 in all resamples.
    Same,
    /// It is not defined.
    Undefined,
}

impl Reading {
    /// That of a difference of scores, or of losses, of which smaller ones are better.
    pub fn of(difference: &Difference, is_loss: bool) -> Self {
        let Difference { value, low, high, .. } = *difference;
        match () {
            () if value.is_nan() => Reading::Undefined,
            () if value.abs() < ROUNDING && low.abs() < ROUNDING && high.abs() < ROUNDING => {
                Reading::Same
            }
            () if low > ROUNDING => {
                if is_loss {
                    Reading::Worse
                } else {
                    Reading::Better
                }
            }
            () if high < -ROUNDING => {
                if is_loss {
                    Reading::Better
                } else {
                    Reading::Worse
                }
            }
            () => Reading::Unclear,
        }
    }

    /// As a word in a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Better => "better",
            Reading::Worse => "worse",
            Reading::Unclear => "not clear",
            Reading::Same => "the same",
            Reading::Undefined => "not defined",
        }
    }
}

/// A number with its sign, if the decimals show that it is not 0; a dash where it is not defined.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = rounded(value.abs(), decimals);
    match value {
        _ if value.is_nan() || text.bytes().all(|byte| matches!(byte, b'0' | b'.')) => text,
        value if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// The difference with as many decimals as its interval bears, `−0.083`.
pub(crate) fn difference_value(difference: &Difference) -> String {
    signed(difference.value, decimals(&difference.interval()))
}

/// The interval alone, `−0.150 to −0.017`; empty if there is no interval.
pub(crate) fn difference_interval(difference: &Difference) -> String {
    let decimals = decimals(&difference.interval());
    if difference.low.is_nan() {
        String::new()
    } else {
        format!("{} to {}", signed(difference.low, decimals), signed(difference.high, decimals))
    }
}

/// `−0.083 (−0.150 to −0.017)`.
pub(crate) fn with_interval(difference: &Difference) -> String {
    let interval = difference_interval(difference);
    if interval.is_empty() {
        difference_value(difference)
    } else {
        format!("{} ({interval})", difference_value(difference))
    }
}

/// `p = 0.14`, `p < 0.001`.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".into(),
        p if p < 0.095 => format!("p = {p:.3}"),
        p => format!("p = {p:.2}"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What a reader should know first of the comparison with this index.
pub(crate) fn verdict(comparison: &Comparison, at: usize) -> Vec<String> {
    let (other, table, baseline) =
        (&comparison.comparisons[at], &comparison.tables[at + 1], comparison.baseline());
    let name = &other.name;
    if comparison.images == 0 {
        return vec![format!(
            "The {} split has no image that could be scored, so there is nothing to compare.",
            comparison.split
        )];
    }
    if other.is_same {
        return vec![format!(
            "{name} holds the same predictions as {}: every difference is 0.",
            baseline.name
        )];
    }
    let mut sentences = vec![scores_in_words(comparison, other)];
    let images = &other.images;
    sentences.push(match images.right_to_wrong + images.wrong_to_right {
        0 if comparison.labelled_images == 1 => {
            "The only labelled image is right or wrong as before.".to_owned()
        }
        0 => format!(
            "Each of the {} labelled images is right or wrong as before.",
            count(comparison.labelled_images)
        ),
        _ => format!(
            "Of {} {} turned from right to wrong and {} from wrong to right, {} \
                (McNemar's exact test, {}).",
            counted(comparison.labelled_images, "labelled image", "labelled images"),
            count(images.right_to_wrong),
            count(images.wrong_to_right),
            if images.mcnemar_p < 0.05 {
                "which is hardly chance"
            } else {
                "which chance may \
                explain"
            },
            p_value(images.mcnemar_p)
        ),
    });
    if let Some(grown) = other.confusions.first().filter(|confusion| confusion.change > 0) {
        sentences.push(match &grown.predicted_class_name {
            Some(predicted) => format!(
                "The confusion that grew most: {} taken for {predicted}, from {} to {}.",
                grown.true_class_name,
                counted(grown.baseline, "object", "objects"),
                count(grown.other)
            ),
            None => format!(
                "What grew most: {} without any prediction in the image, from {} to {}.",
                grown.true_class_name,
                counted(grown.baseline, "object", "objects"),
                count(grown.other)
            ),
        });
    }
    if table.silent_images != baseline.silent_images {
        sentences.push(format!(
            "{name} has no prediction for {}, and {} for {}; they count as wrong.",
            counted(table.silent_images, "labelled image", "labelled images"),
            baseline.name,
            count(baseline.silent_images)
        ));
    }
    sentences
}

fn scores_in_words(comparison: &Comparison, other: &AgainstBaseline) -> String {
    let (name, baseline, split) = (&other.name, &comparison.baseline().name, &comparison.split);
    let headlines = other.differences.headlines(comparison.task);
    let with = |wanted: &[Reading], has_figures: bool| -> Vec<String> {
        let chosen = headlines
            .iter()
            .filter(|(_, _, difference)| wanted.contains(&Reading::of(difference, false)));
        chosen
            .map(|(_, words, difference)| {
                if has_figures {
                    format!("{words} {}", with_interval(difference))
                } else {
                    (*words).to_owned()
                }
            })
            .collect()
    };
    if comparison.bootstrap.samples == 0 {
        let all = with(&[Reading::Better, Reading::Worse, Reading::Unclear, Reading::Same], true);
        return format!(
            "On the {split} split {name} differs from {baseline} by {}; without resamples \
                (evaluate.bootstrap_samples = 0) nothing says which of it is chance.",
            listed(&all)
        );
    }
    let (worse, better) = (with(&[Reading::Worse], true), with(&[Reading::Better], true));
    let (unclear, same) = (with(&[Reading::Unclear], false), with(&[Reading::Same], false));
    let clear = match (worse.is_empty(), better.is_empty()) {
        (true, true) => {
            return format!(
                "On the {split} split {name} does not differ clearly from {baseline}: the \
                    intervals of all differences hold 0."
            );
        }
        (false, true) => format!("clearly worse than {baseline} in {}", listed(&worse)),
        (true, false) => format!("clearly better than {baseline} in {}", listed(&better)),
        (false, false) => format!(
            "clearly worse than {baseline} in {}, and clearly better in {}",
            listed(&worse),
            listed(&better)
        ),
    };
    let rest = match (unclear.is_empty(), same.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(" The two do not differ clearly in {}.", listed(&unclear)),
        (true, false) => format!(" The two are the same in {}.", listed(&same)),
        (false, false) => format!(
            " The two do not differ clearly in {}, and not at all in {}.",
            listed(&unclear),
            listed(&same)
        ),
    };
    format!("On the {split} split {name} is {clear}.{rest}")
}

/// The headline scores of the comparison with this index, as lines of plain text.
pub(crate) fn terminal_table(comparison: &Comparison, at: usize) -> Vec<String> {
    let (other, table, baseline) =
        (&comparison.comparisons[at], &comparison.tables[at + 1], comparison.baseline());
    let name = |name: &str| -> String { name.chars().take(NAME_WIDTH).collect() };
    let head = [
        "score".into(),
        name(&baseline.name),
        name(&other.name),
        "difference".into(),
        "95 % interval".into(),
        "above 0".into(),
        String::new(),
    ];
    let mut rows = vec![head];
    let scores = baseline
        .scores
        .headlines(comparison.task)
        .into_iter()
        .zip(table.scores.headlines(comparison.task))
        .zip(other.differences.headlines(comparison.task));
    for (((_, words, before), (_, _, after)), (_, _, difference)) in scores {
        let interval = if difference.low.is_nan() {
            "–".into()
        } else {
            format!("{} to {}", signed(difference.low, 4), signed(difference.high, 4))
        };
        rows.push([
            words.to_owned(),
            rounded(before.value, 4),
            rounded(after.value, 4),
            signed(difference.value, 4),
            interval,
            percent(difference.above_zero),
            Reading::of(&difference, false).as_str().to_owned(),
        ]);
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cell = |(column, text): (usize, &String)| {
            let width = widths[column];
            if column == 0 || column == row.len() - 1 {
                format!("{text:<width$}")
            } else {
                format!("{text:>width$}")
            }
        };
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        // Terminals and what reads their output know the hyphen best.
        format!("  {}", line.trim_end().replace('−', "-"))
    };
    let title = format!("{}: {} against {}", comparison.split, other.name, baseline.name);
    std::iter::once(title).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_signs_and_the_decimals_that_their_intervals_bear() {
        let difference = |value, low, high| Difference { value, low, high, above_zero: 0.0 };
        assert_eq!(
            with_interval(&difference(-0.0833, -0.15, -0.0167)),
            "−0.083 (−0.150 to −0.017)"
        );
        assert_eq!(with_interval(&difference(0.25, -0.1, 0.5)), "+0.25 (−0.10 to +0.50)");
        assert_eq!(with_interval(&difference(0.0, 0.0, 0.0)), "0.00 (0.00 to 0.00)");
        assert_eq!((signed(-0.004, 2), signed(-0.006, 2)), ("0.00".into(), "−0.01".into()));
        assert_eq!(with_interval(&difference(f64::NAN, f64::NAN, f64::NAN)), "–");
        assert_eq!(with_interval(&difference(0.25, f64::NAN, f64::NAN)), "+0.25");
    }

    #[test]
    fn what_a_difference_says_depends_on_which_side_is_good() {
        let of = |low, high, is_loss| {
            Reading::of(
                &Difference { value: (low + high) / 2.0, low, high, above_zero: 0.5 },
                is_loss,
            )
        };
        assert_eq!(of(0.1, 0.2, false), Reading::Better);
        assert_eq!(of(0.1, 0.2, true), Reading::Worse);
        assert_eq!(of(-0.2, -0.1, false), Reading::Worse);
        assert_eq!(of(-0.2, -0.1, true), Reading::Better);
        assert_eq!(of(-0.1, 0.2, false), Reading::Unclear);
        assert_eq!(of(0.0, 0.0, false), Reading::Same);
        assert_eq!(of(f64::NAN, 0.0, false), Reading::Undefined);
        assert_eq!(
            Reading::of(
                &Difference { value: 0.1, low: f64::NAN, high: f64::NAN, above_zero: f64::NAN },
                false
            ),
            Reading::Unclear
        );
    }
}
