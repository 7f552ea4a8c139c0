//! Gates: judged at each call by what the summary says, whether or not the output was there.

use ossify_diagnostics::printable;
use ossify_settings::{Context, Gate, Outcome, RareClasses};
use serde_json::Value;

use crate::wording::{count, plural};

/// Rare classes of which each has a gate of its own.
const MAX_NAMED_CLASSES: usize = 20;

/// Adds the gates that were not met.
pub(crate) fn judged(context: &Context, outcome: Outcome) -> Outcome {
    let mut gates = Vec::new();
    let settings = &context.settings.ingest;
    let summary = &outcome.summary;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let figure = summary["quarantined_share"].as_f64().unwrap_or(0.0);
    let limit = settings.max_quarantined_share;
    if figure > limit {
        let splits =
            || summary["ledger"].as_object().into_iter().flat_map(|ledger| ledger.values());
        let lines: u64 = splits().map(|split| number(&split["lines"])).sum();
        let quarantined: u64 = splits().map(|split| number(&split["quarantined"])).sum();
        gates.push(Gate {
            name: "ingest.max_quarantined_share".into(),
            figure,
            limit,
            message: format!(
                "{quarantined} of {lines} label lines were quarantined, a share of {figure:.4}; \
                 the limit is {limit}"
            ),
        });
    }
    for (rule, &limit) in &settings.max_findings {
        let found = number(&summary["findings"]["by_rule"][rule.as_str()]);
        if found > limit {
            gates.push(Gate {
                name: format!("ingest.max_findings.{rule}"),
                figure: found as f64,
                limit: limit as f64,
                message: format!("{} of this rule; the limit is {limit}", count(found, "finding")),
            });
        }
    }
    if settings.rare_classes == RareClasses::Fail {
        gates.extend(rare_classes(context, summary));
    }
    let errors = number(&summary["findings"]["errors"]);
    if context.strict && errors > 0 {
        gates.push(Gate {
            name: "--strict".into(),
            figure: errors as f64,
            limit: 0.0,
            message: format!(
                "{} in the labels and images; --strict allows 0",
                count(errors, "error")
            ),
        });
    }
    gates.into_iter().fold(outcome, Outcome::with_gate)
}

fn rare_classes(context: &Context, summary: &Value) -> Vec<Gate> {
    let settings = &context.settings.ingest;
    let rare = summary["classes"]["rare_kept"].as_array().map_or(&[][..], Vec::as_slice);
    let gate = |class: &Value| {
        let [objects, images] = ["objects", "images"].map(|key| class[key].as_u64().unwrap_or(0));
        let (key, figure, limit) = if objects < settings.min_objects_per_class {
            ("ingest.min_objects_per_class", objects, settings.min_objects_per_class)
        } else {
            ("ingest.min_images_per_class", images, settings.min_images_per_class)
        };
        let text = |key: &str| printable(class[key].as_str().unwrap_or_default()).into_owned();
        Gate {
            name: key.into(),
            figure: figure as f64,
            limit: limit as f64,
            message: format!(
                "class {} `{}`: {}",
                class["class_id"],
                text("class_name"),
                text("reason")
            ),
        }
    };
    let mut gates: Vec<Gate> = rare.iter().take(MAX_NAMED_CLASSES).map(gate).collect();
    let more = rare.len().saturating_sub(MAX_NAMED_CLASSES) as u64;
    if more > 0 {
        gates.push(Gate {
            name: "ingest.rare_classes".into(),
            figure: rare.len() as f64,
            limit: 0.0,
            message: format!("{} more rare", plural(more, "class is", "classes are")),
        });
    }
    gates
}
