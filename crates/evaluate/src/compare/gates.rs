//! Whether a table dropped too far below the baseline.

use anyhow::anyhow;
use ossify_contract::Gate;
use ossify_settings::{DropTest, EvaluateSettings, Margin, MaxDrop, StageError};
use ossify_vocabulary::Task;

use crate::compare::comparison::Comparison;
use crate::scores::bootstrap::{Difference, Interval};

/// Smaller differences are rounding errors of two scores, and not a drop.
const ROUNDING: f64 = 1e-12;

/// Refuses tests that need intervals where there are none.
///
/// # Errors
/// A usage error that names both keys.
pub(crate) fn check_settings(settings: &EvaluateSettings) -> Result<(), StageError> {
    let MaxDrop { accuracy, macro_f1, mean_iou, ap50, froc, finding_auroc } = settings.max_drop;
    let margins = [accuracy, macro_f1, mean_iou, ap50, froc, finding_auroc];
    let has_margin = margins.into_iter().any(|margin| margin.most().is_some());
    if has_margin && settings.bootstrap_samples == 0 && settings.drop_test != DropTest::Measured {
        return Err(StageError::Usage(anyhow!(
            "evaluate.drop_test = \"{}\" judges by intervals, and evaluate.bootstrap_samples = 0 \
                makes none; set evaluate.drop_test=measured, \
             or ask for resamples",
            settings.drop_test.as_str()
        )));
    }
    Ok(())
}

/// The margins of [`super::Levels::headlines`], in their order.
pub(crate) fn margins(max_drop: &MaxDrop, task: Task) -> Vec<Margin> {
    match task {
        Task::Classify => {
            vec![max_drop.accuracy, max_drop.macro_f1, max_drop.mean_iou, max_drop.ap50]
        }
        Task::Detect => vec![max_drop.ap50, max_drop.froc, max_drop.finding_auroc],
    }
}

/// The margins that were not kept, table by table. A score that the baseline does not have cannot
/// drop.
pub(crate) fn unmet(comparison: &Comparison, settings: &EvaluateSettings) -> Vec<Gate> {
    let mut gates = Vec::new();
    for (other, table) in comparison.comparisons.iter().zip(&comparison.tables[1..]) {
        let task = comparison.task;
        let baselines = comparison.baseline().scores.headlines(task);
        let scores = table.scores.headlines(task).into_iter().zip(baselines);
        let scores = scores.zip(other.differences.headlines(task));
        for ((((key, words, score), (_, _, baseline)), (_, _, difference)), margin) in
            scores.zip(margins(&settings.max_drop, task))
        {
            let Some(limit) = margin.most() else { continue };
            let sides = Sides {
                table: &other.name,
                baseline: &comparison.baseline().name,
                split: &comparison.split,
            };
            let judged =
                judge(&sides, words, [score, baseline], difference, limit, settings.drop_test);
            gates.extend(judged.map(|(figure, message)| Gate {
                name: format!("evaluate.max_drop.{key}"),
                figure,
                limit,
                message,
            }));
        }
    }
    gates
}

struct Sides<'a> {
    table: &'a str,
    baseline: &'a str,
    split: &'a str,
}

/// The drop that was found too large, and a sentence about it.
fn judge(
    sides: &Sides<'_>,
    words: &str,
    [score, baseline]: [Interval; 2],
    difference: Difference,
    limit: f64,
    test: DropTest,
) -> Option<(f64, String)> {
    let Sides { table, baseline: baseline_name, split } = sides;
    if baseline.value.is_nan() {
        return None;
    }
    if score.value.is_nan() {
        // It is reported as the whole score lost, because JSON has no NaN.
        let message = format!(
            "the {words} of {table} on the {split} split is not defined, and that of \
                {baseline_name} is {:.4}",
            baseline.value
        );
        return Some((baseline.value, message));
    }
    let (drop, least, most) = (-difference.value, -difference.high, -difference.low);
    // A score that no resample has leaves the measured drop alone.
    let test = if least.is_nan() { DropTest::Measured } else { test };
    let figure = match test {
        DropTest::Measured => drop,
        DropTest::Clear => least,
        DropTest::Possible => most,
    };
    if figure <= limit + ROUNDING {
        return None;
    }
    let side = if drop < 0.0 { "above" } else { "below" };
    let measured = format!(
        "the {words} of {table} on the {split} split is {:.4}, {:.4} {side} that of \
            {baseline_name} ({:.4})",
        score.value,
        drop.abs(),
        baseline.value
    );
    let why = match test {
        DropTest::Measured => format!("a drop of at most {limit} is allowed"),
        DropTest::Clear => {
            format!("the 95 % interval of the drop, {least:.4} to {most:.4}, lies above {limit}")
        }
        DropTest::Possible => {
            format!("the 95 % interval of the drop, {least:.4} to {most:.4}, reaches above {limit}")
        }
    };
    Some((figure, format!("{measured}; {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: Sides<'_> = Sides { table: "b", baseline: "a", split: "valid" };

    fn judged(difference: Difference, limit: f64, test: DropTest) -> Option<String> {
        let interval = |value| Interval { value, low: value, high: value };
        judge(
            &SIDES,
            "AP50",
            [interval(0.5 + difference.value), interval(0.5)],
            difference,
            limit,
            test,
        )
        .map(|(_, message)| message)
    }

    #[test]
    fn each_test_looks_at_its_end_of_the_interval() {
        let drop = Difference { value: -0.1, low: -0.2, high: -0.05, above_zero: 0.0 };
        let start = "the AP50 of b on the valid split is 0.4000, 0.1000 below that of a (0.5000)";
        let expected = [
            (
                DropTest::Clear,
                0.04,
                Some("the 95 % interval of the drop, 0.0500 to 0.2000, lies above 0.04"),
            ),
            (DropTest::Clear, 0.05, None),
            (DropTest::Measured, 0.09, Some("a drop of at most 0.09 is allowed")),
            (DropTest::Measured, 0.1, None),
            (
                DropTest::Possible,
                0.15,
                Some("the 95 % interval of the drop, 0.0500 to 0.2000, reaches above 0.15"),
            ),
            (DropTest::Possible, 0.2, None),
        ];
        for (test, limit, why) in expected {
            assert_eq!(judged(drop, limit, test), why.map(|why| format!("{start}; {why}")));
        }
    }

    #[test]
    fn no_difference_passes_every_test_and_rounding_is_no_drop() {
        for test in [DropTest::Clear, DropTest::Measured, DropTest::Possible] {
            assert_eq!(
                judged(Difference { value: 0.0, low: 0.0, high: 0.0, above_zero: 0.0 }, 0.0, test),
                None
            );
            let tiny = -1e-16;
            assert_eq!(
                judged(
                    Difference { value: tiny, low: tiny, high: tiny, above_zero: 0.0 },
                    0.0,
                    test
                ),
                None
            );
        }
    }

    #[test]
    fn a_score_that_is_lost_altogether_is_a_drop_and_one_that_was_never_there_is_none() {
        let nothing = Interval { value: f64::NAN, low: f64::NAN, high: f64::NAN };
        let difference =
            Difference { value: f64::NAN, low: f64::NAN, high: f64::NAN, above_zero: f64::NAN };
        let some = Interval { value: 0.5, low: 0.4, high: 0.6 };
        let (figure, message) =
            judge(&SIDES, "AP50", [nothing, some], difference, 0.0, DropTest::Clear).unwrap();
        assert_eq!(
            (figure, message.as_str()),
            (0.5, "the AP50 of b on the valid split is not defined, and that of a is 0.5000")
        );
        assert_eq!(judge(&SIDES, "AP50", [some, nothing], difference, 0.0, DropTest::Clear), None);
    }
}
